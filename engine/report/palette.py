"""Which colour each training size and model has, over the whole page."""

from collections.abc import Iterable
from dataclasses import dataclass

from biocache.engine.report.figure import Key
from biocache.engine.report.plots import color_of, marker_of

__all__ = ["Palette"]


@dataclass(frozen=True)
class Palette:
    """The training sizes and models of a page, in order."""

    training_sizes: tuple[int, ...]
    models: tuple[str, ...]

    @classmethod
    def of(cls, training_sizes: Iterable[int], models: Iterable[str]) -> "Palette":
        """Order what a page shows."""
        return cls(tuple(sorted(set(training_sizes))), tuple(sorted(set(models))))

    def size_key(self, training_size: int) -> Key:
        """Return the colour and marker of a training size."""
        place = self.training_sizes.index(training_size)
        return Key(f"{training_size} %", color_of(place), marker=marker_of(place))

    def model_key(self, model: str) -> Key:
        """Return the colour and marker of a model."""
        place = self.models.index(model)
        return Key(model, color_of(place), marker=marker_of(place))
