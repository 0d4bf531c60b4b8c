"""Synthetic runs: ragged samples with random activations, written without a model."""

import atexit
import json
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.store import BiocacheError, Run, RunKey
from biocache.store.archives import packed, unpacked
from biocache.store.atomic import replacing
from biocache.store.claims import Claims
from biocache.store.creating import create_run, create_successor, install_successor
from biocache.store.digests import SampleRow, digest_encoding, digest_samples
from biocache.store.folders import Folder
from biocache.store.integrity import verify_run
from biocache.store.label_sets import LabelPlace, keep_labels
from biocache.store.labels import LabelSet
from biocache.store.levels import row_counts
from biocache.store.packing import PackPlan, plan_packs
from biocache.store.records import PackRecord, encode_record, read_record, record_path
from biocache.store.schema import ATTENTION, STORED_TYPES, WHOLE_VIEWS
from biocache.store.sealing import seal
from biocache.store.spec import Provenance, RunSpec
from biocache.store.writing import PackBuffer, RunWriter

KEY = RunKey("ner", "corpus", "tiny", 30, 42, "sentence", "test")

PROVENANCE = Provenance(
    model_source="models/tiny",
    tokenizer_source="models/tiny",
    random_weights=False,
    dataset_source="corpora/corpus",
    device="cpu",
    created="2026-01-01T00:00:00+00:00",
    host="host",
    versions={"biocache": "0.1.0"},
    notes={"samples_truncated": 0},
)

SPEC = RunSpec(
    key=KEY,
    dataset_digest="d" * 64,
    limit=None,
    model_digest="m" * 64,
    tokenizer_digest="t" * 64,
    encoding_digest="e" * 64,
    max_length=512,
    token_types=False,
    keep=("hidden", "attention"),
    layers=(0, 1, 2),
    feature_size=6,
    head_count=2,
    causal=False,
    dtype="float16",
    compute_dtype="float32",
    attention_implementation="eager",
)

