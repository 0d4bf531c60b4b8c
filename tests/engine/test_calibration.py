"""Intervals and tests of groups of samples err as often as they say, where the truth is known."""

import pytest
from clusters import GROUPS, rates

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
