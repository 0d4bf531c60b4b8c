"""What queries cost beside plain zarr and NumPy. Every figure is a ratio of measurements of one call.

    python tests/benchmarks/bench_queries.py words [--tokens 250000]
    python tests/benchmarks/bench_queries.py memory [--tokens 400000]
    python tests/benchmarks/bench_queries.py catalog [--runs 1000]
    python tests/benchmarks/bench_queries.py stream [--tokens 250000]
    python tests/benchmarks/bench_queries.py labels [--tokens 1250000] [--runs 10]
    python tests/benchmarks/bench_queries.py types [--tokens 60000] [--turns 7]

The stores hold random values: 7 layers of 384 features in samples of 5 to 60 tokens, words of 1 to 4.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import zarr
from store_factory import seal_again

from biocache.store import Run, RunKey, Store, schema
from biocache.store.creating import create_run
from biocache.store.packing import PackPlan, plan_packs, token_capacity
from biocache.store.spec import Provenance, RunSpec
from biocache.store.writing import PackBuffer, RunWriter

FEATURES, LAYERS = 384, tuple(range(7))
TOKENS = {"memory": 400_000, "labels": 1_250_000, "types": 60_000}
KEY = RunKey("ner", "bench", "model", 0, 42, "sentence", "test")


def spec_of(key: RunKey, layers: tuple[int, ...] = LAYERS, features: int = FEATURES, **changes: Any) -> RunSpec:
    spec = RunSpec(
        key=key,
        dataset_digest="0",
        limit=None,
        model_digest="0",
        tokenizer_digest="0",
        encoding_digest="0",
        max_length=512,
        token_types=True,
        keep=("hidden",),
        layers=layers,
        feature_size=features,
        head_count=12,
        causal=False,
        dtype="float16",
        compute_dtype="float32",
        attention_implementation="eager",
    )
    return replace(spec, **changes)


def provenance() -> Provenance:
    return Provenance("model", "model", True, "bench", "cpu", "2026-01-01T00:00:00+00:00", "host")


def layout(tokens: int, features: int = FEATURES, longest: int = 4) -> tuple[PackPlan, dict[str, Any]]:
    """Lay out samples of some tokens each, in words of up to so many, and fill the tables."""
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 61, size=max(1, 2 * tokens // 65))
    plan = plan_packs(counts, counts * counts, token_capacity(features, 2))
    word_tokens = rng.integers(1, longest + 1, size=int(counts.sum()))
    word_in_sample = [np.repeat(np.arange(n), word_tokens[:n])[:n] for n in counts]
    words = np.array([rows[-1] + 1 for rows in word_in_sample])
    first_word = np.cumsum(words) - words
    word = np.concatenate([rows + first for rows, first in zip(word_in_sample, first_word, strict=True)])
    positions = plan.tokens.positions()
    starts = np.flatnonzero(np.diff(word, prepend=-1))
    total = int(words.sum())
    samples = len(counts)
    given: dict[str, Any] = {
        "samples/sample_id": np.array([f"s{i}" for i in range(samples)], dtype=object),
        "samples/token_start": plan.tokens.start,
        "samples/token_count": plan.tokens.count,
        "samples/word_start": first_word,
        "samples/word_count": words,
        "samples/entry_start": plan.entries.start,
        "samples/entry_count": plan.entries.count,
        "samples/truncated": np.zeros(samples, bool),
        "samples/seen": np.zeros(samples, np.int8),
        "words/word_text": np.array(["w"] * total, dtype=object),
        "words/sample": np.repeat(np.arange(samples), words),
        "words/segment": np.zeros(total),
        "words/token_start": positions[starts],
        "words/token_count": np.bincount(word),
    }
    for name, values, fill in (
        ("token_id", 1, -1),
        ("word", word, -1),
        ("special", False, False),
        ("segment", 0, 0),
        ("window", 0, 0),
    ):
        given[f"tokens/{name}"] = np.full(plan.tokens.length, fill)
        given[f"tokens/{name}"][positions] = values
    given["tokens/token_text"] = np.array(["t"] * plan.tokens.length, dtype=object)
    return plan, {variable.path: given[variable.path] for variable in schema.columns()}


def make_run(
    root: Path,
    tokens: int,
    key: RunKey = KEY,
    layers: tuple[int, ...] = LAYERS,
    features: int = FEATURES,
    *,
    longest: int = 4,
    seed: int = 1,
    **changes: Any,
) -> Run:
    plan, columns = layout(tokens, features, longest)
    run = create_run(root, spec_of(key, layers, features, **changes), provenance(), plan, columns)
    writer = RunWriter(run)
    rng = np.random.default_rng(seed)
    for pack in writer.pending():
        buffer = PackBuffer.empty(run.spec, run.plan)
        if buffer.hidden is not None:
            buffer.hidden[:] = rng.standard_normal(buffer.hidden.shape, dtype=np.float32)
        if buffer.attention is not None:
            for maps in buffer.attention:
                rng.standard_exponential(out=maps, dtype=np.float32)
                maps *= 1 / 32
                np.minimum(maps, 1, out=maps)
        writer.write_pack(pack, buffer)
    writer.close()
    return Run.open(root, key)


def bench_words(args: argparse.Namespace) -> None:
    """Words of one layer through the run, and by hand: the same chunks through zarr, then NumPy's reduceat."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        run = make_run(Path(name) / "s.zarr", args.tokens)
        word = run.token_column("tokens/word")
        starts, counts = np.flatnonzero(np.diff(word, prepend=-1)), np.bincount(word)
        positions = run.plan.tokens.positions()
        plain, ours = [], []
        for turn in range(args.turns):
            layer = turn % len(LAYERS)
            begin = time.perf_counter()
            hidden = zarr.open_array(run.path / "hidden/hidden", mode="r")[layer][positions].astype(np.float32)
            means = np.add.reduceat(hidden, starts, axis=0) / counts[:, None]
            plain.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            values = run.words().hidden.sel(layer=layer).to_numpy()
            ours.append(time.perf_counter() - begin)
            np.testing.assert_allclose(values, means, rtol=1e-5, atol=1e-6)
        print(f"{run.counts.tokens} tokens, {run.counts.words} words, {run.counts.packs} packs, {args.turns} turns")
        print(f"zarr and reduceat  {median(plain):8.3f} s")
        print(f"run.words()        {median(ours):8.3f} s")
        print(f"run.words() / zarr and reduceat  {median(ours) / median(plain):.3f}")


