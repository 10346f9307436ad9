"""How often predictions are right."""

from __future__ import annotations

from typing import Any

from autodan import _core
from autodan._core import Tensor
from autodan.config import floatx
from autodan.losses.loss import same_labels, same_shape
from autodan.metrics.reduction import MeanMetricWrapper


def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Return how many of the last axis's values are equal, as a fraction: (batch, ...).

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.
    """
    y_true, y_pred = same_shape("accuracy", y_true, y_pred)
    return _over_last_axis(_core.equal(y_true, y_pred))


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """Return how many of the last axis's targets equal `y_pred > threshold`, as a fraction.

    Keras `metrics.binary_accuracy`.

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.

    Example:
        >>> from autodan import metrics
        >>> metrics.binary_accuracy([[1, 0], [1, 1]], [[0.9, 0.2], [0.4, 0.7]]).tolist()
        [1.0, 0.5]
    """
    y_true, y_pred = same_shape("binary_accuracy", y_true, y_pred)
    return _over_last_axis(_core.equal(y_true, _core.cast(y_pred > threshold, y_true.dtype)))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Return 1 where the largest prediction is the largest target, else 0: (batch, ...).

    Both have shape (batch, ..., classes). Keras `metrics.categorical_accuracy`.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> from autodan import metrics
        >>> metrics.categorical_accuracy([[0, 1], [1, 0]], [[0.1, 0.9], [0.2, 0.8]]).tolist()
        [1.0, 0.0]
    """
    y_true, y_pred = same_shape("categorical_accuracy", y_true, y_pred)
    return _as_numbers(_core.equal(_core.argmax(y_true, axis=-1), _core.argmax(y_pred, axis=-1)))


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Return 1 where the largest prediction is the label's, else 0: (batch, ...).

    Labels have shape (batch, ...) or (batch, ..., 1), predictions (batch, ..., classes). Keras
    `metrics.sparse_categorical_accuracy`.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> from autodan import metrics
        >>> metrics.sparse_categorical_accuracy([1, 0], [[0.1, 0.9], [0.2, 0.8]]).tolist()
        [1.0, 0.0]
    """
    y_true, y_pred = same_labels("sparse_categorical_accuracy", y_true, y_pred, remedy="metric")
    return _as_numbers(_core.equal(y_true, _core.argmax(y_pred, axis=-1)))


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """Return 1 where the largest target is among the `k` largest predictions: (batch, ...).

    Keras `metrics.top_k_categorical_accuracy`.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> from autodan import metrics
        >>> metrics.top_k_categorical_accuracy([[0, 0, 1]], [[0.1, 0.5, 0.4]], k=2).tolist()
        [1.0]
    """
    y_true, y_pred = same_shape("top_k_categorical_accuracy", y_true, y_pred)
    return _in_top_k(_core.argmax(y_true, axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """Return 1 where the label's prediction is among the `k` largest: (batch, ...).

    Keras `metrics.sparse_top_k_categorical_accuracy`.

    Raises:
        ValueError: when the shapes do not fit.

    Example:
        >>> from autodan import metrics
        >>> metrics.sparse_top_k_categorical_accuracy([2, 0], [[0.1, 0.5, 0.4]] * 2, k=2).tolist()
        [1.0, 0.0]
    """
    function = "sparse_top_k_categorical_accuracy"
    y_true, y_pred = same_labels(function, y_true, y_pred, remedy="metric")
    return _in_top_k(y_true, y_pred, k)


def _in_top_k(labels: Tensor, y_pred: Tensor, k: int) -> Tensor:
    """Return 1 where fewer than `k` predictions exceed the label's, which must be finite."""
    is_label = _core.one_hot(labels, y_pred.shape[-1], dtype="bool")
    score = _core.sum(_core.where(is_label, y_pred, 0.0), axis=-1, keepdims=True)
    better = _core.sum(_core.cast(y_pred > score, "int64"), axis=-1)
    return _as_numbers(_core.logical_and(better < k, _core.squeeze(_core.isfinite(score), -1)))


def _as_numbers(matches: Tensor) -> Tensor:
    return _core.cast(matches, floatx())


def _over_last_axis(matches: Tensor) -> Tensor:
    matches = _as_numbers(matches)
    if matches.ndim == 0:
        return matches
    return _core.squeeze(matches, -1) if matches.shape[-1] == 1 else _core.mean(matches, axis=-1)


class Accuracy(MeanMetricWrapper):
    """How often predictions equal targets, both of the same shape.

    Keras `metrics.Accuracy`. In `compile`, the name "accuracy" stands for the binary, categorical
    or sparse categorical accuracy that the shapes ask for.

    Args:
        name: a label (default "accuracy").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.Accuracy()
        >>> metric.update_state([[1], [2], [3], [4]], [[0], [2], [3], [4]])
        >>> float(metric.result())
        0.75
    """

    _direction = "up"

    def __init__(self, name: str = "accuracy", dtype: str | None = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often targets of 0 and 1 equal `y_pred > threshold`, both of the same shape.

    Keras `metrics.BinaryAccuracy`.

    Args:
        name: a label (default "binary_accuracy").
        dtype: dtype of the result (default None, `config.floatx()`).
        threshold: what a prediction must exceed to stand for 1, in (0, 1) (default 0.5).

    Raises:
        ValueError: for a threshold outside (0, 1).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.BinaryAccuracy()
        >>> metric.update_state([[1], [1], [0], [0]], [[0.98], [1.0], [0.0], [0.6]])
        >>> float(metric.result())
        0.75
    """

    _direction = "up"

    def __init__(
        self, name: str = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5
    ) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(
                f"BinaryAccuracy needs a threshold in (0, 1). Received: threshold={threshold}."
            )
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest prediction is the largest target; both (batch, ..., classes).

    Keras `metrics.CategoricalAccuracy`.

    Args:
        name: a label (default "categorical_accuracy").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.CategoricalAccuracy()
        >>> metric.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
        >>> float(metric.result())
        0.5
    """

    _direction = "up"

    def __init__(self, name: str = "categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest prediction is the label's.

    Labels have shape (batch, ...) or (batch, ..., 1), predictions (batch, ..., classes). Keras
    `metrics.SparseCategoricalAccuracy`.

    Args:
        name: a label (default "sparse_categorical_accuracy").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.SparseCategoricalAccuracy()
        >>> metric.update_state([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]])
        >>> float(metric.result())
        0.5
    """

    _direction = "up"

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest target is among the `k` largest predictions.

    Both have shape (batch, ..., classes). Keras `metrics.TopKCategoricalAccuracy`.

    Args:
        k: how many predictions count (default 5).
        name: a label (default "top_k_categorical_accuracy").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.TopKCategoricalAccuracy(k=1)
        >>> metric.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
        >>> float(metric.result())
        0.5
    """

    _direction = "up"

    def __init__(
        self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: str | None = None
    ) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the label's prediction is among the `k` largest.

    Labels have shape (batch, ...) or (batch, ..., 1), predictions (batch, ..., classes). Keras
    `metrics.SparseTopKCategoricalAccuracy`.

    Args:
        k: how many predictions count (default 5).
        name: a label (default "sparse_top_k_categorical_accuracy").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.SparseTopKCategoricalAccuracy(k=1)
        >>> metric.update_state([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
        >>> float(metric.result())
        0.5
    """

    _direction = "up"

    def __init__(
        self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: str | None = None
    ) -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k)
