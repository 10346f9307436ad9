"""Losses on probabilities: the crossentropies and the Kullback-Leibler divergence.

Predictions are probabilities unless `from_logits=True`. A tensor that a softmax or sigmoid made
remembers its logits, and the loss that belongs to that activation is computed from them in one
stable pass. All other probabilities are clipped into [epsilon, 1 - epsilon], as in Keras.
"""

from __future__ import annotations

import warnings
from typing import Any

from autodan import _core, ops
from autodan._core import Tensor
from autodan.config import epsilon
from autodan.losses.loss import (
    LossFunctionWrapper,
    as_float,
    as_labels,
    same_labels,
    same_shape,
)


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Return the mean over `axis` of `-y_true * log(p) - (1 - y_true) * log(1 - p)`.

    Keras `losses.binary_crossentropy`.

    Args:
        y_true: targets between 0 and 1, (batch, ..., n).
        y_pred: probabilities or logits of the same shape.
        from_logits: whether `y_pred` holds logits (default False).
        label_smoothing: how far to move the targets towards 0.5, in [0, 1] (default 0.0).
        axis: the axis that the mean is taken over (default -1).

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.

    Example:
        >>> from autodan import losses
        >>> value = losses.binary_crossentropy([[0.0, 1.0]], [[0.6, 0.4]])
        >>> [round(item, 4) for item in value.tolist()]
        [0.9163]
    """
    y_pred, from_logits = _stable_form("binary_crossentropy", y_pred, from_logits, "sigmoid")
    y_true, y_pred = same_shape("binary_crossentropy", y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return _core.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=from_logits), axis=axis)


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Return `-sum(y_true * log(p))` over the axis of the classes: (batch, ...).

    Keras `losses.categorical_crossentropy`.

    Args:
        y_true: one-hot targets or distributions, (batch, ..., classes).
        y_pred: probabilities or logits of the same shape.
        from_logits: whether `y_pred` holds logits (default False).
        label_smoothing: how far to move the targets towards the uniform distribution, in [0, 1]
            (default 0.0).
        axis: the axis of the classes (default -1).

    Raises:
        ValueError: when the shapes differ, with the loss to use for integer labels.

    Example:
        >>> from autodan import losses
        >>> value = losses.categorical_crossentropy([[0.0, 1.0, 0.0]], [[0.05, 0.9, 0.05]])
        >>> [round(item, 4) for item in value.tolist()]
        [0.1054]
    """
    y_pred, from_logits = _stable_form(
        "categorical_crossentropy", y_pred, from_logits, "softmax", axis
    )
    y_true, y_pred = same_shape("categorical_crossentropy", y_true, y_pred)
    if label_smoothing:
        classes = y_pred.shape[axis]
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / classes
    return ops.categorical_crossentropy(y_true, y_pred, from_logits=from_logits, axis=axis)


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Tensor:
    """Return `-log(p[y_true])`, the crossentropy of integer class labels: (batch, ...).

    Keras `losses.sparse_categorical_crossentropy`.

    Args:
        y_true: class numbers, (batch, ...) or (batch, ..., 1).
        y_pred: probabilities or logits, (batch, ..., classes).
        from_logits: whether `y_pred` holds logits (default False).
        ignore_class: a label whose samples give 0, such as -1 or 255 (default None).
        axis: the axis of the classes (default -1).

    Raises:
        ValueError: when the shapes do not fit, with the loss to use for one-hot targets; when a
            label is not a class.

    Example:
        >>> from autodan import losses
        >>> value = losses.sparse_categorical_crossentropy([1, 2], [[0.0, 1.0, 0.0]] * 2, True)
        >>> [round(item, 4) for item in value.tolist()]
        [0.5514, 1.5514]
    """
    y_pred, from_logits = _stable_form(
        "sparse_categorical_crossentropy", y_pred, from_logits, "softmax", axis
    )
    y_true, y_pred = same_labels("sparse_categorical_crossentropy", y_true, y_pred, axis)
    if ignore_class is None:
        return ops.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=from_logits, axis=axis
        )
    counted = _counted(y_true, ignore_class)
    labels = _core.where(counted, y_true, _core.zeros_like(y_true))
    values = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=from_logits, axis=axis)
    return _core.where(counted, values, _core.zeros_like(values))


