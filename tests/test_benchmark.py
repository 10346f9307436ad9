"""`autodan bench`: what it prints and writes, and what it refuses. Times are not judged."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from autodan import _core, benchmark, cli, doctor
from autodan.benchmark import Kernel, Level, Machine, command, machine, picture, roofline

Run = pytest.CaptureFixture[str]
GB = 1e9
LEVELS = (
    Level("L1", 32 << 10, 20 << 10, 300 * GB, 600 * GB, 500 * GB, 550 * GB),
    Level("L2", 1 << 20, 1 << 19, 150 * GB, 300 * GB, 200 * GB, 250 * GB),
    Level("memory", None, 64 << 20, 20 * GB, 40 * GB, 30 * GB, 60 * GB),
)
MACHINE = Machine("avx2", 2, 100 * GB, 200 * GB, LEVELS, 5e-7, 9e-7)
MOVERS = (_core._read_bandwidth, _core._triad_bandwidth, _core._update_bandwidth)


def kernel(operations: float, read: int, written: int) -> Kernel:
    return Kernel("family", "name", operations, read, written, lambda: lambda: None)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the measurements as short as they can be."""
    monkeypatch.setattr(command, "QUICK_SECONDS", 1e-4)
    monkeypatch.setattr(command, "QUICK_MEMORY", 1 << 20)
    monkeypatch.setattr(machine, "LEAST_MEMORY", 1 << 20)
    monkeypatch.setattr(machine, "WARM_UP", 1e-4)


def test_quick_measures_every_family(small: None, capsys: Run) -> None:
    assert cli.main(["bench", "--quick"]) == 0
    out, err = capsys.readouterr()
    first, *lines = out.splitlines()
    assert not err
    assert first.startswith(f"autodan {doctor.version()}, {_core.isa()}, {_core.num_threads()} ")
    assert [line.split()[0] for line in lines[:3]] == ["peak", "L1", "L2"]
    rows = [line for line in lines if line.endswith("%")]
    quick = [k for k in benchmark.all_kernels() if k.operations <= command.QUICK_OPERATIONS]
    assert {k.family for k in quick} == set(benchmark.FAMILIES)
    assert [row.split("  ")[0] for row in rows] == [str(k) for k in quick]
    assert any(line.startswith("of roof: ") for line in lines)


