"""A small corpus of invented biomedical sentences, made by a seeded grammar."""

# ruff: noqa: RUF001 - Greek letters are part of the names.

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from biocache.store.errors import SettingError

__all__ = ["NER_SIZES", "NLI_SIZES", "write_corpus"]

NER_SIZES: Mapping[str, int] = {"train": 120, "validation": 30, "test": 40}
NLI_SIZES: Mapping[str, int] = {"train": 120, "validation": 30, "test": 40}

# Some names stand in several lists or form other names ("IL-2", "IL-2 gene", "IL-2 mRNA"): only the words
# around them tell the type.
_LEXICON: Mapping[str, tuple[str, ...]] = {
    "protein": (
        "IL-2", "IL-6", "NF-kappa B", "TNF-α", "IFN-γ", "p53", "GATA-1", "c-Myc", "CD28", "Stat5", "LMP-1",
        "protein kinase C", "cyclin D1", "TGF-β1 receptor", "I kappa B α", "Bcl-2", "AP-1", "p65", "CREB",
        "glucocorticoid receptor",
    ),
    "DNA": (
        "IL-2 gene", "IL-6 promoter", "p53 gene", "GATA-1 binding site", "c-Myc locus", "NF-kappa B site",
        "5'-flanking region", "CD28 response element", "TNF-α promoter", "Bcl-2 gene", "distal enhancer",
    ),
    "RNA": (
        "IL-2 mRNA", "c-Myc mRNA", "GATA-1 transcript", "TNF-α mRNA", "miR-155", "18S rRNA", "p53 mRNA",
        "antisense RNA", "cyclin D1 transcript",
    ),
    "cell_type": (
        "T cells", "human monocytes", "CD4+ T lymphocytes", "B cells", "erythroid progenitors", "thymocytes",
        "natural killer cells", "macrophages", "peripheral blood lymphocytes", "endothelial cells",
    ),
    "cell_line": (
        "Jurkat", "HL-60 cells", "K562", "U937 cells", "Jurkat T cells", "HeLa cells", "THP-1", "Raji",
        "T cell lines", "CD4+ T cell clones",
    ),
}  # fmt: skip

_PLAIN: Mapping[str, tuple[str, ...]] = {
    "binds": ("binds", "stabilizes", "phosphorylates", "inhibits", "recruits", "interacts with"),
    "induced": ("induced", "reduced", "blocked", "enhanced", "doubled", "abolished"),
    "agent": (
        "phorbol ester", "dexamethasone", "cyclosporin A", "LPS", "retinoic acid", "1,25-dihydroxyvitamin D3",
    ),
    "percent": ("12", "27.5", "40", "63", "85", "3.4"),
    "hours": ("2", "6", "12", "24", "48"),
    "dose": ("10 nM", "50 ng/ml", "1 μM", "100 U/ml"),
    "disease": ("acute leukemia", "asthma", "rheumatoid arthritis", "chronic infection", "sepsis"),
}  # fmt: skip

_SHORT = (
    "{protein} {binds} {protein} .",
    "{cell_type} express {protein} .",
    "{RNA} was absent from {cell_line} .",
    "No {protein} was found .",
    "{protein} {binds} the {DNA} .",
    "We cloned the {DNA} from {cell_type} .",
    "Do {cell_type} need {protein} ?",
)
_CLAUSES = (
    "{protein} {binds} {protein} and thereby activates the {DNA}",
    "treatment with {agent} {induced} the level of {RNA} by {percent} % in {cell_type}",
    "{agent} ( {dose} ) {induced} the expression of {protein} in {cell_line}",
    "the {DNA} is occupied by {protein} in {cell_type} but not in {cell_line}",
    "{cell_type} from patients with {disease} contain more {RNA} than healthy {cell_type}",
    "a mutation of the {DNA} {induced} the response of {cell_line} to {agent}",
    "{protein} and {protein} compete for the {DNA}",
    "{RNA} was detected in {percent} % of {cell_type} after {hours} h",
    "antibodies against {protein} {induced} the growth of {cell_line}",
    "overexpression of {protein} in {cell_line} {induced} transcription from the {DNA}",
    "the half-life of {RNA} was {hours} h in the presence of {agent}",
    "{protein} ( but not {protein} ) {binds} {protein} in activated {cell_type}",
)
_OPENINGS = (
    "these results suggest that",
    "as shown by gel-shift assays ,",
    "in contrast to earlier reports ,",
    "after {hours} h with {agent} ,",
    "in {cell_type} ,",
    "although {protein} is present ,",
    "here we show that",
    "consistent with a role in {disease} ,",
)
_JOINTS = (", whereas", "and", "; moreover ,", ", which may explain why", ", and in turn", "because")
_SLOT = re.compile(r"\{(\w+)\}")
_MOST_WORDS = 45
_TRIES = 1000