# Three packs of 7, 9 and 5 tokens at a capacity of 10: no pack is full, and they differ in length.
LENGTHS = (3, 4, 9, 2, 1, 2)
CAPACITY = 10


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A run that is not written yet, and the truth that reading it must return.

    Attributes
    ----------
    spec, plan
        What `create_run` is given.
    columns
        The tables that it is given, and codes of labels as ``words/label`` or ``samples/label``.
    label_names, iob2
        What the codes stand for, and whether they are IOB2 tags: the label set ``gold`` of the run.
    hidden
        For each sample (layer, token, feature), in the data type of the store; of codes what they are of, float32.
    maps
        For each sample (layer, head, query, key), likewise; rows sum to 1.
    norms
        For each sample (layer, head, token), in the data type of the store.
    """

    spec: RunSpec
    plan: PackPlan
    columns: dict[str, NDArray[Any]]
    hidden: list[NDArray[Any]]
    maps: list[NDArray[Any]]
    norms: list[NDArray[Any]]
    label_names: tuple[str, ...] = ("O", "B-protein", "I-protein")
    iob2: bool = True

    @property
    def tables(self) -> dict[str, NDArray[Any]]:
        """The columns that the run stores."""
        return {path: values for path, values in self.columns.items() if not path.endswith("/label")}

    @property
    def labels(self) -> LabelSet:
        """The labels of the columns as a label set of all texts of the samples."""
        level = "words" if "words/label" in self.columns else "samples"
        labels = [self.label_names[code] if code >= 0 else None for code in self.columns[f"{level}/label"]]
        rows = list(_sample_rows(self.spec, self.columns))
        return LabelSet.make("gold", level, labels, rows, iob2=self.iob2, source="the factory")

    def keep_labels(self, root: Path) -> None:
        """Keep the labels beside the run."""
        keep_labels(root, LabelPlace.of_run(self.spec.key, "gold"), self.labels)

    def create(self, root: Path) -> Run:
        return create_run(root, self.spec, PROVENANCE, self.plan, self.tables)

    def create_successor(self, root: Path) -> Run:
        return create_successor(root, self.spec, PROVENANCE, self.plan, self.tables)

    def entries(self, sample: int) -> NDArray[Any]:
        """Return the stored entries of a sample's maps (layer, head, pair)."""
        maps = self.maps[sample]
        if self.spec.causal:
            query, key = np.tril_indices(maps.shape[-1])
            return maps[..., query, key]
        return maps.reshape(*maps.shape[:2], -1)

    def truth(self, name: str) -> NDArray[Any]:
        """Return what `Run.activations` must compute to."""
        if name == "hidden":
            return np.concatenate(self.hidden, axis=1)
        if name == "norms":
            return np.concatenate(self.norms, axis=2)
        return np.concatenate([self.entries(sample) for sample in range(len(self.maps))], axis=2)

    def buffer(self, pack: int) -> PackBuffer:
        """Return a pack's activations with rubbish in the unused tail."""
        buffer = PackBuffer.empty(self.spec, self.plan)
        samples = self.plan.samples_of(pack)
        if buffer.hidden is not None:
            buffer.hidden[:] = 99
            dense = np.concatenate([self.hidden[sample] for sample in samples], axis=1)
            buffer.hidden[:, : dense.shape[1]] = dense
        if buffer.attention is not None:
            buffer.attention[:] = 99
            dense = np.concatenate([self.entries(sample) for sample in samples], axis=2)
            buffer.attention[:, :, : dense.shape[2]] = dense
        if buffer.norms is not None:
            buffer.norms[:] = 99
            dense = np.concatenate([self.norms[sample] for sample in samples], axis=2)
            buffer.norms[:, :, : dense.shape[2]] = dense
        return buffer

    def write_labelled(self, root: Path) -> Run:
        """Write the whole run and keep its labels."""
        self.keep_labels(root)
        return self.write_all(root)

    def write(self, run: Run, packs: Iterable[int] | None = None) -> None:
        """Write packs, by default those that are pending."""
        writer = RunWriter(run)
        try:
            for pack in writer.pending() if packs is None else packs:
                writer.write_pack(pack, self.buffer(pack))
        finally:
            writer.close()

    def write_all(self, root: Path) -> Run:
        """Write the whole run, or, where nothing of it is there yet, copy an equal one that was written before."""
        if (root / self.spec.key.path).exists() or any(root.glob(".*")):
            run = self.create(root)
            self.write(run)
            return run
        kept = _written() / sha256(pickle.dumps((PROVENANCE, self.__dict__))).hexdigest()
        if not kept.is_dir():
            self.write(self.create(kept.with_suffix(".new")))
            kept.with_suffix(".new").rename(kept)
        shutil.copytree(kept, root, dirs_exist_ok=True)
        return Run.open(root, self.spec.key)


@cache
def _written() -> Path:
    """Return a folder for the stores of runs that were written, which ends with this process."""
    folder = tempfile.mkdtemp(prefix="biocache-tests-")
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))
    return Path(folder)


def synthetic(lengths: Iterable[int] = LENGTHS, capacity: int = CAPACITY, seed: int = 0, **changes: Any) -> Synthetic:
    """Make up a run of samples with these token counts; `changes` are fields of the spec or of its key, or labels."""
    labels = {name: changes.pop(name) for name in ("label_names", "iob2") if name in changes}
    parts = {name: changes.pop(name) for name in RunKey.names() if name in changes}
    spec = replace(SPEC, key=replace(KEY, **parts), **changes)
    tokens = np.asarray(list(lengths), dtype=np.int64)
    plan = plan_packs(tokens, spec.entry_count(tokens), capacity)
    rng = np.random.default_rng(seed)
    dtype = STORED_TYPES[spec.dtype].values
    hidden = [rng.normal(size=(len(spec.layers), count, spec.feature_size)).astype(dtype) for count in tokens]
    maps = [_maps(rng, spec, int(count)) for count in tokens]
    of_heads = (len(spec.attention_layers), spec.head_count)
    norms = [np.abs(rng.normal(size=(*of_heads, count))).astype(spec.norm_dtype) for count in tokens]
    # Runs of one corpus have the same tables, whatever the seed of their activations.
    columns = _columns(np.random.default_rng(0), spec, plan, len(labels.get("label_names", Synthetic.label_names)))
    digests = {name: digest for name, digest in digests_of(spec, plan, columns).items() if name not in changes}
    words = (columns["words/sample"], columns["words/token_count"])
    plan = plan.with_rows(row_counts(spec.level, len(tokens), *words))
    return Synthetic(replace(spec, **digests), plan, columns, hidden, maps, norms, **labels)


