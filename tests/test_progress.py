"""The progress bar on a terminal, in a notebook and in a log file."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pytest

from autodan.utils import progress
from autodan.utils.progress import Progbar

Stream = TypeVar("Stream")
COLOUR = re.compile(r"\x1b\[\d+m")


class Terminal(io.StringIO):
    """A terminal that speaks UTF-8."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYCHARM_HOSTED", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return set_output(monkeypatch, Terminal())


def set_output(monkeypatch: pytest.MonkeyPatch, stream: Stream) -> Stream:
    """Gives the bar a standard output; pytest would set `sys.stdout` back before the test."""
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stdout=stream))
    return stream


def drawings(stream: io.StringIO) -> list[str]:
    return COLOUR.sub("", stream.getvalue()).split("\r")[1:]


def test_the_last_line_looks_as_in_keras(terminal: Terminal, clock: list[float]) -> None:
    bar = Progbar(1875)
    for step in range(1, 1876):
        clock[0] += 0.0016
        bar.update(step, [("accuracy", 0.95), ("loss", 0.16)])
    last = drawings(terminal)[-1]
    line = "1875/1875 ━━━━━━━━━━━━━━━━━━━━ 3s 2ms/step - accuracy: 0.9500 - loss: 0.1600"
    assert last.rstrip() == line and last.endswith("\n")
    assert terminal.getvalue().count("\n") == 1


def test_the_bar_grows_and_counts_down(terminal: Terminal, clock: list[float]) -> None:
    bar = Progbar(10)
    for step in range(1, 5):
        clock[0] += 1
        bar.update(step)
    assert drawings(terminal)[-1].rstrip() == " 4/10 ━━━━━━━━━━━━━━━━━━━━ 6s 1s/step"
    assert f"{progress.GREEN}{'━' * 8}{progress.GREY}{'━' * 12}" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(59, "59s"), (61, "1:01"), (3661, "1:01:01")])
def test_countdowns(seconds: int, text: str) -> None:
    assert progress._countdown(seconds) == text


def test_at_most_ten_drawings_a_second(terminal: Terminal, clock: list[float]) -> None:
    bar = Progbar(10_000)
    for step in range(1, 10_000):
        clock[0] += 0.0005
        bar.update(step, [("loss", 1.0)])
    assert 45 <= len(drawings(terminal)) <= 51


def test_values_are_converted_when_drawn_only(terminal: Terminal, clock: list[float]) -> None:
    class Value:
        converted = 0

        def __float__(self) -> float:
            Value.converted += 1
            return 1.0

    bar = Progbar(100)
    bar.update(1, [("loss", Value())])
    assert Value.converted == 1
    for step in range(2, 50):
        bar.update(step, [("loss", Value())])
    assert Value.converted == 1
    clock[0] += 1
    bar.update(50, [("loss", Value())])
    assert Value.converted == 50


def test_of_stateful_values_only_the_latest_is_converted(
    terminal: Terminal, clock: list[float]
) -> None:
    bar = Progbar(100, stateful_metrics=["loss"])
    bar.update(1, [("loss", 1.0)])
    for step in range(2, 50):
        bar.update(step, [("loss", "never a number")])
    clock[0] += 1
    bar.update(50, [("loss", 2.0)])
    assert drawings(terminal)[-1].rstrip().endswith("loss: 2.0000")


def test_values_are_averaged_over_steps_but_for_stateful_ones(
    terminal: Terminal, clock: list[float]
) -> None:
    bar = Progbar(10, stateful_metrics=["accuracy"])
    bar.update(1, [("loss", 4.0), ("accuracy", 0.25)])
    clock[0] += 1
    bar.update(4, [("loss", 2.0), ("accuracy", 0.75)])
    assert drawings(terminal)[-1].rstrip().endswith("loss: 2.5000 - accuracy: 0.7500")
    bar.update(10, [("loss", 9.0), ("accuracy", 0.5)])
    assert drawings(terminal)[-1].rstrip().endswith("loss: 9.0000 - accuracy: 0.5000")


def test_small_large_and_many_valued_metrics(terminal: Terminal) -> None:
    Progbar(1).update(1, [("a", 1e-4), ("b", -12.5), ("c", np.array([1.0, 2.0])), ("d", 0)])
    line = drawings(terminal)[-1].rstrip()
    assert line.endswith("a: 1.0000e-04 - b: -12.5000 - c: 1.5000 - d: 0.0000e+00")