def bench_memory(args: argparse.Namespace) -> None:
    """A mean over a whole run in a process of its own, and over a run 8 times as long."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        growth = []
        for tokens in (args.tokens // 8, args.tokens):
            root = Path(name) / f"{tokens}.zarr"
            run = make_run(root, tokens)
            command = [sys.executable, __file__, "child", "--scratch", str(root)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            before, after = map(int, done.stdout.split())
            growth.append(after - before)
            block = run.plan.tokens.chunk * FEATURES * 4
            size = run.counts.tokens * FEATURES * len(LAYERS) * 4
            print(
                f"{run.counts.tokens:8d} tokens, {size / 2**20:6.0f} MiB as float32: the mean takes "
                f"{growth[-1] / 2**20:5.0f} MiB, {growth[-1] / block:.1f} blocks of float32"
            )
        print(f"8 times as long / short: {growth[1] / growth[0]:.3f}")


def child_memory(args: argparse.Namespace) -> None:
    """Print the memory of the process before the mean, and its peak since (Linux counts anew when told to)."""
    run = Store.open(args.scratch).run()
    hidden = run.tokens().hidden
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_since()
    hidden.astype(np.float32).mean().compute()
    print(before, peak_since())


def peak_since() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


def bench_catalog(args: argparse.Namespace) -> None:
    """Open a store of many runs and print its catalog; walk the same groups with plain zarr."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        root = Path(name) / "s.zarr"
        first = make_run(root, 500)
        for number in range(1, args.runs):
            key = RunKey("ner", "bench", f"model{number % 10}", 0, number, "sentence", "test")
            (root / key.path).parent.mkdir(parents=True, exist_ok=True)
            for parent in list((root / key.path).parents)[:6]:
                shutil.copy(first.path.parent / "zarr.json", parent / "zarr.json")
            shutil.copytree(first.path, root / key.path)
            seal_again(root / key.path, lambda own, key=key: own["biocache"].update(place=key.path))
        ours, plain = [], []
        for _ in range(args.turns):
            begin = time.perf_counter()
            text = Store.open(root).catalog().to_string()
            ours.append(time.perf_counter() - begin)
            assert text.count("\n") == args.runs
            begin = time.perf_counter()
            found = [path for path, _ in zarr.open_group(root, mode="r").members(max_depth=6) if path.count("/") == 6]
            plain.append(time.perf_counter() - begin)
            assert len(found) == args.runs
        print(f"{args.runs} runs, {args.turns} turns")
        print(f"open and print the catalog  {median(ours):8.3f} s")
        print(f"list the groups with zarr   {median(plain):8.3f} s")
        print(f"catalog / listing           {median(ours) / median(plain):8.3f}")


