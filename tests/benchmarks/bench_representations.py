"""What comparing representations from a store costs. Every figure is a ratio of measurements of one call.

    python tests/benchmarks/bench_representations.py read [--words 100000] [--metric cka ...] [--units N]
    python tests/benchmarks/bench_representations.py memory [--words 20000 80000]

`read` compares all layers of two runs of BERT-base's shape (13 layers of 768 features, random float16 values, words of
one or two tokens) with reading the words of all layers of both once, in CPU time: this machine may have other work.
`memory` takes the peak of a process at two numbers of words.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_queries import make_run, peak_since

from biocache.engine import RepresentationRequest, compare_representations
from biocache.engine.analyses.representations.reading import read_chunks
from biocache.engine.analyses.representations.request import DEFAULT_METRICS, METRICS
from biocache.engine.analyses.representations.runs import find_runs, shared_units
from biocache.store import RunKey, Store

LAYERS, FEATURES = tuple(range(13)), 768
# Tokens of a word, on average, of words of one or two.
TOKENS = 1.5


def fill(root: Path, words: int) -> Path:
    """Write both runs."""
    for seed, model in enumerate(("first", "second")):
        key = RunKey("ner", "bench", model, 0, 42, "sentence", "test")
        make_run(root, int(words * TOKENS), key, LAYERS, FEATURES, longest=2, seed=seed)
    return root


def asked(args: argparse.Namespace) -> RepresentationRequest:
    return RepresentationRequest(
        model="second", against="first", training_sizes=(0,), metrics=tuple(args.metric), units=args.units
    )


def cpu_time(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def read_all(store: Path, request: RepresentationRequest) -> None:
    runs = find_runs(Store.open(store), request)
    units = shared_units(runs, request)
    for run in runs.runs:
        for layer in LAYERS:
            for _ in read_chunks(run, "word", "mean", (layer,), units):
                pass


def bench_read(args: argparse.Namespace) -> None:
    """The comparison, and reading alone."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        store, request = fill(Path(name) / "s.zarr", args.words[0]), asked(args)
        run = Store.open(store).run(model="first")
        read_all(store, request)
        reading = cpu_time(lambda: read_all(store, request))
        comparing = cpu_time(lambda: compare_representations(store, request, force=True))
        print(f"{run.counts.words} words, {run.counts.packs} packs, {', '.join(args.metric)}")
        print(f"reading all layers of both   {reading:8.1f} s of CPU")
        print(f"comparing                    {comparing:8.1f} s of CPU")
        print(f"comparing / reading          {comparing / reading:8.2f}")


def bench_memory(args: argparse.Namespace) -> None:
    """Each number of words in a process of its own."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        peaks = []
        for words in args.words:
            store = fill(Path(name) / f"{words}.zarr", words)
            command = [sys.executable, __file__, "child", "--scratch", str(store), "--metric", *args.metric]
            child = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks.append(int(child.stdout))
            print(f"{words:8d} words: peak {peaks[-1] / 2**20:6.0f} MiB")
        print(f"peak at {args.words[-1]} / peak at {args.words[0]}: {peaks[-1] / peaks[0]:.3f}")


def child_memory(args: argparse.Namespace) -> None:
    compare_representations(args.scratch, asked(args), force=True)
    print(peak_since())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function, words in (
        ("read", bench_read, [100_000]),
        ("memory", bench_memory, [20_000, 80_000]),
        ("child", child_memory, []),
    ):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--words", type=int, nargs="+", default=words)
        command.add_argument("--metric", nargs="+", choices=METRICS, default=list(DEFAULT_METRICS))
        command.add_argument("--units", type=int)
        command.add_argument("--scratch", help="folder for stores; the system's own by default")
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