def test_drawings_fit_a_narrow_terminal(
    terminal: Terminal, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    bar = Progbar(100)
    for step in range(1, 101):
        clock[0] += 1
        bar.update(step, [("accuracy", 0.5), ("loss", 1.0), ("regularization", 2.0)])
    *passing, last = drawings(terminal)
    assert max(len(line) for line in passing) <= 39
    assert last.rstrip().endswith("- accuracy: 0.5000 - loss: 1.0000 - regularization: 2.0000")


def test_the_bar_gives_way_to_the_metrics(
    terminal: Terminal, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    bar = Progbar(2)
    for step in (1, 2):
        clock[0] += 1
        bar.update(step, [("loss", 1.0)])
    assert [line.rstrip() for line in drawings(terminal)] == [
        "1/2 ━━━━━━━━━ 1s 1s/step - loss: 1.0000",
        "2/2 ━━━━━━━━━ 2s 1s/step - loss: 1.0000",
    ]


def test_a_shorter_line_leaves_nothing_of_a_longer_one(
    terminal: Terminal, clock: list[float]
) -> None:
    bar = Progbar(2)
    bar.update(1, [("loss", 1e-9), ("b", 1e-9)])
    bar._values.clear()
    bar.update(2, [("loss", 1.0)])
    first, last = drawings(terminal)
    assert len(last.rstrip("\n")) >= len(first)


def test_without_a_target_the_caller_ends_it(terminal: Terminal, clock: list[float]) -> None:
    bar = Progbar(None)
    for step in (1, 2):
        clock[0] += 2
        bar.update(step)
    bar.update(2, finalize=True)
    assert drawings(terminal)[0].rstrip() == "      1/Unknown 2s 2s/step"
    assert drawings(terminal)[-1] == "      2/Unknown 4s 2s/step\n"


def test_a_log_file_gets_one_line_without_control_characters(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    bar = Progbar(200)
    for step in range(1, 201):
        clock[0] += 0.25
        bar.update(step, [("loss", 0.5)])
    assert capsys.readouterr().out == "200/200 - 50s - 250ms/step - loss: 0.5000\n"


def test_a_log_file_without_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progbar(None)
    bar.update(7, [("loss", 0.5)])
    bar.update(7, finalize=True)
    assert capsys.readouterr().out.startswith("7/7 - 0s - ")


def test_verbose_2_is_one_line_on_a_terminal_too(terminal: Terminal, clock: list[float]) -> None:
    bar = Progbar(2, verbose=2, unit_name="batch")
    for step in (1, 2):
        clock[0] += 0.0001
        bar.update(step, [("loss", 0.5)])
    assert terminal.getvalue() == "2/2 - 0s - 100us/batch - loss: 0.5000\n"


def test_verbose_0_is_silent(terminal: Terminal) -> None:
    bar = Progbar(2, verbose=0)
    bar.add(2, [("loss", object())])
    assert terminal.getvalue() == ""


def test_a_dumb_terminal_is_treated_as_a_log_file(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    Progbar(1).update(1)
    assert "\r" not in terminal.getvalue() and terminal.getvalue().startswith("1/1 - ")


def test_a_notebook_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    stream_class = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    stream = set_output(monkeypatch, stream_class())
    Progbar(1).update(1)
    assert stream.getvalue().startswith("\r1/1 ")


def test_no_colour_on_request(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    Progbar(2, width=4).update(1)
    assert "\x1b" not in terminal.getvalue() and " ━━╌╌ " in terminal.getvalue()


def test_an_encoding_without_box_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(Terminal):
        encoding = "cp1252"

    stream = set_output(monkeypatch, Old())
    Progbar(2, width=4).update(1)
    assert stream.getvalue().isascii() and " ==.. " in stream.getvalue()


def test_no_output_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    set_output(monkeypatch, None)
    Progbar(1).update(1, [("loss", 1.0)])


def test_an_empty_loop(terminal: Terminal) -> None:
    Progbar(0).update(0)
    assert drawings(terminal)[-1].startswith("0/0 ━")


def test_a_negative_target_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        Progbar(-1)
