"""Which files, or splits under names of their own, are the splits of a corpus."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.corpora.lines import COMPRESSED, is_no_data
from biocache.engine.corpora.standoff.brat import holds_annotations, holds_texts, looks_like_brat
from biocache.engine.corpora.task import SPLITS, Task
from biocache.store.errors import DataError, SettingError
from biocache.store.paths import local_path, resolved
from biocache.store.text import shown

__all__ = ["Found", "assign_splits", "find_files", "format_of", "parse_split_files", "stem_of"]

# Words in the name of a file or split that say what it is.
_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "develop", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

# Such a word at the end of another, as in NCBItrainset_corpus.txt and CDR_TrainingSet.BioC.xml.
_SET = re.compile(rf"({'|'.join(_WORDS)})set\Z")

_WORD_FORMATS = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv", ".txt", ".pubtator", ".xml")
_TABLE_FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow")
# Formats by what the labels of a task label; of files of one name the first is read.
_FORMATS: Mapping[str, tuple[str, ...]] = {
    "words": (*_WORD_FORMATS, ".jsonl", ".json", ".csv", ".parquet", ".arrow"),
    "samples": _TABLE_FORMATS,
}
_BINARY = frozenset({".parquet", ".arrow"})
# Files that a name of a split makes no split: code, settings, notes, figures, models.
_NO_CORPUS = frozenset(
    {".py", ".ipynb", ".sh", ".md", ".rst", ".log", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".pdf", ".png", ".svg"}
    | {".html", ".bin", ".pt", ".safetensors"}
)
_SHARD = re.compile(r"-\d+-of-\d+\Z")


@dataclass(frozen=True, slots=True)
class Found:
    """The splits of a corpus under the names of its source.

    Attributes
    ----------
    names
        Each split to the names, or paths, that hold it, in their order.
    refusals
        Why a split cannot be told, for each that is only refused when it is asked for.
    unread
        Names that are no part of any split.
    """

    names: Mapping[str, Sequence[str]]
    refusals: Mapping[str, str]
    unread: Sequence[str]


def format_of(path: Path) -> str:
    """Return the suffix that tells a file's format, without that of its compression, in lower case."""
    whole = path.with_suffix("") if path.suffix.lower() == COMPRESSED else path
    suffix = whole.suffix.lower()
    return "" if whole is not path and suffix in _BINARY else suffix


def stem_of(path: Path) -> str:
    """Return the name of a file without the suffixes of its format and compression."""
    name = path.name.removesuffix(COMPRESSED)
    stem = name.removesuffix(Path(name).suffix)
    # Corpora that are published in two formats say which before the suffix: train.PubTator.txt, train.BioC.xml.
    return stem.removesuffix(Path(stem).suffix) if Path(stem).suffix.lower() in (".pubtator", ".bioc") else stem


def splits_named(name: str) -> set[str]:
    """Return the splits that the words in a name stand for: of ``snli_1.0_dev``, validation."""
    words = re.findall(r"[a-z]+", name.lower())
    words += [found[1] for word in words if (found := _SET.search(word))]
    return {_WORDS[word] for word in words if word in _WORDS}


def assign_splits(
    names: Iterable[str], *, stems: Mapping[str, str] | None = None, formats: Sequence[str] = ()
) -> Found:
    """Tell which names are which splits.

    A name that is nothing but a split's goes before one that holds more, and so do, of files with one name, the
    earlier formats.

    Parameters
    ----------
    names
        Names of files, or of the splits of a dataset.
    stems
        Each name without the suffixes of a file; None where names have none.
    formats
        Suffixes of formats, the preferred first.
    """
    names = sorted(names)
    stems = stems or {name: name for name in names}
    found: dict[str, list[str]] = {}
    refusals: dict[str, str] = {}
    unread: list[str] = []
    unclear: dict[str, set[str]] = {}
    groups: dict[str, dict[tuple[int, str], dict[str, list[str]]]] = {split: {} for split in SPLITS}
    for name in names:
        stem = _SHARD.sub("", stems[name])
        told = splits_named(stem)
        if len(told) == 1:
            (split,) = told
            key = (int(stem.lower() not in _WORDS), stem)
            groups[split].setdefault(key, {}).setdefault(format_of(Path(name)), []).append(name)
        else:
            unread.append(name)
            if told:
                unclear[name] = told
    for split, group in groups.items():
        if not group:
            continue
        best = min(rank for rank, _ in group)
        first = [key for key in group if key[0] == best]
        unread += [name for key in group if key not in first for files in group[key].values() for name in files]
        if len(first) > 1:
            rivals = [Path(next(iter(group[key].values()))[0]).name for key in first]
            refusals[split] = f"{' and '.join(rivals)} are both the {split} split"
            continue
        kinds = group[first[0]]
        chosen = min(kinds, key=lambda kind: formats.index(kind) if kind in formats else len(formats))
        found[split] = kinds[chosen]
        unread += [name for kind, files in kinds.items() if kind != chosen for name in files]
    for name, told in unclear.items():
        for split in told - found.keys() - refusals.keys():
            refusals[split] = f"{Path(name).name} could be the {' or the '.join(s for s in SPLITS if s in told)} split"
    ordered = {split: found[split] for split in SPLITS if split in found}
    return Found(ordered, refusals, sorted(unread))