def test_match_is_a_filter(small: None, capsys: Run) -> None:
    assert cli.main(["bench", "--quick", "--match", "MATMUL 64x"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.endswith("%")]
    assert [row[:15] for row in rows] == ["matmul 64x64x64"]


def test_json_has_everything(small: None, tmp_path: Path, capsys: Run) -> None:
    file = tmp_path / "bench.json"
    arguments = ["bench", "--quick", "--match", "pool", "--threads", "1", "--seconds", "0.0002"]
    assert cli.main([*arguments, "--json", str(file)]) == 0
    content = json.loads(file.read_text())
    assert os.listdir(tmp_path) == [file.name]
    assert (content["autodan"], content["isa"]) == (doctor.version(), _core.isa())
    assert content["threads"] == 1
    figures = content["machine"]
    assert figures["handoff_seconds"] is None
    positive = [figures[name] for name in ("peak_flops", "peak_flops_one_thread", "region_seconds")]
    assert min(positive) > 0
    names = [level["name"] for level in figures["levels"]]
    assert names[:2] == ["L1", "L2"] and names[-1] == "memory"
    for level in figures["levels"]:
        names_of_rates = ("read_bytes", "read_bytes_one_thread", "triad_bytes", "update_bytes")
        assert min(level[name] for name in names_of_rates) > 0
        assert level["measured_bytes_per_thread"] > 0
        assert (level["capacity_per_thread"] is None) == (level["name"] == "memory")
    assert len(content["kernels"]) == 4
    for row in content["kernels"]:
        assert row["family"] == "pool" and row["level"] in names
        assert row["bound"] in ("compute", row["level"])
        assert row["flops"] == pytest.approx(row["operations"] / row["seconds"])
        assert row["bytes"] * row["intensity"] == pytest.approx(row["flops"])
        assert row["fraction_of_roof"] > 0


def test_plot_writes_a_picture(small: None, tmp_path: Path, capsys: Run) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "roofline.PNG"
    assert cli.main(["bench", "--quick", "--match", "softmax", "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG") and os.listdir(tmp_path) == [file.name]


def test_the_picture_shows_roofs_and_kernels() -> None:
    pytest.importorskip("matplotlib")
    results = [
        roofline.Result(kernel(8e6, 6 << 19, 1 << 19), 1e-3, "memory", "memory", 1e-4),
        roofline.Result(kernel(4e3, 1 << 10, 1 << 10), 1e-6, "L1", "compute", 1e-7),
    ]
    figure = picture.draw(MACHINE, results)
    [axes] = figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    figure.draw_without_rendering()
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "peak of 2 threads: 200 GFLOP/s" and texts[1] == "one thread: 100"
    assert texts[2:] == [
        "L1: read 600 GB/s\ntriad 500, update 550",
        "L2: read 300 GB/s\ntriad 200, update 250",
        "memory: read 40 GB/s\ntriad 30, update 60",
    ]
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert [float(point.get_ydata()[0]) for point in points] == pytest.approx([8.0, 4.0])
    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    for line in axes.lines:
        assert all(left <= x <= right for x in line.get_xdata())
        assert all(bottom <= y <= top for y in line.get_ydata())


def test_names_of_roofs_keep_their_distance() -> None:
    pytest.importorskip("matplotlib")
    level = LEVELS[0]
    close = tuple(
        Level(name, 1 << 20, 1 << 20, level.read, level.read * share, level.triad, level.update)
        for name, share in (("L1", 1.0), ("L2", 0.99), ("L3", 1.01), ("memory", 0.98))
    )
    figure = picture.draw(Machine("avx2", 1, GB * 100, GB * 100, close, 1e-6, None), [])
    figure.draw_without_rendering()
    frame = figure.axes[0].get_window_extent()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 5
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize(
    ("operations", "read", "written", "level", "bound", "least"),
    [
        (2e6, 32 << 10, 0, "L1", "compute", 2e6 / 200e9),
        (1.0, 64 << 10, 0, "L1", "L1", (64 << 10) / 600e9),  # spread over two threads
        (1.0, (64 << 10) + 1, 0, "L2", "L2", ((64 << 10) + 1) / 300e9),
        (1.0, 2 << 19, 1 << 19, "L2", "L2", (3 << 19) / 200e9),  # the triad's own mix
        (1.0, 0, 3 << 20, "memory", "memory", (3 << 20) / 30e9),
        (1.0, 5 << 20, 1 << 20, "memory", "memory", (3 << 20) / 40e9 + (3 << 20) / 30e9),
    ],
)
def test_the_roof_is_of_arithmetic_or_of_where_the_operands_fit(
    operations: float, read: int, written: int, level: str, bound: str, least: float
) -> None:
    result = roofline.measure(kernel(operations, read, written), MACHINE, 1e-5)
    assert (result.level, result.bound) == (level, bound)
    assert result.least_seconds == pytest.approx(least)
    assert result.fraction == pytest.approx(least / result.seconds)


def test_what_works_in_place_is_held_to_updates() -> None:
    for written, least in ((2 << 20, (4 << 20) / 60e9), (0, (2 << 20) / 300e9)):
        update = Kernel("family", "name", 1.0, 2 << 20, written, lambda: lambda: None, True)
        result = roofline.measure(update, MACHINE, 1e-5)
        assert result.least_seconds == pytest.approx(least)
    updates = [str(k) for k in benchmark.all_kernels() if k.in_place]
    assert updates and all(name.startswith("optimizer") for name in updates)


@pytest.mark.parametrize(
    ("handoff", "least", "warns"), [(9e-7, 1.1, False), (9e-7, 1.2, True), (None, 0.5, True)]
)
def test_figures_of_a_busy_machine_are_called_too_low(
    handoff: float | None, least: float, warns: bool
) -> None:
    measured = dataclasses.replace(MACHINE, handoff=handoff)
    result = roofline.Result(kernel(1.0, 8, 4), 1.0, "L1", "L1", least)
    assert ("warning: the machine was busy" in benchmark.notes(measured, [result])) == warns
    alone = dataclasses.replace(measured, threads=1)
    assert ("warning" in benchmark.notes(alone, [result])) == (least > 1.15)


def test_every_kernel_runs_and_counts_its_operands() -> None:
    kernels = benchmark.all_kernels()
    assert len({str(k) for k in kernels}) == len(kernels)
    for one in kernels:
        assert one.operations > 0 and one.read > 0 and one.written > 0
        if one.operations <= command.QUICK_OPERATIONS:
            one.prepare()()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds", "0"], "argument --seconds: must be a number above 0"),
        (["--seconds", "nan"], "got 'nan'"),
        (["--seconds", "61"], "at most 60, got '61'"),
        (["--seconds", "soon"], "got 'soon'"),
        (["--threads", "0"], "argument --threads: must be at least 1, got 0"),
        (["--threads", "two"], "must be a whole number"),
        (["--json"], "argument --json: expected one argument"),
        (["matmul"], "unrecognized arguments: matmul"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], message: str, capsys: Run) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", *arguments])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and not out and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--match", "matmull"], "no kernel matches 'matmull'; there are matmul, conv, layer"),
        (["--match", "2048", "--quick"], "no quick kernel matches '2048'"),
        (["--threads", "5000"], "the number of threads, 5000, must be between 1 and"),
        (["--json", "no/folder/bench.json"], "No such file or directory: 'no/folder/bench.json'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_measuring(
    arguments: list[str], message: str, capsys: Run
) -> None:
    assert cli.main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("autodan bench: ")
    assert message in err and err.count("\n") == 1


