"""What tests of several views share."""

from typing import Any

import pytest

from biocache.store import chunks


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Name, position of the layer and pack of every chunk that is read from now on."""
    seen: list[tuple[str, int, int]] = []
    original = chunks.read_pack_layer

    def spy(run: str, name: str, index: int, pack: int, bounds: tuple[int, int]) -> Any:
        seen.append((name, index, pack))
        return original(run, name, index, pack, bounds)

    monkeypatch.setattr(chunks, "read_pack_layer", spy)
    return seen
