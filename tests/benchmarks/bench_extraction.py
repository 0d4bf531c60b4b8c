"""What extraction costs beside the model itself. Every figure is a ratio of measurements of one call.

    python tests/benchmarks/bench_extraction.py speed --dataset FOLDER [--sentences 2000] [--device cpu]
    python tests/benchmarks/bench_extraction.py memory --dataset FOLDER [--sentences 1000 8000]
    python tests/benchmarks/bench_extraction.py read --dataset FOLDER [--sentences 4000]

FOLDER holds an NER corpus (train.conll, test.conll). The model has random weights: `speed` takes BERT-base's shape
(12 layers, 12 heads, 768 features), the others 6 layers, 12 heads and 384 features.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import zarr

from biocache.engine import ExtractionRequest
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.demo.checkpoints import write_checkpoint
from biocache.engine.extraction.batches import Batch, plan_batches, plan_windows
from biocache.engine.extraction.extract import run_plan
from biocache.engine.extraction.forward import Forward, TokenTable
from biocache.engine.extraction.planning import plan_extraction
from biocache.engine.extraction.plans import ExtractionPlan
from biocache.engine.models.loading import load_model
from biocache.store import Store

BASE = {"hidden_size": 768, "layers": 12}
SMALL = {"hidden_size": 384, "layers": 6}


def plan_for(scratch: Path, dataset: Path, shape: dict[str, int], sentences: int | None, **options) -> ExtractionPlan:
    """Make the model where it is missing, and plan the extraction of a train split."""
    checkpoint = scratch / "model"
    if not checkpoint.exists():
        corpus = read_corpus("ner", str(dataset), splits=["test"])
        texts = [sample.texts[0] for sample in corpus.splits["test"]]
        write_checkpoint("bert", checkpoint, texts, heads=12, max_positions=512, vocab_size=8000, **shape)
    return plan_extraction(
        ExtractionRequest(
            task="ner",
            dataset=str(dataset),
            models=(f"model={checkpoint}",),
            splits=("train",),
            attention_splits=("train",),
            limit=sentences,
            **options,
        )
    )


def run_bare(plan: ExtractionPlan, lanes: int) -> float:
    """Time the same model over the same batches with the same outputs requested; nothing is kept.

    So many batches are computed at once, each with an equal share of the threads.
    """
    import torch

    begin = time.perf_counter()
    allowed = torch.get_num_threads()
    (model,) = plan.models
    (run,) = model.runs
    loaded = load_model(model.source, plan.device, "float32")
    counts = run.layout.tokens.count
    tokens = TokenTable(run.encoding.token_id, run.encoding.segment, np.cumsum(counts) - counts)
    forward = Forward(loaded.model, run.spec, tokens)
    batches = (
        batch
        for window in plan_windows(run.layout, model.budget.window_tokens)
        for batch in plan_batches(run.layout, window, model.budget.batch_tokens)
    )

    def compute(batch: Batch) -> None:
        with torch.inference_mode():
            loaded.model(**forward.inputs(batch), output_hidden_states=True, output_attentions=True)

    if lanes == 1:
        for batch in batches:
            compute(batch)
    else:
        with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(allowed // lanes,)) as pool:
            for _ in pool.map(compute, batches):
                pass
        torch.set_num_threads(allowed)
    if plan.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def time_write(folder: Path, size: int) -> float:
    """Time a plain sequential write of as many bytes, flushed to the disk."""
    block = np.random.default_rng(0).bytes(1 << 24)
    begin = time.perf_counter()
    with (folder / "plain").open("wb") as file:
        for _ in range(max(1, size >> 24)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begin
    (folder / "plain").unlink()
    return seconds


def bench_speed(args: argparse.Namespace) -> None:
    """Bare forward and extraction in turn, so that a machine whose speed drifts is fair to both.

    The bare forward is the faster of one batch on all cores and, on a CPU, one batch a core.
    """
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        scratch = Path(name)
        plan = plan_for(scratch, args.dataset, BASE, args.sentences, device=args.device)
        (run,) = plan.runs
        (model,) = plan.models
        bare: list[float] = []
        extraction: list[float] = []

        def measure_bare() -> None:
            times = [run_bare(plan, lanes) for lanes in sorted({1, model.budget.lanes})]
            print("bare:", ", ".join(f"{seconds:.1f} s" for seconds in times), flush=True)
            bare.append(min(times))

        for turn in range(args.turns):
            measure_bare()
            root = scratch / f"store-{turn}.zarr"
            begin = time.perf_counter()
            (report,) = run_plan(root, plan)
            extraction.append(time.perf_counter() - begin)
            print(f"extraction: {extraction[-1]:.1f} s", flush=True)
            if turn + 1 < args.turns:
                shutil.rmtree(root)
        measure_bare()
        ratios = [2 * own / (before + after) for own, before, after in zip(extraction, bare, bare[1:], strict=False)]
        on_disk = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        (stored,) = Store.open(root).catalog().stored_bytes
        write = time_write(scratch, on_disk)
        print(f"{args.sentences} sentences, {run.tokens} tokens, {plan.device}, {args.turns} turns")
        print(f"bare forward                   {median(bare):9.2f} s {run.tokens / median(bare):9.0f} tokens/s")
        rate = run.tokens / median(extraction)
        print(f"extraction                     {median(extraction):9.2f} s {rate:9.0f} tokens/s")
        print(f"plain write of the same bytes  {write:9.2f} s {on_disk / write / 1e6:9.0f} MB/s")
        print(f"extraction / bare forward      {median(ratios):9.3f}   (each: {', '.join(f'{r:.3f}' for r in ratios)})")
        print(f"plain write / extraction       {write / median(extraction):9.3f}")
        print(f"padded / real tokens           {report.tokens_padded / report.tokens_computed:9.3f}")
        print(f"bytes on disk / float16 size   {on_disk / run.activation_bytes:9.3f}")
        print(f"chunks alone / float16 size    {stored / run.activation_bytes:9.3f}")


def write_longest_first(source: Path, folder: Path, scratch: Path, shape: dict[str, int]) -> None:
    """Copy a corpus with the sentence of most tokens first: memory is what it takes, and every size has it then."""
    (run,) = plan_for(scratch, source, shape, None, device="cpu").runs
    folder.mkdir()
    (folder / "test.conll").write_bytes((source / "test.conll").read_bytes())
    sentences = (source / "train.conll").read_text(encoding="utf-8").strip().split("\n\n")
    assert len(sentences) == len(run.samples)
    sentences.insert(0, sentences.pop(int(run.encoding.token_count.argmax())))
    (folder / "train.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")


def bench_memory(args: argparse.Namespace) -> None:
    """Each size in a process of its own, whose peak is the kernel's figure."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        dataset = Path(name) / args.dataset.name
        write_longest_first(args.dataset, dataset, Path(name), BASE if args.base else SMALL)
        shape = "base" if args.base else "small"
        peaks = []
        for sentences in args.sentences:
            command = [sys.executable, __file__, "child", "--dataset", str(dataset), "--scratch", name]
            child = subprocess.run(
                [*command, "--sentences", str(sentences), "--shape", shape], check=True, capture_output=True, text=True
            )
            tokens, projected, peak = map(int, child.stdout.split())
            peaks.append(peak)
            print(
                f"{sentences:6d} sentences {tokens:8d} tokens: peak {peak / 2**20:7.0f} MiB, projected "
                f"{projected / 2**20:7.0f} MiB, peak / projected {peak / projected:.3f}"
            )
        print(f"peak at {args.sentences[-1]} / peak at {args.sentences[0]}: {peaks[-1] / peaks[0]:.3f}")


