"""Differentiation: `GradientTape` as in TensorFlow, `grad` as in JAX, `no_grad` as in PyTorch.

The engine records every operation on a trainable Variable or on a tensor with `requires_grad`;
what stands here only says when to record and of what to ask the gradient.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any, Self

import numpy as np

from autodan import _core
from autodan._core import Tensor, Variable
from autodan.utils.tree import flatten, map_structure, pack_like


class _Recording(threading.local):
    """How many tapes and gradient functions are at work in this thread."""

    depth = 0


_recording = _Recording()


class _GradMode(_core.GradMode, ContextDecorator):
    """Sets whether operations are recorded; restores what was set before."""

    _enabled: bool

    def __new__(cls) -> Self:
        """Make the core's context manager for what the class says."""
        return super().__new__(cls, cls._enabled)

    def _recreate_cm(self) -> Self:
        # A decorated function may run in several threads: each call has its own state.
        return type(self)()


class no_grad(_GradMode):  # noqa: N801 - the name is PyTorch's
    """Context manager and decorator: operations inside are not recorded for differentiation.

    >>> import autodan as ad
    >>> x = ad.tensor([1.0], requires_grad=True)
    >>> with ad.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    _enabled = False


class enable_grad(_GradMode):  # noqa: N801 - the name is PyTorch's
    """Context manager and decorator: operations inside are recorded, also within `no_grad`.

    >>> import autodan as ad
    >>> x = ad.tensor([1.0], requires_grad=True)
    >>> with ad.no_grad(), ad.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    _enabled = True


