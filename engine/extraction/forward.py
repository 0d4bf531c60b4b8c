"""The forward pass: a batch of token ids in, activations without padding out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.extraction.batches import Batch
from biocache.store.errors import BiocacheError, ModelError, ResourceError
from biocache.store.spec import RunSpec
from biocache.store.text import one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["AHEAD", "Activations", "Forward", "TokenTable"]

# Batches begun for each lane before one is awaited: one that is computed and one for when it is done.
AHEAD = 2


@dataclass(frozen=True, eq=False)
class TokenTable:
    """What the model is fed, for all samples of a run.

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
    """What a batch gave, in the order of its samples.

    Attributes
    ----------
    batch
        The batch.
    hidden
        (layer, token, feature) of the real tokens, in the data type of the store; None where not kept.
    attention
        (layer, head, pair) of the stored entries; None where not kept.
    """

    batch: Batch
    hidden: NDArray[np.floating] | None
    attention: NDArray[np.floating] | None


class Forward:
    """Runs one model over batches of one run.

    Parameters
    ----------
    model
        The encoder, from `load_model`.
    spec
        What is kept, in which layers and data type.
    tokens
        The run's tokens.
    lanes
        Batches computed at once on a CPU, each with its share of the cores that torch may use.
    """

    def __init__(self, model: "PreTrainedModel", spec: RunSpec, tokens: TokenTable, *, lanes: int = 1) -> None:
        self._model = model
        self._spec = spec
        self._tokens = tokens
        self._pad = int(getattr(model.config, "pad_token_id", None) or 0)
        self._causality_checked = not spec.causal
        self._lanes = lanes

    def run(self, batches: Iterable[Batch]) -> Iterator[Activations]:
        """Yield the activations of batches, in their order.

        The next batches are begun before the activations of this one are awaited, so that their way to the store
        overlaps with the computation: on a GPU they are queued, on a CPU every lane has its own.

        Raises
        ------
        ModelError
            If the model does not return what its configuration promises.
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
        """Give a function that begins a batch and returns one that waits for it."""
        import torch

        if self._model.device.type != "cpu":
            yield lambda batch: self._launch(batch).wait
            return
        allowed = torch.get_num_threads()
        threads = max(1, allowed // self._lanes)
        pool = ThreadPoolExecutor(self._lanes, "biocache-forward", torch.set_num_threads, (threads,))
        try:
            yield lambda batch: pool.submit(lambda: self._launch(batch).wait()).result
        finally:
            pool.shutdown(cancel_futures=True)
            # A lane's number is also that of every thread begun later, which may be the caller's.
            torch.set_num_threads(allowed)

    def _launch(self, batch: Batch) -> "_Pending":
        import torch

        try:
            with torch.inference_mode():
                outputs = self._model(
                    **self.inputs(batch),
                    output_hidden_states="hidden" in self._spec.keep,
                    output_attentions="attention" in self._spec.keep,
                    return_dict=True,
                    **self._without_cache(),
                )
                hidden = self._gather_hidden(outputs, batch) if "hidden" in self._spec.keep else None
                maps = self._gather_attention(outputs, batch) if "attention" in self._spec.keep else None
                del outputs
                return _Pending(batch, _to_host(hidden), _to_host(maps), self._model.device)
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"{self._model.device} has not enough memory for a batch of {len(batch.samples)} samples of up to "
                f"{batch.lengths[0]} tokens; pass a smaller --batch-tokens than {batch.padded_tokens}"
            ) from error
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, BiocacheError):
                raise
            # A model that its files do not fit fails in its own way.
            raise ModelError(
                f"the model ({self._model.config.model_type}) of run {self._spec.key} failed on {len(batch.samples)} "
                f"samples, the first number {batch.samples[0]} of {batch.lengths[0]} tokens ({one_line(error)}); "
                "check that its configuration, weights and tokenizer belong together"
            ) from error

    def _without_cache(self) -> dict[str, bool]:
        # Decoders would otherwise keep every layer's keys and values for a generation that never comes.
        return {"use_cache": False} if self._spec.causal else {}

    def inputs(self, batch: Batch) -> "dict[str, torch.Tensor]":
        """Return what the model is fed for a batch, on its device, padded on the right."""
        import torch

        width = int(batch.lengths[0])
        column = np.arange(width)
        real = column < batch.lengths[:, None]
        source = np.where(real, self._tokens.start[batch.samples][:, None] + column, 0)
        arrays = {
            "input_ids": np.where(real, self._tokens.token_id[source], self._pad).astype(np.int64),
            "attention_mask": real.astype(np.int64),
        }
        if self._spec.token_types:
            arrays["token_type_ids"] = np.where(real, self._tokens.segment[source], 0).astype(np.int64)
        return {
            name: torch.from_numpy(values).to(self._model.device, non_blocking=True) for name, values in arrays.items()
        }

    def _gather_hidden(self, outputs: Any, batch: Batch) -> "torch.Tensor":
        import torch

        states = outputs.hidden_states
        if len(states) != self._model.config.num_hidden_layers + 1:
            raise ModelError(
                f"the model returned {len(states)} hidden states for {self._model.config.num_hidden_layers} layers"
            )
        tokens, features = int(batch.lengths.sum()), states[0].shape[-1]
        gathered = torch.empty(
            (len(self._spec.layers), tokens, features),
            dtype=getattr(torch, self._spec.dtype),
            device=states[0].device,
        )
        for row, layer in enumerate(self._spec.layers):
            done = 0
            for rows, length in _equal_lengths(batch):
                size = len(rows) * length
                kept = states[layer][rows.start : rows.stop, :length]
                gathered[row, done : done + size].view(len(rows), length, features).copy_(kept)
                done += size
        return gathered

    def _gather_attention(self, outputs: Any, batch: Batch) -> "torch.Tensor":
        import torch

        maps, layers = outputs.attentions, self._model.config.num_hidden_layers
        if maps is None or len(maps) != layers:
            raise ModelError(
                f"the model returned {len(maps or ())} attention maps for {layers} layers; its attention "
                "implementation must be eager"
            )
        if not self._causality_checked:
            self._refuse_acausal(maps)
        spec = self._spec
        pairs = int(spec.entry_count(batch.lengths).sum())
        gathered = torch.empty(
            (len(spec.attention_layers), spec.head_count, pairs),
            dtype=getattr(torch, spec.dtype),
            device=maps[0].device,
        )
        for row, layer in enumerate(spec.attention_layers):
            done = 0
            for rows, length in _equal_lengths(batch):
                kept = maps[layer - 1][rows.start : rows.stop, :, :length, :length].transpose(0, 1)
                if spec.causal:
                    query, key = torch.tril_indices(length, length, device=kept.device)
                    kept = kept[:, :, query, key]
                size = len(rows) * int(spec.entry_count(length))
                gathered[row, :, done : done + size].view(kept.shape).copy_(kept)
                done += size
        return gathered

    def _refuse_acausal(self, maps: "tuple[torch.Tensor, ...]") -> None:
        # What an architecture does to one batch it does to all; looking at each would stall a GPU.
        if any(bool(layer_maps.triu(1).any()) for layer_maps in maps):
            raise ModelError(
                f"the model ({self._model.config.model_type}) attends to later tokens though it was taken for a "
                "causal one; biocache cannot store its maps: pass --keep=hidden"
            )
        self._causality_checked = True


def _equal_lengths(batch: Batch) -> Iterator[tuple[range, int]]:
    """Yield the rows of a batch that have the same length; they are consecutive, since batches are sorted."""
    cuts = np.flatnonzero(np.diff(batch.lengths)) + 1
    for begin, end in pairwise([0, *cuts.tolist(), len(batch.lengths)]):
        yield range(begin, end), int(batch.lengths[begin])


def _to_host(values: "torch.Tensor | None") -> "torch.Tensor | None":
    """Begin the copy to the host; from CUDA it goes to pinned memory and does not wait."""
    return None if values is None else values.to("cpu", non_blocking=values.is_cuda)


class _Pending:
    """Activations on their way to the host."""

    def __init__(
        self,
        batch: Batch,
        hidden: "torch.Tensor | None",
        attention: "torch.Tensor | None",
        device: "torch.device",
    ) -> None:
        import torch

        self._batch, self._hidden, self._attention = batch, hidden, attention
        self._event = None
        if device.type == "cuda":
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def wait(self) -> Activations:
        if self._event is not None:
            self._event.synchronize()
        arrays = [None if values is None else values.numpy() for values in (self._hidden, self._attention)]
        return Activations(self._batch, *arrays)
