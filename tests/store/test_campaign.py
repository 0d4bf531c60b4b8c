"""The campaign of tests/campaign.py, in small."""

import pytest
from campaign import TRIALS, campaign


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost(seed: int) -> None:
    counts = campaign(60.0, 40, seed)
    assert {name for name, _ in counts} == set(TRIALS)
    assert sum(count for (_, how), count in counts.items() if how == "killed") > 10