class GradientTape:
    """Records operations for differentiation, as TensorFlow's class of this name.

    Trainable variables are watched by themselves, tensors after `watch`. Tapes may be nested: a
    gradient taken inside another tape is itself differentiable.

    Args:
        persistent: Whether `gradient` may be called more than once. Default False.
        watch_accessed_variables: Whether trainable variables are watched without `watch`.
            Default True.

    >>> import autodan as ad
    >>> x = ad.Variable(3.0)
    >>> with ad.GradientTape() as tape:
    ...     y = x * x
    >>> float(tape.gradient(y, x))
    6.0
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self._persistent = persistent
        self._watch_variables = watch_accessed_variables
        self._watched: dict[int, Tensor] = {}
        self._used = False
        self._entered: list[bool] = []

    def __enter__(self) -> GradientTape:
        self._entered.append(_core.set_grad_enabled(True))
        _recording.depth += 1
        self._used = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _recording.depth -= 1
        _core.set_grad_enabled(self._entered.pop())

    def watch(self, tensor: Any) -> None:
        """Record operations on `tensor`, a tensor or a nested structure of them, from now on.

        Raises:
            TypeError: it is no Tensor.

        >>> import autodan as ad
        >>> x = ad.tensor(2.0)
        >>> with GradientTape() as tape:
        ...     tape.watch(x)
        ...     y = x**3
        >>> float(tape.gradient(y, x))
        12.0
        """
        for leaf in flatten(tensor):
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"GradientTape.watch needs a Tensor, not {type(leaf).__name__}. "
                    "Convert it first: x = autodan.tensor(x)."
                )
            self._watched[id(leaf)] = leaf
            if not isinstance(leaf, Variable):
                leaf.requires_grad = True

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: str = "none",
    ) -> Any:
        """Return the gradient of the sum of `target` with respect to each of `sources`.

        Args:
            target: The tensor to differentiate, or a nested structure of tensors.
            sources: A tensor, a variable, or a nested structure of them.
            output_gradients: A gradient for each target, of its shape. Default: ones.
            unconnected_gradients: "none" or "zero": what to return for a source that `target`
                does not depend on.

        Returns:
            The gradients, in the structure of `sources`.

        Raises:
            RuntimeError: a second call on a tape that is not persistent.
            ValueError: `unconnected_gradients` is neither "none" nor "zero".
        """
        if unconnected_gradients not in ("none", "zero"):
            raise ValueError(
                "GradientTape.gradient: `unconnected_gradients` must be 'none' or 'zero'. "
                f"Received: {unconnected_gradients!r}."
            )
        if self._used and not self._persistent:
            raise RuntimeError(
                "GradientTape.gradient can be called only once. "
                "For several calls make the tape with GradientTape(persistent=True)."
            )
        self._used = True
        inputs = flatten(sources)
        outer = _recording.depth - len(self._entered)
        create_graph = outer > 0 or (self._persistent and bool(self._entered))
        grads = _core.grad(
            flatten(target),
            inputs,
            None if output_gradients is None else flatten(output_gradients),
            self._persistent,
            create_graph,
        )
        if not self._watch_variables:
            grads = [
                None if isinstance(x, Variable) and id(x) not in self._watched else g
                for x, g in zip(inputs, grads, strict=True)
            ]
        if unconnected_gradients == "zero":
            grads = [
                _core.zeros_like(x) if g is None else g for x, g in zip(inputs, grads, strict=True)
            ]
        return pack_like(sources, grads)


def value_and_grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """Return a function that gives the value of `fn` and its gradient (JAX `value_and_grad`).

    Args:
        fn: Returns a scalar tensor, or with `has_aux` a pair of it and anything else.
        argnums: Position of the argument to differentiate by, or several positions. An argument
            may be a nested structure of tensors.
        has_aux: Whether `fn` returns a pair. Default False.

    Raises:
        TypeError: (when called) the argument is missing or no float.
        ValueError: (when called) `fn` returns no scalar.

    >>> value, gradient = value_and_grad(lambda x: (x**2).sum())([1.0, 2.0])
    >>> float(value), gradient.tolist()
    (5.0, [2.0, 4.0])
    """
    positions = [argnums] if isinstance(argnums, int) else list(argnums)

    def differentiated(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if positions and max(positions) >= len(args):
            raise TypeError(
                f"grad: argnums={argnums} needs {max(positions) + 1} positional arguments. "
                f"Received {len(args)}."
            )
        nested = _recording.depth > 0
        previous = _core.set_grad_enabled(True)
        _recording.depth += 1
        try:
            inputs = list(args)
            for position in positions:
                inputs[position] = _inputs(args[position], nested)
            result = fn(*inputs, **kwargs)
            value = result[0] if has_aux else result
            if not isinstance(value, Tensor) or value.size != 1:
                raise ValueError(
                    "grad: the function must return a scalar tensor. Received "
                    f"{getattr(value, 'shape', type(value).__name__)}. "
                    "Reduce it first, for example with .sum()."
                )
        finally:
            _recording.depth -= 1
            _core.set_grad_enabled(previous)
        sources = [inputs[position] for position in positions]
        flat = flatten(sources)
        grads = [
            _core.zeros_like(x) if g is None else g
            for x, g in zip(flat, _core.grad(value, flat, None, False, nested), strict=True)
        ]
        packed = pack_like(sources, grads)
        if not nested:
            result = (value.detach(), result[1]) if has_aux else value.detach()
        return result, packed[0] if isinstance(argnums, int) else tuple(packed)

    return differentiated


def grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that gives the gradient of `fn` (JAX `grad`); it can be applied twice.

    Args:
        fn: A function that returns a scalar tensor.
        argnums: Position of the argument to differentiate by, or several positions.

    Raises:
        TypeError: (when called) the argument is missing or no float.
        ValueError: (when called) `fn` returns no scalar.

    >>> float(grad(lambda x: x**3)(2.0))
    12.0
    >>> float(grad(grad(lambda x: x**3))(2.0))
    12.0
    """
    function = value_and_grad(fn, argnums)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)[1]

    return gradient


def _inputs(argument: Any, nested: bool) -> Any:
    """Return the tensor for an argument, or the tensors of a structure that holds arrays."""
    if any(isinstance(leaf, (Tensor, np.ndarray)) for leaf in flatten(argument)):
        return map_structure(lambda x: _input(x, nested), argument)
    return _input(argument, nested)


def _input(x: Any, nested: bool) -> Tensor:
    """Return a tensor of its own to differentiate by, connected to `x` where that matters."""
    if nested and isinstance(x, Tensor) and x.requires_grad:
        return x * 1
    leaf = x.detach() if isinstance(x, Tensor) else _core.tensor(x)
    if not leaf.dtype.startswith("float"):
        raise TypeError(
            f"grad: cannot differentiate by a tensor of dtype {leaf.dtype}. "
            'Cast it first: x.astype("float32").'
        )
    leaf.requires_grad = True
    return leaf
