"""Trainings from the start: MNIST to an accuracy, the memory that takes, and seeds side by side."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benches.compare.cases import NETWORKS
from benches.compare.contest import OURS, PAUSE, Contestant, entries
from benches.compare.data import save_splits

NETWORK = next(iter(NETWORKS))
LAYERS = "Conv32-3x3-relu, MaxPool, Dense128-relu, Dense10; Adam"
COMPILED, EAGER = "autodan compiled", "autodan eager"
# Defaults of each group: epochs and seeds.
EPOCHS = {"mnist": 12, "memory": 5, "accuracy": 3}
SEEDS = {"mnist": 1, "memory": 1, "accuracy": 5}


@dataclass
class Course:
    """What one contestant did with one seed."""

    seed: int
    import_seconds: float
    first_steps_seconds: float
    imported_bytes: int | None
    loaded_bytes: int | None
    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)
    peak_bytes: int = 0

    def reached(self, goal: float) -> int | None:
        """Return the first epoch, from 1, after which the accuracy was at least the goal."""
        return next((n for n, a in enumerate(self.accuracy, 1) if a >= goal), None)

    def seconds_to(self, goal: float) -> float | None:
        """Return the seconds of training until the end of that epoch."""
        epoch = self.reached(goal)
        return None if epoch is None else sum(self.seconds[:epoch])


@dataclass
class Outcome:
    """A group's courses by contestant, and what they had in common."""

    group: str
    data: str
    batch: int
    epochs: int
    goal: float
    courses: dict[str, list[Course]] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return everything as what JSON can hold, with the seconds to the goal."""
        content = asdict(self)
        for name, courses in self.courses.items():
            for course, found in zip(courses, content["courses"][name], strict=True):
                found["epochs_to_goal"] = course.reached(self.goal)
                found["seconds_to_goal"] = course.seconds_to(self.goal)
        return content


def train(
    group: str,
    libraries: Iterable[str],
    *,
    threads: int,
    batch: int,
    goal: float,
    epochs: int | None = None,
    seeds: int | None = None,
    images: int | None = None,
) -> Outcome:
    """Run the trainings of a group, every contestant in a fresh process for each seed.

    Contestants take turns epoch by epoch, so that a change in the machine's pace meets them all.
    Images and labels come to all as the same files of float32 and int32 NumPy arrays.
    """
    epochs, seeds = epochs or EPOCHS[group], seeds or SEEDS[group]
    field_of = entries(libraries)
    if group == "accuracy":
        field_of = [(COMPILED, OURS, "fit"), (EAGER, OURS, "eager")]
    with tempfile.TemporaryDirectory() as folder:
        outcome = Outcome(group, save_splits(Path(folder), images), batch, epochs, goal)
        for seed in range(1, seeds + 1):
            print(f"{group}: seed {seed}", file=sys.stderr)
            lesson = {"folder": folder, "network": NETWORK, "batch": batch, "seed": seed}
            _seed(outcome, field_of, lesson, threads)
    return outcome


def _seed(
    outcome: Outcome, field_of: list[tuple[str, str, str]], lesson: dict[str, Any], threads: int
) -> None:
    contestants: dict[str, tuple[Contestant, Course]] = {}
    try:
        for name, library, form in field_of:
            contestant = Contestant(name, library, form, threads)
            hello = contestant.greeting
            if "missing" in hello:
                outcome.missing[name] = hello["missing"]
                contestant.close()
                continue
            answer = contestant.ask(learn=lesson)
            if not answer.pop("ready", False):
                contestant.close()
                _note(outcome, name, answer)
                continue
            outcome.descriptions[library] = hello["description"]
            course = Course(lesson["seed"], hello["import_seconds"], **answer)
            contestants[name] = contestant, course
        for number in range(outcome.epochs):
            turns = list(contestants.items())
            for name, (contestant, course) in turns if number % 2 == 0 else reversed(turns):
                time.sleep(PAUSE)
                answer = contestant.ask(epoch=outcome.group != "memory")
                if "seconds" not in answer:
                    contestant.close()
                    del contestants[name]
                    _note(outcome, name, {"failed": True, **answer})
                    continue
                course.seconds.append(answer["seconds"])
                if answer["accuracy"] is not None:
                    course.accuracy.append(answer["accuracy"])
                if answer["peak_bytes"] is not None:
                    course.resident_bytes.append(answer["resident_bytes"])
                    course.peak_bytes = answer["peak_bytes"]
    finally:
        for contestant, _ in contestants.values():
            contestant.close()
    for name, (_, course) in contestants.items():
        outcome.courses.setdefault(name, []).append(course)


def _note(outcome: Outcome, name: str, answer: dict[str, Any]) -> None:
    """Keep the reason of a failure; that a library has no training is none."""
    if answer.get("failed"):
        reason = answer.get("reason") or answer.get("missing", "died")
        outcome.failures.append(f"{name}, {outcome.group}: {reason}")


def tables(outcome: Outcome) -> str:
    """Return a group's table as text."""
    lines = [f"{name} {text}" for name, text in outcome.descriptions.items()]
    lines += [f"not here: {name} ({why})" for name, why in outcome.missing.items()]
    lines += ["", f"{outcome.group}: {LAYERS}, batch {outcome.batch}; {outcome.data}"]
    if outcome.courses:
        kinds = {"mnist": _mnist, "memory": _memory, "accuracy": _accuracy}
        lines += kinds[outcome.group](outcome)
    return "\n".join(lines + [f"failed: {failure}" for failure in outcome.failures])


