"""What probing costs beside the fits themselves. Every figure is a ratio of measurements of one call.

    python tests/benchmarks/bench_probing.py study --dataset NLI_FOLDER [--pairs 2309] [--plain-layers 2]
    python tests/benchmarks/bench_probing.py workers --dataset NER_FOLDER [--sentences 2000] [--layers 11]
    python tests/benchmarks/bench_probing.py memory --dataset NER_FOLDER [--sentences 2000] [--probe logistic svc ...]

`study` compares `svc` on all layers of a 12-layer, 768-feature store with the study's way (for each layer another
forward pass and then scikit-learn's SVC) and with the fits alone. The study's way is measured on --plain-layers of the
layers and multiplied, since it takes as long for each. `workers` counts fits of `logistic` a minute with 1 and with 2
worker processes. `memory` compares the peak of a process with what the plan said. The models have random weights.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np

from biocache.engine import ClassifierOptions, ExtractionRequest, ProbeRequest, extract, probe
from biocache.engine.analyses.probing.classifiers import fit_scaled
from biocache.engine.analyses.probing.features import read_rows
from biocache.engine.analyses.probing.target import find_target
from biocache.engine.analysis import find
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.demo.checkpoints import write_checkpoint
from biocache.engine.executor import Executor
from biocache.engine.machine import used_memory
from biocache.store import Store


def make_store(scratch: Path, task: str, dataset: Path, limit: int | None, layers: int, features: int) -> Path:
    """Extract train and test of a corpus through a BERT with random weights."""
    root, checkpoint = scratch / "store.zarr", scratch / "model"
    corpus = read_corpus(task, str(dataset), splits=["train", "test"])
    texts = [text for sample in corpus.splits["train"] for text in sample.texts]
    shape: dict[str, Any] = {"hidden_size": features, "layers": layers, "heads": 12, "max_positions": 512}
    write_checkpoint("bert", checkpoint, texts, vocab_size=8000, **shape)
    views = {"ner": ("sentence",), "nli": ("premise", "hypothesis")}[task]
    extract(
        root,
        ExtractionRequest(
            task=task, dataset=str(dataset), models=(f"model={checkpoint}",), views=views, keep=("hidden",), limit=limit
        ),
    )
    return root


def timed(function: Any, *arguments: Any) -> float:
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


def study_way(scratch: Path, dataset: Path, limit: int | None, layer: int) -> None:
    """Do for one layer what the study's scripts meant to: forward passes of both splits, then scikit-learn's SVC."""
    import torch
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(scratch / "model")
    model = AutoModel.from_pretrained(scratch / "model").eval()
    corpus = read_corpus("nli", str(dataset), splits=["train", "test"])

    def pooled(texts: list[list[str]]) -> Any:
        rows = []
        for first in range(0, len(texts), 16):
            batch = tokenizer(texts[first : first + 16], is_split_into_words=True, padding=True, return_tensors="pt")
            with torch.inference_mode():
                hidden = model(**batch, output_hidden_states=True).hidden_states[layer]
            mask = batch["attention_mask"][..., None]
            rows.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(rows)

    features, labels = [], []
    for split in ("train", "test"):
        samples = corpus.splits[split][:limit]
        features.append(np.hstack([pooled([list(sample.texts[i]) for sample in samples]) for i in range(2)]))
        labels.append([sample.label for sample in samples])
    scaler = StandardScaler().fit(features[0])
    SVC().fit(scaler.transform(features[0]), labels[0]).predict(scaler.transform(features[1]))


def fits_alone(root: Path, request: ProbeRequest) -> float:
    """Fit and predict every layer, the features in memory, one after another; only that is timed."""
    store = Store.open(root)
    dataset = store.keys()[0].dataset
    target = find_target(store.storage, request, dataset)
    runs = {split: [store.run(view=view, split=split) for view in target.views] for split in ("train", "test")}
    seconds = 0.0
    for layer in runs["train"][0].spec.layers:
        train, test = (
            read_rows(found, target, request, layer, np.arange(found[0].counts.samples))[0] for found in runs.values()
        )
        begin = time.perf_counter()
        fit_scaled(train, target.probe, request.options, 3, 0).predict(test)
        seconds += time.perf_counter() - begin
    return seconds


def bench_study(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        root = make_store(Path(name), "nli", args.dataset, args.pairs, args.layers, args.features)
        request = ProbeRequest(task="nli", probe="svc")
        probe(root, ProbeRequest(task="nli", probe="svc", layers=(0,), max_train_samples=50))
        # In threads of one process, on as many cores as the fits alone have when they run two at a time.
        alone = fits_alone(root, request)
        ours = timed(probe, root, request)
        again = timed(probe, root, request)
        plain = sum(timed(study_way, Path(name), args.dataset, args.pairs, layer) for layer in range(args.plain_layers))
        layers = args.layers + 1
        print(f"{layers} layers, {args.features} features, svc; backend {probe(root, request).attrs['backend']}")
        print(
            f"the study's way     {plain / args.plain_layers * layers:8.1f} s (of {args.plain_layers} layers measured)"
        )
        print(f"biocache probe      {ours:8.1f} s, again {again:.2f} s")
        print(f"fits alone, serial  {alone:8.1f} s")
        print(f"the study's way / biocache probe  {plain / args.plain_layers * layers / ours:.1f}")
        print(f"biocache probe / fits alone       {ours / alone:.3f}")


def bench_workers(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        root = make_store(Path(name), "ner", args.dataset, args.sentences, args.layers, args.features)
        options = ClassifierOptions(max_iterations=args.iterations)
        request = ProbeRequest(task="ner", label_scheme="bio", options=options)
        words = Store.open(root).run(split="train").counts.words
        rates = []
        for workers in (1, 2):
            result = {}
            seconds: list[float] = []

            def told(done: int, _total: int, seconds: list[float] = seconds) -> None:
                seconds.append(time.perf_counter())

            result = probe(root, request, workers=workers, force=True, on_progress=told)
            rates.append((len(seconds) - 1) / (seconds[-1] - seconds[0]) * 60)
            print(f"{workers} workers: {rates[-1]:6.1f} fits a minute, entity F1 {float(result.entity_f1.max()):.3f}")
        print(f"{words:,} train words, {args.layers + 1} layers, {args.features} features")
        fits = args.layers + 1
        most = fits / -(-fits // 2)
        print(f"rate with 2 workers / rate with 1  {rates[1] / rates[0]:.2f} (of {fits} fits at most {most:.2f})")


def bench_memory(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        root = make_store(Path(name), "ner", args.dataset, args.sentences, args.layers, args.features)
        for kind in args.probe:
            child = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "child",
                    "--dataset",
                    str(args.dataset),
                    "--scratch",
                    str(root),
                    "--probe",
                    kind,
                ],
                check=True,
                capture_output=True,
                text=True,
            )
            rows, at_once, planned, peak = map(int, child.stdout.split())
            print(
                f"{kind:11} {rows:,} words, {at_once} fits at once: peak {peak / 2**20:7.0f} MiB, planned "
                f"{planned / 2**20:7.0f} MiB, peak / planned {peak / planned:.3f}"
            )


def child_memory(args: argparse.Namespace) -> None:
    """Probe and print train words, fits at once, planned and real peak memory."""
    options = ClassifierOptions(epochs=1, max_iterations=20)
    request = ProbeRequest(task="ner", probe=args.probe[0], options=options, max_memory=2**34)
    found = find("probe", args.scratch, request)
    plan = Executor().plan(found.analysis.tasks(found.store, request, found.runs), request.max_memory)
    probe(args.scratch, request, force=True)
    # Not that of getrusage, which begins with the parent's.
    peak = used_memory()
    print(Store.open(args.scratch).run(split="train").counts.words, plan.at_once, plan.peak_bytes, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function, layers in (
        ("study", bench_study, 12),
        # An even number of fits: of 13 two workers do 7 and 6, and are 1.86 times as fast at most.
        ("workers", bench_workers, 11),
        ("memory", bench_memory, 2),
        ("child", child_memory, 2),
    ):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--dataset", type=Path, required=True)
        command.add_argument("--scratch", help="folder for the store; the system's own by default")
        command.add_argument("--layers", type=int, default=layers)
        command.add_argument("--features", type=int, default=768)
        command.add_argument("--pairs", type=int)
        command.add_argument("--plain-layers", type=int, default=2)
        command.add_argument("--sentences", type=int, default=2000)
        command.add_argument("--iterations", type=int, default=100)
        command.add_argument("--probe", nargs="+", default=["logistic", "linear-svc", "svc", "mlp", "bilstm-crf"])
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
