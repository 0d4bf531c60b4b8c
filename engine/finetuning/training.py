"""Training with the `Trainer` of transformers; errors name the step."""

import math
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import (
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from biocache.engine.finetuning.examples import Examples
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.finetuning.targets import NO_LABEL, Targets
from biocache.engine.machine import quiet_loggers
from biocache.engine.models.shape import quiet_transformers
from biocache.store.arrays import UNREADABLE
from biocache.store.errors import BiocacheError, IntegrityError, ResourceError, SettingError, TrainingError
from biocache.store.metadata import MetadataError, Natural, read_json

__all__ = ["Training"]

# Points of a loss curve, about.
_CURVE_POINTS = 100
_EVALUATION_BATCH = 32
# What torch, safetensors and JSON raise for a damaged file.
_UNREADABLE = (*UNREADABLE, pickle.UnpicklingError, SafetensorError)
_NO_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")
# Libraries that warn about their own insides.
_LOUD = ("accelerate", "torch")
_NO_WRITING = ("file write failed", "failed writing", "unexpected pos")


class Training:
    """One model being fine-tuned.

    Parameters
    ----------
    model
        The classifier, on the CPU.
    tokenizer
        Its tokenizer; it pads on the right.
    train
        Training samples.
    validation
        Samples that decide when to stop; needed where the request has `patience`.
    request
        The settings.
    device
        ``cpu`` or ``cuda``.
    folder
        Where steps are saved.
    on_step
        Called with the steps done and all steps.
    targets
        What is predicted.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        train: Examples,
        validation: Examples | None,
        request: FinetuneRequest,
        device: str,
        folder: Path,
        on_step: Callable[[int, int], None],
        *,
        targets: Targets,
    ) -> None:
        self._train = train
        self._pace = _Pace(on_step)
        callbacks: list[TrainerCallback] = [self._pace]
        if request.patience is not None:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=request.patience))
        collate = DataCollatorForTokenClassification if targets.by_word else DataCollatorWithPadding
        self._unit = "1" if targets.numeric else "nat"
        self._resumed: Path | None = None
        with self._explained("moving the model to the device"), quiet_transformers():
            self._trainer = _Trainer(
                model=model,
                args=_arguments(request, len(train), device, folder),
                data_collator=collate(tokenizer),
                train_dataset=train,
                eval_dataset=validation,
                callbacks=callbacks,
                compute_loss_func=_mean_squared_error if targets.numeric else _mean_cross_entropy,
                preprocess_logits_for_metrics=_predicted_number if targets.numeric else _predicted_class,
            )
            # It prints to stdout.
            self._trainer.remove_callback(PrinterCallback)

    def run(self, resume_from: Path | None) -> xr.Dataset:
        """Train to the end.

        Parameters
        ----------
        resume_from
            Folder of the saved step to resume; None to begin.

        Returns
        -------
        xarray.Dataset
            float64: ``loss`` (step), the mean cross-entropy of the batches since the step before, in nats, or for
            numbers the mean squared error, in their unit squared;
            ``learning_rate`` (step); ``steps``, the optimiser steps behind the weights; ``seconds``, the wall time of
            the training in this process, and ``samples_per_second`` that it trained on, each epoch counted. With
            `patience` also ``validation_loss`` (evaluation_step) in nats: the mean over samples of the mean
            cross-entropy of the batch that each is in.

        Raises
        ------
        TrainingError
            If the loss or a weight is not finite.
        ResourceError
            If memory or disk does not suffice.
        IntegrityError
            If the saved step cannot be read.
        """
        self._resumed = resume_from
        if resume_from is not None:
            _require_state(resume_from)
        with self._explained("saving a step"), quiet_transformers(), quiet_loggers(*_LOUD):
            self._trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))
            self._trainer.require_finite()
        for name, weight in self._trainer.model.named_parameters():
            if not torch.isfinite(weight).all():
                raise _diverged(f"weight {name} is not finite after step {self._pace.done}")
        return self._curve()

    def predict(self, examples: Examples) -> NDArray[Any]:
        """Return the class of the largest logit, or the number.

        Parameters
        ----------
        examples
            Samples in any order.

        Returns
        -------
        numpy.ndarray
            int64 (sample,) for a sequence classifier; (sample, token) for a token classifier, as long along ``token``
            as the longest sample; values beyond a sample's end have no meaning. float32 (sample,) for numbers. In the
            order of the samples.

        Raises
        ------
        ResourceError
            If memory does not suffice.
        """
        with self._explained("scoring"), quiet_transformers(), quiet_loggers(*_LOUD):
            predicted: NDArray[Any] = self._trainer.predict(examples).predictions
        return predicted[np.argsort(examples.order)]

    def save(self, folder: Path) -> None:
        """Write the weights and the configuration.

        Raises
        ------
        ResourceError
            If the disk is full or cannot be written.
        """
        with self._explained("writing the checkpoint"), quiet_transformers():
            self._trainer.model.save_pretrained(folder)

    def _curve(self) -> xr.Dataset:
        history = self._trainer.state.log_history
        noted = [entry for entry in history if "loss" in entry]
        evaluated = [entry for entry in history if "eval_loss" in entry]
        rate = self._pace.epochs * len(self._train) / max(self._pace.seconds, 1e-9)
        curve = xr.Dataset(
            {
                "loss": ("step", [entry["loss"] for entry in noted], {"units": self._unit}),
                "learning_rate": ("step", [entry["learning_rate"] for entry in noted], {"units": "1"}),
                "steps": ((), self._kept_step(), {"units": "1"}),
                "seconds": ((), self._pace.seconds, {"units": "s"}),
                "samples_per_second": ((), rate, {"units": "s-1"}),
            },
            {"step": [entry["step"] for entry in noted]},
        )
        if not evaluated:
            return curve
        losses = ("evaluation_step", [entry["eval_loss"] for entry in evaluated], {"units": self._unit})
        return curve.assign(validation_loss=losses, evaluation_step=[entry["step"] for entry in evaluated])

    def _kept_step(self) -> int:
        """Return the step whose weights are kept: the last, or with `patience` that of the lowest loss."""
        state = self._trainer.state
        return int(state.best_global_step or state.global_step)

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turn errors of the libraries about memory or disk into one line that names the step."""
        try:
            yield
        except BiocacheError:
            raise
        except Exception as error:
            # torch, its files and safetensors have no common error.
            text = " ".join(str(error).split())
            if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(part in text for part in _NO_MEMORY):
                raise self._out_of_memory(text) from error
            if self._resumed is not None and not self._pace.stepped and isinstance(error, _UNREADABLE):
                raise _unreadable(self._resumed, text[:160]) from error
            if not isinstance(error, OSError | SafetensorError) and not any(part in text for part in _NO_WRITING):
                raise
            raise ResourceError(
                f"the disk is full or cannot be written while {doing} at step {self._pace.done} ({text[:160]}); "
                "complete checkpoints stay as they are: free space and run the same command again to go on"
            ) from error

    def _out_of_memory(self, text: str) -> ResourceError:
        return ResourceError(
            f"memory does not suffice at step {self._pace.done} ({text[:160]}); pass a smaller --batch-size with a "
            "--gradient-accumulation as many times larger, or a smaller --max-length"
        )


@dataclass(frozen=True)
class _State:
    """The part of the state of a saved step that a resumed training reads."""

    global_step: Natural
    max_steps: Natural
    epoch: float
    log_history: tuple[dict[str, float], ...]


def _require_state(step: Path) -> None:
    """Refuse a saved step with a malformed state: the loss curve continues from it."""
    try:
        read_json(step / "trainer_state.json", _State)
    except (FileNotFoundError, MetadataError) as error:
        raise _unreadable(step, str(error)) from error


def _unreadable(step: Path, fault: str) -> IntegrityError:
    return IntegrityError(f"the saved step {step} cannot be read ({fault}); pass --restart to start again")


def _diverged(what: str) -> TrainingError:
    return TrainingError(f"{what}: the training diverged; pass a smaller --learning-rate or a longer --warmup")


def _arguments(request: FinetuneRequest, samples: int, device: str, folder: Path) -> TrainingArguments:
    if request.compute_dtype == "bfloat16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise SettingError(f"{torch.cuda.get_device_name()} has no bfloat16; pass --compute-dtype=float32")
    steps = request.max_steps or request.steps_in_epochs(samples)
    by_epoch = "epoch" if request.patience is not None else None
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=request.seeds[0],
        num_train_epochs=request.epochs,
        max_steps=request.max_steps or -1,
        learning_rate=request.learning_rate,
        per_device_train_batch_size=request.batch_size,
        per_device_eval_batch_size=_EVALUATION_BATCH,
        gradient_accumulation_steps=request.gradient_accumulation,
        # At least one step: transformers takes a number below one as a share.
        warmup_steps=math.ceil(steps * request.warmup),
        weight_decay=request.weight_decay,
        optim="adamw_torch",
        bf16=request.compute_dtype == "bfloat16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        logging_steps=max(1, steps // _CURVE_POINTS),
        # Otherwise a NaN loss would be left out of the curve.
        logging_nan_inf_filter=False,
        eval_strategy=by_epoch or "no",
        save_strategy=by_epoch or "steps",
        save_steps=request.save_steps,
        save_total_limit=1,
        load_best_model_at_end=by_epoch is not None,
        # Otherwise a resumed training counts the epochs of its patience from 0.
        restore_callback_states_from_checkpoint=True,
        metric_for_best_model="eval_loss" if by_epoch else None,
        greater_is_better=False if by_epoch else None,
        report_to="none",
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        # Otherwise every batch is split over the GPUs; one device trains a checkpoint.
        arguments._n_gpu = 1
    return arguments


def _predicted_class(logits: Any, _labels: Any) -> torch.Tensor:
    return _first(logits).argmax(-1)


def _predicted_number(logits: Any, _labels: Any) -> torch.Tensor:
    return _first(logits).float().squeeze(-1)


def _first(logits: Any) -> torch.Tensor:
    found: torch.Tensor = logits[0] if isinstance(logits, tuple) else logits
    return found


def _mean_squared_error(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Return the squared error of a forward pass, divided by the samples of its optimiser step."""
    total = torch.nn.functional.mse_loss(outputs.logits.float().squeeze(-1), labels.float(), reduction="sum")
    return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


def _mean_cross_entropy(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Return the cross-entropy of a forward pass, divided by the labelled items of its optimiser step.

    The heads' own loss is the mean over a forward pass. `Trainer` adds the losses of the passes of a step, so that with
    gradient accumulation losses and gradients would be too large by the number of passes.
    """
    logits = outputs.logits.float()
    total = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=NO_LABEL, reduction="sum"
    )
    return total / ((labels != NO_LABEL).sum() if num_items_in_batch is None else num_items_in_batch)


class _Trainer(Trainer):  # type: ignore[misc]
    """A `Trainer` that stops at a loss that is not finite."""

    _last: tuple[int, torch.Tensor, torch.cuda.Event | None] | None = None

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **options)
        # The loss before this one, which a GPU has computed by now: to wait for this one takes a sixth of the time.
        self.require_finite()
        copied = loss.detach().to("cpu", non_blocking=loss.is_cuda)
        event = None
        if loss.is_cuda:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(loss.device))
        self._last = (self.state.global_step + 1, copied, event)
        return loss

    def require_finite(self) -> None:
        """Refuse the last loss that was computed where it is not finite."""
        if self._last is None:
            return
        step, loss, event = self._last
        if event is not None:
            event.synchronize()
        self._last = None
        if not torch.isfinite(loss):
            raise _diverged(f"the loss is {loss.item()} at step {step}")


class _Pace(TrainerCallback):  # type: ignore[misc]
    """Counts steps, time and epochs of this process."""

    def __init__(self, on_step: Callable[[int, int], None]) -> None:
        self._on_step = on_step
        # Time and epoch.
        self._begun = self._ended = (time.perf_counter(), 0.0)
        self.done = 0
        self.stepped = False

    @property
    def seconds(self) -> float:
        return self._ended[0] - self._begun[0]

    @property
    def epochs(self) -> float:
        return self._ended[1] - self._begun[1]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._note(state)
        self._begun = self._ended

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._note(state)
        self.stepped = True

    def _note(self, state: Any) -> None:
        self._ended = (time.perf_counter(), float(state.epoch or 0))
        self.done = state.global_step
        self._on_step(state.global_step, state.max_steps)