def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """Return `sum(y_true * log(y_true / y_pred))` over the last axis: (batch, ...).

    Both are distributions, clipped into [epsilon, 1]. Keras `losses.kl_divergence`.

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.

    Example:
        >>> from autodan import losses
        >>> value = losses.kl_divergence([[0.5, 0.5]], [[0.25, 0.75]])
        >>> [round(item, 4) for item in value.tolist()]
        [0.1438]
    """
    y_true, y_pred = same_shape("kl_divergence", y_true, y_pred)
    y_true = _core.clip(y_true, epsilon(), 1.0)
    y_pred = _core.clip(y_pred, epsilon(), 1.0)
    return _core.sum(y_true * _core.log(y_true / y_pred), axis=-1)


def _stable_form(
    function: str, y_pred: Any, from_logits: bool, activation: str, axis: int = -1
) -> tuple[Tensor, bool]:
    """Return the logits that `activation` made the last axis of `y_pred` from, else `y_pred`."""
    y_pred = as_float(y_pred)
    origin = y_pred._logits
    if origin is None or origin[0] != activation or axis not in (-1, y_pred.ndim - 1):
        return y_pred, from_logits
    if from_logits:
        warnings.warn(
            f"{function} has from_logits=True, but y_pred comes from a {activation}: it holds "
            "probabilities. Drop from_logits, or the last layer's activation.",
            stacklevel=4,
        )
    return as_float(origin[1], y_pred.dtype), True


def _counted(y_true: Tensor, ignore_class: int) -> Tensor:
    """Return which labels are not the ignored one (int64, so that -1 compares with uint8)."""
    return _core.not_equal(_core.cast(y_true, "int64"), ignore_class)


class BinaryCrossentropy(LossFunctionWrapper):
    """The crossentropy of yes-or-no targets; see `losses.binary_crossentropy`.

    Targets and predictions have the same shape (batch, ..., n). Keras
    `losses.BinaryCrossentropy`.

    Args:
        from_logits: whether predictions are logits (default False, probabilities).
        label_smoothing: how far to move the targets towards 0.5 (default 0.0).
        axis: the axis that the mean is taken over (default -1).
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default "binary_crossentropy").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> loss = losses.BinaryCrossentropy(from_logits=True)
        >>> round(float(loss([[1.0], [0.0]], [[0.0], [-1e4]])), 4)
        0.3466
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: str | None = None,
    ) -> None:
        _check_smoothing("BinaryCrossentropy", label_smoothing)
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalCrossentropy(LossFunctionWrapper):
    """The crossentropy of one-hot targets; see `losses.categorical_crossentropy`.

    Targets and predictions have the same shape (batch, ..., classes). Keras
    `losses.CategoricalCrossentropy`.

    Args:
        from_logits: whether predictions are logits (default False, probabilities).
        label_smoothing: how far to move the targets towards uniform (default 0.0).
        axis: the axis of the classes (default -1).
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default "categorical_crossentropy").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> loss = losses.CategoricalCrossentropy(from_logits=True)
        >>> round(float(loss([[0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]])), 4)
        0.5514
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        _check_smoothing("CategoricalCrossentropy", label_smoothing)
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """The crossentropy of integer labels; see `losses.sparse_categorical_crossentropy`.

    Targets have shape (batch, ...) or (batch, ..., 1), predictions (batch, ..., classes). Keras
    `losses.SparseCategoricalCrossentropy`.

    Args:
        from_logits: whether predictions are logits (default False, probabilities).
        ignore_class: a label whose samples do not count (default None).
        reduction: see `Loss` (default "sum_over_batch_size").
        axis: the axis of the classes (default -1).
        name: a label (default "sparse_categorical_crossentropy").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> loss = losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> round(float(loss([1, 1], [[0.0, 1.0, 0.0], [0.0, 1e4, 0.0]])), 4)
        0.2757
    """

    integer_targets = True

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )
        self.ignore_class = ignore_class

    def mask(self, y_true: Tensor, values: Tensor) -> Tensor | None:
        """Return which samples are not of the ignored class."""
        if self.ignore_class is None:
            return None
        return _core.reshape(_counted(as_labels(y_true), self.ignore_class), values.shape)


class KLDivergence(LossFunctionWrapper):
    """The divergence of predicted from true distributions; see `losses.kl_divergence`.

    Targets and predictions have the same shape (batch, ..., classes). Keras
    `losses.KLDivergence`.

    Args:
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default "kl_divergence").
        dtype: see `Loss` (default None).

    Example:
        >>> from autodan import losses
        >>> round(float(losses.KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]])), 4)
        0.1438
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "kl_divergence",
        dtype: str | None = None,
    ) -> None:
        super().__init__(kl_divergence, reduction, name, dtype)


def _check_smoothing(loss: str, label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(
            f"{loss} needs label_smoothing in [0, 1]. Received: label_smoothing={label_smoothing}."
        )
