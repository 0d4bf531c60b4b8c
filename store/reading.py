"""Reading a run: the xarray views of it."""

from collections.abc import Iterator

import xarray as xr

from biocache.store import views
from biocache.store.data import RunData
from biocache.store.streaming import RaggedBatch, iterate_batches

__all__ = ["Run"]


class Run(RunData):
    """The cached activations of one key.

    Opening a run reads its attributes; tables and activations are read when they are asked for.

    Attributes
    ----------
    path
        Folder of the run.
    key, spec, provenance, counts
        Name, identity, origin and sizes of the run.
    """

    def tokens(self) -> xr.Dataset:
        """Return hidden states by token.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, token, feature), lazy, in the data type of the store, a block a layer of a pack, with
            the coordinates ``layer`` and, along ``token``: ``token`` (position among the tokens of the run), ``sample``
            (position among the samples), ``position`` (in the sample), ``word`` (position among words, -1 for
            special tokens), ``token_id``, ``token_text``, ``special`` and ``segment``. Half precision is written to
            files as single, unless an encoding says otherwise: netCDF knows no other.

        Raises
        ------
        IncompleteRunError
            If packs are missing.
        RunNotFoundError
            If the run does not keep hidden states, or was removed.
        IntegrityError
            If a table cannot be read; reading activations raises it later, when they are computed.
        """
        return views.tokens_view(self)

    def words(self, pooling: str = "mean") -> xr.Dataset:
        """Return hidden states by word, each reduced over the word's tokens.

        Parameters
        ----------
        pooling
            ``mean``, ``first`` or ``last``.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, word, feature), lazy, float32, a block a layer of a pack, with the coordinates ``layer``
            and, along ``word``: ``word`` (position among all words of the run), ``sample``, ``text``, ``segment``,
            ``token_count`` and, for `ner`, ``label``. Words that lost all their tokens to ``max_length`` are left out;
            the attribute ``words_lost`` counts them. Since ``word`` counts them, runs of different tokenizers align.

        Raises
        ------
        SettingError
            If the pooling is not one of these.
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return views.words_view(self, pooling)

    def samples(self, pooling: str = "mean", special_tokens: bool = False) -> xr.Dataset:
        """Return hidden states by sample, each reduced over the sample's tokens.

        Parameters
        ----------
        pooling
            ``mean``, ``first``, ``last`` or ``max``.
        special_tokens
            Whether tokens that the tokenizer added take part. With them ``first`` of an encoder is its ``[CLS]``.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, sample, feature), lazy, float32, a block a layer of a pack, with the coordinates
            ``layer`` and, along ``sample``: ``sample`` (position in the run), ``sample_id``, ``token_count``,
            ``word_count``, ``truncated`` and, for `nli`, ``label``. A sample without a token to reduce is NaN.

        Raises
        ------
        SettingError
            If the pooling is not one of these.
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return views.samples_view(self, pooling, special_tokens)

    def attention(self) -> xr.Dataset:
        """Return all attention maps, as a contiguous ragged array (CF conventions, section 9).

        Returns
        -------
        xarray.Dataset
            ``attention`` (layer, head, entry), lazy, in the data type of the store, a block a layer of a pack, and
            ``row_size`` (sample), the entries of every sample's map; they follow each other along ``entry``. A map of T
            tokens is T x T entries, row-major (query, key), or for a causal model, whose attribute ``causal`` is 1, the
            T(T+1)/2 of the lower triangle. Coordinates: ``layer``, ``head`` and, along ``sample``, those of `samples`.

        Raises
        ------
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return views.attention_view(self)

    def attention_map(self, sample: int | str) -> xr.DataArray:
        """Read the attention maps of one sample.

        Parameters
        ----------
        sample
            Its position in the run, or its id.

        Returns
        -------
        xarray.DataArray
            float32 (layer, head, query, key), in memory; zeros above the diagonal of a causal model. Coordinates:
            ``layer``, ``head``, ``query`` and ``key`` (positions), ``query_token`` and ``key_token`` (texts),
            ``sample`` and ``sample_id``.

        Raises
        ------
        RunNotFoundError
            If the run has no such sample or does not keep attention.
        IncompleteRunError, IntegrityError
            As `tokens`, but at once.
        """
        return views.attention_map(self, sample)

    def iter_batches(
        self, layer: int, batch_tokens: int = 4096, *, shuffle: bool = False, seed: int = 0, window_packs: int = 2
    ) -> Iterator[RaggedBatch]:
        """Stream a layer in batches of whole samples, for training loops.

        Every sample comes once; each worker of a torch ``DataLoader`` yields the samples of its share of the packs. In
        memory are, at most, one layer of ``window_packs`` packs, what is left of the window before, and a batch.

        Parameters
        ----------
        layer
            The layer.
        batch_tokens
            Most tokens of a batch. A longer sample is a batch of its own.
        shuffle
            Whether to shuffle the packs, and the samples within each window of packs; else the order is the run's.
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
            If the layer is not stored, a number is not positive or the seed is negative.
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return iterate_batches(self, layer, batch_tokens, shuffle=shuffle, seed=seed, window_packs=window_packs)
