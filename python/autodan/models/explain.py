"""`Model.explain_step`: what one step runs, kernel by kernel, and where its time goes."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from autodan import _core
from autodan._core import Tensor, Variable
from autodan.autograd import no_grad
from autodan.layers.input_spec import map_shapes
from autodan.models.compiled import takes_integer_labels
from autodan.models.data import DEFAULT_BATCH_SIZE, make_data, pack_x_y_sample_weight
from autodan.models.explanation import StepExplanation, StepKernel, StepMemory
from autodan.models.kernel_names import OPTIMIZER, meaning
from autodan.models.programs import Entry
from autodan.random import SeedGenerator
from autodan.tracing import CompiledStep
from autodan.utils.signals import Undisturbed
from autodan.utils.tree import flatten

if TYPE_CHECKING:
    from autodan.benchmark import Machine

__all__ = ["KINDS", "explain_step"]

# As `Program.kernels` gives it.
_Row: TypeAlias = tuple[str, list[tuple[str, Any]], list[tuple[str, Any]], int, int, int]

KINDS = ("train", "test", "predict")
# How long each figure of the machine is measured.
MACHINE_SECONDS = 0.05
WARM_UP, LEAST_RUNS = 3, 5
# The percentile that counts: where other programs take the processor away, a whole step is hit more
# often than a kernel, and medians would show the difference as time outside of kernels.
TYPICAL = 10


def explain_step(
    model: Any,
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    kind: str = "train",
    profile: bool = False,
    seconds: float = 1.0,
    plot: str | os.PathLike[str] | None = None,
    print_fn: Callable[[str], Any] | None = None,
) -> StepExplanation:
    """Explain a step of a model, as `Model.explain_step` documents.

    Raises:
        ImportError: a plot is wanted and matplotlib is not installed.
        RuntimeError: the model is not compiled.
        ValueError: there is no data and none can be made up, or it does not fit the model.
    """
    if kind not in KINDS:
        raise ValueError(f"explain_step: `kind` must be one of {KINDS}. Received: {kind!r}.")
    if seconds <= 0:
        raise ValueError(f"explain_step: `seconds` must be positive. Received: {seconds}.")
    if plot is not None:
        from autodan.utils.plotting import require_plot_file

        require_plot_file(plot)
    if kind != "predict":
        model._need_compile("explain_step")
    with nullcontext() if kind == "train" else no_grad():
        explanation = _explain(model, x, y, sample_weight, batch_size, kind, profile, seconds)
    (print_fn or print)(str(explanation))
    if plot is not None:
        explanation.plot(plot)
    return explanation


def _explain(
    model: Any,
    x: Any,
    y: Any,
    sample_weight: Any,
    batch_size: int | None,
    kind: str,
    profile: bool,
    seconds: float,
) -> StepExplanation:
    entry, tensors, eagerly = _find(model, x, y, sample_weight, batch_size, kind)
    step = entry.step
    inputs = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in tensors)
    whole: float | None = None
    if step is None:
        if profile:
            whole, _ = _run(model, eagerly, lambda: [], seconds)
        return StepExplanation(model.name, kind, inputs, seconds=whole, reason=entry.reason)
    memory = _memory(model, step)
    rows = step.program.kernels()
    largest = max((_size(row) for row in rows), default=0)
    machine = _machine(_core.isa(), _core.num_threads(), largest)
    times: Sequence[float | None] = [None] * len(rows)
    if profile:
        whole, times = _run(
            model,
            lambda: step(tensors),
            lambda: step.program.profile(*step.arguments(tensors)),
            seconds,
        )
    return StepExplanation(
        model.name,
        kind,
        inputs,
        tuple(_kernel(row, machine, time) for row, time in zip(rows, times, strict=True)),
        memory,
        machine,
        whole,
        after=tuple(type(optimizer).__name__ for optimizer, _ in step.after),
    )


def _find(
    model: Any, x: Any, y: Any, sample_weight: Any, batch_size: int | None, kind: str
) -> tuple[Entry, list[Tensor], Callable[[], Any]]:
    """Return the step's entry, a batch for it, and what runs it eagerly."""
    programs = model._programs
    programs.refresh()
    if x is None and not model.run_eagerly:
        entry = programs.largest(kind, batch_size)
        if entry is not None and entry.step is not None:
            return entry, [_filler(shape, dtype) for dtype, shape in entry.inputs], lambda: None
    if x is None:
        batch = _made_up(model, batch_size or DEFAULT_BATCH_SIZE, kind)
    else:
        try:
            data = make_data(x, y, sample_weight, batch_size, dtype=model.dtype)
            batch = data.first()
        except StopIteration:
            raise ValueError("explain_step: the data yielded no batches.") from None
    if kind == "train":
        model._prepare_on(batch, [])
    elif not model.built:
        model(batch[0], training=False)
    step = getattr(model, f"{kind}_step")
    tensors = flatten(batch)
    if model.run_eagerly:
        entry = Entry(None, 0, "compile() was told so by run_eagerly=True")
    else:
        entry = programs.try_out(kind, step, batch)
    return entry, tensors, lambda: step(batch)