def least(**changes: Any) -> Synthetic:
    """Make up a run of few files, as there is a kill before each change of one."""
    return synthetic(lengths=(3,), keep=("hidden",), layers=(0,), **changes)


def digests_of(spec: RunSpec, plan: PackPlan, columns: dict[str, NDArray[Any]]) -> dict[str, str]:
    """Return the digests of the spec that belong to its tables."""
    positions = plan.tokens.positions()
    segment = columns["tokens/segment"][positions]
    encoding = (
        columns["samples/token_count"],
        columns["tokens/token_id"][positions],
        segment if spec.token_types else segment[:0],
        columns["samples/word_count"],
        columns["tokens/word"][positions],
    )
    rows = _sample_rows(spec, columns)
    return {"encoding_digest": digest_encoding(encoding), "dataset_digest": digest_samples(rows)}


def _sample_rows(spec: RunSpec, columns: dict[str, NDArray[Any]]) -> Iterator[SampleRow]:
    """Yield the samples with all their texts; the words that a view of one text has are those of every text."""
    words, segments = columns["words/word_text"], columns["words/segment"]
    texts = 1 if spec.key.task == "ner" else 2
    for name, begin, count in zip(
        columns["samples/sample_id"], columns["samples/word_start"], columns["samples/word_count"], strict=True
    ):
        own = slice(begin, begin + count)
        if spec.key.view in WHOLE_VIEWS:
            yield name, [words[own][segments[own] == text].tolist() for text in range(texts)]
        else:
            yield name, [words[own].tolist()] * texts


def _maps(rng: np.random.Generator, spec: RunSpec, tokens: int) -> NDArray[Any]:
    weights = rng.uniform(0.01, 1, (len(spec.attention_layers), spec.head_count, tokens, tokens))
    if spec.causal:
        weights = np.tril(weights)
    maps = weights / weights.sum(axis=-1, keepdims=True)
    if spec.map_dtype == "uint8":  # Probabilities that codes stand for exactly.
        return (np.rint(np.sqrt(maps) * 255).astype(np.float32) / np.float32(255)) ** 2
    return maps.astype(spec.stored_dtype(ATTENTION))