def _row(name: str, cells: Iterable[str]) -> str:
    return f"{name:20}" + "".join(f" {cell:>10}" for cell in cells)


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _mnist(outcome: Outcome) -> Iterator[str]:
    goal, ours = outcome.goal, outcome.courses.get(OURS, [])
    heads = [
        f"s to {goal:g}",
        "epochs",
        "s/epoch",
        "of autodan",
        "accuracy",
        "import s",
        "start s",
    ]
    yield _row("", heads)
    for name, courses in outcome.courses.items():
        every = [seconds for course in courses for seconds in course.seconds]
        times = [found for course in courses if (found := course.seconds_to(goal)) is not None]
        ratio = "-"
        if len(courses) == len(ours):
            pairs = zip(courses, ours, strict=True)
            ratios = [t / o for c, d in pairs for t, o in zip(c.seconds, d.seconds, strict=True)]
            ratio = f"{statistics.median(ratios):.2f}x"
        yield _row(
            name,
            [
                _seconds(statistics.median(times)) if len(times) == len(courses) else "-",
                " ".join(str(course.reached(goal) or "-") for course in courses),
                _seconds(statistics.median(every)),
                ratio,
                f"{statistics.fmean(course.accuracy[-1] for course in courses):.4f}",
                _seconds(statistics.median(course.import_seconds for course in courses)),
                _seconds(statistics.median(course.first_steps_seconds for course in courses)),
            ],
        )
    yield (
        f"s to {goal:g}: training until the end of the first epoch with that test accuracy, "
        f"without tests, import and start; -: not by epoch {outcome.epochs}; accuracy: after epoch "
        f"{outcome.epochs}; start: building the network and its first two steps, with all that is "
        "compiled or loaded for them"
    )
    if len(ours) > 1:
        yield f"of {len(ours)} seeds: medians of times, mean of accuracies, epochs of each"


def _memory(outcome: Outcome) -> Iterator[str]:
    epochs = [f"epoch {number}" for number in range(1, outcome.epochs + 1)]
    yield _row("MB", ["peak", "imported", "+ data", *epochs])
    for name, courses in outcome.courses.items():
        for course in courses:
            sizes = [course.peak_bytes, course.imported_bytes, course.loaded_bytes]
            sizes += course.resident_bytes
            yield _row(name, [f"{size / 1e6:.1f}" if size else "-" for size in sizes])
    yield (
        "peak: the most that was ever resident in the process (VmHWM); the others: what was "
        "resident (VmRSS) after the import, with the data, and after each epoch; processes that a "
        "library starts to compile are not counted"
    )


def _accuracy(outcome: Outcome) -> Iterator[str]:
    yield _row("", ["mean", "deviation", "lowest", "highest", "s/epoch"])
    final = {
        name: [100 * course.accuracy[-1] for course in courses]
        for name, courses in outcome.courses.items()
    }
    for name, values in final.items():
        seconds = [s for course in outcome.courses[name] for s in course.seconds]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        cells = [statistics.fmean(values), deviation, min(values), max(values)]
        yield _row(name, [*(f"{c:.2f}" for c in cells), _seconds(statistics.median(seconds))])
    if len(final.get(COMPILED, ())) == len(final.get(EAGER, ())):
        yield _compared(final[COMPILED], final[EAGER], outcome.epochs)


def _compared(compiled: Sequence[float], eager: Sequence[float], epochs: int) -> str:
    apart = abs(statistics.fmean(compiled) - statistics.fmean(eager))
    verdict = "within" if apart <= 0.2 else "NOT within"
    single = max(abs(c - e) for c, e in zip(compiled, eager, strict=True))
    return (
        f"test accuracy in points after epoch {epochs}, {len(compiled)} seeds: means "
        f"{apart:.3f} apart, {verdict} 0.2; of one seed at most {single:.2f}"
    )
