"""Code of one's own: what names it, and what tells two of them apart."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module, reload
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from biocache.engine import ProbeRequest
from biocache.engine.fingerprints import code_of, described
from biocache.engine.plugins import Given, arguments_of, function_of, is_given, object_of
from biocache.store.errors import SettingError
from biocache.store.sealing import digest_of

Write = Callable[[str], ModuleType]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that writes and imports the module `mine` of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def made(text: str) -> ModuleType:
        Path("mine.py").write_text(text)
        sys.modules.pop("mine", None)
        import_module("importlib").invalidate_caches()
        return import_module("mine")

    yield made
    sys.modules.pop("mine", None)


def kept(value: Any) -> Any:
    return ProbeRequest(task="ner", probe=value).probe


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(SettingError) as caught:
        call()
    text = caught.value.message
    assert "\n" not in text
    return text


def test_what_text_can_name_is_kept_as_text(write: Write) -> None:
    mine = write("def make(): pass\nclass Own:\n    class Inner: pass\n")
    assert kept(mine.make) == "mine:make"
    assert kept(mine.Own.Inner) == "mine:Own.Inner"
    assert object_of("mine:Own.Inner") is mine.Own.Inner
    assert kept(SVC) == "sklearn.svm._classes:SVC"
    assert kept(SVC(C=2.0, kernel="linear")) == "sklearn.svm._classes:SVC(C=2.0, kernel='linear')"
    assert kept(SVC()) == "sklearn.svm._classes:SVC()"
    for text in ("mine:make", "mine:make(a=[1, 'x, y'], b=None)", "a.b:c.d"):
        assert kept(text) == text


def test_what_text_cannot_name_is_kept_as_it_is(write: Write) -> None:
    mine = write("def outer():\n    def inner(): pass\n    return inner\n")
    nested = make_pipeline(LogisticRegression())
    for value, text in (
        (nested, "sklearn.pipeline:Pipeline(...)"),
        (mine.outer(), "mine:outer.inner(...)"),
        (lambda: None, f"{__name__}:test_what_text_cannot_name_is_kept_as_it_is.lambda(...)"),
        (SVC(C=np.float64(1.5)), "sklearn.svm._classes:SVC(...)"),
        (SVC(C=math.inf), "sklearn.svm._classes:SVC(...)"),
    ):
        found = kept(value)
        assert isinstance(found, Given)
        assert found.object is value
        assert str(found) == text or text.startswith(__name__)
        assert is_given(found)
        assert is_given(str(found))
        # The text goes through JSON, and is refused where the object is needed.
        again = ProbeRequest.from_json(ProbeRequest(task="ner", probe=found).to_json()).probe
        assert again == str(found)
        assert "was an object given in Python" in refusal(lambda again=again: object_of(again))


def test_two_objects_are_not_equal_because_their_names_are() -> None:
    first, second = (kept(make_pipeline(SVC(C=size))) for size in (1.0, 2.0))
    assert str(first) == str(second)
    assert first != second
    assert ProbeRequest(task="ner", probe=first) != ProbeRequest(task="ner", probe=second)
    assert ProbeRequest(task="ner", probe=first) == ProbeRequest(task="ner", probe=first)


@pytest.mark.parametrize(
    "text",
    ["x", "", ":", "a:", ":b", "a:b:c", "a:b.", "a..b:c", "1a:b", "a:b(", "a:b)c", "a-b:c", "C:\\x", "s3://bucket/x"],
)
def test_text_of_another_form_is_refused(text: str) -> None:
    assert "is not one of svc, logistic" in refusal(lambda: kept(text))
    assert "nor MODULE:NAME of your own code" in refusal(lambda: kept(text))
    assert "is not MODULE:FUNCTION" in refusal(lambda: function_of(text))


@pytest.mark.parametrize(
    "arguments", ["1", "a", "a=b", "a=f()", "**x", "*x", "a=1 b=2", "a=1)(b=2", "a=1, a=2", "[" * 5000, "a={[]: 1}"]
)
def test_arguments_are_names_with_literals(arguments: str) -> None:
    text = f"m:f({arguments})"
    assert "are not names with literals" in refusal(lambda: kept(text))
    assert arguments_of("m:f") is None
    assert arguments_of("m:f()") == {}
    assert arguments_of("m:f(a=-1, b=(2, 'x'))") == {"a": -1, "b": (2, "x")}


@pytest.mark.parametrize("text", ["1/0", "import absent_module", "raise SystemExit(3)", "x = ("])
def test_a_module_that_fails_is_one_line(write: Write, text: str) -> None:
    write("")
    Path("mine.py").write_text(text)
    sys.modules.pop("mine", None)
    assert "'mine:f' cannot be imported (" in refusal(lambda: object_of("mine:f"))


def test_what_is_no_function_is_refused(write: Write) -> None:
    write("x = 1\ndef f(): return 2\n")
    assert refusal(lambda: function_of("mine:x")) == "'mine:x' is not a function; name one"
    assert "AttributeError" in refusal(lambda: function_of("mine:absent"))
    assert "is not MODULE:FUNCTION" in refusal(lambda: function_of("mine:f(a=1)"))
    assert function_of("mine:f")() == 2
    assert function_of(Given("mine:f(...)", len)) is len


def test_modules_of_a_named_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere_found.py").write_text("x = 5")
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert object_of("elsewhere_found:x", str(tmp_path)) == 5
    del sys.modules["elsewhere_found"]


def test_parameters_decide_the_description(write: Write) -> None:
    mine = write("def f(x): return x\ndef g(x): return x\ndef power(k):\n    def f(x): return x**k\n    return f\n")
    values: list[Any] = [
        SVC(),
        SVC(C=2.0),
        SVC(C=math.inf),
        SVC(class_weight={0: 1.0}),
        SVC(class_weight={0: 2.0}),
        make_pipeline(SVC(C=2.0)),
        make_pipeline(SVC(C=3.0)),
        FunctionTransformer(mine.f),
        FunctionTransformer(mine.g),
        FunctionTransformer(mine.power(2)),
        FunctionTransformer(mine.power(3)),
        FunctionTransformer(partial(mine.f, x=1)),
        FunctionTransformer(partial(mine.f, x=2)),
        FunctionTransformer(np.log1p),
        np.arange(10_000),
        np.arange(10_000) * 1.0,
        np.array([[1], ["x"]], object),
        {"a", "b"},
        {"a"},
        (1, 2),
        SVC,
    ]
    found = [digest_of(described(value, "x")) for value in values]
    assert len(set(found)) == len(values)
    # Of an array of which repr shows the ends only.
    changed = np.arange(10_000)
    changed[5000] = 0
    assert digest_of(described(changed, "x")) not in found
    again = [digest_of(described(value, "x")) for value in (SVC(C=2.0), make_pipeline(SVC(C=3.0)), {"b", "a"})]
    assert again == [found[1], found[6], found[17]]


class Unsayable:
    pass


@pytest.mark.parametrize(
    "value",
    [
        Unsayable(),
        SVC(C=Unsayable()),
        SVC(random_state=np.random.RandomState(0)),
        FunctionTransformer(Unsayable().__repr__),
        {"a": [Unsayable()]},
    ],
)
def test_what_only_its_place_in_memory_tells_apart_is_refused(value: Any) -> None:
    text = refusal(lambda: described(value, "--probe 'x'"))
    assert "--probe 'x'" in text
    assert "which does not say what it holds: a result could not be found by it again" in text


def test_what_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "holds itself" in refusal(lambda: described(endless, "x"))


def test_the_sources_of_all_base_classes_are_in_the_description(write: Write) -> None:
    Path("base_of_mine.py").write_text("class Base: pass\n")
    text = "from base_of_mine import Base\nclass Own(Base): pass\ndef f(): pass\n"
    first = code_of(write(text).Own, "x")
    assert set(first["sources"]) == {"mine", "base_of_mine"}
    assert code_of(write(text).Own, "x") == first
    other = code_of(write(text + "# another\n").Own, "x")
    assert other["sources"]["mine"] != first["sources"]["mine"]
    assert other["sources"]["base_of_mine"] == first["sources"]["base_of_mine"]
    del sys.modules["base_of_mine"]


def test_the_version_of_an_installed_package_is_in_the_description() -> None:
    import sklearn

    assert code_of(SVC, "x")["sources"]["sklearn.svm._classes"][0] == f"sklearn {sklearn.__version__}"
    assert code_of(pytest.fixture, "x")["sources"]["_pytest.fixtures"][0].startswith(("_pytest ", "pytest "))
    assert code_of(len, "x")["sources"]["builtins"][0].startswith("python 3.")


def test_a_file_that_was_edited_since_it_was_imported_is_not_what_computes(write: Write) -> None:
    mine = write("def f(): return 1\n")
    first = code_of(mine.f, "x")
    Path("mine.py").write_text("def f(): return 22\n")
    assert "mine.py has changed since Python imported mine" in refusal(lambda: code_of(mine.f, "x"))
    os.utime("mine.py", (1, 1))
    assert code_of(reload(mine).f, "x") != first
