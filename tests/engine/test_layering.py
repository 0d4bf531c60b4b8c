"""Imports point one way, cli to engine to store, and what is heavy is imported only by what needs it."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("store", "engine", "cli")
FORBIDDEN = {
    "store": {
        "torch",
        "sklearn",
        "transformers",
        "tokenizers",
        "datasets",
        "click",
        "rich",
        "biocache.engine",
        "biocache.cli",
    },
    "engine": {"click", "rich", "biocache.cli"},
    "cli": set(),
}
# What analyses a store works where no model can be loaded.
MAY_LOAD_MODELS = ("models", "corpora", "finetuning", "extraction", "demo")


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of every module imported, or looked up by name, anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import would hide where it points.
            yield "." * node.level + (node.module or "")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def trespasses(text: str, forbidden: set[str]) -> set[str]:
    return {
        name
        for name in imports(ast.parse(text))
        if name.startswith(".") or any(name == other or name.startswith(f"{other}.") for other in forbidden)
    }


@pytest.mark.parametrize(
    "text",
    [
        "import torch",
        "import torch.nn as nn",
        "from torch import nn",
        "def f():\n    from torch.nn import functional",
        "if TYPE_CHECKING:\n    import torch",
        "importlib.import_module('torch.nn')",
        "from biocache import engine",
        "from biocache.engine.models.loading import load_model",
        "from . import keys",
        "from .keys import RunKey",
    ],
)
def test_a_trespass_is_seen(text):
    assert trespasses(text, {"torch", "biocache.engine"})


@pytest.mark.parametrize("text", ["import torchmetrics", "from biocache.engineering import x", "'import torch'"])
def test_what_only_looks_like_a_trespass_is_not_one(text):
    assert not trespasses(text, {"torch", "biocache.engine"})


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_what_is_below_them_only(room):
    found = {path: trespasses(path.read_text(encoding="utf-8"), FORBIDDEN[room]) for path in sources(room)}
    assert len(found) > 3
    assert {str(path.relative_to(ROOT)): sorted(names) for path, names in found.items() if names} == {}


def test_what_analyses_a_store_never_imports_transformers():
    found = {
        str(path.relative_to(ROOT)): trespasses(path.read_text(encoding="utf-8"), {"transformers", "tokenizers"})
        for path in sources("engine")
        if path.relative_to(ROOT / "engine").parts[0] not in MAY_LOAD_MODELS
    }
    assert {
        "engine/executor.py",
        "engine/analyses/attention/comparison.py",
        "engine/analyses/probing/analysis.py",
    } <= found.keys()
    assert {path: names for path, names in found.items() if names} == {}


def test_of_the_probes_only_networks_of_torch_import_it():
    found = {
        path.name: trespasses(path.read_text(encoding="utf-8"), {"torch"})
        for path in sources("engine/analyses/probing")
    }
    assert {name for name, names in found.items() if names} == {"bilstm_crf.py", "mixing.py"}


def test_every_folder_of_code_is_packaged():
    with (ROOT / "pyproject.toml").open("rb") as file:
        tools = tomllib.load(file)["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for room in ROOMS for path in sources(room)}
    assert len(folders) >= 5
    # The package itself has no room of its own.
    names = {folder: f"biocache.{'.'.join(folder.parts)}" for folder in folders} | {Path("store/root"): "biocache"}
    expected = {name: folder.as_posix() for folder, name in names.items()}
    assert set(tools["packages"]) == set(expected)
    assert tools["package-dir"] == expected


@pytest.mark.parametrize("room", ROOMS)
def test_every_folder_of_code_is_a_package(room):
    folders = {path.parent for path in sources(room)}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


MODELS = {"torch", "transformers", "tokenizers", "datasets", "sklearn"}
HEAVY = MODELS | {"nltk", "zarr", "xarray", "dask", "pandas", "numpy", "distributed", "matplotlib", "numba", "scipy"}


def test_the_check_of_loaded_modules_works():
    assert {"json", "tomllib"} <= loaded_by("import json, tomllib")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "absent", "present"),
    [
        ("import biocache.store.errors", HEAVY | {"click", "rich", "msgspec"}, {"biocache.store"}),
        ("from biocache.store import Store", HEAVY | {"click", "rich"}, {"biocache.store.catalog"}),
        ("from biocache.store import Run", MODELS | {"click", "rich", "xarray", "dask", "pandas"}, {"zarr"}),
        (
            "from biocache.engine.extraction.extract import extract",
            MODELS | {"click", "rich", "xarray", "dask", "pandas", "distributed", "pyarrow"},
            {"zarr", "numba"},
        ),
        ("import biocache.engine", MODELS | {"click", "rich"}, {"biocache.engine"}),
        ("from biocache.engine import ProbeRequest, probe", MODELS, {"biocache.engine.analyses.probing.analysis"}),
        ("from biocache.engine import ExtractionRequest", {"torch", "transformers", "datasets"}, {"biocache.engine"}),
        (
            "from biocache.engine import AttentionRequest, compare_attention",
            MODELS | {"matplotlib"},
            {"biocache.engine.analyses.attention.analysis"},
        ),
        (
            "from biocache.engine import HeadsRequest, describe_attention",
            MODELS | {"matplotlib", "numba"},
            {"biocache.engine.analyses.heads.analysis"},
        ),
        (
            "from biocache.engine import RepresentationRequest, compare_representations",
            MODELS | {"matplotlib"},
            {"biocache.engine.analyses.representations.analysis"},
        ),
        ("from biocache.engine import FinetuneRequest", {"torch", "transformers", "datasets"}, {"biocache.engine"}),
        ("from biocache.engine import ReportRequest", MODELS | {"bokeh", "numba"}, {"biocache.engine"}),
        ("from biocache.engine import write_report", MODELS | {"matplotlib"}, {"bokeh", "jinja2"}),
        ("import biocache.cli.main", HEAVY, {"click"}),
    ],
)
def test_importing_a_room_loads_no_more_than_it_needs(statement, absent, present):
    loaded = loaded_by(statement)
    assert present <= loaded
    assert loaded & absent == set()
