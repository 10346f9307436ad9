"""Writing a step down once, so that it runs from then on without Python.

A traced step is called on tensors without values. Whatever it does to them becomes a program;
what it does besides, such as printing, happens while it is traced and not again.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from autodan import _core, random
from autodan._core import Tensor, TraceError, Variable
from autodan.random import SeedGenerator
from autodan.utils.tree import flatten, map_structure

if TYPE_CHECKING:
    from autodan.optimizers.optimizer import Optimizer

__all__ = ["CompiledStep", "UntraceableError", "is_tracing", "note_update", "rate_of", "trace"]

# The name of an optimizer's kernel, its constants, and the slots of the variables by kind.
Rule: TypeAlias = tuple[str, list[float], list[list[Variable]]]

is_tracing = _core.is_tracing

# Stands for a tensor in what a step returns.
_TENSOR = object()


class UntraceableError(Exception):
    """Why a step must run eagerly; a sentence's second half."""


class _Updates(threading.local):
    """What the optimizers do in the step that this thread traces."""

    def __init__(self) -> None:
        self.fused: list[Optimizer] = []
        self.composed: list[tuple[Optimizer, str]] = []
        self.after: list[tuple[Optimizer, list[Tensor], list[Variable]]] = []


_updates = _Updates()


def note_update(
    optimizer: Optimizer,
    gradients: list[Tensor],
    variables: list[Variable],
    rule: Rule | None,
) -> None:
    """Write an optimizer's step down.

    Args:
        optimizer: Whose step it is.
        gradients: One for each variable.
        variables: What it updates.
        rule: Its kernel; None for a step that runs in Python, on the program's gradients.
    """
    if rule is None:
        _core._trace_updated([*variables, *optimizer.variables])
        _updates.after.append((optimizer, gradients, variables))
    else:
        name, constants, slots = rule
        counter = optimizer.iterations
        _core._trace_update(name, constants, variables, slots, gradients, counter)
        _updates.fused.append(optimizer)


def rate_of(optimizer: Optimizer, dtype: str) -> Tensor:
    """Return the learning rate of an optimizer whose step is traced op by op.

    Args:
        optimizer: Whose rate it is; every run of the program reads it again.
        dtype: That of the variables.
    """
    _updates.composed.append((optimizer, dtype))
    return _core._trace_input((), dtype)


class CompiledStep:
    """A step as a program.

    Args:
        program: What runs.
        streams: The generators of random numbers that the step draws from, each with its number
            of draws.
        fused: The optimizers whose kernels run in the program.
        composed: The optimizers whose ops are in the program, each with the dtype of its rate.
        after: The optimizers that follow it, each with its variables.
        outputs: What the step returned, its tensors to be replaced.
    """

    def __init__(
        self,
        program: _core.Program,
        streams: Sequence[tuple[SeedGenerator, int]],
        fused: Sequence[Optimizer],
        composed: Sequence[tuple[Optimizer, str]],
        after: Sequence[tuple[Optimizer, list[Variable]]],
        outputs: Any,
    ) -> None:
        self.program = program
        self.streams = list(streams)
        self.fused = list(fused)
        self.composed = list(composed)
        self.after = list(after)
        self._names = list(outputs) if _is_flat(outputs) else None
        self._outputs = map_structure(lambda x: _TENSOR if isinstance(x, Tensor) else x, outputs)

    def arguments(
        self, inputs: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], list[float], list[tuple[SeedGenerator, int]]]:
        """Return what a run takes: the batch, learning rates and random streams."""
        rates = [optimizer._current_learning_rate() for optimizer in self.fused]
        if not self.composed:
            return inputs, rates, self.streams
        operands = [_core.full((), o._current_learning_rate(), d) for o, d in self.composed]
        return [*inputs, *operands], rates, self.streams

    def __call__(self, inputs: Sequence[Tensor]) -> Any:
        """Run the step on a batch's tensors, in their order; return what it returned."""
        values = self.program.run(*self.arguments(inputs))
        for optimizer, variables in reversed(self.after):
            count = len(variables)
            optimizer.apply(values[-count:], variables)
            del values[-count:]
        if self._names is not None:
            return dict(zip(self._names, values, strict=True))
        if self._outputs is _TENSOR:
            return values[0]
        rest = iter(values)
        return map_structure(lambda x: next(rest) if x is _TENSOR else x, self._outputs)


