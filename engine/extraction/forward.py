"""The forward pass: a batch of token ids in, activations without padding out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.extraction.batches import Batch
from biocache.engine.models.calling import call, maps_by_layer, model_inputs, states_of
from biocache.store.errors import BiocacheError, ModelError, ResourceError
from biocache.store.schema import ATTENTION, HIDDEN, Activation
from biocache.store.spec import RunSpec
from biocache.store.text import one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["AHEAD", "Activations", "Forward", "TokenTable"]

# Batches started for each lane before one is awaited: one that runs and one that is queued.
AHEAD = 2


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Model inputs of all samples of a run; a window of a longer sample counts as one here.

    Attributes
    ----------
    token_id
        int32 (token), the samples' tokens one after another.
    segment
        int8 (token), fed as token types where the run's spec says so.
    start
        Position of every sample's first token, int64 (sample).
    """

    token_id: NDArray[np.int32]
    segment: NDArray[np.int8]
    start: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Activations:
    """The activations of a batch, in the order of its samples.

    Attributes
    ----------
    batch
        The batch.
    arrays
        Each kept variable with its values in float32, without padding: hidden states (layer, token, feature),
        attention (layer, head, entry).
    """

    batch: Batch
    arrays: Mapping[Activation, NDArray[np.float32]]


class Forward:
    """Runs one model over batches of one run.

    Parameters
    ----------
    model
        The encoder, from `load_model`.
    spec
        What is kept, in which layers.
    tokens
        The run's tokens.
    lanes
        Batches computed at once on a CPU, each with an equal share of torch's threads.
    """

    def __init__(self, model: "PreTrainedModel", spec: RunSpec, tokens: TokenTable, *, lanes: int = 1) -> None:
        self._model = model
        self._spec = spec
        self._tokens = tokens
        self._lanes = lanes

    def run(self, batches: Iterable[Batch]) -> Iterator[Activations]:
        """Yield the activations of batches, in their order.

        The next batches are started before the activations of this one are awaited, so that copying and writing
        overlap with computation: on a GPU they are queued, on a CPU every lane has its own.

        Raises
        ------
        ModelError
            If the model fails, or does not return what it returned when it was tried.
        ResourceError
            If the device has not enough memory for a batch.
        """
        waiting: deque[Callable[[], Activations]] = deque()
        with self._starter() as start:
            for batch in batches:
                waiting.append(start(batch))
                if len(waiting) > AHEAD * self._lanes:
                    yield waiting.popleft()()
            while waiting:
                yield waiting.popleft()()

    @contextmanager
    def _starter(self) -> Iterator[Callable[[Batch], Callable[[], Activations]]]:
        """Yield a function that starts a batch and returns a function that waits for it."""
        import torch

        if self._model.device.type != "cpu":
            # Launching takes as long as copying to the packs: each has a thread.
            launcher = ThreadPoolExecutor(1, "biocache-forward")
            try:
                yield lambda batch: _awaited(launcher.submit(self._launch, batch))
            finally:
                launcher.shutdown(cancel_futures=True)
            return
        allowed = torch.get_num_threads()
        threads = max(1, allowed // self._lanes)
        pool = ThreadPoolExecutor(self._lanes, "biocache-forward", torch.set_num_threads, (threads,))
        try:
            yield lambda batch: pool.submit(lambda: self._launch(batch)()).result
        finally:
            pool.shutdown(cancel_futures=True)
            # The limit of a lane also applies to threads that start later, such as the caller's.
            torch.set_num_threads(allowed)

    def _launch(self, batch: Batch) -> Callable[[], Activations]:
        """Start a batch, and return a function that waits for its activations."""
        import torch

        try:
            with torch.inference_mode():
                kept = self._spec.kept
                outputs = call(self._model, self.inputs(batch), hidden=HIDDEN in kept, attention=ATTENTION in kept)
                gathered = {kept: self._gather(kept, outputs, batch) for kept in self._spec.kept}
                del outputs
                return _copied(batch, gathered, self._model.device)
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"{self._model.device} has not enough memory for a batch of {len(batch.samples)} samples of up to "
                f"{batch.lengths[0]} tokens; pass a smaller --batch-tokens than {batch.padded_tokens}"
            ) from error
        except BiocacheError:
            raise
        except Exception as error:
            # A model whose files do not belong together raises one of many errors.
            raise ModelError(
                f"the model ({self._model.config.model_type}) of run {self._spec.key} failed on {len(batch.samples)} "
                f"samples, the first number {batch.samples[0]} of {batch.lengths[0]} tokens ({one_line(error)}); "
                "check that its configuration, weights and tokenizer belong together"
            ) from error

    def inputs(self, batch: Batch) -> "dict[str, torch.Tensor]":
        """Return the model inputs of a batch on its device, padded on the right."""
        tokens = self._tokens
        starts = tokens.start[batch.samples]
        parts = [slice(start, start + size) for start, size in zip(starts, batch.lengths, strict=True)]
        segments = [tokens.segment[part] for part in parts] if self._spec.token_types else None
        return model_inputs(self._model, [tokens.token_id[part] for part in parts], segments)

    def _gather(self, kept: Activation, outputs: Any, batch: Batch) -> "torch.Tensor":
        """Copy what is kept of a variable, without padding, in float32."""
        import torch

        spec, width = self._spec, self._spec.width(kept)
        values, layers = self._layers(kept, outputs), spec.variable_layers(kept.name)
        length = int((batch.lengths if kept is HIDDEN else spec.entry_count(batch.lengths)).sum())
        gathered = torch.empty(
            (len(layers), *kept.shape(width, length)), dtype=torch.float32, device=self._model.device
        )
        for row, layer in enumerate(layers):
            done = 0
            for rows, tokens in _equal_lengths(batch):
                block = values[layer][rows.start : rows.stop]
                block = block[:, :tokens] if kept is HIDDEN else self._entries(block[:, :, :tokens, :tokens])
                size = block.numel() // width
                # Tensors are indexed as arrays are.
                place: Any = kept.part(gathered[row], slice(done, done + size))  # type: ignore[arg-type]
                place.view(block.shape).copy_(block)
                done += size
        return gathered

    def _layers(self, kept: Activation, outputs: Any) -> "Mapping[int, torch.Tensor]":
        """Return what the model returned of a variable, by layer; all layers that are stored."""
        found = dict(enumerate(states_of(outputs))) if kept is HIDDEN else maps_by_layer(self._model.config, outputs)
        missing = [layer for layer in self._spec.variable_layers(kept.name) if layer not in found]
        if missing:
            raise ModelError(f"the model returned no {kept.name} of layer {missing[0]}")
        return found

    def _entries(self, maps: "torch.Tensor") -> "torch.Tensor":
        """Return the stored entries (head, sample, ...) of maps (sample, head, query, key)."""
        import torch

        maps = maps.transpose(0, 1)
        if not self._spec.causal:
            return maps
        query, key = torch.tril_indices(*maps.shape[-2:], device=maps.device)
        return maps[:, :, query, key]


