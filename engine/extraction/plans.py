"""The plan of an extraction: its runs, by model, with their layout and the bytes that they take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.encoding import CorpusEncoder, Encoding
from biocache.engine.corpora.task import Sample
from biocache.engine.extraction.memory import Budget, KeptSizes
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.finetuning.seen import seen_samples
from biocache.engine.models.shape import ModelShape
from biocache.engine.models.sources import ModelSource
from biocache.engine.models.trial import TrialSample
from biocache.store.keys import RunKey
from biocache.store.labels import LabelSet
from biocache.store.packing import PackPlan
from biocache.store.schema import HIDDEN, NORMS, SEEN
from biocache.store.spec import RunSpec
from biocache.store.windows import Windows

__all__ = ["ExtractionPlan", "ModelPlan", "RunPlan", "of_blocks"]


@dataclass(frozen=True, eq=False)
class RunPlan:
    """One run and its layout.

    Attributes
    ----------
    spec
        Its spec; the model's digest is empty until the weights are loaded.
    layout
        Where its samples lie.
    windows
        Its windows, each a sample or a part of a longer one.
    samples
        Its samples.
    encoding
        Their tokens and words.
    notes
        Counts of truncated samples, lost words and the reader's repairs.
    """

    spec: RunSpec
    layout: PackPlan
    windows: Windows
    samples: Sequence[Sample]
    encoding: Encoding
    notes: dict[str, int]

    @property
    def key(self) -> RunKey:
        """The run's name."""
        return self.spec.key

    def columns(self, source: ModelSource) -> dict[str, NDArray[Any]]:
        """Return the tables by variable path, made anew by each call: runs of one encoding would each hold them."""
        seen = seen_samples(source, self.samples)
        return _columns(self.samples, self.encoding, self.layout) | {SEEN: seen}

    @property
    def sizes(self) -> KeptSizes:
        """Bytes in memory of what is kept of it."""
        return KeptSizes.of(self.spec, self.layout)

    @property
    def tokens(self) -> int:
        """Tokens of the run."""
        return self.layout.tokens.total

    @property
    def activation_bytes(self) -> int:
        """Bytes of the run's activations before compression, without fill."""
        return self.spec.activation_bytes(self.layout)


@dataclass(frozen=True, eq=False)
class ModelPlan:
    """All runs of one model at one training size; its weights are loaded once for them."""

    source: ModelSource
    shape: ModelShape
    runs: tuple[RunPlan, ...]
    budget: Budget

    @property
    def needs_maps(self) -> bool:
        """Whether a run keeps attention, or norms, whose projections are found by it."""
        return any(of_blocks(run.spec.keep) for run in self.runs)

    @property
    def keeps_norms(self) -> bool:
        """Whether a run keeps norms."""
        return any(NORMS in run.spec.kept for run in self.runs)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was found of the model, when it was looked for and tried, that a user should know."""
        return tuple(f"model {self.source.name} {remark}" for remark in (*self.source.remarks, *self.shape.remarks))

    def trial_samples(self) -> list[TrialSample]:
        """Return the longest, a middle and the shortest window of all runs, to try the model on."""
        found = [
            (size, run, start)
            for run in self.runs
            for tokens in [run.windows.plan.tokens]
            for size, start in zip(tokens.count.tolist(), tokens.dense_start.tolist(), strict=False)
        ]
        found.sort(key=lambda one: -one[0])
        chosen = {found[place][0]: found[place] for place in (0, len(found) // 2, len(found) - 1)}
        return [
            TrialSample(
                run.encoding.token_id[start : start + size],
                run.encoding.segment[start : start + size] if run.spec.token_types else None,
            )
            for size, run, start in chosen.values()
        ]


@dataclass(frozen=True, eq=False)
class ExtractionPlan:
    """All runs of a request.

    Attributes
    ----------
    request
        The request.
    encoder
        Encodes the corpus, which was read.
    device
        Device name of torch.
    models
        A plan for each model and training size.
    """

    request: ExtractionRequest
    encoder: CorpusEncoder
    device: str
    models: tuple[ModelPlan, ...]

    @property
    def corpus(self) -> Corpus:
        """The corpus."""
        return self.encoder.corpus

    @cached_property
    def labels(self) -> Callable[[str], dict[str, LabelSet]]:
        """Returns the label sets of a split of the corpus; see `Corpus.label_sets`."""
        return cache(self.corpus.label_sets)

    @property
    def runs(self) -> tuple[RunPlan, ...]:
        """All runs."""
        return tuple(run for model in self.models for run in model.runs)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all activations before compression."""
        return sum(run.activation_bytes for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """Projected peak memory of the process."""
        return max(model.budget.peak_bytes for model in self.models)


def of_blocks(keep: tuple[str, ...]) -> bool:
    """Return whether something is kept that only blocks with attention maps have."""
    return any(name != HIDDEN.name for name in keep)


def _columns(samples: Sequence[Sample], encoding: Encoding, layout: PackPlan) -> dict[str, NDArray[Any]]:
    positions = layout.tokens.positions()

    def on_axis(values: NDArray[Any], fill: Any) -> NDArray[Any]:
        spread = np.full(layout.tokens.length, fill, dtype=values.dtype)
        spread[positions] = values
        return spread

    words = encoding.word_count.astype(np.int64)
    word_sample, _ = encoding.words
    kept = encoding.word_token_count > 0
    return {
        "samples/sample_id": np.array([sample.id for sample in samples], dtype=object),
        "samples/token_start": layout.tokens.start,
        "samples/token_count": encoding.token_count,
        "samples/word_start": np.cumsum(words) - words,
        "samples/word_count": encoding.word_count,
        "samples/entry_start": layout.entries.start,
        "samples/entry_count": layout.entries.count,
        "samples/truncated": encoding.truncated,
        "tokens/token_id": on_axis(encoding.token_id, -1),
        "tokens/token_text": on_axis(encoding.token_text, ""),
        "tokens/word": on_axis(encoding.word, -1),
        "tokens/special": on_axis(encoding.special, fill=False),
        "tokens/segment": on_axis(encoding.segment, 0),
        "tokens/window": on_axis(encoding.window, 0),
        "words/word_text": encoding.word_text,
        "words/sample": word_sample.astype(np.int32),
        "words/segment": encoding.word_segment,
        "words/token_start": np.where(kept, positions[np.minimum(encoding.word_token_start, len(positions) - 1)], -1),
        "words/token_count": encoding.word_token_count,
    }
