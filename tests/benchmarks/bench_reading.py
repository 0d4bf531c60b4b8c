"""What reading a corpus costs, beside `datasets.load_dataset` of the same files.

    python tests/benchmarks/bench_reading.py [--sentences 1000000] [--format parquet|jsonl|conll]
    python tests/benchmarks/bench_reading.py --task ner --corpus FOLDER
    python tests/benchmarks/bench_reading.py --task nli --corpus FOLDER --pairs 100000

Without a folder the corpus is invented: 10 to 30 words a sentence, of 50,000 that are as frequent as those of running
text. With `--pairs` the pairs of the folder's JSON lines are repeated, each with an id and a last word of its own. The
library reads tagged words as lines of text. Each is read in a process of its own: seconds are of the processor, memory
is what the process takes beyond its imports.
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
import gc, json, pathlib, resource, sys, time
import numpy, datasets, pyarrow.parquet, psutil
from biocache.engine.corpora.readers import read_corpus

folder, what, task, suffix, cache = sys.argv[1:]
kind = {".parquet": "parquet", ".jsonl": "json", ".conll": "text"}[suffix]
files = {path.stem: str(path) for path in pathlib.Path(folder).glob(f"*{suffix}")}
before, begun = psutil.Process().memory_info().rss, time.process_time()
if what == "biocache":
    splits = read_corpus(task, folder).splits
else:
    splits = datasets.load_dataset(kind, data_files=files, cache_dir=cache)
seconds = time.process_time() - begun
gc.collect()
after, peak = psutil.Process().memory_info().rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
rows = sum(map(len, splits.values()))
print(json.dumps({"rows": rows, "seconds": seconds, "kept": after - before, "peak": peak - before}))
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


def repeat_pairs(source: Path, target: Path, count: int) -> None:
    """Write the pairs of a folder of JSON lines again and again, each with an id and a last word of its own."""
    lines = [json.loads(line) for file in sorted(source.glob("*.jsonl")) for line in file.open(encoding="utf-8")]
    with target.open("w", encoding="utf-8") as file:
        for number in range(count):
            turn, place = divmod(number, len(lines))
            pair = lines[place]
            own = {"pairID": f"{number}-{pair['pairID']}", "sentence2": f"{pair['sentence2']} {turn}"}
            file.write(json.dumps({**pair, **own}, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1_000_000)
    parser.add_argument("--format", choices=("parquet", "jsonl", "conll"), default="parquet")
    parser.add_argument("--task", default="ner")
    parser.add_argument("--corpus", type=Path, help="folder of a corpus; an invented one by default")
    parser.add_argument("--pairs", type=int, help="repeat the pairs of --corpus up to this number")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.corpus or Path(scratch) / "corpus"
        if asked.corpus is None or asked.pairs:
            folder = Path(scratch) / "corpus"
            folder.mkdir()
        if asked.pairs:
            repeat_pairs(asked.corpus, folder / "train.jsonl", asked.pairs)
        elif asked.corpus is None:
            write(folder / f"train.{asked.format}", asked.sentences)
        files = [path for path in folder.iterdir() if path.suffix in (".parquet", ".jsonl", ".conll")]
        suffix = files[0].suffix
        print(f"{sum(path.stat().st_size for path in files) / 2**20:,.0f} MiB as {suffix}")
        found = {}
        for what in ("biocache", "datasets"):
            command = [sys.executable, "-c", READ, str(folder), what, asked.task, suffix, str(Path(scratch) / "cache")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[what] = one = json.loads(done.stdout.splitlines()[-1])
            kept, peak = (one[name] / 2**20 for name in ("kept", "peak"))
            print(
                f"{what:>9}: {one['rows']:,} rows, {one['seconds']:6.2f} s, {kept:,.0f} MiB kept, {peak:,.0f} at most"
            )
        for name in ("seconds", "peak"):
            print(f"{name} of biocache / datasets: {found['biocache'][name] / found['datasets'][name]:.2f}")


if __name__ == "__main__":
    main()
