"""Intervals and tests of groups of samples err as often as they say, where the truth is known."""

import pytest
from clusters import GROUPS, SEEDS, rates, seed_rates

TRIALS = 1500


@pytest.mark.slow
@pytest.mark.parametrize("groups", GROUPS)
def test_intervals_and_tests_err_as_often_as_they_say(groups: int) -> None:
    found = rates(groups, TRIALS)
    shares = dict(found.items())
    room = 3 * found.error(0.05)
    # Samples of a group are not independent: an interval that takes them so covers less, which the others would show.
    assert shares.pop("coverage of scores, samples") < 0.95 - 3 * room
    for name, share in shares.items():
        expected = 0.95 if name.startswith("coverage") else 0.05
        assert abs(share - expected) < room, name


@pytest.mark.slow
@pytest.mark.parametrize("groups", [20, 80])
@pytest.mark.parametrize("seeds", SEEDS)
def test_means_over_seeds_err_as_often_as_they_say(seeds: int, groups: int) -> None:
    found = seed_rates(seeds, groups, TRIALS)
    shares = dict(found.items())
    room = 3 * found.error(0.05)
    # What seeds differ by is no small part: an interval without it covers less, which the others would show.
    assert shares.pop("coverage over seeds, samples alone") < 0.95 - 3 * room
    # Both parts hold what seeds and groups do together: means may cover more, and tests err less.
    assert 0.95 - room < shares["coverage over seeds"]
    assert shares["type I error of a test over seeds"] < 0.05 + room