def child_memory(args: argparse.Namespace) -> None:
    """Extract and print tokens, projected and real peak memory."""
    scratch = Path(args.scratch)
    plan = plan_for(scratch, args.dataset, BASE if args.shape == "base" else SMALL, args.sentences[0], device="cpu")
    run_plan(scratch / f"store-{args.sentences[0]}.zarr", plan)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(plan.runs[0].tokens, plan.peak_bytes, peak)


def bench_read(args: argparse.Namespace) -> None:
    """One layer as one array: through the run, and the same chunks through zarr alone."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        plan = plan_for(Path(name), args.dataset, SMALL, args.sentences, device="cpu", keep=("hidden",))
        root = Path(name) / "store.zarr"
        run_plan(root, plan)
        run = Store.open(root).run(task="ner")
        plain, ours = [], []
        for turn in range(args.turns):
            layer = turn % len(run.spec.layers)
            begin = time.perf_counter()
            whole = zarr.open_array(run.path / "hidden" / "hidden", mode="r")[layer]
            plain.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            values = run.tokens().hidden.sel(layer=layer).to_numpy()
            ours.append(time.perf_counter() - begin)
            assert np.array_equal(values, whole[run.plan.tokens.positions()])
        size = values.nbytes
        print(
            f"{args.sentences} sentences, {run.counts.packs} packs, {size / 2**20:.0f} MiB a layer, {args.turns} turns"
        )
        print(f"plain zarr     {size / median(plain) / 1e6:9.0f} MB/s")
        print(f"run.tokens()   {size / median(ours) / 1e6:9.0f} MB/s")
        print(f"rate of run.tokens() / rate of plain zarr  {median(plain) / median(ours):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function, sentences, turns in (
        ("speed", bench_speed, 2000, 1),
        ("memory", bench_memory, [1000, 8000], 1),
        ("child", child_memory, [1000], 1),
        ("read", bench_read, 4000, 21),
    ):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--dataset", type=Path, required=True)
        command.add_argument("--scratch", help="folder for the store; the system's own by default")
        command.add_argument("--turns", type=int, default=turns)
        command.add_argument("--device", default="cpu")
        command.add_argument("--base", action="store_true", help="BERT-base's shape for memory")
        command.add_argument("--shape", default="small")
        command.add_argument(
            "--sentences", type=int, default=sentences, nargs="+" if isinstance(sentences, list) else None
        )
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
