"""Compare autodan with NumPy, PyTorch, TensorFlow/Keras and JAX on this machine.

python -m benches.compare                         # everything (about an hour)
python -m benches.compare matmul conv --rounds 5
python -m benches.compare train --json train.json --plot train.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benches.compare.cases import GROUPS, all_cases
from benches.compare.contest import OURS, contend
from benches.compare.libraries import FORMS
from benches.compare.report import as_json, plot, table


def main() -> int:
    """Run the comparison; returns 1 if a library failed in a case."""
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios")
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    cases = [
        case
        for case in all_cases()
        if (not arguments.groups or case.group in arguments.groups) and arguments.match in case.name
    ]
    libraries = dict.fromkeys([OURS, *arguments.libraries])
    results = contend(
        cases,
        libraries,
        threads=arguments.threads,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
    )
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(results), indent=1))
    if arguments.plot:
        plot(results, arguments.plot)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