def parse_split_files(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of ``--split-files`` by split.

    Raises
    ------
    SettingError
        If a text is not ``SPLIT=NAME`` of a split.
    """
    named: dict[str, list[str]] = {}
    for text in texts:
        split, equals, name = text.partition("=")
        if split not in SPLITS or not equals or not name:
            raise SettingError(f"--split-files {shown(text)} is not SPLIT=FILE; the splits are {', '.join(SPLITS)}")
        named.setdefault(split, []).append(name)
    return named


def find_files(source: Path, task: Task, named: Mapping[str, Sequence[str]]) -> tuple[Found, list[str]]:
    """Tell which files are the splits of a corpus.

    Parameters
    ----------
    source
        A folder; or one file, or a folder of the documents of brat: a split under the name that its own name tells,
        train where it tells none.
    task
        The task; it decides which formats are read.
    named
        Files of some splits that the user named: in the folder, or elsewhere.

    Returns
    -------
    found
        The paths of each split.
    remarks
        What a user should know of it.

    Raises
    ------
    DataError
        If there is no such folder or file, or no file of a split in it.
    """
    if not source.is_file() and not source.is_dir():
        problem = "is neither a file nor a folder" if source.exists() else "does not exist"
        raise DataError(f"{resolved(source)}: {problem}; pass {_wanted(task)}")
    folder = source if source.is_dir() else source.parent
    given = {split: [str(_named(folder, name)) for name in names] for split, names in named.items()}
    formats, remarks = _FORMATS[task.labelled], []
    if source.is_dir() and not (task.labels_words and holds_annotations(source)):
        paths, others = _data_in(folder, task)
        if others:
            remarks.append(f"{', '.join(others)} not read: no format of {task.name}")
        taken = {name for names in given.values() for name in names}
        stems = {str(path): _stem(path) for path in paths if str(path) not in taken}
        found = assign_splits(stems, stems=stems, formats=formats)
    else:
        if source.is_file() and format_of(source) not in formats:
            problem = f"not a format of {task.name} ({', '.join(formats)})"
            raise DataError(f"{resolved(source)}: {problem}; pass {_wanted(task)}")
        told = splits_named(_stem(source))
        split = told.pop() if len(told) == 1 else "train"
        found = Found({split: [str(source)]}, {}, [])
        if split not in named:
            remarks.append(f"{source.name} is the {split} split; --split-files names files of others")
    known = {split: given.get(split) or found.names.get(split, ()) for split in SPLITS}
    names = {split: paths for split, paths in known.items() if paths}
    refusals = {split: why for split, why in found.refusals.items() if split not in given}
    if not names and not refusals:
        raise DataError(
            f"{resolved(source)}: no {task.name} file here whose name tells its split; {_advice(found, task)}"
        )
    replaced = [name for split, own in given.items() for name in found.names.get(split, ()) if name not in own]
    unread = sorted(Path(name).name for name in (*found.unread, *replaced))
    if unread:
        remarks.append(f"{', '.join(unread)} {'is' if len(unread) == 1 else 'are'} not read; --split-files can name it")
    return Found(names, refusals, unread), remarks


def _data_in(folder: Path, task: Task) -> tuple[list[Path], list[str]]:
    """Return the files, and folders of brat, that may be splits; and names of splits in formats that are not read."""
    try:
        paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "_"))]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); check the folder's permissions") from None
    files = [path for path in paths if path.is_file() and not is_no_data(path)]
    files = [path for path in files if format_of(path) in _FORMATS[task.labelled]]
    # Beside a folder of brat, one with texts alone is a split without annotations.
    folders = [path for path in paths if holds_texts(path)]
    if task.labels_words and any(map(looks_like_brat, folders)):
        files += folders
    others = [path for path in paths if path not in files and splits_named(_stem(path)) and not is_no_data(path)]
    return files, [path.name for path in others if path.suffix.lower() not in _NO_CORPUS]


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else stem_of(path)


def _named(folder: Path, name: str) -> Path:
    """Return the file, or folder of brat, that a user named: in the corpus's folder, or where the path leads."""
    path = local_path(name, "--split-files")
    for one in (folder / path, path):
        if one.is_file() or holds_texts(one):
            return one
    raise DataError(f"{folder / path}: does not exist; name a file of the folder, or a path, in --split-files")


def _wanted(task: Task) -> str:
    return f"a folder with {task.expected_files}, or one such file"


def _advice(found: Found, task: Task) -> str:
    if found.unread:
        some = ", ".join(Path(name).name for name in found.unread[:5])
        return f"name them: --split-files=train={Path(found.unread[0]).name} (it has {some})"
    return f"pass {_wanted(task)} ({', '.join(_FORMATS[task.labelled])})"
