"""The contest: a process for each library and form, the rounds, the times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benches.compare.cases import Case
from benches.compare.libraries import FORMS

OURS = "autodan"
CONTROL = "autodan (control)"
# Threads of some libraries go on spinning for a while after the last task.
PAUSE = 0.25


@dataclass
class Results:
    """The seconds of each round, by case and contestant."""

    descriptions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    times: dict[Case, dict[str, list[float]]] = field(default_factory=dict)


class Contestant:
    """A library in one form, in a process of its own."""

    def __init__(self, name: str, library: str, form: str, threads: int) -> None:
        self.name = name
        counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(counts, str(threads))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benches.compare.worker", library, form, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self.greeting = self._answer()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return {"ready": False, "reason": "the process has died", "failed": True}
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        status = self._process.wait()
        return {"missing": f"the process died with status {status}", "failed": True}

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def entries(libraries: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return name, library and form of each contestant, a second autodan first."""
    return [(CONTROL, OURS, FORMS[OURS][0])] + [
        (OURS if name == OURS else f"{name} {form}", name, form)
        for name in libraries
        for form in FORMS[name]
    ]


def contend(
    cases: Sequence[Case],
    libraries: Iterable[str] = FORMS,
    *,
    threads: int = 2,
    rounds: int = 7,
    seconds: float = 0.2,
) -> Results:
    """Run the cases on all libraries that are installed.

    In each round every contestant measures the case once, one after the other, so that a change in
    the machine's pace meets them all. autodan takes part twice: the ratio of the two says how much
    noise there is.
    """
    results = Results()
    contestants = []
    for name, library, form in entries(libraries):
        contestant = Contestant(name, library, form, threads)
        if "missing" in contestant.greeting:
            results.missing[name] = contestant.greeting["missing"]
            contestant.close()
            continue
        results.descriptions[library] = contestant.greeting["description"]
        contestants.append(contestant)
    try:
        for case in cases:
            print(f"{case.group}: {case.name}", file=sys.stderr)
            results.times[case] = _rounds(case, contestants, rounds, seconds, results.failures)
    finally:
        for contestant in contestants:
            contestant.close()
    return results


def _rounds(
    case: Case, contestants: list[Contestant], rounds: int, seconds: float, failures: list[str]
) -> dict[str, list[float]]:
    running = []
    for contestant in contestants:
        answer = contestant.ask(prepare=[case.kind, case.arguments])
        if answer.get("ready"):
            running.append(contestant)
        elif answer.get("failed"):
            failures.append(f"{contestant.name}, {case.name}: {answer.get('reason', 'died')}")
    times: dict[str, list[float]] = {contestant.name: [] for contestant in running}
    for number in range(rounds):
        # Forwards and backwards, so that nobody always follows the same neighbour.
        for contestant in running if number % 2 == 0 else reversed(running):
            time.sleep(PAUSE)
            answer = contestant.ask(measure=seconds)
            if "seconds" in answer:
                times[contestant.name].append(answer["seconds"])
            else:
                failures.append(f"{contestant.name}, {case.name}: {answer.get('reason', 'died')}")
    return {name: measured for name, measured in times.items() if len(measured) == rounds}
