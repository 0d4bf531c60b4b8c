"""What a model does, as a trial of it measures; see `biocache.engine.models.trial`."""

from dataclasses import dataclass

__all__ = ["Traits"]


@dataclass(frozen=True)
class Traits:
    """What a model does, as it was measured.

    Attributes
    ----------
    features
        Length of each hidden state, the embedding output first; 0 for one that has no row a token.
    padded
        Whether samples that are padded to one length have the hidden states that they have alone; else only samples of
        equal length may go through the model together.
    causal
        Whether a token's hidden states do not depend on later tokens.
    stateful
        Whether a forward pass changes the model, so that two at the same time would disturb each other.
    heads
        Heads of the maps; 0 where there are none, or none were asked for.
    without_maps
        Blocks, from 1, whose attention maps are not probabilities (head, query, key) of a sample's own tokens.
    no_maps
        Why they are not; empty where all have maps.
    padded_maps, causal_maps
        As `padded` and `causal`, of maps: whether no query sees a later key.
    sink
        Whether rows of maps sum to less than 1, because a part of the attention goes to no token.
    head_token
        Which token a head for sequences reads; see `biocache.engine.models.head_token`.
    """

    features: tuple[int, ...]
    padded: bool
    causal: bool
    stateful: bool = False
    heads: int = 0
    without_maps: tuple[int, ...] = ()
    no_maps: str = ""
    padded_maps: bool = True
    causal_maps: bool = True
    sink: bool = False
    head_token: str = "none"
