"""Losses as metrics: their mean over all samples seen."""

from __future__ import annotations

from typing import Any

from autodan import _core, losses, ops
from autodan._core import Tensor
from autodan.autograd import no_grad
from autodan.losses.loss import same_shape
from autodan.metrics.reduction import Mean, MeanMetricWrapper


class MeanSquaredError(MeanMetricWrapper):
    """The mean of squared errors; see `losses.mean_squared_error`.

    Keras `metrics.MeanSquaredError`.

    Args:
        name: a label (default "mean_squared_error").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.MeanSquaredError()
        >>> metric.update_state([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
        >>> float(metric.result())
        0.25
    """

    _direction = "down"

    def __init__(self, name: str = "mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)


class RootMeanSquaredError(Mean):
    """The root of the mean of all squared errors.

    Keras `metrics.RootMeanSquaredError`.

    Args:
        name: a label (default "root_mean_squared_error").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.RootMeanSquaredError()
        >>> metric.update_state([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
        >>> float(metric.result())
        0.5
    """

    _direction = "down"

    def __init__(self, name: str = "root_mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(name, dtype)

    def update_state(  # type: ignore[override]  # Keras's signature, too
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Add the squared errors of a batch; both of the same shape."""
        with no_grad():
            y_true, y_pred = same_shape(self.name, y_true, y_pred)
            super().update_state(_core.square(y_pred - y_true), sample_weight)

    def result(self) -> Tensor:
        """Return the root of the mean, a scalar."""
        return _core.cast(_core.sqrt(ops.divide_no_nan(self.total, self.count)), self.dtype)


class MeanAbsoluteError(MeanMetricWrapper):
    """The mean of absolute errors; see `losses.mean_absolute_error`.

    Keras `metrics.MeanAbsoluteError`.

    Args:
        name: a label (default "mean_absolute_error").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.MeanAbsoluteError()
        >>> metric.update_state([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
        >>> float(metric.result())
        0.25
    """

    _direction = "down"

    def __init__(self, name: str = "mean_absolute_error", dtype: str | None = None) -> None:
        super().__init__(losses.mean_absolute_error, name, dtype)


class BinaryCrossentropy(MeanMetricWrapper):
    """The mean crossentropy of yes-or-no targets; see `losses.binary_crossentropy`.

    Keras `metrics.BinaryCrossentropy`.

    Args:
        name: a label (default "binary_crossentropy").
        dtype: dtype of the result (default None, `config.floatx()`).
        from_logits: whether predictions are logits (default False, probabilities).
        label_smoothing: how far to move the targets towards 0.5 (default 0.0).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.BinaryCrossentropy()
        >>> metric.update_state([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]])
        >>> round(float(metric.result()), 4)
        0.8149
    """

    _direction = "down"

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            losses.binary_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )


class CategoricalCrossentropy(MeanMetricWrapper):
    """The mean crossentropy of one-hot targets; see `losses.categorical_crossentropy`.

    Keras `metrics.CategoricalCrossentropy`.

    Args:
        name: a label (default "categorical_crossentropy").
        dtype: dtype of the result (default None, `config.floatx()`).
        from_logits: whether predictions are logits (default False, probabilities).
        label_smoothing: how far to move the targets towards uniform (default 0.0).
        axis: the axis of the classes (default -1).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.CategoricalCrossentropy()
        >>> metric.update_state([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
        >>> round(float(metric.result()), 4)
        1.1769
    """

    _direction = "down"

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean crossentropy of integer labels; see `losses.sparse_categorical_crossentropy`.

    Keras `metrics.SparseCategoricalCrossentropy`.

    Args:
        name: a label (default "sparse_categorical_crossentropy").
        dtype: dtype of the result (default None, `config.floatx()`).
        from_logits: whether predictions are logits (default False, probabilities).
        axis: the axis of the classes (default -1).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.SparseCategoricalCrossentropy()
        >>> metric.update_state([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
        >>> round(float(metric.result()), 4)
        1.1769
    """

    _direction = "down"

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.sparse_categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            axis=axis,
        )


class KLDivergence(MeanMetricWrapper):
    """The mean divergence of predicted from true distributions; see `losses.kl_divergence`.

    Keras `metrics.KLDivergence`.

    Args:
        name: a label (default "kl_divergence").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.KLDivergence()
        >>> metric.update_state([[0.5, 0.5]], [[0.25, 0.75]])
        >>> round(float(metric.result()), 4)
        0.1438
    """

    _direction = "down"

    def __init__(self, name: str = "kl_divergence", dtype: str | None = None) -> None:
        super().__init__(losses.kl_divergence, name, dtype)


class Hinge(MeanMetricWrapper):
    """The mean hinge loss of targets -1 and 1; see `losses.hinge`.

    Keras `metrics.Hinge`.

    Args:
        name: a label (default "hinge").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.Hinge()
        >>> metric.update_state([[-1.0, 1.0]], [[0.5, 2.0]])
        >>> float(metric.result())
        0.75
    """

    _direction = "down"

    def __init__(self, name: str = "hinge", dtype: str | None = None) -> None:
        super().__init__(losses.hinge, name, dtype)