def _is_flat(outputs: Any) -> bool:
    return type(outputs) is dict and all(isinstance(value, Tensor) for value in outputs.values())


def trace(
    step: Callable[[Any], Any],
    batch: Any,
    streams: Sequence[SeedGenerator],
    version: Callable[[], Any],
) -> CompiledStep:
    """Trace a step, twice, and compile it.

    Args:
        step: What to trace, a function of a batch.
        batch: A structure of tensors, of which only shapes and dtypes count.
        streams: The generators of random numbers that the step may draw from, besides the global.
        version: What is equal as long as nothing that the step depends on was changed.

    Raises:
        UntraceableError: the step reads values, changes something in Python, or is a different one
            each time.

    >>> import autodan as ad
    >>> double = trace(lambda x: {"y": 2 * x}, ad.ones(3), [], lambda: 0)
    >>> double([ad.tensor([1.0, 2.0, 3.0])])
    {'y': tensor([2., 4., 6.], shape=(3,), dtype=float32)}
    """
    shared = random.global_stream()
    # Other threads may be drawing from it meanwhile.
    stand_in = SeedGenerator(shared.seed)
    with random.stream_replaced(stand_in):
        marked = [*streams, stand_in]
        first, _, returned = _trace_once(step, batch, marked, second=False)
        before = version()
        graph, draws, outputs = _trace_once(step, batch, marked, second=True)
    difference = first.difference(graph)
    if difference is not None:
        raise UntraceableError(difference)
    if not _same_numbers(returned, outputs):
        raise UntraceableError("the Python numbers that it returns change from call to call")
    if version() != before:
        raise UntraceableError("it changes an attribute of a layer, metric or optimizer")
    # Nodes name a stream by its place; those behind the last one that is drawn from have no node.
    last = max((place for place, count in enumerate(draws, 1) if count), default=0)
    used = list(zip([*streams, shared], draws, strict=True))[:last]
    after = [(optimizer, variables) for optimizer, _, variables in _updates.after]
    try:
        return CompiledStep(
            graph.compile(), used, _updates.fused, _updates.composed, after, outputs
        )
    finally:
        _updates.__init__()  # type: ignore[misc]


def _same_numbers(first: Any, second: Any) -> bool:
    """Return whether two structures agree in all but the values of their tensors."""
    if map_structure(lambda _: 0, first) != map_structure(lambda _: 0, second):
        return False
    pairs = zip(flatten(first), flatten(second), strict=True)
    return all(
        type(a) is type(b) and (a is b or isinstance(a, Tensor) or np.array_equal(a, b))
        for a, b in pairs
    )


def _trace_once(
    step: Callable[[Any], Any], batch: Any, streams: Sequence[SeedGenerator], second: bool
) -> tuple[_core.Graph, list[int], Any]:
    """Return the graph, the number of draws from each stream, and what the step returned."""
    _updates.__init__()  # type: ignore[misc]
    with _streams_marked(streams, second) as starts:
        try:
            _core._trace_begin()
            symbols = map_structure(lambda x: _core._trace_input(x.shape, x.dtype), batch)
            with warnings.catch_warnings():
                if not second:
                    warnings.simplefilter("ignore")
                outputs = step(symbols)
            gradients = [g for _, given, _ in _updates.after for g in given]
            tensors = [x for x in flatten(outputs) if isinstance(x, Tensor)]
            graph = _core._trace_end([*tensors, *gradients])
        except Exception as error:
            # What the step did with the error of a refusal does not matter.
            reason = _core._trace_refused()
            if reason is None and isinstance(error, TraceError):
                reason = str(error).partition(": ")[2]
            if reason is None:
                raise
            raise UntraceableError(reason) from None
        finally:
            _core._trace_abort()
        draws = [s.counter - start for s, start in zip(streams, starts, strict=True)]
    return graph, draws, outputs


@contextmanager
def _streams_marked(streams: Sequence[SeedGenerator], second: bool) -> Iterator[list[int]]:
    """Let each generator count from where a trace knows its draws."""
    counters = [stream.counter for stream in streams]
    starts = [_core._stream_start(i, second) for i in range(len(streams))]
    try:
        for stream, start in zip(streams, starts, strict=True):
            stream.counter = start
        yield starts
    finally:
        for stream, counter in zip(streams, counters, strict=True):
            stream.counter = counter