def _awaited(launched: "Future[Callable[[], Activations]]") -> Callable[[], Activations]:
    return lambda: launched.result()()


def _equal_lengths(batch: Batch) -> Iterator[tuple[range, int]]:
    """Yield the rows of a batch that have the same length; they are consecutive, since batches are sorted."""
    cuts = np.flatnonzero(np.diff(batch.lengths)) + 1
    for begin, end in pairwise([0, *cuts.tolist(), len(batch.lengths)]):
        yield range(begin, end), int(batch.lengths[begin])


def _copied(
    batch: Batch, gathered: "Mapping[Activation, torch.Tensor]", device: "torch.device"
) -> Callable[[], Activations]:
    """Begin the copy to the host, and return a function that waits for it."""
    import torch

    # A copy from CUDA goes to pinned memory and does not wait.
    copies = {kept: values.to("cpu", non_blocking=values.is_cuda) for kept, values in gathered.items()}
    event = None
    if device.type == "cuda":
        event = torch.cuda.Event()
        # Not the stream of the current device, which is the first one also where the model is on another.
        event.record(torch.cuda.current_stream(device))

    def wait() -> Activations:
        if event is not None:
            event.synchronize()
        return Activations(batch, {kept: values.numpy() for kept, values in copies.items()})

    return wait
