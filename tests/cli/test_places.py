"""Where commands write: what is in the way and is no result of theirs stays, and nothing is computed first."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import xarray as xr
from click.testing import Result

from biocache.engine.exporting import export_dataset
from biocache.store.errors import SettingError, StoreFormatError
from biocache.store.folders import Folder
from biocache.store.hierarchy import refuse_foreign

Command = Callable[..., Result]

PROBE = ("probe", "--task", "ner", "--store")
COMPARE = ("compare-attention", "--model", "bert", "--store")


@pytest.fixture(autouse=True)
def no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where something is computed."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("computed before the place was refused")

    monkeypatch.setattr("biocache.engine.executor.Executor.run", fail)
    monkeypatch.setattr("biocache.engine.report.report.take_inventory", fail)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "option", "place"),
    [
        (PROBE, "--output", "biocache.zarr"),
        (PROBE, "--output", "biocache.zarr/ner/demo/bert/size-000/seed-42/sentence/test/out.csv"),
        (PROBE, "--output", "biocache.zarr/zarr.json"),
        (PROBE, "--output", "thesis.csv"),
        (PROBE, "--plot", "thesis.png"),
        (PROBE, "--plot-confusion", "thesis.png"),
        (PROBE, "--output", "nowhere/out.csv"),
        (COMPARE, "--output", "biocache.zarr"),
        (COMPARE, "--plot", "thesis.png"),
        (COMPARE, "--plot-above-chance", "thesis.png"),
        (("report", "--store"), "--output", "thesis.html"),
        (("report", "--store"), "--output", "biocache.zarr/report.html"),
    ],
)
def test_nothing_is_deleted_and_nothing_computed(
    command: Command, store: Path, arguments: tuple[str, ...], option: str, place: str
) -> None:
    for name in ("thesis.csv", "thesis.png", "thesis.html"):
        (store.parent / name).mkdir()
        (store.parent / name / "thesis.tex").write_text("years of work")
    before = tree(store.parent)
    stderr = command(*arguments, store, option, store.parent / place, code=1).stderr
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
    assert tree(store.parent) == before


def test_a_result_that_holds_more_than_its_arrays_is_not_replaced(tmp_path: Path) -> None:
    result, place = xr.Dataset({"a": ("x", [1.0])}, {"x": [0]}), tmp_path / "r.zarr"
    export_dataset(result, place)
    export_dataset(result, place)
    for strange in ("notes.txt", "a/notes.txt", "mine.zarr"):
        (place / strange).write_text("years of work")
        with pytest.raises(SettingError, match=f"also holds {strange}"):
            export_dataset(result, place)
        (place / strange).unlink()
    with pytest.raises(StoreFormatError, match="lies in the Zarr folder"):
        refuse_foreign(Folder(place / "store"))


def test_extraction_touches_nothing_in_a_folder_that_is_no_store(
    command: Command, corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for place in ("me/project/corpus/v1/en/raw/samples/a.txt", ".removed-photos/p.jpg"):
        (home / place).parent.mkdir(parents=True)
        (home / place).write_text("years of work")
    (home / "empty").mkdir()
    before = sorted(home.rglob("*"))
    models = ("--model", f"q={checkpoints['bert']}", "--dataset", f"q={corpus_folder / 'ner'}")
    stderr = command("extract", "--task", "ner", *models, "--limit", 2, "--store", home, code=1).stderr
    assert "is not a biocache store and not empty" in stderr
    assert sorted(home.rglob("*")) == before


def test_two_figures_need_two_files(command: Command, store: Path, tmp_path: Path) -> None:
    figures = ("--plot", tmp_path / "a.png", "--plot-confusion", tmp_path / "a.png")
    assert "is to hold two results" in command(*PROBE, store, *figures, code=1).stderr


URLS = ["s3://bucket/x", "gs://bucket/x.zarr", "https://host/x", "file:///tmp/x", "hf://datasets/a/b", "memory://x"]
URLS += ["simplecache::s3://bucket/x", "x://bucket", "my_fs://bucket", " s3://bucket/x", "\ns3://bucket"]


WITH_PATHS: list[tuple[str, ...]] = [
    ("ls", "--store"),
    ("ls", "--checkpoints"),
    ("info", "--store"),
    ("verify", "--store"),
    ("rm", "--all", "--yes", "--store"),
    ("report", "--output", "x.html", "--store"),
    ("report", "--output"),
    ("demo",),
    (*PROBE,),
    ("probe", "--task", "ner", "--output"),
    ("probe", "--task", "ner", "--plot"),
    (*COMPARE,),
    ("extract", "--task", "ner", "--dataset"),
    ("extract", "--task", "ner", "--model"),
    ("extract", "--task", "ner", "--checkpoints"),
    ("extract", "--task", "ner", "--store"),
    ("finetune", "--task", "ner", "--store"),
    ("finetune", "--task", "ner", "--dataset"),
    ("finetune", "--task", "ner", "--checkpoints"),
    ("study", "--store"),
    ("study", "--checkpoints"),
]
# Stores alone may be in object stores or on the hub.
OBJECT_STORES = ("s3://", "gs://", "memory://", "hf://")
REFUSED = [
    (arguments, url)
    for arguments in WITH_PATHS
    for url in URLS
    if arguments[-1] != "--store" or not url.startswith(OBJECT_STORES)
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "url"), REFUSED, ids=lambda part: f"{part[0]} {part[-1]}" if isinstance(part, tuple) else None
)
def test_a_url_is_refused_and_no_folder_of_its_name_is_made(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    stderr = command(*arguments, url, code=1).stderr
    assert "), and must be a local path" in stderr
    assert stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_url_in_the_environment_is_taken_as_one(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIOCACHE_STORE", "memory://nothing/there")
    assert "memory://nothing/there is not a biocache store" in command("ls", code=1).stderr
    monkeypatch.setenv("BIOCACHE_STORE", "ftp://host/x")
    assert "is a URL (ftp), and must be a local path" in command("ls", code=1).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--storage-option", "endpoint"), "'endpoint' is not KEY=VALUE"),
        (("--storage-option", "=x"), "'' is not KEY=VALUE"),
        (("--storage-option", "endpoint=http://x"), "--storage-option is for object stores and the hub"),
        (("--storage-option", "nonsense=1", "--store", "s3://bucket/x"), "cannot be opened"),
    ],
)
def test_storage_options_that_cannot_be_used(command: Command, arguments: tuple[str, ...], told: str) -> None:
    # A value that is no pair is a mistake of usage.
    code = 2 if "KEY=VALUE" in told else 1
    assert told in command("ls", *arguments, code=code).stderr


@pytest.mark.parametrize("option", ["--store", "--checkpoints"])
@pytest.mark.parametrize("path", ["~nouser/x", "a\udc80b"])
def test_a_path_that_cannot_be_used_is_one_line(command: Command, option: str, path: str) -> None:
    stderr = command("ls", option, path, code=1).stderr
    assert stderr.startswith(f"Error: {option} ")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--model", "--dataset"])
@pytest.mark.parametrize("path", ["~nouser/x", "x=~nouser/x", "./a\udc80b"])
def test_a_model_or_corpus_that_cannot_be_used_is_one_line(command: Command, option: str, path: str) -> None:
    stderr = command("extract", "--task", "ner", option, path, code=1).stderr
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
