"""The campaign of tests/campaign.py, in small."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from campaign import TRIALS, campaign


@pytest.mark.slow
def test_nothing_is_lost() -> None:
    # In a fresh process: forks of one that runs threads may hang.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        counts = pool.submit(campaign, float(sys.maxsize), len(TRIALS), 1).result()
    assert {name for name, _ in counts} == set(TRIALS)
    assert sum(count for (_, how), count in counts.items() if how == "killed") > len(TRIALS) / 3