def segments_of(view: str, word_count: list[int]) -> NDArray[np.int8]:
    """Return the text of every word: the second half of a sample's words is of the second, where there are two."""
    texts = [int(view == "pair" and word >= (count + 1) // 2) for count in word_count for word in range(count)]
    return np.array(texts, dtype=np.int8)


def _columns(rng: np.random.Generator, spec: RunSpec, plan: PackPlan, classes: int) -> dict[str, NDArray[Any]]:
    """Make tables: a sample begins with a special token, words have one to three tokens, and some lost all."""
    counts, samples = plan.tokens.count, len(plan.tokens.count)
    positions = plan.tokens.positions()
    word, word_count, word_tokens = [], [], []
    for sample, count in enumerate(counts.tolist()):
        sizes: list[int] = []
        while sum(sizes) < count - 1:
            sizes.append(min(int(rng.integers(1, 4)), count - 1 - sum(sizes)))
        sizes += [0] * (sample % 2)
        word += [-1, *np.repeat(len(word_tokens) + np.arange(len(sizes)), sizes).tolist()]
        word_tokens += sizes
        word_count.append(len(sizes))
    special = np.array(word) < 0
    words = len(word_tokens)
    word_start = np.full(words, -1)
    for token in reversed(range(len(word))):
        if word[token] >= 0:
            word_start[word[token]] = positions[token]

    def on_axis(values: NDArray[Any], fill: Any) -> NDArray[Any]:
        spread = np.full(plan.tokens.length, fill, dtype=values.dtype)
        spread[positions] = values
        return spread

    columns: dict[str, NDArray[Any]] = {
        "samples/sample_id": np.array([f"s{sample}" for sample in range(samples)], dtype=object),
        "samples/token_start": plan.tokens.start,
        "samples/token_count": counts,
        "samples/word_start": np.cumsum(word_count) - np.array(word_count),
        "samples/word_count": np.array(word_count),
        "samples/entry_start": plan.entries.start,
        "samples/entry_count": plan.entries.count,
        "samples/truncated": counts == counts.max(),
        "samples/seen": np.full(samples, -1 if spec.key.training_size else 0, np.int8),
        "tokens/token_id": on_axis(rng.integers(0, 1000, len(positions)), -1),
        "tokens/token_text": on_axis(np.array([f"β{n}" for n in range(len(positions))], dtype=object), ""),
        "tokens/word": on_axis(np.array(word), -1),
        "tokens/special": on_axis(special, fill=False),
        "tokens/segment": on_axis(rng.integers(0, 2, len(positions)), 0),
        "tokens/window": on_axis(np.zeros(len(positions), np.int32), 0),
        "words/word_text": np.array([f"w{n}" for n in range(words)], dtype=object),
        "words/sample": np.repeat(np.arange(samples), word_count),
        "words/segment": segments_of(spec.key.view, word_count),
        "words/token_start": word_start,
        "words/token_count": np.array(word_tokens),
    }
    if spec.key.task == "ner":
        columns["words/label"] = rng.integers(0, classes, words)
    else:
        columns["samples/label"] = rng.integers(0, classes, samples)
    return columns


def assert_holds(run: Run, source: Synthetic) -> None:
    for name in source.spec.keep:
        np.testing.assert_array_equal(run.activations(name).compute(scheduler="synchronous"), source.truth(name))
    assert list(verify_run(run)) == []


def chunk_file(run: Run, name: str, index: int, pack: int) -> Path:
    """Return the file of the chunk of a layer, by position, and a pack."""
    return run.path / run.chunks(name).path(index, pack)


def put_record(run: Run, pack: int, record: PackRecord) -> Path:
    """Store a record of a pack, as a writer does; return its file."""
    file = run.path / record_path(pack)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(encode_record(replace(record, pack=pack)))
    return file


def edit_attributes(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the attributes of a run or a result, whose seal stays as it was."""
    metadata = json.loads((folder / "zarr.json").read_bytes())
    change(metadata["attributes"])
    (folder / "zarr.json").write_text(json.dumps(metadata))


def seal_again(folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> None:
    """Change the attributes of a run or a result, and seal it with them and the files that it has now.

    The commit records of a run become those of what it is now: no seal tells that it is not what was written.
    """
    before = json.loads((folder / "zarr.json").read_bytes())["attributes"]["biocache"]["digest"]
    edit_attributes(folder, change)
    metadata = json.loads((folder / "zarr.json").read_bytes())
    own = metadata["attributes"].pop("biocache")
    unsealed = {name: value for name, value in own.items() if name not in ("digest", "files")}
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    chunks = ("hidden/hidden/c/", "attention/attention/c/", "packs/record/c/")
    files = {path: (folder / path).read_bytes() for path in paths if not path.startswith(chunks)}
    files["zarr.json"] = json.dumps(metadata).encode()
    (folder / "zarr.json").write_bytes(seal(files, unsealed, own["place"])["zarr.json"])
    digest = json.loads((folder / "zarr.json").read_bytes())["attributes"]["biocache"]["digest"]
    for file in (folder / "packs/record/c").glob("*"):
        record = read_record(Folder(folder), "", int(file.name), before)
        file.write_bytes(encode_record(replace(record, run=digest)))


@contextmanager
def opened_archive(file: Path) -> Iterator[Path]:
    """Give the files of a result in a folder, and pack them again as they are at the end."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "group"
        for path, data in unpacked(file.read_bytes()).items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(data)
        yield place
        file.write_bytes(
            packed({p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*") if p.is_file()})
        )


def stored_files(root: Path) -> dict[str, bytes]:
    """Return all that is on disk but for the records, which hold the time."""
    files = (path for path in root.rglob("*") if path.is_file() and "packs/record/c" not in path.as_posix())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return the bytes of all files below a folder, and None for each folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def processes() -> ForkServerContext:
    """Return a context whose processes start in milliseconds, with this module already imported.

    A process forked from the tests' own would inherit Zarr's event loop without the thread that runs it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["store_factory"])
    folder = str(Path(__file__).parent)
    if folder not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    return context


# What follows runs in another process.


def write_until_killed(root: Path, started: Event, lengths: tuple[int, ...], capacity: int) -> None:
    source = synthetic(lengths, capacity)
    run = source.create(root)
    started.set()
    source.write(run)


def create_until_killed(root: Path, started: Event, elsewhere: Path) -> None:
    source = synthetic()
    # The first use of Zarr takes much longer than the creation that is to be interrupted.
    source.create(elsewhere)
    started.set()
    source.create(root)
    signal.pause()


def create_at_once(root: Path, barrier: Barrier, answers: Connection) -> None:
    source = synthetic()
    barrier.wait()
    try:
        source.create(root)
    except BaseException as error:
        answers.send(repr(error))
    else:
        answers.send("created")


def finish_at_once(root: Path, changes: dict[str, Any], barrier: Barrier, answers: Connection) -> None:
    """Make the successor of a run, write what is pending, and put it in its place; answer where it is."""
    source = synthetic(**changes)
    try:
        barrier.wait()
        writer = RunWriter(source.create_successor(root))
        for pack in range(source.plan.pack_count):
            # Whoever has it first writes it.
            with writer.claim([pack], wait=True):
                for pending in writer.pending([pack]):
                    writer.write_pack(pending, source.buffer(pending))
        run = writer.run
        writer.close()
        barrier.wait()
        made = install_successor(run)
        answers.send((made.group.folder, made.complete))
    except BaseException as error:
        barrier.abort()
        answers.send(repr(error))


def write_within(root: Path, limit: int, answers: Connection) -> None:
    """Write all packs, the first without a limit on the size of files, and answer the error."""
    source = synthetic()
    try:
        run = source.create(root)
        source.write(run, [0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        source.write(run)
    except BiocacheError as error:
        answers.send((type(error).__name__, str(error)))
    else:
        answers.send(None)


def create_within(root: Path, limit: int, answers: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        synthetic().create(root)
    except BiocacheError as error:
        answers.send((type(error).__name__, str(error)))
    else:
        answers.send(None)


def hold_claim(run: Path, packs: list[int], held: Event, release: Event) -> None:
    with Claims(Folder(run), "").hold(packs, wait=False) as mine:
        if mine:
            held.set()
        release.wait()


def compute_pickled(pickled: bytes, answers: Connection) -> None:
    answers.send(pickle.loads(pickled).compute(scheduler="synchronous"))


def save_many(home: Path, name: str) -> None:
    """Replace folders of a name of one's own and of one that all others replace, in several threads."""

    def save(thread: int) -> None:
        for n in range(25):
            with replacing(home / (f"{name}-{thread}-{n}" if n % 4 else "shared")) as made:
                made.mkdir()
                for file in ("a", "b"):
                    (made / file).write_text("new")

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(save, range(3))) == [None] * 3
