"""The zoo: what biocache makes of many architectures and of odd folders.

``python tests/zoo.py [NAMES]`` prints a line for each: its name and family, what became of an extraction of hidden
states and attention and of hidden states alone, the largest error, and the message. ``--pairs`` before the names takes
pairs of texts; ``--readme`` prints the README's table of models.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_corpus import samples_of_fours
from zoo_folders import FOLDERS
from zoo_models import make
from zoo_outcomes import BOTH, Outcome, end_of_traceback, joined, outcome
from zoo_species import SPECIES

__all__ = ["FOLDERS", "GROUPS", "SPECIES", "Row", "group_of", "visit", "visit_folder"]


@dataclass(frozen=True)
class Row:
    """What became of one checkpoint.

    Attributes
    ----------
    name, family
        The checkpoint.
    both
        Outcome of an extraction of hidden states and attention.
    hidden
        Outcome of one of hidden states alone, where the first is not exact.
    """

    name: str
    family: str
    both: Outcome
    hidden: Outcome

    def __str__(self) -> str:
        said = self.both.message if self.both.kind != "exact" else self.hidden.message
        if self.hidden.kind != "exact" and self.hidden.message != said:
            said = f"{said} | hidden alone: {self.hidden.message}"
        error = max(each.error for each in (self.both, self.hidden))
        head = f"{self.name:28} {self.family:10} {self.hidden.kind:10} {self.both.kind:10} {error:8.1e}"
        return f"{head}  {said[:600]}"


def visit(name: str, scratch: Path, task: str = "ner") -> Row:
    """Make a species and extract with it."""
    species, folder = SPECIES[name], scratch / "checkpoint"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(species, folder, scratch / "made")
    chosen = None
    if species.fours:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        chosen = samples_of_fours(lambda words: len(tokenizer(joined(tokenizer, words))["input_ids"]))
    truth = False if species.unusable else None
    return _row(name, species.family, folder, scratch, truth=truth, chosen=chosen, task=task, part=species.part or None)


def visit_folder(name: str, scratch: Path) -> Row:
    """Make an odd folder and extract with it."""
    folder = scratch / "checkpoint"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = FOLDERS[name](folder, scratch / "made")
    return _row(name, "folder", folder, scratch, truth=truth)


def _row(name: str, family: str, folder: Path, scratch: Path, **how: Any) -> Row:
    both = outcome(folder, scratch, BOTH, **how)
    hidden = both if both.kind == "exact" else outcome(folder, scratch, ("hidden",), **how)
    return Row(name, family, both, hidden)


#: What the README says of groups of models.
GROUPS = {
    "all": "hidden states and attention",
    "some": "hidden states, and attention of the layers that have it",
    "no": "hidden states",
    "refused": "refused",
}


def group_of(row: Row) -> str:
    """Return the group of the README that a checkpoint is in, as its key in `GROUPS`."""
    if row.both.kind == "exact":
        return row.both.maps
    return "no" if row.hidden.kind == "exact" else row.hidden.kind


def readme_rows(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the rows of the README's table: model types, or checkpoints where those of one type differ."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(SPECIES[row.name].model_type, {})[row.name] = row
    named: dict[str, list[str]] = {group: [] for group in GROUPS}
    for model_type, variants in sorted(found.items()):
        groups = {group_of(row) for row in variants.values()}
        # A part says nothing of the whole.
        apart = len(groups) > 1 or (model_type not in variants and SPECIES[next(iter(variants))].family == "part")
        for name, row in variants.items() if apart else [(model_type, next(iter(variants.values())))]:
            padded = all(one.both.padded for one in ([row] if apart else variants.values()))
            named[group_of(row)].append(f"`{name}`" + ("" if padded else "*"))
    for group, meaning in GROUPS.items():
        yield f"| {meaning} | {', '.join(named[group])} |"


def _line(name: str, scratch: Path, task: str) -> str:
    try:
        return str(visit(name, scratch, task) if name in SPECIES else visit_folder(name, scratch))
    except Exception:
        return f"{name:28} {'':10} cannot be made: {end_of_traceback()}"


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(names: list[str]) -> None:
    """Print the table of some or all checkpoints."""
    from biocache.store.folders import Folder

    # Flushing many small files takes longer than the rest.
    Folder.sync = lambda *_: None  # type: ignore[assignment]
    _tell(f"{'name':28} {'family':10} {'hidden':10} {'attention':10} {'error':8}  message")
    task = "nli" if "--pairs" in names else "ner"
    if "--readme" in names:
        rows = []
        for name in SPECIES:
            with tempfile.TemporaryDirectory() as scratch:
                rows.append(visit(name, Path(scratch)))
        for line in readme_rows(rows):
            _tell(line)
        return
    names = [name for name in names if name != "--pairs"]
    for name in names or [*SPECIES, *FOLDERS]:
        scratch = Path(tempfile.mkdtemp())
        try:
            _tell(_line(name, scratch, task))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