def _made_up(model: Any, batch_size: int, kind: str) -> Any:
    """Return a batch that the model's input shape and its loss permit."""
    shapes = model._build_shape
    missing = ValueError(
        f"explain_step: the data of model '{model.name}' is not known. Pass x and, to explain "
        "training, y; or call fit() first."
    )
    if shapes is None:
        raise missing

    def array(shape: Sequence[int | None]) -> Tensor:
        sides = (batch_size, *shape[1:])
        if None in sides:
            raise missing
        return _filler(sides, model.dtype)

    x = map_shapes(array, shapes)
    if kind == "predict" or model._compile_loss is None:
        return (x,)
    with no_grad(), _unchanged(model):
        y_pred = model(x, training=False)
    if not isinstance(y_pred, Tensor):
        raise missing
    if takes_integer_labels(model._compile_loss):
        return pack_x_y_sample_weight(x, _filler(y_pred.shape[:-1], "int64"))
    return pack_x_y_sample_weight(x, _filler(y_pred.shape, y_pred.dtype))


def _filler(shape: Sequence[Any], dtype: str) -> Tensor:
    """Return values that any layer and loss takes: fractions, or the first class."""
    if dtype.startswith("float"):
        return _core.asarray(np.random.default_rng(0).random(shape), dtype=dtype)
    return _core.zeros(tuple(shape), dtype)


def _run(
    model: Any, run: Callable[[], Any], profile: Callable[[], list[float]], seconds: float
) -> tuple[float, list[float]]:
    """Return the typical times of a call of `run`, and of what `profile` returns."""
    whole: list[float] = []
    times: list[list[float]] = []
    with _unchanged(model):
        for _ in range(WARM_UP):
            run()
        begin = time.perf_counter()
        while len(whole) < LEAST_RUNS or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            run()
            whole.append(time.perf_counter() - start)
            times.append(profile())
    typical = np.percentile(times, TYPICAL, axis=0).tolist()
    return float(np.percentile(whole, TYPICAL)), typical


@contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Give back whatever steps change: weights, optimizer, metrics, counters of random numbers."""
    variables = [
        *model.variables,
        *(variable for metric in model.metrics for variable in metric.variables),
        *(() if model.optimizer is None else model.optimizer.variables),
    ]
    streams: list[SeedGenerator] = model._programs.streams
    values = [(variable, variable.value) for variable in variables]
    counters = [(stream, stream.counter) for stream in streams]
    try:
        yield
    finally:
        with Undisturbed():
            for variable, value in values:
                variable.assign(value)
            for stream, counter in counters:
                stream.counter = counter
            model._clear_losses()


def _kernel(row: _Row, machine: Machine, measured: float | None) -> StepKernel:
    name, inputs, outputs, operations, read, written = row
    what = meaning(name)
    level = machine.level(_size(row))
    # The peak is that of float32; vectors hold half as many doubles.
    doubles = any(dtype == "float64" for dtype, _ in inputs)
    computing = operations / machine.peak * (2 if doubles else 1)
    # The fastest way to move bytes there: no order of reads and writes can do better.
    moving = (read + written) / max(level.read, level.triad, level.update)
    return StepKernel(
        what,
        tuple((dtype, tuple(shape)) for dtype, shape in inputs),
        tuple((dtype, tuple(shape)) for dtype, shape in outputs),
        operations,
        read,
        written,
        max(computing, moving),
        "compute" if computing >= moving else level.name,
        measured,
    )


def _size(row: _Row) -> int:
    """Return the bytes of a kernel's operands; what an optimizer writes, it has read."""
    name, _, _, _, read, written = row
    return read if meaning(name).family == OPTIMIZER else read + written


def _memory(model: Any, step: CompiledStep) -> StepMemory:
    buffers, planned, constants = step.program.memory()
    kernels = step.program.kernels()
    # The last rows are updates, which write to variables.
    values = kernels[: len(kernels) - len(step.fused)]
    return StepMemory(
        buffers,
        planned,
        sum(row[5] for row in values),
        _bytes(model.variables),
        0 if model.optimizer is None else _bytes(model.optimizer.variables),
        constants,
    )


def _bytes(values: Iterable[Tensor | Variable]) -> int:
    return sum(math.prod(value.shape) * np.dtype(value.dtype).itemsize for value in values)


@functools.lru_cache(maxsize=16)
def _machine(isa: str, threads: int, size: int) -> Machine:
    """Return what the machine can do with operands of so many bytes; measured once."""
    from autodan.benchmark import measure_machine

    return measure_machine(MACHINE_SECONDS, holding=size)