# A condition, a wider name, a drug given for it, a finding that goes with it, and one that excludes it.
_CONDITIONS = (
    ("atrial fibrillation", "an arrhythmia", "metoprolol", "an irregular pulse", "a regular pulse"),
    ("community-acquired pneumonia", "a lung infection", "ceftriaxone", "fever and cough", "clear lungs"),
    ("type 2 diabetes", "a metabolic disease", "metformin", "an HbA1c of 9.1 %", "normal blood sugar"),
    ("iron-deficiency anemia", "a blood disorder", "ferrous sulfate", "pallor", "a normal blood count"),
    ("deep vein thrombosis", "a blood clot", "enoxaparin", "a swollen left calf", "open leg veins"),
    ("bronchial asthma", "an airway disease", "inhaled albuterol", "wheezing", "normal breath sounds"),
    ("hypertension", "high blood pressure", "lisinopril", "a pressure of 178/95", "low blood pressure"),
    ("acute pancreatitis", "an inflamed organ", "morphine", "epigastric pain", "a painless abdomen"),
    ("hypothyroidism", "an endocrine disease", "levothyroxine", "a TSH of 14 mU/l", "a normal thyroid"),
    ("renal colic", "a urinary stone", "ketorolac", "blood in the urine", "a normal urinary tract"),
)
_WHO = (
    "a 45-year-old man", "a 62-year-old woman", "an 8-year-old boy", "a 79-year-old man",
    "a 33-year-old woman",
)  # fmt: skip
_SEEN = ("presented with", "was admitted with", "was transferred for", "came to the clinic with")
_HISTORY = (
    "", "with no known allergies", "who lives alone", "who works in a bakery", "on dialysis since 2011",
    "with a family history of breast cancer ( mother and sister )",
)  # fmt: skip
_PREMISES = (
    "{who} {history} {seen} {finding} and was found to have {condition} .",
    "{who} {seen} {finding} . The diagnosis was {condition} , and treatment with {drug} began on day 2 .",
    "{who} {history} is treated with {drug} for {condition} .",
    "the history is notable for {condition} , for which {who} takes {drug} .",
)
_HYPOTHESES: Mapping[str, tuple[str, ...]] = {
    "entailment": (
        "The patient has {wider} .", "{Condition} was diagnosed .", "The patient suffers from {condition} .",
        "There is {wider} .",
    ),
    "neutral": (
        "The patient also has {other} .", "The patient smokes .", "{Condition} runs in the family .",
        "The patient will be discharged next week .", "The patient takes {other_drug} as well .",
    ),
    "contradiction": (
        "The patient does not have {wider} .", "Examination shows {absent} only .",
        "The patient is healthy .", "{Condition} was ruled out .",
        "The patient takes no drugs and has {absent} .",
    ),
}  # fmt: skip

_Row = TypeVar("_Row")
_Tagged = tuple[tuple[str, str], ...]
_Pair = tuple[str, str, str]


