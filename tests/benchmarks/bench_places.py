"""What places cost: syncing to the disk, an S3 server on the loopback interface. Ratios of measurements of one call.

    python tests/benchmarks/bench_places.py [--tokens 100000] [--turns 3] [--dataset FOLDER [--sentences 300]]

The store holds random values as of bench_queries: 7 layers of 384 features. With an NER corpus (train.conll,
test.conll) a model of BERT-base's shape is extracted to both places as well. The server is a process of its own.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import obstore
from bench_extraction import BASE, plan_for
from bench_queries import KEY, layout, provenance, spec_of
from objects import BUCKET, Server

from biocache.engine.extraction.extract import run_plan
from biocache.store import Run
from biocache.store.creating import create_run
from biocache.store.folders import Folder
from biocache.store.objects import ObjectStorage
from biocache.store.storage import Storage, below
from biocache.store.writing import PackBuffer, RunWriter


def write(place: Storage, tokens: int) -> float:
    """Write a run with two writers, as an extraction does; return the seconds of its packs."""
    spec = spec_of(KEY)
    plan, columns = layout(tokens)
    run = create_run(place, spec, provenance(), plan, columns)
    empty = PackBuffer.empty(spec, plan).hidden
    assert empty is not None
    values = np.random.default_rng(0).standard_normal(empty.shape, np.float32).astype(np.float16)
    # The unused end of a buffer is overwritten with fill.
    buffers = [PackBuffer(values.copy()) for _ in range(plan.pack_count)]
    writer = RunWriter(run)
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pack: writer.write_pack(pack, buffers[pack]), range(plan.pack_count)))
    took = time.perf_counter() - began
    writer.close()
    return took


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def read_layer(run: Run) -> None:
    """Read a layer, several packs at the same time."""
    chunks = run.chunks("hidden")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pack: chunks.read_committed(3, pack), range(run.counts.packs)))


def get_layer(place: ObjectStorage, run: Run) -> None:
    """Get the same objects with obstore alone."""
    chunks = run.chunks("hidden")
    paths = [below(run.key.path, chunks.path(3, pack)) for pack in range(run.counts.packs)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: obstore.get(place._store, path).bytes(), paths))


def serve() -> tuple[BaseProcess, dict[str, str]]:
    """Start a server in another process; return it and its options."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    serving = context.Process(target=_serve, args=(theirs,), daemon=True)
    serving.start()
    return serving, ours.recv()


def _serve(channel: Any) -> None:
    server = Server()
    channel.send(server.options)
    threading.Event().wait()


def bench_extraction(folder: Path, asked: argparse.Namespace, options: dict[str, str]) -> None:
    """Extract to a folder and to the server in turn."""
    plan = plan_for(folder, asked.dataset, BASE, asked.sentences)
    run_plan(folder / "warm", plan)
    near, far = [], []
    for turn in range(asked.turns):
        near.append(timed(lambda turn=turn: run_plan(folder / f"extracted-{turn}", plan)))
        place = ObjectStorage(f"s3://{BUCKET}/extracted-{turn}", options)
        far.append(timed(lambda place=place: run_plan(place, plan)))
    each = ", ".join(f"{b / a:.2f}" for a, b in zip(near, far, strict=True))
    print(f"extraction to a folder           {median(near):.2f} s, {plan.runs[0].tokens} tokens")
    print(f"extraction to S3 / to a folder   {median(far) / median(near):.2f}   (each: {each})")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--sentences", type=int, default=300)
    asked = parser.parse_args()
    serving, options = serve()
    folder = Path(tempfile.mkdtemp())
    synced, plain, far, layers = [], [], [], []
    sync = Folder.sync
    for turn in range(asked.turns):
        synced.append(write(Folder(folder / f"synced-{turn}"), asked.tokens))
        Folder.sync = lambda *_: None  # type: ignore[method-assign]
        plain.append(write(Folder(folder / f"plain-{turn}"), asked.tokens))
        Folder.sync = sync  # type: ignore[method-assign]
        place = ObjectStorage(f"s3://{BUCKET}/store-{turn}", options)
        far.append(write(place, asked.tokens))
        run = Run.open(place, KEY)
        # As a view does when it is made: tables and records are read once.
        run.require("hidden")
        run.plan  # noqa: B018
        bare = timed(lambda run=run, place=place: get_layer(place, run))
        layers.append(bare / timed(lambda run=run: read_layer(run)))
    if asked.dataset is not None:
        bench_extraction(folder, asked, options)
    shutil.rmtree(folder)
    gigabytes = asked.tokens * 384 * 7 * 2 / 1e9
    print(f"writing {gigabytes:.2f} GB before compression: {gigabytes / median(plain):.2f} GB/s without sync")
    print(f"writing with sync / without      {median(synced) / median(plain):.2f}")
    print(f"writing to S3 / to a folder      {median(far) / median(synced):.2f}")
    print(f"reading a layer of S3 / obstore  {median(layers):.2f} of its rate")
    serving.terminate()


if __name__ == "__main__":
    main()
