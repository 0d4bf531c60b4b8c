"""How often intervals cover the truth, and tests err where nothing differs, by the number of groups and of seeds.

    python tests/benchmarks/calibration.py [--trials 4000] [--groups 5 10 20 50 51 150] [--seeds 3 5 10]

Corpora are drawn whose truth is known (`tests/clusters.py`): right are a coverage of 0.95 and a type I error of 0.05,
but for the simulation's error, which stands beside them. The row `samples` takes samples as independent; `samples
alone` leaves out what seeds of the training differ by.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd
from clusters import GROUPS, SEEDS, Rates, rates, seed_rates


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--groups", type=int, nargs="+", default=list(GROUPS))
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    asked = parser.parse_args()
    _print({f"{groups} groups": rates(groups, asked.trials) for groups in asked.groups})
    for groups in asked.groups if asked.seeds else ():
        print(f"\n{groups} groups, over seeds of the training")
        _print({f"{seeds} seeds": seed_rates(seeds, groups, asked.trials) for seeds in asked.seeds})


def _print(columns: dict[str, Rates]) -> None:
    print(pd.DataFrame({name: dict(found.items()) for name, found in columns.items()}).round(3).to_string())
    print(f"simulation's error: {next(iter(columns.values())).error(0.05):.3f}")


if __name__ == "__main__":
    main()
