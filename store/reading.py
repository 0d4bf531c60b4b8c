"""Reading a run: the xarray views of tokens, words, samples and attention maps, labelled and lazy."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from biocache.store import schema
from biocache.store.data import RunData
from biocache.store.errors import SettingError
from biocache.store.levels import WORD_POOLINGS, require_tokens
from biocache.store.reducing import reduced_samples, reduced_words
from biocache.store.schema import POOLINGS
from biocache.store.spans import relation_view, span_view
from biocache.store.streaming import RaggedBatch, TokenBatches, generate_batches, torch_dataset
from biocache.store.text import shown
from biocache.store.views import (
    WINDOW_POOLINGS,
    attention_dataset,
    described,
    hidden_dataset,
    label_coordinates,
    map_of_sample,
    norm_dataset,
    require_positive,
    sample_coordinates,
    token_coordinates,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Run"]

# Coordinate of the view of words -> its column of the table.
_WORD_COLUMNS = {"sample": "sample", "text": "word_text", "segment": "segment", "token_count": "token_count"}


class Run(RunData):
    """The cached activations of one key.

    Opening a run reads its attributes; tables and activations are read on demand.

    Attributes
    ----------
    path
        Folder of the run.
    key, spec, provenance, counts
        Name, identity, origin and sizes of the run.
    """

    def tokens(self, *, labels: str | Sequence[str] | None = None, label_scheme: str = "type") -> "xr.Dataset":
        """Return hidden states by token.

        Parameters
        ----------
        labels, label_scheme
            As of `words`; a token has the label of its word or sample, special tokens have no word's.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, token, feature), lazy, in the data type of the store or float32 for codes, a block a
            layer of a pack, with the coordinates ``layer`` and, along ``token``: ``token`` (position among the tokens
            of the run), ``sample`` (position among the samples), ``position`` (in the sample), ``word`` (position among
            words, -1 for special tokens), ``token_id``, ``token_text``, ``special``, ``segment``, ``window`` (its
            number in the sample, whose tokens come once in each window that has them; 0 where it fits) and labels.
            Files get float16 as float32, unless an encoding says otherwise: netCDF has no float16.

        Raises
        ------
        IncompleteRunError
            If packs are missing.
        RunNotFoundError
            If the run does not keep hidden states, or was removed.
        SettingError
            If it keeps those of words or samples.
        IntegrityError
            If a table cannot be read; reading activations raises it later, when they are computed.
        """
        self.require_kept("hidden")
        require_tokens(self, "tokens")
        hidden = self.activations("hidden")
        return hidden_dataset(self, "token", hidden, None, token_coordinates(self, labels, label_scheme))

    def words(
        self,
        pooling: str = "mean",
        *,
        windows: str = "context",
        labels: str | Sequence[str] | None = None,
        label_scheme: str = "type",
    ) -> "xr.Dataset":
        """Return hidden states by word, each reduced over the word's tokens.

        Parameters
        ----------
        pooling
            ``mean``, ``first`` or ``last``.
        windows
            Which windows of a sample that is longer than the model a word is read from: ``context``, the one in which
            it is farthest from the nearer end of its text there, in tokens, of equal ones the first; or ``mean``, the
            mean of what each window that has it gives.
        labels
            Name of a label set, whose coordinate is ``label``; or a list of several, each a coordinate of its own name.
            None for the corpus's own, ``gold``, where it labels words. A word has the label of its sample where a set
            labels samples.
        label_scheme
            How IOB2 tags are shown: ``type``, merged by entity type, or ``bio``, as they are.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, word, feature), lazy, float32, a block a layer of a pack, with the coordinates ``layer``
            and, along ``word``: ``word`` (position among all words of the run), ``sample``, ``text``, ``segment``,
            ``token_count`` and labels: text, empty for none, or numbers, NaN for none. Words that lost all their tokens
            to ``max_length`` are left out; the attribute ``words_lost`` counts them. Since ``word`` counts them, runs
            of different tokenizers align.

        Raises
        ------
        SettingError
            If the pooling, the windows or the label scheme is not one of these, or the run keeps samples, or words and
            windows are ``mean``.
        RunNotFoundError
            If the run does not keep hidden states, was removed, or has no such label set.
        DataError
            If a label set is of another text.
        IncompleteRunError, IntegrityError
            As `tokens`.
        """
        if pooling not in WORD_POOLINGS:
            raise SettingError(f"pooling {pooling!r} of words is not one of {', '.join(WORD_POOLINGS)}")
        if windows not in WINDOW_POOLINGS:
            raise SettingError(f"windows {shown(windows)} of words is not one of {', '.join(WINDOW_POOLINGS)}")
        self.require("hidden")
        over_windows = windows == "mean" and self.spec.stride is not None
        kept, hidden = reduced_words(self, pooling, over_windows=over_windows)
        sample = self.column("words/sample")[kept]
        coordinates: dict[str, Any] = {
            "word": ("word", kept, {"long_name": "position among all words of the run, lost ones counted"}),
            **{
                name: described(f"words/{column}", self.column(f"words/{column}")[kept])
                for name, column in _WORD_COLUMNS.items()
            },
            **label_coordinates(self, "word", labels, label_scheme, samples=sample, words=kept),
        }
        pooled = f"{pooling} window: mean" if over_windows else pooling
        dataset = hidden_dataset(self, "word", hidden, pooled, coordinates)
        return dataset.assign_attrs(words_lost=self.counts.words - len(kept))

    def spans(self, labels: str = schema.GOLD, pooling: str = "mean") -> "xr.Dataset":
        """Return hidden states by span, an entity mention of one or more words, each reduced over its tokens.

        Parameters
        ----------
        labels
            Name of a label set of spans, or of words: IOB2 tags spell spans; of classes, a stretch of words of one
            class but ``O`` is one.
        pooling
            ``mean``, ``first``, ``last`` or ``max`` over the tokens of all its words, of each in the window in which it
            has most context, as `words` reads it.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, span, feature), lazy, float32, a block a layer of a pack, with the coordinates ``layer``
            and, along ``span``: ``span`` (position among all spans of the run), ``sample``, ``word`` (position of its
            first word), ``word_count``, ``type`` and ``text``. Spans that lost all their tokens to ``max_length`` are
            left out; the attribute ``spans_lost`` counts them.

        Raises
        ------
        SettingError
            If the pooling is not one of these, or the set labels samples, relations, or words with numbers, or the run
            keeps samples, or words and the pooling is ``max``.
        IncompleteRunError, RunNotFoundError, DataError, IntegrityError
            As `words`.
        """
        return span_view(self, labels, pooling)

    def relations(self, labels: str, pooling: str = "mean", *, layers: Sequence[int] | None = None) -> "xr.Dataset":
        """Return hidden states by relation: those of its two spans of words side by side, each reduced over its tokens.

        Parameters
        ----------
        labels
            Name of a label set of relations.
        pooling
            ``mean``, ``first``, ``last`` or ``max`` over the tokens of all words of a span.
        layers
            The layers; None for all.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, relation, feature), lazy, float32, a block a layer of a pack; the features of the first
            span, then those of the second, are twice the length of a hidden state. Coordinates along ``relation``:
            ``relation`` (position among all relations of the run), ``sample``, ``label``, and of each span
            ``first_word`` and ``second_word`` (position of its first word), ``first_word_count`` and so on, and
            ``first_text`` and so on. Relations with a span that lost all its tokens to ``max_length`` are left out; the
            attribute ``relations_lost`` counts them.

        Raises
        ------
        SettingError
            If the pooling is not one of these, a layer is not stored, the set labels something else, or the run keeps
            samples, or words and the pooling is ``max``.
        IncompleteRunError, RunNotFoundError, DataError, IntegrityError
            As `words`.
        """
        return relation_view(self, labels, layers, pooling)

    def samples(
        self,
        pooling: str = "mean",
        special_tokens: bool = False,
        *,
        labels: str | Sequence[str] | None = None,
        label_scheme: str = "type",
    ) -> "xr.Dataset":
        """Return hidden states by sample, each reduced over the sample's tokens.

        Parameters
        ----------
        pooling
            ``mean``, ``first``, ``last`` or ``max``.
        special_tokens
            Whether to include tokens that the tokenizer added. With them ``first`` of an encoder is its ``[CLS]``.

            Of a sample of several windows each token of the text counts once: ``mean`` and ``max`` take it from the
            window in which its word has most context, as `words` does; of special tokens they take those before the
            text from the first window and the others from the last. ``first`` is that of the first window, ``last``
            that of the last.
        labels, label_scheme
            As of `words`, of sets that label samples.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, sample, feature), lazy, float32, a block a layer of a pack, with the coordinates
            ``layer`` and, along ``sample``: ``sample`` (position in the run), ``sample_id``, ``token_count``,
            ``word_count``, ``truncated`` and labels. A sample without a token to reduce is NaN.

        Raises
        ------
        SettingError
            If the pooling or the label scheme is not one of these, or a set labels words, or the run keeps words and
            special tokens or ``max`` are asked for.
        IncompleteRunError, RunNotFoundError, DataError, IntegrityError
            As `words`.
        """
        if pooling not in POOLINGS:
            raise SettingError(f"pooling {pooling!r} of samples is not one of {', '.join(POOLINGS)}")
        self.require("hidden")
        hidden = reduced_samples(self, pooling, special_tokens=special_tokens)
        coordinates = sample_coordinates(self, labels, label_scheme)
        return hidden_dataset(self, "sample", hidden, pooling, coordinates)

    def attention(self, *, labels: str | Sequence[str] | None = None, label_scheme: str = "type") -> "xr.Dataset":
        """Return all attention maps, as a contiguous ragged array (CF conventions, section 9).

        Parameters
        ----------
        labels, label_scheme
            As of `samples`.

        Returns
        -------
        xarray.Dataset
            ``attention`` (layer, head, entry), lazy, in the data type of the store or float32 for codes, a block a
            layer of a pack, and ``row_size`` (sample), the entries of every sample's map; they follow each other along
            ``entry``. A map of T tokens is T x T entries, row-major (query, key), or for a causal model, whose
            attribute ``causal`` is 1, the T(T+1)/2 of the lower triangle. Coordinates: ``layer``, ``head`` and, along
            ``sample``, those of `samples`. A run that was extracted with a stride has instead ``row_size`` (window),
            the entries of every window's map, with the coordinates ``window_sample`` and ``window`` (its number in the
            sample) along it: a sample that fits is one window, of a longer one there is a map for each.

        Raises
        ------
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return attention_dataset(self, labels, label_scheme)

    def norms(self, *, labels: str | Sequence[str] | None = None, label_scheme: str = "type") -> "xr.Dataset":
        """Return the norms of value vectors after the output projection, by token.

        Parameters
        ----------
        labels, label_scheme
            As of `tokens`.

        Returns
        -------
        xarray.Dataset
            ``value_norm`` (layer, head, token), lazy, in the data type of the store, a block a layer of a pack:
            ``||f(x)||`` with ``f(x) = (x W_V + b_V) W_O`` of the head. Attention times the norm of its key is the
            norm-based attention (Kobayashi et al. 2020, https://doi.org/10.18653/v1/2020.emnlp-main.574). Coordinates:
            ``layer`` (those of `attention`), ``head`` and, along ``token``, those of `tokens`.

        Raises
        ------
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return norm_dataset(self, labels, label_scheme)

    def attention_map(self, sample: int | str, window: int | None = None) -> "xr.DataArray":
        """Read the attention maps of one sample.

        Parameters
        ----------
        sample
            Its position in the run, or its id.
        window
            Number of a window, from 0, of a sample that is longer than the model; None for all windows.

        Returns
        -------
        xarray.DataArray
            float32 (layer, head, query, key), in memory; zeros above the diagonal of a causal model. The maps of
            several windows are blocks along the diagonal, in the order of the tokens of `tokens`; what no window sees
            is NaN. Coordinates: ``layer``, ``head``, ``query`` and ``key`` (positions in the sample), ``query_token``
            and ``key_token`` (texts), ``sample`` and ``sample_id``.

        Raises
        ------
        RunNotFoundError
            If the run has no such sample or window, or does not keep attention.
        IncompleteRunError, IntegrityError
            As `tokens`, but at once.
        """
        self.require("attention")
        return map_of_sample(self, sample, window)

    def iter_batches(
        self, layer: int, batch_tokens: int = 4096, *, shuffle: bool = False, seed: int = 0, window_packs: int = 2
    ) -> Iterator[RaggedBatch]:
        """Stream a layer in batches of whole samples, for training loops.

        Every sample comes once; each worker of a torch ``DataLoader`` yields the samples of its share of the packs.
        Memory holds at most one layer of ``window_packs`` packs, the rest of the window before, and a batch.

        Parameters
        ----------
        layer
            The layer.
        batch_tokens
            Maximum tokens of a batch. A longer sample is a batch of its own.
        shuffle
            Whether to shuffle the packs, and the samples within each window of packs; else the order of the run.
        seed
            Seed of the shuffling; give each epoch its own.
        window_packs
            Packs whose samples are shuffled together.

        Yields
        ------
        RaggedBatch
            ``hidden`` (token, feature) float32, ``row_size`` (sample), ``sample`` (sample) and ``token`` (token).

        Raises
        ------
        SettingError
            If the layer is not stored, a number is not positive, the seed is negative, or the run keeps words or
            samples.
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        layers = self.spec.layers
        if layer not in layers:
            raise SettingError(f"layer {layer} is not stored in run {self.key}; it has {', '.join(map(str, layers))}")
        require_positive(batch_tokens=batch_tokens, window_packs=window_packs)
        if seed < 0:
            raise SettingError(f"seed {seed} is negative")
        self.require("hidden")
        require_tokens(self, "batches of tokens")
        return generate_batches(self, layers.index(layer), batch_tokens, seed if shuffle else None, window_packs)

    def torch_dataset(
        self,
        layers: Sequence[int] | None = None,
        *,
        batch_tokens: int = 4096,
        shuffle: bool = False,
        seed: int = 0,
        window_packs: int = 2,
    ) -> TokenBatches:
        """Return batches of some layers as an iterable dataset of PyTorch, for a ``DataLoader(..., batch_size=None)``.

        Each sample comes exactly once an epoch: packs are shared among the ranks of ``torch.distributed`` and the
        workers of each. ``set_epoch`` gives each epoch its own order; ``state_dict`` and ``load_state_dict`` go on in
        the middle of one, also for ``torchdata.stateful_dataloader.StatefulDataLoader``. The store imports no torch:
        import ``torch.utils.data`` before.

        Parameters
        ----------
        layers
            The layers; None for all.
        batch_tokens, shuffle, seed, window_packs
            As of `iter_batches`.

        Returns
        -------
        torch.utils.data.IterableDataset
            Its items are dicts: ``hidden`` (layer, token, feature) float32, ``row_size`` (sample), ``sample`` (sample)
            and ``token`` (token) int64, as of `RaggedBatch`.

        Raises
        ------
        SettingError
            If a layer is not stored, a number is not positive, the seed is negative, torch is not imported, or the run
            keeps words or samples.
        IncompleteRunError, RunNotFoundError
            As `tokens`.
        """
        stored = self.spec.layers
        chosen = stored if layers is None else tuple(layers)
        missing = [layer for layer in chosen if layer not in stored]
        if missing or not chosen:
            raise SettingError(
                f"layers {', '.join(map(str, missing)) or 'none'} are not stored in run {self.key}; it has "
                f"{', '.join(map(str, stored))}"
            )
        require_positive(batch_tokens=batch_tokens, window_packs=window_packs)
        if seed < 0:
            raise SettingError(f"seed {seed} is negative")
        self.require("hidden")
        require_tokens(self, "batches of tokens")
        places = tuple(stored.index(layer) for layer in chosen)
        return torch_dataset(self, places, batch_tokens, seed if shuffle else None, window_packs)
