"""What a newcomer waits for: the demo, the start of a command, and the report. Ratios are of measurements of one call.

    python tests/benchmarks/bench_first_steps.py demo [--workers 2]
    python tests/benchmarks/bench_first_steps.py startup [--runs 100]
    python tests/benchmarks/bench_first_steps.py report [--samples 40]

The report is of a made-up store of 40 runs of the shape of BERT-base: 4 models at 5 training sizes, train and test
split, with probes of every layer and comparisons of every head.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from attention_factory import source

from biocache.engine import AttentionRequest, ProbeRequest, compare_attention, probe, write_report
from biocache.engine.demo.making import Step, make_demo

MODELS, SIZES = ("bert", "biobert", "gpt2", "biogpt"), (0, 10, 30, 50, 100)
MIB = 2**20
WALK = """
import sys, zarr
group = zarr.open_group(sys.argv[1], mode="r")
runs = [path for path, _ in group.members(max_depth=6) if path.count("/") == 6]
print(*(group[path].attrs["biocache"]["spec"]["model_digest"] for path in runs), sep="\\n")
"""


class Peak(threading.Thread):
    """Watches the memory of this process and of those it starts: what is its own, and its share of what is not."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._ended = threading.Event()

    def run(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(0.5):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)

    def end(self) -> int:
        self._ended.set()
        self.join()
        return self.bytes


def bench_demo(args: argparse.Namespace) -> None:
    """Make a demo; show what each kind of step takes of it."""
    seconds: dict[str, float] = {}

    def note(step: Step) -> None:
        if step.seconds is not None:
            kind = step.name.split(" ")[0]
            seconds[kind] = seconds.get(kind, 0.0) + step.seconds

    peak = Peak()
    peak.start()
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        begin = time.perf_counter()
        make_demo(Path(name) / "demo", workers=args.workers, on_step=note)
        wall = time.perf_counter() - begin
    seconds["workers that end"] = wall - sum(seconds.values())
    print(f"demo with {args.workers} workers   {wall:6.1f} s, peak of all processes {peak.end() / MIB:,.0f} MiB")
    for kind, took in seconds.items():
        print(f"{kind:24}{took:6.1f} s  {took / wall:4.0%}")


def timed(*call: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *call], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def bench_startup(args: argparse.Namespace) -> None:
    """Start commands, in turn with what they are measured by."""
    command = ("-c", "from biocache.cli.main import main; main()")
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        root = str(Path(name) / "s.zarr")
        for number in range(args.runs):
            key = {"model": f"model{number % 10}", "seed": number, "split": "test"}
            source((5, 7), **key).write_all(Path(root))
        calls = {
            "import click": ("-c", "import click"),
            "biocache --help": (*command, "--help"),
            "plain zarr": ("-c", WALK, root),
            "biocache ls": (*command, "ls", "--store", root),
        }
        turns = [{name: timed(*call) for name, call in calls.items()} for _ in range(args.turns)]
    took = {name: median(turn[name] for turn in turns) for name in calls}
    for name, seconds in took.items():
        print(f"{name:24}{seconds:8.3f} s")
    print(f"help / import click     {took['biocache --help'] / took['import click']:8.2f}")
    print(f"ls / plain zarr         {took['biocache ls'] / took['plain zarr']:8.2f}")


def bench_report(args: argparse.Namespace) -> None:
    """Report a store of 40 runs at the size of BERT-base."""
    rng = np.random.default_rng(0)
    words = rng.integers(6, 30, args.samples).tolist()
    shape: dict[str, Any] = {
        "layers": tuple(range(13)),
        "feature_size": 768,
        "head_count": 12,
        "label_names": ("O", "DNA", "protein"),
        "iob2": False,
    }
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        root = Path(name) / "s.zarr"
        for model in MODELS:
            for size in SIZES:
                for split in ("train", "test"):
                    keep = ("hidden", "attention") if split == "test" else ("hidden",)
                    own = {"model": model, "training_size": size, "split": split, "keep": keep, "maps": size}
                    made = source(words, capacity=2048, causal="gpt" in model, dataset_digest=split, **shape, **own)
                    labels = np.random.default_rng(len(split))
                    made.columns["words/label"] = labels.integers(0, 3, len(made.columns["words/word_text"]))
                    made.write_labelled(root)
        probe(root, ProbeRequest(task="ner", max_train_samples=20, control=True))
        for model in MODELS:
            compare_attention(root, AttentionRequest(task="ner", model=model))
        stored = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        turns = []
        for _ in range(args.turns):
            begin = time.perf_counter()
            report = write_report(root, Path(name) / "report.html")
            turns.append(time.perf_counter() - begin)
    print(f"{report.runs} runs, {stored / MIB:,.0f} MiB; {report.figures} figures, {report.samples} samples")
    print(f"report   {median(turns):6.1f} s, {report.bytes / MIB:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function, turns in (("demo", bench_demo, 1), ("startup", bench_startup, 9), ("report", bench_report, 3)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--workers", type=int, default=2)
        command.add_argument("--runs", type=int, default=100)
        command.add_argument("--samples", type=int, default=40)
        command.add_argument("--turns", type=int, default=turns)
        command.add_argument("--scratch", help="folder for what is made; the system's own by default")
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
