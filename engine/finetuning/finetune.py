"""`finetune`: a corpus and pre-trained models in, checkpoints at every training size and seed out."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.encoding import Encoding
from biocache.engine.finetuning.checkpoint import Checkpoint, Origin, own_checkpoint
from biocache.engine.finetuning.examples import Examples
from biocache.engine.finetuning.heads import attach_head
from biocache.engine.finetuning.material import Material, Source
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.finetuning.scores import Predicted, score_splits, word_classes
from biocache.engine.finetuning.spec import HYPERPARAMETERS, FinetuneSpec
from biocache.engine.finetuning.subset import Subset, digest_labelled
from biocache.engine.finetuning.workplace import Workplace
from biocache.engine.machine import isolated, origin, seeded
from biocache.engine.request import in_words_of
from biocache.store.atomic import write_error
from biocache.store.errors import IntegrityError, SettingError, SpecMismatchError, TrainingError
from biocache.store.folders import Folder
from biocache.store.hierarchy import refuse_foreign
from biocache.store.paths import enclosing_zarr, resolved
from biocache.store.results import find_result, save_result
from biocache.store.storage import Storage, StorePlace, open_storage

if TYPE_CHECKING:
    from biocache.engine.finetuning.training import Training

__all__ = ["RESULT_KIND", "FinetuneProgress", "finetune"]

RESULT_KIND = "finetune"


@dataclass(frozen=True, slots=True)
class FinetuneProgress:
    """Progress of a checkpoint, passed to the caller's callback.

    Attributes
    ----------
    checkpoint
        Its path below the folder of all.
    steps_done
        Optimiser steps done, those before an interruption included.
    steps_total
        All steps.
    """

    checkpoint: str
    steps_done: int
    steps_total: int


@in_words_of(FinetuneRequest)
def finetune(
    store: StorePlace,
    request: FinetuneRequest,
    *,
    on_progress: Callable[[FinetuneProgress], None] | None = None,
    on_checkpoint: Callable[[Checkpoint, bool], None] | None = None,
    on_corpus: Callable[[Corpus], None] | None = None,
) -> xr.Dataset:
    """Fine-tune models on parts of a train split, score them, and keep checkpoints and scores.

    An existing checkpoint is not made again; an interrupted one is resumed from its last saved step.

    Parameters
    ----------
    store
        Folder of the store that keeps the scores, as results of kind ``finetune``; made where it is missing.
    request
        Which checkpoints, and how.
    on_progress
        Called after every step.
    on_checkpoint
        Called with every complete checkpoint, and whether it existed before.
    on_corpus
        Called with the corpus once it is read, before anything is made of it.

    Returns
    -------
    xarray.Dataset
        The scores of `score_splits` for the validation and test splits, with the dims model, training_size and seed
        before its own; and ``train_samples``, ``steps`` (optimiser steps behind the weights), ``seconds`` and
        ``samples_per_second`` (model, training_size, seed) and the loss curve: ``loss`` in nats and ``learning_rate``
        (model, training_size, seed, step), with ``validation_loss`` (model, training_size, seed, evaluation_step), NaN
        at the steps of other checkpoints.

    Raises
    ------
    BiocacheError
        If the input is malformed, a model is missing, a checkpoint exists with other settings, the training diverges,
        or memory or disk does not suffice. Complete checkpoints stay as they are.
    """
    sizes = [size for size in dict.fromkeys(request.training_sizes) if size > 0]
    if not sizes:
        raise SettingError(
            "training size 0 is the pre-trained model, for which there is nothing to fine-tune: `biocache extract` "
            "takes it as it is; name a size from 1 to 100"
        )
    root = open_storage(store)
    refuse_foreign(root)
    around = enclosing_zarr(request.checkpoints / "checkpoint")
    above = (resolved(request.checkpoints), *resolved(request.checkpoints).parents)
    if around is None and isinstance(root, Folder) and root.absolute().path in above:
        around = root.path
    if around is not None:
        raise SettingError(
            f"--checkpoints {request.checkpoints} lies in the Zarr folder {around}; choose a place outside of it"
        )
    material = Material(request)
    if on_corpus is not None:
        on_corpus(material.corpus)
    # Everything is checked before the first training, which may take hours.
    todo = [
        [[_Finetuning(material, source, size, seed) for seed in request.seeds] for size in sizes]
        for source in material.sources()
    ]
    for one in itertools.chain.from_iterable(itertools.chain.from_iterable(todo)):
        one.find()

    def finished(one: _Finetuning) -> xr.Dataset:
        scores, spec = one.finish(root, on_progress, on_checkpoint), one.spec
        return scores.expand_dims(model=[spec.model], training_size=[spec.training_size], seed=[spec.seed])

    models = [
        _concatenated([_concatenated(map(finished, seeds), "seed") for seeds in row], "training_size") for row in todo
    ]
    return _concatenated(models, "model")


def _concatenated(parts: Iterable[xr.Dataset], dim: str) -> xr.Dataset:
    return xr.concat(list(parts), dim, data_vars="all", join="outer", combine_attrs="drop_conflicts")


class _Finetuning:
    """One checkpoint to be made or found."""

    def __init__(self, material: Material, source: Source, size: int, seed: int) -> None:
        self._material = material
        self._source = source
        self._subset = material.subset(size, seed)
        self.spec = _spec(material, source, size, seed, self._subset)

    def finish(
        self,
        store: Storage,
        on_progress: Callable[[FinetuneProgress], None] | None,
        on_checkpoint: Callable[[Checkpoint, bool], None] | None,
    ) -> xr.Dataset:
        """Return the scores of the checkpoint, after making it if it does not exist."""
        found = self.find()
        checkpoint = found or self._make(on_progress)
        if found is not None:
            Workplace(self._material.request.checkpoints, self.spec).tidy()
        inputs = {"checkpoint": self.spec.to_json()}
        scores, kept = checkpoint.scores(), find_result(store, RESULT_KIND, inputs)
        if kept is None or not kept.equals(scores):
            kept = save_result(store, RESULT_KIND, inputs, scores)
        if on_checkpoint is not None:
            on_checkpoint(checkpoint, found is not None)
        return kept

    def find(self) -> Checkpoint | None:
        """Return the checkpoint; None if it does not exist or will be replaced.

        Raises
        ------
        SpecMismatchError
            If another checkpoint is in its place.
        IntegrityError
            If it is damaged.
        """
        request = self._material.request
        folder = request.checkpoints / self.spec.path
        if request.overwrite:
            return self._intact(folder)
        checkpoint = own_checkpoint(folder)
        if checkpoint is not None:
            self.spec.require_equal(
                checkpoint.spec,
                f"checkpoint {folder}",
                "pass --overwrite to replace it, or another --checkpoints, --seed or model NAME=... to keep both",
            )
            checkpoint.require_whole()
        elif folder.exists():
            raise SpecMismatchError(
                f"{folder} is there and was not made by `biocache finetune`; `biocache extract` takes it as it is: "
                "pass --overwrite to replace it, or another --checkpoints or --seed to keep both"
            )
        return checkpoint

    def _intact(self, folder: Path) -> Checkpoint | None:
        """Return the checkpoint if it is whole and was made with these settings; anything else will be replaced."""
        try:
            checkpoint = Checkpoint.read(folder)
            checkpoint.require_whole()
            checkpoint.scores()
        except IntegrityError:
            return None
        return checkpoint if checkpoint.spec == self.spec else None

    def _make(self, on_progress: Callable[[FinetuneProgress], None] | None) -> Checkpoint:
        request = self._material.request
        workplace = Workplace(request.checkpoints, self.spec)
        try:
            with workplace.claim():
                # Another process may have finished it meanwhile.
                if (made := self.find()) is not None:
                    workplace.leave()
                    return made
                step = workplace.begin(restart=request.restart, overwrite=request.overwrite)
                with isolated():
                    return self._train(workplace, step, on_progress)
        except TrainingError:
            # Resuming from its steps would diverge again.
            workplace.forget()
            raise
        except OSError as error:
            raise write_error(error, f"making checkpoint {workplace.target}") from error

    def _train(
        self, workplace: Workplace, step: Path | None, on_progress: Callable[[FinetuneProgress], None] | None
    ) -> Checkpoint:
        from biocache.engine.finetuning.training import Training

        def on_step(done: int, total: int) -> None:
            if on_progress is not None:
                on_progress(FinetuneProgress(self.spec.path.as_posix(), done, total))

        # However it was asked for: the seed and the steps that the spec says.
        seed = self.spec.seed
        request = replace(self._material.request, seeds=(seed,), max_steps=self.spec.max_steps, steps_of=None)
        source, targets = self._source, self._material.targets
        encoding = source.encode(self._subset.samples)
        with seeded(seed):
            model = attach_head(source.load_encoder(seed).model, source.source, source.tokenizer, targets)
        training = Training(
            model,
            source.tokenizer,
            Examples(encoding, self._subset.samples, targets),
            None if request.patience is None else self._examples("validation"),
            request,
            self._material.device,
            workplace.steps,
            on_step,
            targets=targets,
        )
        curve = training.run(step)
        scores = self._scores(training).merge(curve).assign(train_samples=self.spec.train_samples)
        with workplace.made(self._origin(encoding), self._subset.samples, scores) as folder:
            training.save(folder)
            source.tokenizer.save_pretrained(folder)
        return Checkpoint.read(workplace.target)

    def _examples(self, split: str) -> Examples:
        """Return the samples of a split, sorted by length."""
        encoding = self._source.encode_split(split)
        order = np.argsort(-encoding.token_count, kind="stable")
        return Examples(encoding, self._material.corpus.splits[split], self._material.targets, order)

    def _scores(self, training: "Training") -> xr.Dataset:
        corpus, targets = self._material.corpus, self._material.targets
        predicted = {}
        for split, samples in corpus.splits.items():
            if split != "train":
                values = training.predict(self._examples(split))
                if targets.by_word:
                    usual = targets.usual(self._subset.samples)
                    values = word_classes(self._source.encode_split(split), values, usual)
                predicted[split] = Predicted(samples, values)
        return score_splits(predicted, targets)

    def _origin(self, encoding: Encoding) -> Origin:
        notes = encoding.notes | dict(self._material.corpus.notes.get("train", {}))
        notes |= {f"unlabelled_in_{split}": count for split, count in self._material.unlabelled.items()}
        notes |= {f"duplicates_in_{split}": count for split, count in self._subset.duplicates.items()}
        return Origin(
            base_source=self._source.source.weights,
            dataset_source=self._material.corpus.source,
            notes={name: count for name, count in notes.items() if count},
            base_task_head=self._source.shape.task_head,
            remarks=self._source.remarks,
            **origin(self._material.device, "accelerate"),
        )


def _spec(material: Material, source: Source, size: int, seed: int, subset: Subset) -> FinetuneSpec:
    request, corpus = material.request, material.corpus
    encoder, pooler = source.digests(seed)
    return FinetuneSpec(
        task=request.task,
        dataset=corpus.name,
        model=source.source.name,
        training_size=size,
        seed=seed,
        label_names=material.targets.names,
        label_scheme=material.targets.scheme,
        limit=request.limit,
        train_samples=len(subset.samples),
        subset_digest=subset.digest,
        validation_digest=None if request.patience is None else digest_labelled(corpus.splits["validation"]),
        base_digest=encoder,
        pooler_digest=pooler,
        tokenizer_digest=source.tokenizer_digest,
        max_length=source.max_length,
        **{name: getattr(request, name) for name in HYPERPARAMETERS} | _duration(material, seed),
    )


def _duration(material: Material, seed: int) -> dict[str, Any]:
    """Return the fields of a spec that say how long to train: epochs, or optimiser steps."""
    request = material.request
    if request.max_steps is not None:
        return {"epochs": None, "max_steps": request.max_steps}
    if request.steps_of is not None:
        samples = len(material.subset(request.steps_of, seed).samples)
        return {"epochs": None, "max_steps": request.steps_in_epochs(samples)}
    return {"epochs": request.epochs, "max_steps": None}