def bench_stream(args: argparse.Namespace) -> None:
    """Stream three layers into a training loop, and read the same chunks: decoded and checked, and as plain files."""
    import torch.utils.data  # noqa: F401  (a dataset needs it)

    layers = (0, 3, 6)
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        run = make_run(Path(name) / "s.zarr", args.tokens)
        chunks = run.chunks("hidden")
        parts = [(layer, pack) for pack in range(run.counts.packs) for layer in layers]
        plain, decoded, ours = [], [], {False: [], True: []}
        for turn in range(args.turns):
            begin = time.perf_counter()
            for part in parts:
                (run.path / chunks.path(*part)).read_bytes()
            plain.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            with ThreadPoolExecutor(len(layers)) as pool:
                for pack in range(run.counts.packs):
                    list(pool.map(lambda layer, pack=pack: chunks.read_committed(layer, pack), layers))
            decoded.append(time.perf_counter() - begin)
            for shuffle, seconds in ours.items():
                begin = time.perf_counter()
                batches = run.torch_dataset(layers, shuffle=shuffle, seed=turn)
                rows = sum(len(batch["token"]) for batch in batches)
                seconds.append(time.perf_counter() - begin)
                assert rows == run.counts.tokens
        size = run.counts.tokens * FEATURES * len(layers) * 2
        print(f"{run.counts.tokens} tokens, {run.counts.packs} packs, {args.turns} turns; MB of float16 a second")
        for what, seconds in (
            ("plain files", plain),
            ("chunks, decoded and checked", decoded),
            ("torch_dataset", ours[False]),
            ("torch_dataset, shuffled", ours[True]),
        ):
            rate = size / median(seconds) / 1e6
            print(f"{what:<30} {rate:7.0f}   of that of chunks {median(decoded) / median(seconds):.3f}")


