"""A store to report, with results and hostile texts, and a page taken apart."""

import base64
import gzip
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_factory
import xarray as xr
from attention_factory import source
from numpy.typing import NDArray
from store_factory import PROVENANCE, Synthetic

from biocache.store import Run
from biocache.store.results import save_result

SIZES = (0, 10, 100)
# What a page must show as text, and a CSV file quote.
HOSTILE = (
    "<script>alert(1)</script>",
    "</script>",
    '"><img src=x onerror=alert(2)>',
    "<!--",
    "&amp;",
    'a "quoted", cell',
    "{{ 7 * 7 }}",
    "\u2028",
)
LABELS = ("O", "<b>bold</b>", "'\"><svg onload=alert(3)>")
TAGS = ("O", *(f"B-{label}" for label in LABELS[1:]))
SOURCE = 'models/<i>"tiny"</i>'
WORDS = (6, 9, 4, 12, 5, 7, 8, 3)


def hostile(made: Synthetic, seed: int = 0) -> Synthetic:
    """Give a run labels, and words that are markup."""
    words = len(made.columns["words/word_text"])
    columns = {"words/word_text": np.array([HOSTILE[n % len(HOSTILE)] for n in range(words)], dtype=object)}
    if made.spec.key.task == "ner":
        columns["words/label"] = np.random.default_rng(seed).integers(0, len(LABELS), words).astype(np.int16)
    return replace(made, columns=made.columns | columns)


def runs() -> list[Synthetic]:
    """Make up the runs: a model at three sizes for both tasks, train and test, and a causal one of other tokens."""
    made = []
    for split in ("train", "test"):
        common: dict[str, Any] = {"split": split, "dataset_digest": split[0] * 64}
        common["keep"] = ("hidden", "attention") if split == "test" else ("hidden",)
        for size in SIZES:
            own = {**common, "training_size": size, "model": "bert", "maps": size}
            made.append(hostile(source(WORDS, label_names=TAGS, **own), split == "test"))
            pair = {
                **own,
                "maps": size + 1,
                "task": "nli",
                "view": "pair",
                "label_names": ("no", *LABELS[1:]),
                "iob2": False,
            }
            made.append(hostile(source(WORDS, **pair)))
        causal = {**common, "training_size": 0, "model": "gpt2", "tokens": 1, "maps": 7, "causal": True}
        made.append(hostile(source(WORDS, label_names=TAGS, **causal), split == "test"))
    return made


