"""What tests of several views share."""

from typing import Any

import pytest

from biocache.store.chunks import Chunks


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Name, position of the layer and pack of every chunk that is read from now on."""
    seen: list[tuple[str, int, int]] = []
    original = Chunks.read_arrays

    def spy(chunks: Chunks, index: int, pack: int) -> Any:
        seen.append((chunks.kept.name, index, pack))
        return original(chunks, index, pack)

    monkeypatch.setattr(Chunks, "read_arrays", spy)
    return seen
