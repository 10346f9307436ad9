"""Print what the tests of the table of ops measure, one line for each op.

Runs `tests/test_ops*.py` and shows for each public op how many cases were drawn, the worst error of
a gradient against central differences, and the worst float32 results and gradients as shares of
their bounds; then the totals. Exits non-zero if a test fails or an op is outside the table.

    python tests/stress/op_report.py                       # as in every run
    python tests/stress/op_report.py --profile thorough    # 1,000 examples of each property
    python tests/stress/op_report.py --from FILE.json      # of `pytest --op-report FILE.json`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
COLUMNS = ("gradient", "float32", "slope")
RTOL = 1e-5


def measure(profile: str, select: str, file: Path) -> int:
    """Run the tests and return pytest's exit status."""
    names = sorted(map(str, TESTS.glob("test_ops*.py")))
    options = ["-o", "addopts=", "-q", "-p", "no:cacheprovider", "-o", "timeout=0"]
    options += [f"--hypothesis-profile={profile}", "-k", select, f"--op-report={file}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *names], check=False
    ).returncode


def share(worst: dict[str, Any], scale: float = 1.0) -> str:
    return f"{worst['share'] * scale:10.2g}" if worst["share"] >= 0 else f"{'-':>10}"


def show(report: dict[str, Any]) -> None:
    """Print the table and the totals."""
    print(
        f"{'op':32}{'examples':>9}{'gradient':>10}{'float32':>10}{'slope':>10}  worst gradient at"
    )
    for name, figures in sorted(report["ops"].items()):
        gradient = share(figures["gradient"], RTOL)
        rest = "".join(share(figures[kind]) for kind in COLUMNS[1:])
        where = figures["gradient"]["where"][:60]
        print(f"{name:32}{figures['examples']:9}{gradient}{rest}  {where}")
    print()
    for name, value in report["totals"].items():
        print(f"{name}: {value}")


def main() -> int:
    """Run or read, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profile", default="quick", choices=("quick", "thorough"))
    parser.add_argument("-k", dest="select", default="test", help="pytest's choice of tests")
    parser.add_argument("--from", dest="file", type=Path, help="a report that has been written")
    given = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        file = given.file or Path(directory) / "report.json"
        status = 0 if given.file else measure(given.profile, given.select, file)
        report = json.loads(file.read_text(encoding="utf-8"))
    show(report)
    totals = report["totals"]
    print(
        f"{totals['ops in the table']} ops in the table, {totals['ops outside']} outside, "
        f"{totals['examples']} examples, {time.monotonic() - start:.0f} s"
    )
    return status or int(totals["ops outside"] > 0)


if __name__ == "__main__":
    sys.exit(main())
