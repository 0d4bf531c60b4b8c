"""What comparing attention from a store costs. Every figure is a ratio of measurements of one call.

    python tests/benchmarks/bench_attention.py speed --dataset FOLDER [--sentences 1000] [--live 50]
    python tests/benchmarks/bench_attention.py read --dataset FOLDER [--sentences 1000] [--turns 5]
    python tests/benchmarks/bench_attention.py describe --dataset FOLDER [--sentences 1000] [--turns 5]
    python tests/benchmarks/bench_attention.py memory --dataset FOLDER [--sentences 400 3200]
    python tests/benchmarks/bench_attention.py workers --dataset FOLDER [--sentences 2000] [--turns 3]

FOLDER holds an NER corpus (test.conll). `--model FOLDER` names a checkpoint; without it the model has BERT-base's shape
(12 layers, 12 heads) and random weights. The second run is of the same model with its weights moved a little.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import zarr

from biocache.engine import AttentionRequest, HeadsRequest, compare_attention, describe_attention
from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.analyses.heads.request import METRIC_NAMES
from biocache.store import Run, Store

CORES = len(os.sched_getaffinity(0))
# Those that need no value norms.
OF_MAPS = tuple(name for name, metric in METRICS.items() if not metric.of_norms)


def write_models(scratch: Path, dataset: Path, model: Path | None) -> None:
    """Write the model that is compared with, and the same with its weights moved."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from biocache.engine.corpora.readers import read_corpus
    from biocache.engine.demo.checkpoints import write_checkpoint

    own, moved = scratch / "own", scratch / "moved"
    if moved.exists():
        return
    if model is None:
        texts = [sample.texts[0] for sample in read_corpus("ner", str(dataset), splits=["test"]).splits["test"]]
        write_checkpoint("bert", own, texts, hidden_size=768, layers=12, heads=12, max_positions=512, vocab_size=8000)
    else:
        own.symlink_to(model.resolve())
    loaded = AutoModel.from_pretrained(own, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in loaded.parameters():
            weights += 0.1 * weights.std(unbiased=False) * torch.randn(weights.shape, generator=generator)
    loaded.save_pretrained(moved)
    AutoTokenizer.from_pretrained(own).save_pretrained(moved)


def fill(scratch: Path, args: argparse.Namespace, sentences: int) -> tuple[Path, float]:
    """Extract both runs, and say how long that took."""
    # Imported here, so that the memory of a comparison is measured without torch.
    from biocache.engine import ExtractionRequest, extract

    write_models(scratch, args.dataset, args.model)
    store = scratch / f"store-{sentences}.zarr"
    begin = time.perf_counter()
    extract(
        store,
        ExtractionRequest(
            task="ner",
            dataset=str(args.dataset),
            models=(f"own={scratch / 'own'}", f"moved={scratch / 'moved'}"),
            splits=("test",),
            keep=("attention",),
            limit=sentences,
            device="cpu",
        ),
    )
    return store, time.perf_counter() - begin


def request(metrics: tuple[str, ...]) -> AttentionRequest:
    return AttentionRequest(model="moved", against="own", training_sizes=(0,), metrics=metrics)


def timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def compare(store: Path, metrics: tuple[str, ...] = ("cosine",), address: str | None = None) -> None:
    compare_attention(store, request(metrics), scheduler_address=address, force=True)


def studied(scratch: Path, run: Run, live: int) -> float:
    """Time the study's procedure on some samples spread over the run: two forwards each, and a cosine for each head."""
    import torch
    from sklearn.metrics.pairwise import cosine_similarity
    from transformers import AutoModel

    models = [
        AutoModel.from_pretrained(scratch / name, attn_implementation="eager", dtype=torch.float32).eval()
        for name in ("own", "moved")
    ]
    starts, counts = run.plan.tokens.start, run.plan.tokens.count
    token_id = run.column("tokens/token_id")
    chosen = range(0, run.counts.samples, max(1, run.counts.samples // live))
    begin = time.perf_counter()
    for sample in chosen:
        ids = torch.tensor(token_id[starts[sample] : starts[sample] + counts[sample]]).long()[None]
        with torch.no_grad():
            first, second = (model(input_ids=ids, output_attentions=True).attentions for model in models)
        for layer in range(len(first)):
            for head in range(first[layer].shape[1]):
                maps = [own[layer][0, head].numpy().reshape(1, -1) for own in (first, second)]
                cosine_similarity(*maps)
    return (time.perf_counter() - begin) / len(chosen)


def bench_speed(args: argparse.Namespace) -> None:
    """`cosine` from the store, and the study's procedure on samples spread over the same run."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        scratch = Path(name)
        store, extraction = fill(scratch, args, args.sentences)
        run = Store.open(store).run(model="own")
        compare(store)
        ours = median(timed(lambda: compare(store)) for _ in range(args.turns))
        theirs = studied(scratch, run, args.live) * run.counts.samples
        print(f"{run.counts.samples} sentences, {run.counts.tokens} tokens, {CORES} cores")
        print(f"cosine from the store       {ours:9.2f} s")
        print(f"the study's procedure       {theirs:9.2f} s   (from {args.live} samples)")
        print(f"extraction of both runs     {extraction:9.2f} s")
        print(f"study / store               {theirs / ours:9.1f}")
        print(f"comparisons that pay for the extraction {extraction / (theirs - ours):.2f}")


def read_plainly(runs: list[Run]) -> None:
    """Read and decode every chunk of some runs with zarr alone, on as many threads as there are cores."""
    arrays = [zarr.open_array(run.path / "attention" / "attention", mode="r") for run in runs]

    def read(task: tuple[zarr.Array, int, int]) -> None:
        array, layer, pack = task
        width = array.chunks[2]
        array[layer, :, pack * width : (pack + 1) * width]

    tasks = [task for array in arrays for task in product([array], range(array.shape[0]), range(runs[0].counts.packs))]
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(read, tasks))


def bench_read(args: argparse.Namespace) -> None:
    """`cosine`, all metrics, and plain reading of the same chunks, in turn."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        store, _ = fill(Path(name), args, args.sentences)
        runs = [Store.open(store).run(model=model) for model in ("own", "moved")]
        compare(store, OF_MAPS)
        times: dict[str, list[float]] = {"plain zarr": [], "cosine": [], "all metrics": []}
        for _ in range(args.turns):
            times["plain zarr"].append(timed(lambda: read_plainly(runs)))
            times["cosine"].append(timed(lambda: compare(store)))
            times["all metrics"].append(timed(lambda: compare(store, OF_MAPS)))
        entries = 2 * runs[0].counts.entries * runs[0].spec.head_count * len(runs[0].spec.attention_layers)
        print(f"{runs[0].counts.samples} sentences, {runs[0].counts.packs} packs, {CORES} cores, {args.turns} turns")
        for what, own in times.items():
            ratio = median(a / b for a, b in zip(own, times["plain zarr"], strict=True))
            print(f"{what:12} {median(own):8.2f} s {entries / median(own) / 1e6:8.0f} M entries/s {ratio:8.2f} x plain")


def bench_describe(args: argparse.Namespace) -> None:
    """Describing the heads of a run, by all metrics and rolled out, and plain reading of its chunks, in turn.

    CPU seconds of the process: other programs of the machine do not count.
    """
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        store, _ = fill(Path(name), args, args.sentences)
        run = Store.open(store).run(model="own")
        targets = ("mass:entities", "mass:punctuation")
        asked = {
            "entropy": HeadsRequest(models=("own",), metrics=("entropy",)),
            "all metrics": HeadsRequest(models=("own",), metrics=(*METRIC_NAMES, *targets)),
            "rollout": HeadsRequest(models=("own",), metrics=(*METRIC_NAMES, *targets), rollout=True),
        }
        calls: dict[str, Callable[[], object]] = {"plain zarr": partial(read_plainly, [run])}
        calls |= {what: partial(describe_attention, store, one, force=True) for what, one in asked.items()}
        times: dict[str, list[float]] = {what: [] for what in calls}
        for turn in range(args.turns + 1):
            for what, call in calls.items():
                begin = time.process_time()
                call()
                # The first turn compiles.
                times[what] += [time.process_time() - begin] if turn else []
        print(f"{run.counts.samples} sentences, {run.counts.packs} packs, {CORES} cores, {args.turns} turns")
        for what, own in times.items():
            ratio = median(a / b for a, b in zip(own, times["plain zarr"], strict=True))
            print(f"{what:12} {median(own):8.2f} s of CPU {ratio:8.2f} x plain")


def bench_memory(args: argparse.Namespace) -> None:
    """Each size in a process of its own, whose peak is the kernel's figure."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        peaks = []
        for sentences in args.sentences:
            store, _ = fill(Path(name), args, sentences)
            child = subprocess.run(
                [sys.executable, __file__, "child", "--store", str(store)], check=True, capture_output=True, text=True
            )
            peaks.append(int(child.stdout))
            print(f"{sentences:6d} sentences: peak {peaks[-1] / 2**20:7.0f} MiB")
        print(f"peak at {args.sentences[-1]} / peak at {args.sentences[0]}: {peaks[-1] / peaks[0]:.3f}")


def child_memory(args: argparse.Namespace) -> None:
    compare(args.store, OF_MAPS)
    # Of this program alone; resource's own figure is at least that of the process that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")))


def with_workers(store: Path, count: int, turns: int) -> float:
    """Time all metrics on a cluster of some processes, once they have loaded what they need."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0") as cluster:
        address = cluster.scheduler_address
        compare(store, OF_MAPS, address)
        return median(timed(lambda: compare(store, OF_MAPS, address)) for _ in range(turns))


def bench_workers(args: argparse.Namespace) -> None:
    """All metrics on one worker process, and on two."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        store, _ = fill(Path(name), args, args.sentences)
        one, two = (with_workers(store, count, args.turns) for count in (1, 2))
        print(f"1 worker {one:8.2f} s, 2 workers {two:8.2f} s: {one / two:.2f} times faster")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function, sentences, turns in (
        ("speed", bench_speed, 1000, 3),
        ("read", bench_read, 1000, 5),
        ("describe", bench_describe, 1000, 5),
        ("memory", bench_memory, [400, 3200], 1),
        ("workers", bench_workers, 2000, 3),
    ):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--dataset", type=Path, required=True)
        command.add_argument("--model", type=Path, help="a checkpoint; by default one of BERT-base's shape is made")
        command.add_argument("--scratch", help="folder for models and stores; the system's own by default")
        command.add_argument("--turns", type=int, default=turns)
        command.add_argument("--live", type=int, default=50, help="samples that the study's procedure is timed on")
        command.add_argument(
            "--sentences", type=int, default=sentences, nargs="+" if isinstance(sentences, list) else None
        )
    child = commands.add_parser("child")
    child.set_defaults(function=child_memory)
    child.add_argument("--store", type=Path, required=True)
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
