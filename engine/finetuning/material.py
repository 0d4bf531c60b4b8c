"""Inputs of fine-tuning: the corpus with its subsets, and pre-trained models with their encodings."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from biocache.engine.corpora.encoding import Encoding, encode
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.corpora.task import Sample
from biocache.engine.corpora.tokenizers import load_tokenizer, tokenizer_digest
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.finetuning.subset import draw_subset, refuse_duplicates
from biocache.engine.finetuning.targets import Targets, labelled
from biocache.engine.machine import choose_device, seeded
from biocache.engine.models.loading import LoadedModel, load_model, weights_digest
from biocache.engine.models.shape import choose_max_length, load_shape, require_vocabulary
from biocache.engine.models.sources import ModelSource, parse_model, pretrained_source
from biocache.engine.sources import refuse_repeats
from biocache.engine.stages import stage
from biocache.store.errors import DataError, SettingError

__all__ = ["Material", "Source"]


class Material:
    """What all checkpoints of a request share: corpus, subsets and device.

    Parameters
    ----------
    request
        Which checkpoints, and how.

    Raises
    ------
    BiocacheError
        If the corpus is malformed or lacks a split, or the device cannot be used.
    """

    def __init__(self, request: FinetuneRequest) -> None:
        self.request = request
        self.device = _choose_device(request)
        with stage("reading the dataset"):
            read = read_corpus(request.task, request.dataset, limit=request.limit, reading=request.reading)
        # Without a label there is nothing to learn from a sample, and nothing to score.
        splits = {name: labelled(samples) for name, samples in read.splits.items()}
        self.corpus = replace(read, splits={name: samples for name, samples in splits.items() if samples})
        #: Samples without label, by split, that are left out; only counts above zero.
        self.unlabelled = {
            name: len(read.splits[name]) - len(samples)
            for name, samples in splits.items()
            if len(samples) < len(read.splits[name])
        }
        if "train" not in self.corpus.splits:
            raise DataError(f"{self.corpus.source}: no split 'train' to fine-tune on; add it to the dataset")
        if request.patience is not None and "validation" not in self.corpus.splits:
            raise DataError(
                f"{self.corpus.source}: no split 'validation' for --patience; add it, or leave --patience out"
            )
        if len(self.corpus.splits) == 1:
            raise DataError(f"{self.corpus.source}: no validation or test split to score; add one of them")
        refuse_duplicates(self.corpus, request.max_duplicates)
        self.targets = Targets.of(self.corpus, request.label_scheme)
        #: Return the samples of a training size and seed.
        self.subset = cache(lambda size, seed: draw_subset(self.corpus, size, seed))

    def sources(self) -> list["Source"]:
        """Return the pre-trained models."""
        named = [parse_model(text) for text in self.request.models]
        refuse_repeats("model", (name for name, _ in named))
        return [Source(self, pretrained_source(name, base, self.request.seeds[0])) for name, base in named]


class Source:
    """One pre-trained model with its tokenizer.

    Parameters
    ----------
    material
        What to fine-tune it on.
    source
        Where it is.

    Raises
    ------
    ModelError
        If it cannot be found or used.
    """

    def __init__(self, material: Material, source: ModelSource) -> None:
        self.source = source
        self._material = material
        self.tokenizer = load_tokenizer(source.tokenizer)
        self.tokenizer_digest = tokenizer_digest(self.tokenizer)
        self.shape = load_shape(source)
        self.max_length = choose_max_length(material.request.max_length, source, self.shape, self.tokenizer)
        #: What was done to the names of its weights; see `LoadedModel`.
        self.remarks: tuple[str, ...] = ()
        #: Encode a whole split, once for all training sizes and seeds.
        self.encode_split = cache(lambda split: self.encode(material.corpus.splits[split]))
        #: Return the digest of the encoder's weights, and of the pooler's where the task has a head that reads it.
        self.digests = cache(self._digests)

    def load_encoder(self, seed: int) -> LoadedModel:
        """Load the pre-trained weights; a pooler that the checkpoint lacks is drawn from the seed."""
        with stage(f"loading {self.source.name}"), seeded(seed):
            loaded = load_model(self.source, "cpu", "float32")
        self.remarks = loaded.remarks
        return loaded

    def _digests(self, seed: int) -> tuple[str, str | None]:
        by_word = self._material.corpus.task.labels_words
        if by_word and seed != self.source.seed:
            return self.digests(self.source.seed)
        encoder = self.load_encoder(seed)
        return encoder.digest, None if by_word else weights_digest(encoder.model, pooler=True)

    def encode(self, samples: Sequence[Sample]) -> Encoding:
        """Encode samples as extraction does."""
        task = self._material.corpus.task
        with stage(f"tokenising {len(samples):,} samples"):
            encoding = encode(self.tokenizer, samples, task, task.whole_view, self.max_length)
        require_vocabulary(self.source, self.shape, encoding.token_id)
        return encoding


def _choose_device(request: FinetuneRequest) -> str:
    device = choose_device(request.device)
    if device not in ("cpu", "cuda"):
        raise SettingError(
            f"device {device!r} cannot be named for fine-tuning; pass --device=cpu or cuda, and select one of several "
            "GPUs with the variable CUDA_VISIBLE_DEVICES"
        )
    return device