def write_runs(root: Path, made: Sequence[Synthetic]) -> Path:
    """Write runs whose provenance is hostile as well."""
    origin = replace(PROVENANCE, model_source=SOURCE, host="<u>host</u>", dataset_source="</td><td>corpora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_factory, "PROVENANCE", origin)
        for run in made:
            run.write_labelled(root)
    return root


def add_scores(root: Path, **changes: Any) -> xr.Dataset:
    """Keep the scores of a checkpoint, as `finetune` does; what changes is of its spec."""
    spec = {
        **{"task": "ner", "dataset": "corpus", "model": "bert", "training_size": 10, "seed": 42},
        **{"label_names": list(LABELS), "label_scheme": "type", "limit": None, "train_samples": 12},
        **dict.fromkeys(("subset_digest", "base_digest", "tokenizer_digest"), "0" * 64),
        **{"validation_digest": None, "pooler_digest": None, "max_length": 512, "epochs": 3.0, "learning_rate": 2e-5},
        **{"batch_size": 16, "gradient_accumulation": 1, "warmup": 0.1, "weight_decay": 0.01, "patience": None},
        "compute_dtype": "float32",
        **changes,
    }
    rng = np.random.default_rng(spec["training_size"])
    names = ("accuracy", "macro_f1", "micro_f1", "entity_f1", "entity_precision", "entity_recall")
    scores = xr.Dataset(
        {name: ("split", rng.random(2)) for name in names} | {"samples_per_second": ((), 3.5)},
        {"split": np.array(["validation", "test"], dtype=object)},
    )
    return save_result(root, "finetune", {"checkpoint": spec}, scores)


def add_results(root: Path) -> None:
    """Compute what a report shows, in two calls where two make one figure."""
    from biocache.engine import AttentionRequest, ProbeRequest, compare_attention, probe

    probe(root, ProbeRequest(task="ner", models=("bert",), training_sizes=(0, 10), control=True, resamples=50))
    probe(root, ProbeRequest(task="ner", models=("bert", "gpt2"), layers=(0, 2), resamples=50))
    probe(root, ProbeRequest(task="nli", features="pair", resamples=50))
    for size in (10, 100):
        request = AttentionRequest(task="ner", model="bert", training_sizes=(size,), resamples=40)
        compare_attention(root, request)
    compare_attention(root, AttentionRequest(task="nli", model="bert", metrics=("js", "entropy"), resamples=40))
    for size in (10, 100):
        add_scores(root, training_size=size)


class Page(HTMLParser):
    """A page taken apart as a browser would: elements, their text, and the data in it."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._inside: str | None = None
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._inside != "style":
            self.text += data

    def bytes(self, name: str) -> bytes:
        """Return packed data."""
        text = next(text for attributes, text in self.scripts if attributes.get("id") == name)
        return gzip.decompress(base64.b64decode(text))

    def json(self, name: str) -> Any:
        """Return packed JSON."""
        return json.loads(self.bytes(name))

    @property
    def names(self) -> list[str]:
        """Return the names of all data."""
        return [str(attributes["id"]) for attributes, _ in self.scripts if "id" in attributes]

    @property
    def viewer(self) -> dict[str, Any]:
        """Return the viewer's index."""
        text = next(text for attributes, text in self.scripts if attributes.get("id") == "viewer-index")
        index: dict[str, Any] = json.loads(text)
        return index

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the numbers of a figure."""
        table = self.json(f"{name}-data")
        return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]

    def codes(self) -> list[str]:
        """Return the texts of all blocks of code."""
        found, inside = [], False

        class Codes(HTMLParser):
            def handle_starttag(self, tag: str, attrs: Any) -> None:
                nonlocal inside
                if tag == "pre":
                    inside = True
                    found.append("")

            def handle_endtag(self, tag: str) -> None:
                nonlocal inside
                inside = inside and tag != "pre"

            def handle_data(self, data: str) -> None:
                if inside:
                    found[-1] += data

        parser = Codes(convert_charrefs=True)
        parser.feed(self.source)
        return found


def shown_maps(page: Page, group: int, sample: int) -> NDArray[np.uint8]:
    """Return the packed maps of a sample (training size, layer, head, word, word + 1)."""
    index = page.viewer["groups"][group]
    own = index["samples"][sample]
    words = len(own["words"])
    shape = (len(index["sizes"]), len(index["layers"]), index["heads"], words, words + 1)
    return np.frombuffer(page.bytes(own["maps"]), np.uint8).reshape(shape)


def maps_by_hand(run: Run, sample: int) -> NDArray[np.float64]:
    """Gather the stored maps of a sample between words, in loops (layer, head, word, word + 1)."""
    stored = run.attention_map(sample)
    start, count = int(run.plan.tokens.start[sample]), int(run.plan.tokens.count[sample])
    owner = run.column("tokens/word")[start : start + count].tolist()
    words = sorted(set(owner) - {-1})
    tokens = [[token for token, word in enumerate(owner) if word == wanted] for wanted in (*words, -1)]
    between = np.zeros((stored.sizes["layer"], stored.sizes["head"], len(words), len(words) + 1))
    for layer, head in np.ndindex(*between.shape[:2]):
        own = stored.to_numpy()[layer, head].astype(np.float64)
        for query, queries in enumerate(tokens[:-1]):
            for key, keys in enumerate(tokens):
                between[layer, head, query, key] = np.mean([sum(own[q, k] for k in keys) for q in queries])
    return between


def arguments_of(command: str) -> list[str]:
    """Return what follows the program in a command that may be on several lines."""
    return shlex.split(command.replace("\\\n", " "))[1:]
