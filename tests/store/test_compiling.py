"""Machine code is kept in the user's cache folder, never beside the modules, and only where nobody else can write."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import platformdirs
import pytest

from biocache.store import compiling, segments
from biocache.store.compiling import cache_folder, compiled


def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user an empty cache folder."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    return tmp_path / "cache" / "biocache" / "kernels"


def beside() -> set[Path]:
    return {*Path(__file__).parent.rglob("*.nb?"), *Path(segments.__file__).parent.rglob("*.nb?")}


def test_machine_code_is_kept_in_the_cache_folder_of_the_user(home: Path) -> None:
    before = beside()
    assert compiled(double)(21) == 42
    assert {path.suffix for path in home.rglob("*.*") if path.is_file()} == {".nbi", ".nbc"}
    assert beside() == before
    assert home.stat().st_mode & 0o077 == 0
    assert numba.config.CACHE_DIR == ""


def test_a_folder_that_the_user_chose_is_taken(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "chosen"))
    assert compiled(double)(21) == 42
    assert list((tmp_path / "chosen").rglob("*.nbi"))
    assert not home.exists()


def test_nothing_is_kept_where_another_user_could_write(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert cache_folder() is None
    assert compiled(double)(21) == 42
    assert list(home.iterdir()) == []


def test_without_a_folder_kernels_work(home: Path) -> None:
    home.parent.parent.parent.joinpath("cache").write_text("a file")
    assert cache_folder() is None
    assert compiled(double)(21) == 42


def test_source_that_is_no_file_is_compiled_too(home: Path) -> None:
    names: dict[str, object] = {}
    exec("def triple(number):\n    return 3 * number", names)
    triple = names["triple"]
    assert callable(triple)
    assert compiled(triple)(14) == 42


@pytest.mark.slow
def test_a_kernel_is_compiled_again_when_a_file_that_it_calls_changes(tmp_path: Path) -> None:
    """Also where the change is two calls away, and in what the compiler is told of an intrinsic."""
    head = "from biocache.store.compiling import compiled\n"
    (tmp_path / "outer.py").write_text(
        head + "from middle import add\n\n@compiled\ndef run(x):\n    return add(x) + 1\n"
    )
    (tmp_path / "middle.py").write_text(
        head + "from inner import step, shift\n\n@compiled\ndef add(x):\n    return x + step() + shift(x)\n"
    )
    inner = head + (
        "from llvmlite import ir\nfrom numba import types\nfrom numba.extending import intrinsic\n\n"
        "@compiled\ndef step():\n    return {step}\n\n"
        "@intrinsic\ndef shift(typing, x):\n"
        "    def generate(context, builder, signature, arguments):\n"
        "        return ir.Constant(ir.IntType(64), {shift})\n"
        "    return types.int64(x), generate\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    code = "import outer; print(outer.run(5), sum(outer.run.stats.cache_hits.values()))"

    def run(step: int, shift: int) -> str:
        (tmp_path / "inner.py").write_text(inner.format(step=step, shift=shift))
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    # What it returns, and how often machine code was found.
    assert run(10, 100) == "116 0\n"
    assert run(20, 100) == "126 0\n"
    assert run(20, 200) == "226 0\n"
    assert run(20, 200) == "226 1\n"


@pytest.mark.slow
def test_a_process_that_uses_kernels_writes_nothing_beside_them(tmp_path: Path) -> None:
    before = beside()
    code = "import biocache.store.segments, biocache.engine.analyses.attention.kernels"
    code += "; import biocache.engine.analyses.attention.resampling as r; import numpy as np"
    code += "; r.resample(np.ones((1, 1)), *np.zeros((2, 1), int), 0, *np.zeros((2, 1, 1, 1)))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    assert done.returncode == 0
    assert list((tmp_path / "biocache" / "kernels").rglob("*.nbi"))
    assert beside() == before
    assert compiling.cache_folder() is not None
