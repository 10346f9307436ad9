"""Losses on numbers: squared and absolute errors and what lies between, and hinge."""

from __future__ import annotations

import math
from typing import Any

from autodan import _core
from autodan._core import Tensor
from autodan.losses.loss import LossFunctionWrapper, same_shape


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """Return `mean((y_true - y_pred) ** 2)` over the last axis: (batch, ...) from (batch, ..., n).

    Keras `losses.mean_squared_error`.

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.

    Example:
        >>> from autodan import losses
        >>> losses.mean_squared_error([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 3.0]]).tolist()
        [0.5, 5.0]
    """
    y_true, y_pred = same_shape("mean_squared_error", y_true, y_pred)
    return _core.mean(_core.square(y_true - y_pred), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """Return `mean(abs(y_true - y_pred))` over the last axis: (batch, ...) from (batch, ..., n).

    Keras `losses.mean_absolute_error`.

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.

    Example:
        >>> from autodan import losses
        >>> losses.mean_absolute_error([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 3.0]]).tolist()
        [0.5, 2.0]
    """
    y_true, y_pred = same_shape("mean_absolute_error", y_true, y_pred)
    return _core.mean(_core.abs(y_true - y_pred), axis=-1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """Return the mean over the last axis of Huber's loss of the error `e = y_pred - y_true`.

    `0.5 * e**2` where `abs(e) <= delta`, else `delta * abs(e) - 0.5 * delta**2`. Huber, "Robust
    estimation of a location parameter", 1964; Keras `losses.huber`.

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.

    Example:
        >>> from autodan import losses
        >>> losses.huber([[0.0, 0.0]], [[1.0, 3.0]]).tolist()
        [1.5]
    """
    y_true, y_pred = same_shape("huber", y_true, y_pred)
    error = y_pred - y_true
    size = _core.abs(error)
    # With the clipped size q, both branches are q * (size - q / 2).
    clipped = _core.minimum(size, delta)
    return _core.mean(clipped * (size - 0.5 * clipped), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """Return the mean over the last axis of `log(cosh(y_pred - y_true))`, without overflow.

    Keras `losses.log_cosh`.

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.

    Example:
        >>> from autodan import losses
        >>> [round(value, 4) for value in losses.log_cosh([[0.0, 0.0]], [[1.0, 0.0]]).tolist()]
        [0.2169]
    """
    y_true, y_pred = same_shape("log_cosh", y_true, y_pred)
    error = y_pred - y_true
    return _core.mean(error + _core.softplus(-2.0 * error) - math.log(2.0), axis=-1)


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """Return `mean(maximum(1 - y_true * y_pred, 0))` over the last axis.

    Targets are -1 or 1; where all are 0 or 1, they are taken for -1 and 1. Keras `losses.hinge`.

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.

    Example:
        >>> from autodan import losses
        >>> losses.hinge([[-1.0, 1.0]], [[0.5, 2.0]]).tolist()
        [0.75]
    """
    y_true, y_pred = same_shape("hinge", y_true, y_pred)
    is_binary = _core.all(_core.logical_or(_core.equal(y_true, 0), _core.equal(y_true, 1)))
    y_true = _core.where(is_binary, 2.0 * y_true - 1.0, y_true)
    return _core.mean(_core.maximum(1.0 - y_true * y_pred, 0.0), axis=-1)


class MeanSquaredError(LossFunctionWrapper):
    """The mean of squared errors; targets and predictions have the same shape (batch, ..., n).

    Keras `losses.MeanSquaredError`.

    Args:
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default "mean_squared_error").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> float(losses.MeanSquaredError()([[0.0], [0.0]], [[1.0], [2.0]]))
        2.5
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(LossFunctionWrapper):
    """The mean of absolute errors; targets and predictions have the same shape (batch, ..., n).

    Keras `losses.MeanAbsoluteError`.

    Args:
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default "mean_absolute_error").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> float(losses.MeanAbsoluteError()([[0.0], [0.0]], [[1.0], [2.0]]))
        1.5
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(mean_absolute_error, reduction, name, dtype)


class Huber(LossFunctionWrapper):
    """Squared error near zero, absolute error beyond `delta`; see `losses.huber`.

    Keras `losses.Huber`.

    Args:
        delta: where the one becomes the other (default 1.0).
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default "huber_loss").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> float(losses.Huber()([[0.0, 0.0]], [[1.0, 3.0]]))
        1.5
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: str | None = None,
    ) -> None:
        super().__init__(huber, reduction, name, dtype, delta=delta)


class LogCosh(LossFunctionWrapper):
    """The logarithm of the error's hyperbolic cosine; see `losses.log_cosh`.

    Keras `losses.LogCosh`.

    Args:
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default "log_cosh").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> round(float(losses.LogCosh()([[0.0, 0.0]], [[1.0, 0.0]])), 4)
        0.2169
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "log_cosh",
        dtype: str | None = None,
    ) -> None:
        super().__init__(log_cosh, reduction, name, dtype)


class Hinge(LossFunctionWrapper):
    """The maximum-margin loss of targets -1 and 1; see `losses.hinge`.

    Keras `losses.Hinge`.

    Args:
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default "hinge").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> float(losses.Hinge()([[-1.0, 1.0]], [[0.5, 2.0]]))
        0.75
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(hinge, reduction, name, dtype)
