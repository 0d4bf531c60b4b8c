"""A campaign against all that writes: random commands, one to four at a time, killed at random moments or raced.

    python tests/campaign.py --minutes 10 --seed 1

See `trials` for what each must leave.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import campaign_commands
import campaign_races
import campaign_store
from trials import Place, Trial, run_trial, usual

#: Name to trial.
TRIALS: dict[str, Trial] = {
    **campaign_store.STORE_TRIALS,
    **campaign_commands.COMMAND_TRIALS,
    **campaign_races.RACES,
}


def campaign(
    seconds: float, trials: int, seed: int, chosen: tuple[str, ...] = tuple(TRIALS)
) -> Counter[tuple[str, str]]:
    """Run trials, of each name in turn, until the time or their number is reached; return how many ended how."""
    rng = random.Random(seed)
    counts: Counter[tuple[str, str]] = Counter()
    folder = Path(tempfile.mkdtemp(prefix="biocache-campaign-"))
    place = Place(folder / "home", folder / "kept")
    try:
        campaign_store.make_kept(place)
        campaign_commands.make_kept(place)
        takes = {name: usual(place, TRIALS[name]) for name in chosen}
        until = time.monotonic() + seconds
        turn: list[str] = []
        while time.monotonic() < until and counts.total() < trials:
            turn = turn or rng.sample(chosen, len(chosen))
            name = turn.pop()
            try:
                counts[name, run_trial(place, TRIALS[name], rng, takes[name])] += 1
            except BaseException as error:
                kept = shutil.copytree(folder, f"{folder}-failed", symlinks=True)
                error.add_note(f"trial {counts.total()} of seed {seed}, {name}: all of it is kept in {kept}")
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return counts


def main() -> None:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trial", action="append", choices=list(TRIALS), help="only this; may be given again")
    asked = parser.parse_args()
    chosen = tuple(asked.trial or TRIALS)
    counts = campaign(60 * asked.minutes, sys.maxsize, asked.seed, chosen)
    for name in chosen:
        ways = sorted((how, number) for (one, how), number in counts.items() if one == name)
        print((f"{name:<26}" + "".join(f"{number:>6} {how:<19}" for how, number in ways)).rstrip())
    print(f"{counts.total()} trials, nothing lost")


if __name__ == "__main__":
    main()
