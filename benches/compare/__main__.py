"""Compare autodan with NumPy, PyTorch, TensorFlow/Keras and JAX on this machine.

python -m benches.compare                         # everything that is timed (about an hour)
python -m benches.compare matmul conv --rounds 5
python -m benches.compare train --json train.json --plot train.png

Trainings from the start, only where they are named; real MNIST is found by AUTODAN_DATA:

python -m benches.compare mnist                   # seconds to a test accuracy of 0.99
python -m benches.compare memory                  # peak resident memory, and after each epoch
python -m benches.compare accuracy                # autodan compiled and eager, over five seeds
python -m benches.compare mnist memory accuracy --libraries autodan --images 640 --epochs 1
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benches.compare.cases import GROUPS, TIMED, all_cases
from benches.compare.contest import OURS, Results, contend
from benches.compare.libraries import FORMS
from benches.compare.report import as_json, plot, table
from benches.compare.training import EPOCHS, tables, train


def main() -> int:
    """Run the comparison; returns 1 if a library failed in a case."""
    arguments = _arguments()
    libraries = dict.fromkeys([OURS, *arguments.libraries])
    cases = [
        case
        for case in all_cases()
        if case.group in arguments.groups and arguments.match in case.name
    ]
    results = Results()
    if cases:
        results = contend(
            cases,
            libraries,
            threads=arguments.threads,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
        )
        print(table(results))
    outcomes = []
    for group in [group for group in arguments.groups if group in EPOCHS]:
        outcome = train(
            group,
            libraries,
            threads=arguments.threads,
            batch=arguments.batch,
            goal=arguments.goal,
            epochs=arguments.epochs,
            seeds=arguments.seeds,
            images=arguments.images,
        )
        outcomes.append(outcome)
        print(tables(outcome), end="\n\n")
    if arguments.json:
        content = as_json(results)
        content["trainings"] = {outcome.group: outcome.as_json() for outcome in outcomes}
        arguments.json.write_text(json.dumps(content, indent=1))
    if arguments.plot:
        plot(results, arguments.plot)
    return 1 if results.failures or any(outcome.failures for outcome in outcomes) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--libraries", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--match", default="", help="only cases with this text in their name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2, help="each measurement (0.2)")
    training = parser.add_argument_group("trainings")
    training.add_argument(
        "--epochs", type=int, help=", ".join(f"{g} {n}" for g, n in EPOCHS.items())
    )
    training.add_argument("--seeds", type=int, help="trainings of each (1; accuracy 5)")
    training.add_argument("--batch", type=int, default=32, help="images in a step (32)")
    training.add_argument("--goal", type=float, default=0.99, help="test accuracy (0.99)")
    training.add_argument("--images", type=int, help="only the first so many")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios")
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    arguments.groups = arguments.groups or list(TIMED)
    if arguments.plot and not set(arguments.groups) & set(TIMED):
        parser.error(f"--plot draws the ratios of {', '.join(TIMED)}; name one of them")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
