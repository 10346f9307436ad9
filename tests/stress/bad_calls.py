"""Shows that no call of anything public, however wrong, does more than raise a documented error.

Every public function, class, method and property is called with arguments that look right, are
wrong, or are hostile (`tests/hostile/`). A call may give a result or a documented exception. It may
not crash, hang, take more than 4 GiB, change an argument or the state of the process, or fail and
leave its object changed. Calls run in child processes; the n-th call of a seed is always the same:

    python tests/stress/bad_calls.py --count 50000
    python tests/stress/bad_calls.py --seed 3 --only 4711
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MEMORY = 4 << 30
CALLS_PER_CHILD = 2000
HUNG_SECONDS = 120


def prepare() -> None:
    """Make the process one in which calls can do no harm."""
    from autodan.datasets import source

    def refuse(url: str, target: Path) -> NoReturn:
        raise ConnectionError(f"no network for {url}")

    source.http_get = refuse
    os.environ.pop("AUTODAN_DATA", None)
    os.environ["XDG_CACHE_HOME"] = os.environ["HOME"] = os.getcwd()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def child(seed: int, start: int, stop: int, every: int) -> None:
    """Make the calls from `start` to `stop` and print what came of them, a line each."""
    from hostile import calls
    from hostile.callables import targets

    # The calls may print, and close what they find by number.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    prepare()
    table = targets()
    untouched = calls.state()
    for index in range(start, stop, every):
        print(json.dumps([index, "making its arguments", None]), file=report)
        call = calls.nth(table, seed, index)
        print(json.dumps([index, str(call)[:400], None]), file=report)
        faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
        outcome = calls.outcome(call)
        faulthandler.cancel_dump_traceback_later()
        calls.restore(untouched)
        print(json.dumps([index, str(call)[:400], vars(outcome)]), file=report)
        del call


def show(seed: int, index: int) -> None:
    """Make one call in this process, and print it with its traceback."""
    from hostile import calls
    from hostile.callables import targets

    prepare()
    faulthandler.enable()
    table = targets()
    call = calls.nth(table, seed, index)
    print(call, flush=True)
    receiver = None if call.target.receiver is None else call.target.receiver()
    with contextlib.suppress(Exception):
        print("arguments:", [f"{type(v).__name__}" for v in call.values()])
    try:
        print(type(calls.run(call, receiver)))
    except BaseException:
        traceback.print_exc()
    print(calls.outcome(calls.nth(table, seed, index)))


def campaign(count: int, seed: int) -> int:
    """Make the calls in children, and return how many were answered wrongly."""
    kinds: Counter[str] = Counter()
    unnamed = 0
    faults: list[Any] = []
    begin = time.monotonic()
    start = 0
    while start < count:
        stop = min(start + CALLS_PER_CHILD, count)
        with tempfile.TemporaryDirectory() as place:
            arguments = [sys.executable, str(Path(__file__).resolve()), "--seed", str(seed)]
            arguments += ["--child", str(start), str(stop)]
            done = subprocess.run(arguments, cwd=place, capture_output=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.endswith(b"]")]
        for index, call, outcome in lines:
            if outcome is not None:
                kinds[outcome["kind"]] += 1
                unnamed += not outcome["names"]
                if outcome["fault"]:
                    faults.append((index, call, outcome["fault"]))
        start = stop
        if done.returncode:
            trace = done.stderr.decode(errors="replace")[-2000:]
            index, call, _ = lines[-1] if lines else (start, "importing", None)
            faults.append((index, call, f"the process died, exit code {done.returncode}: {trace}"))
            kinds["crash"] += 1
            start = index + 1
    for index, call, fault in faults:
        print(f"--seed {seed} --only {index}: {call}\n    {fault}")
    listing = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
    print(
        f"{sum(kinds.values()):,} calls in {time.monotonic() - begin:.0f} s: {listing}; "
        f"{unnamed:,} messages name neither function nor argument; "
        f"{len(faults)} failures"
    )
    return len(faults)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", type=int, metavar="INDEX", help="make one call, with traceback")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.seed, *options.child, 1)
        return 0
    if options.only is not None:
        os.chdir(tempfile.mkdtemp())
        show(options.seed, options.only)
        return 0
    return 1 if campaign(options.count, options.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