def write_corpus(
    folder: Path,
    *,
    seed: int = 42,
    ner_sizes: Mapping[str, int] = NER_SIZES,
    nli_sizes: Mapping[str, int] = NLI_SIZES,
) -> None:
    """Write ``ner/SPLIT.conll`` and ``nli/SPLIT.jsonl`` under a folder.

    No sentence or pair occurs twice, in one split or in two. The same arguments give the same bytes.

    Parameters
    ----------
    folder
        Made if it does not exist; files of the same name are replaced.
    seed
        Seed of the grammar's choices.
    ner_sizes
        Split name to its number of sentences, tagged in IOB2 with protein, DNA, RNA, cell_type and cell_line.
    nli_sizes
        Split name to its number of premise/hypothesis pairs, the three labels in turn.

    Raises
    ------
    SettingError
        If more sentences are asked for than the grammar can make.
    """
    choices = random.Random(seed)
    for name, rows in _split(lambda _: _sentence(choices), ner_sizes):
        blocks = ("".join(f"{token}\t{tag}\n" for token, tag in row) for row in rows)
        _write(folder / "ner" / f"{name}.conll", "\n".join(blocks))
    for name, pairs in _split(lambda number: _pair(choices, number), nli_sizes):
        fields = ("sentence1", "sentence2", "gold_label")
        records = [
            {"pairID": f"{name}-{number}", **dict(zip(fields, pair, strict=True))} for number, pair in enumerate(pairs)
        ]
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        _write(folder / "nli" / f"{name}.jsonl", "".join(lines))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _split(make: Callable[[int], _Row], sizes: Mapping[str, int]) -> Iterator[tuple[str, list[_Row]]]:
    seen: set[_Row] = set()
    for name, size in sizes.items():
        rows: list[_Row] = []
        while len(rows) < size:
            fresh = (row for row in (make(len(rows)) for _ in range(_TRIES)) if row not in seen)
            row = next(fresh, None)
            if row is None:
                raise SettingError(
                    f"the demo grammar ran out of new samples after {len(rows)} of {size} for {name!r}: ask for fewer"
                )
            seen.add(row)
            rows.append(row)
        yield name, rows


def _sentence(choices: random.Random) -> _Tagged:
    while True:
        used: set[str] = set()
        tagged = tuple(pair for word in _template(choices).split() for pair in _fill(choices, word, used))
        if len(tagged) <= _MOST_WORDS:
            break
    (first, tag), *rest = tagged
    return ((_capitalized(first) if tag == "O" else first, tag), *rest)


def _template(choices: random.Random) -> str:
    clauses = choices.choice((0, 1, 1, 2, 2, 3))
    if clauses == 0:
        return choices.choice(_SHORT)
    template, *others = choices.sample(_CLAUSES, clauses)
    for clause in others:
        template += f" {choices.choice(_JOINTS)} {clause}"
    if choices.random() < 0.5:
        template = f"{choices.choice(_OPENINGS)} {template}"
    return f"{template} ."


def _fill(choices: random.Random, word: str, used: set[str]) -> list[tuple[str, str]]:
    slot = _SLOT.fullmatch(word)
    if slot is None:
        return [(word, "O")]
    kind = slot[1]
    if kind not in _LEXICON:
        return [(part, "O") for part in choices.choice(_PLAIN[kind]).split()]
    name = choices.choice([name for name in _LEXICON[kind] if name not in used])
    used.add(name)
    first, *rest = name.split()
    return [(first, f"B-{kind}"), *((part, f"I-{kind}") for part in rest)]


def _pair(choices: random.Random, number: int) -> _Pair:
    condition, wider, drug, finding, absent = choices.choice(_CONDITIONS)
    other, _, other_drug, _, _ = choices.choice([row for row in _CONDITIONS if row[0] != condition])
    label = tuple(_HYPOTHESES)[number % len(_HYPOTHESES)]
    words = {
        "who": choices.choice(_WHO),
        "history": choices.choice(_HISTORY),
        "seen": choices.choice(_SEEN),
        "condition": condition,
        "Condition": _capitalized(condition),
        "wider": wider,
        "drug": drug,
        "finding": finding,
        "absent": absent,
        "other": other,
        "other_drug": other_drug,
    }
    premise = " ".join(choices.choice(_PREMISES).format(**words).split())
    return _capitalized(premise), choices.choice(_HYPOTHESES[label]).format(**words), label


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
