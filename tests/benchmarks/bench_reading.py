"""What reading a corpus costs, beside `datasets.load_dataset` of the same file.

    python tests/benchmarks/bench_reading.py [--sentences 1000000] [--format parquet|jsonl|conll]

The corpus is invented: 10 to 30 words a sentence, of 50,000 that are as frequent as those of running text. Each is read
in a process of its own; memory is what the process takes beyond its imports.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

READ = """
import gc, json, resource, sys, time
import numpy, datasets, pyarrow.parquet, psutil
from biocache.engine.corpora.readers import read_corpus

path, what, cache = sys.argv[1:]
before, begun = psutil.Process().memory_info().rss, time.perf_counter()
if what == "biocache":
    rows = read_corpus("ner", path).splits["train"]
else:
    kind = "parquet" if path.endswith("parquet") else "json"
    rows = datasets.load_dataset(kind, data_files=path, cache_dir=cache)["train"]
seconds = time.perf_counter() - begun
gc.collect()
after, peak = psutil.Process().memory_info().rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"sentences": len(rows), "seconds": seconds, "kept": after - before, "peak": peak - before}))
"""


def sentences(count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Return words and tags of invented sentences."""
    chance = np.random.default_rng(seed)
    vocabulary = np.array([f"word{number}" for number in range(50_000)], dtype=object)
    lengths = chance.integers(10, 31, count)
    words = vocabulary[np.minimum(chance.zipf(1.3, lengths.sum()) - 1, 49_999)]
    tags = np.array(["O", "B-x"], dtype=object)[(chance.random(lengths.sum()) < 0.1).astype(int)]
    ends = np.cumsum(lengths)[:-1]
    return [part.tolist() for part in np.split(words, ends)], [part.tolist() for part in np.split(tags, ends)]


def parts(count: int) -> Iterator[tuple[list[list[str]], list[list[str]]]]:
    """Yield sentences, some at a time."""
    for begin in range(0, count, 50_000):
        yield sentences(min(50_000, count - begin), begin)


def write(path: Path, count: int) -> None:
    """Write an invented corpus as its suffix says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        tables = (pa.table({"tokens": words, "ner_tags": tags}) for words, tags in parts(count))
        first = next(tables)
        with pq.ParquetWriter(path, first.schema) as writer:
            for table in itertools.chain([first], tables):
                writer.write_table(table)
        return
    with path.open("w", encoding="utf-8") as file:
        for words, tags in parts(count):
            for row in zip(words, tags, strict=True):
                if path.suffix == ".jsonl":
                    file.write(json.dumps(dict(zip(("tokens", "ner_tags"), row, strict=True))) + "\n")
                else:
                    file.writelines(f"{word}\t{tag}\n" for word, tag in zip(*row, strict=True))
                    file.write("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1_000_000)
    parser.add_argument("--format", choices=("parquet", "jsonl", "conll"), default="parquet")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"train.{asked.format}"
        write(path, asked.sentences)
        print(f"{asked.sentences:,} sentences, {path.stat().st_size / 2**20:,.0f} MiB as {asked.format}")
        for what in ("biocache",) if asked.format == "conll" else ("biocache", "datasets"):
            command = [sys.executable, "-c", READ, str(path), what, str(Path(scratch) / "cache")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            kept, peak = (found[name] / 2**20 for name in ("kept", "peak"))
            print(f"{what:>9}: {found['seconds']:6.1f} s, {kept:,.0f} MiB kept, {peak:,.0f} MiB at most")


if __name__ == "__main__":
    main()