def test_a_picture_of_unknown_kind_is_refused_before_measuring(tmp_path: Path, capsys: Run) -> None:
    pytest.importorskip("matplotlib")
    assert cli.main(["bench", "--plot", str(tmp_path / "roofline.pgn")]) == 2
    out, err = capsys.readouterr()
    assert not out and "the ending must be one of" in err and os.listdir(tmp_path) == []


def test_without_matplotlib_plot_names_the_extra(
    capsys: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["bench", "--plot", "roofline.png"]) == 2
    _, err = capsys.readouterr()
    assert err == "autodan bench: plotting needs matplotlib: pip install 'autodan[plot]'\n"


@pytest.fixture
def keyboard_interrupts(no_collections: None) -> Iterator[None]:
    """Let SIGINT interrupt this process, which a shell's background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_quietly_and_puts_the_threads_back(
    small: None, keyboard_interrupts: None, tmp_path: Path, capsys: Run
) -> None:
    file = tmp_path / "bench.json"
    before = _core.num_threads()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    arguments = ["bench", "--seconds", "60", "--threads", str(before % 2 + 1), "--json", str(file)]
    assert cli.main(arguments) == 130
    assert capsys.readouterr().err == "autodan bench: interrupted\n"
    assert _core.num_threads() == before and os.listdir(tmp_path) == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 61.0])
def test_measurements_take_a_sensible_time(seconds: float) -> None:
    for measure in (_core._peak_flops, _core._region_seconds, _core._handoff_seconds):
        with pytest.raises(ValueError, match="a measurement takes more than 0 and at most 60"):
            measure(seconds)
    for measure in MOVERS:
        with pytest.raises(ValueError, match="a measurement takes more than 0 and at most 60"):
            measure(1024, seconds)


def test_memory_that_is_not_there_is_a_memory_error() -> None:
    for measure in MOVERS:
        with pytest.raises(MemoryError):
            measure(1 << 60, 0.001)


def test_caches_are_read_from_the_system(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    described = [
        ("1", "Data", "48K", str(cpu)),
        ("1", "Instruction", "64K", str(cpu)),
        ("2", "Unified", "2048K", f"{cpu}-{cpu + 1}"),
        ("3", "Unified", "32M", "0-3,8-11"),
    ]
    for number, values in enumerate(described):
        folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{number}"
        folder.mkdir(parents=True)
        for name, value in zip(("level", "type", "size", "shared_cpu_list"), values, strict=True):
            (folder / name).write_text(f"{value}\n")
    assert machine.caches(tmp_path) == [
        machine.Cache(1, 48 << 10, 1),
        machine.Cache(2, 2 << 20, 2),
        machine.Cache(3, 32 << 20, 8),
    ]


def test_caches_that_the_system_does_not_tell_are_assumed(tmp_path: Path) -> None:
    assert [cache.level for cache in machine.caches(tmp_path)] == [1, 2]


def test_levels_beyond_what_is_asked_for_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "caches", lambda: [machine.Cache(1, 32 << 10), machine.Cache(2, 256 << 10)]
    )
    threads = _core.num_threads()
    for size, names in ((32 << 10, ["L1"]), (33 << 10, ["L1", "L2"])):
        found = benchmark.measure_machine(0.0001, holding=size * threads)
        assert [level.name for level in found.levels] == names
        assert found.level(size * threads).name == names[-1]


def test_a_third_level_as_small_as_the_second_is_left_out() -> None:
    first, second = machine.Cache(1, 32 << 10), machine.Cache(2, 1 << 20)
    found = [first, second, machine.Cache(3, 32 << 20, 16)]
    sizes = machine._sizes(found, 4, 1 << 30)
    assert [name for name, _, _ in sizes] == ["L1", "L2", "L3", "memory"]
    assert sizes[2] == ("L3", 8 << 20, 4 << 20)
    sizes = machine._sizes(found, 16, 1 << 30)
    assert [name for name, _, _ in sizes] == ["L1", "L2", "memory"]
