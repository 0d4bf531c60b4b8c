"""The forward pass: a batch of token ids in, activations without padding out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.extraction.batches import Batch
from biocache.engine.models.calling import call, maps_by_layer, model_inputs, states_of
from biocache.engine.models.trial import rounding
from biocache.engine.models.value_norms import TRACED_TOKENS, ValueNorms, find_projections
from biocache.store.errors import BiocacheError, ModelError, ResourceError
from biocache.store.schema import ATTENTION, HIDDEN, NORMS, Activation
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
        attention (layer, head, entry), norms (layer, head, token).
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
        self._norms: ValueNorms | None = None

    def run(self, batches: Iterable[Batch]) -> Iterator[Activations]:
        """Yield the activations of batches, in their order.

        The next batches are started before the activations of this one are awaited, so that copying and writing
        overlap with computation: on a GPU they are queued, on a CPU every lane has its own.

        Raises
        ------
        ModelError
            If the model fails, does not return what it returned when it was tried, or has value norms to keep and no
            known projections.
        ResourceError
            If the device has not enough memory for a batch.
        """
        waiting: deque[Callable[[], Activations]] = deque()
        with self._watched(), self._starter() as start:
            for batch in batches:
                waiting.append(start(batch))
                if len(waiting) > AHEAD * self._lanes:
                    yield waiting.popleft()()
            while waiting:
                yield waiting.popleft()()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Take the norms of values, where they are kept, for the length of a context."""
        if NORMS not in self._spec.kept:
            yield
            return
        spec, tokens = self._spec, self._tokens
        lengths = np.diff(tokens.start, append=len(tokens.token_id))
        # The longest beginning: of one token all maps are alike.
        sample = int(np.minimum(lengths, TRACED_TOKENS).argmax())
        inputs = self.inputs(Batch(np.array([sample]), np.minimum(lengths[[sample]], TRACED_TOKENS)))
        tolerance = rounding(spec.compute_dtype)
        found = find_projections(self._model, [inputs], spec.attention_layers, name=spec.key.model, tolerance=tolerance)
        self._norms = ValueNorms(self._model, found)
        with self._norms.watching():
            yield

    def _norms_of_call(self) -> "AbstractContextManager[Mapping[int, torch.Tensor]]":
        return nullcontext({}) if self._norms is None else self._norms.of_call()

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
            with torch.inference_mode(), self._norms_of_call() as norms:
                kept = self._spec.kept
                outputs = call(self._model, self.inputs(batch), hidden=HIDDEN in kept, attention=ATTENTION in kept)
                gathered = {one: self._gather(one, self._layers(one, outputs, norms), batch) for one in kept}
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

    def _gather(self, kept: Activation, values: "Mapping[int, torch.Tensor]", batch: Batch) -> "torch.Tensor":
        """Copy what is kept of a variable, given by layer, without padding, in float32."""
        import torch

        spec, width = self._spec, self._spec.width(kept)
        layers = spec.variable_layers(kept.name)
        length = int((spec.entry_count(batch.lengths) if kept is ATTENTION else batch.lengths).sum())
        gathered = torch.empty(
            (len(layers), *kept.shape(width, length)), dtype=torch.float32, device=self._model.device
        )
        for row, layer in enumerate(layers):
            done = 0
            for rows, tokens in _equal_lengths(batch):
                block = self._stored(kept, values[layer][rows.start : rows.stop], tokens)
                size = block.numel() // width
                # Tensors are indexed as arrays are.
                place: Any = kept.part(gathered[row], slice(done, done + size))  # type: ignore[arg-type]
                place.view(block.shape).copy_(block)
                done += size
        return gathered

    def _layers(
        self, kept: Activation, outputs: Any, norms: "Mapping[int, torch.Tensor]"
    ) -> "Mapping[int, torch.Tensor]":
        """Return what the model returned of a variable, by layer; all layers that are stored."""
        if kept is HIDDEN:
            found: Mapping[int, torch.Tensor] = dict(enumerate(states_of(outputs)))
        else:
            found = norms if kept is NORMS else maps_by_layer(self._model.config, outputs)
        missing = [layer for layer in self._spec.variable_layers(kept.name) if layer not in found]
        if missing:
            raise ModelError(f"the model returned no {kept.name} of layer {missing[0]}")
        return found

    def _stored(self, kept: Activation, values: "torch.Tensor", tokens: int) -> "torch.Tensor":
        """Return what is stored of samples of some tokens, in the order in which it is stored.

        It is (sample, token, feature) of hidden states, and (head, sample, ...) of norms (sample, head, token) and of
        maps (sample, head, query, key).
        """
        import torch

        if kept is HIDDEN:
            return values[:, :tokens]
        if kept is NORMS:
            return values[:, :, :tokens].transpose(0, 1)
        maps = values[:, :, :tokens, :tokens].transpose(0, 1)
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
