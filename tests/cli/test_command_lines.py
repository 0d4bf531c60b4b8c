import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from biocache.cli.main import biocache
from biocache.engine import (
    AttentionRequest,
    ClassifierOptions,
    ExtractionRequest,
    FinetuneRequest,
    HeadsRequest,
    ProbeRequest,
    ReportRequest,
    RepresentationRequest,
)
from biocache.engine.commands import command_line
from biocache.store.errors import SettingError

#: Command -> where its function is looked up, and its place among the function's arguments.
FUNCTIONS = {
    "finetune": ("biocache.engine.finetuning.finetune.finetune", 1),
    "extract": ("biocache.engine.extraction.planning.plan_extraction", 0),
    "probe": ("biocache.engine.analysis.find", 2),
    "compare-attention": ("biocache.engine.analysis.find", 2),
    "describe-attention": ("biocache.engine.analysis.find", 2),
    "compare-representations": ("biocache.engine.analysis.find", 2),
    "report": ("biocache.engine.report.report.write_report", 2),
}

REQUESTS = [
    ("finetune", FinetuneRequest(task="nli", models=("bert", "gpt2=a, b/gpt2"), training_sizes=(10, 100))),
    ("finetune", FinetuneRequest(task="ner", dataset="x=a b/c", epochs=2.5, learning_rate=3e-4, label_scheme="type")),
    ("finetune", FinetuneRequest(task="ner", batch_size=4, gradient_accumulation=4, warmup=0.0, patience=2, limit=9)),
    ("extract", ExtractionRequest(task="nli", views=("pair",), splits=("test",), keep=("hidden",), layers=(0, 2))),
    ("extract", ExtractionRequest(task="ner", random_weights=True, dtype="float32", attention_splits=("train",))),
    ("extract", ExtractionRequest(task="ner", models=("a", "b"), training_sizes=(0, 30), checkpoints=Path("my c"))),
    ("compare-attention", AttentionRequest(task="ner", model="bert", training_sizes=(10, 30), by="gold")),
    ("compare-attention", AttentionRequest(task="nli", model="a", against="b", metrics=("js", "tv"), match_heads=True)),
    ("describe-attention", HeadsRequest(tasks=("nli",), views=("pair",), metrics=("mass:other-text", "mass:a b=c"))),
    ("describe-attention", HeadsRequest(models=("a", "b"), level="word", exclude_special=True, by="gold")),
    ("describe-attention", HeadsRequest(metrics=("entropy",), rollout=True, resamples=200, training_sizes=(0, 10))),
    ("compare-representations", RepresentationRequest(task="ner", model="a", layers=(0, 2, 3), metrics=("cka", "rsa"))),
    ("compare-representations", RepresentationRequest(task="nli", view="pair", level="word", biased=True, units=900)),
    ("report", ReportRequest(tasks=("ner",), models=("bert", "gpt2"), training_sizes=(0, 100), samples=3)),
]  # fmt: skip


@pytest.mark.parametrize(("command", "request_"), REQUESTS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_command_asks_for_what_the_request_does(command, request_, extracted, monkeypatch, tmp_path):
    (tmp_path / "a, b" / "gpt2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    seen = []
    place, position = FUNCTIONS[command]

    def stop(*arguments, **_):
        seen.append(arguments[position])
        raise SettingError("stopped")

    monkeypatch.setattr(place, stop)
    line = command_line(command, extracted, request_)
    program, *words = shlex.split(line.replace("\\\n", " "))
    assert program == "biocache"
    result = CliRunner().invoke(biocache, words)
    assert "stopped" in result.output, result.output
    assert seen == [request_]


def test_options_of_a_classifier_are_options_of_the_command():
    request = ProbeRequest(task="ner", probe="mlp", options=ClassifierOptions(hidden_size=8, learning_rate=0.01))
    assert command_line("probe", Path("s"), request) == (
        "biocache probe --store s --task ner --probe mlp --hidden-size 8 --learning-rate 0.01"
    )
    assert "--C 0.5" in command_line("probe", Path("s"), ProbeRequest(task="ner", options=ClassifierOptions(c=0.5)))


def test_long_commands_are_on_several_lines_and_quoted():
    request = ExtractionRequest(
        task="ner", dataset="d=it's here/ner", models=tuple(f"m{n}=models/{n}" for n in range(9))
    )
    lines = command_line("extract", Path("x.zarr"), request).split(" \\\n    ")
    assert lines[0] == "biocache extract --store x.zarr"
    assert shlex.split(lines[2]) == ["--dataset", "d=it's here/ner"]
    assert len(lines) == 4