def bench_labels(args: argparse.Namespace) -> None:
    """Add a label set of words and probe it in a layer of some runs, and read the same words of these runs alone."""
    from biocache.engine import ProbeRequest, probe

    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        root = Path(name) / "s.zarr"
        runs = [
            make_run(root, tokens, replace(KEY, split=split, training_size=size), layers=(0,))
            for split, tokens in (("train", 9 * args.tokens // 10), ("test", args.tokens // 10))
            for size in range(args.runs)
        ]
        words = {run.key.split: run.counts.words for run in runs}
        rng, store = np.random.default_rng(0), Store.open(root)
        begin = time.perf_counter()
        for split, count in words.items():
            labels = rng.choice(["ADJ", "NOUN", "VERB"], count)
            store.add_labels("pos", labels, task="ner", dataset="bench", split=split)
        added = time.perf_counter() - begin
        begin = time.perf_counter()
        for run in runs:
            run.words(labels=()).hidden.sel(layer=0).to_numpy()
        reading = time.perf_counter() - begin
        begin = time.perf_counter()
        for run in runs:
            run.words(labels="pos").hidden.sel(layer=0).to_numpy()
        joined = time.perf_counter() - begin
        begin = time.perf_counter()
        probe(root, ProbeRequest(task="ner", labels="pos", max_train_samples=500, resamples=100))
        probed = time.perf_counter() - begin
        total = sum(words.values())
        print(f"{total:,} words, {len(runs) // 2} runs of each split, 1 layer of {FEATURES} features")
        print(f"adding the labels               {added:7.1f} s")
        print(f"reading the words of all runs   {reading:7.1f} s")
        print(f"  with their labels             {joined:7.1f} s, / without {joined / reading:.3f}")
        print(f"probing them (500 samples)      {probed:7.1f} s, / reading {probed / reading:.3f}")


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Return the time that all threads of this process computed, which other load changes little."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def bench_types(args: argparse.Namespace) -> None:
    """Read the same values, in float32, stored as float16 and as codes: processor time, by view and in comparisons."""
    from biocache.engine import AttentionRequest, compare_attention

    keep, layers = ("hidden", "attention"), (0, 1, 2)
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        stores: dict[str, Path] = {}
        for types, changes in (("halves", {}), ("codes", {"dtype": "int8", "attention_dtype": "uint8"})):
            stores[types] = Path(name) / f"{types}.zarr"
            for seed, model in enumerate(("own", "other")):
                make_run(stores[types], args.tokens, replace(KEY, model=model), layers, keep=keep, seed=seed, **changes)
        runs = {types: Store.open(store).run(model="own") for types, store in stores.items()}
        request = AttentionRequest(model="other", against="own", training_sizes=(0,), resamples=10)
        views: dict[str, tuple[str, Callable[[str], Any]]] = {
            "run.tokens()": ("int8", lambda types: runs[types].tokens().hidden.astype(np.float32).compute()),
            "run.words()": ("int8", lambda types: runs[types].words().hidden.compute()),
            "run.words('first')": ("int8", lambda types: runs[types].words("first").hidden.compute()),
            "run.samples()": ("int8", lambda types: runs[types].samples().hidden.compute()),
            "run.attention()": ("uint8", lambda types: runs[types].attention().attention.astype(np.float32).compute()),
            "compare_attention": ("uint8", lambda types: compare_attention(stores[types], request, force=True)),
        }
        print(f"{runs['halves'].counts.tokens} tokens, {args.turns} turns; processor time")
        for view, (codes, read) in views.items():
            seconds: dict[str, list[float]] = {"halves": [], "codes": []}
            for _ in range(args.turns + 1):
                for types, found in seconds.items():
                    found.append(cpu_seconds(partial(read, types)))
            own, other = (median(seconds[types][1:]) for types in ("codes", "halves"))
            print(f"{view:<20} float16 {other:7.3f} s, {codes:<5} {own:7.3f} s: {codes} / float16 {own / other:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function, turns in (
        ("words", bench_words, 21),
        ("memory", bench_memory, 1),
        ("child", child_memory, 1),
        ("catalog", bench_catalog, 5),
        ("stream", bench_stream, 11),
        ("labels", bench_labels, 1),
        ("types", bench_types, 7),
    ):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--tokens", type=int, default=TOKENS.get(name, 250_000))
        command.add_argument("--runs", type=int, default=10 if name == "labels" else 1000)
        command.add_argument("--turns", type=int, default=turns)
        command.add_argument("--scratch", help="folder for the store; the system's own by default")
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
