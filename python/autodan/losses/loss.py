"""The base of all losses: conversion, shapes, sample weights and reduction.

A loss function gives one value for each sample; what turns these values into the number that is
minimized is the same for all losses and lives here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from autodan import _core, ops
from autodan._core import Tensor
from autodan.config import FLOAT_DTYPES, floatx
from autodan.utils.arguments import axes_of
from autodan.utils.naming import lookup, to_snake_case, unique_name
from autodan.utils.versioned import Versioned

_REDUCTIONS = {
    name: name for name in ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none")
}


class Loss(Versioned):
    """Base class of losses; subclasses write `call(y_true, y_pred)`, one value a sample.

    Calling a loss multiplies these values by `sample_weight` and reduces them. Keras
    `losses.Loss`.

    Args:
        name: a label (default: from the class's name).
        reduction: "sum_over_batch_size" (the default) and "mean" divide the weighted sum by the
            number of values, "mean_with_sample_weight" by the sum of the weights, "sum" does not
            divide, "none" or None returns the values.
        dtype: the dtype to compute in (default None: that of `y_pred` where it is a float
            tensor, else `config.floatx()`).

    Raises:
        ValueError: for an unknown reduction.

    Example:
        >>> import autodan as ad
        >>> class Cubed(ad.losses.Loss):
        ...     def call(self, y_true, y_pred):
        ...         return ad.ops.mean(ad.ops.abs(y_pred - y_true) ** 3, axis=-1)
        >>> float(Cubed()([[0.0], [0.0]], [[1.0], [2.0]]))
        4.5
    """

    # Whether targets are class numbers, which stay integers instead of being cast.
    integer_targets = False

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        self.name = name or unique_name(to_snake_case(type(self).__name__))
        if reduction is not None:
            lookup("loss reduction", reduction, _REDUCTIONS)
        self.reduction = reduction
        self._dtype = dtype

    @property
    def dtype(self) -> str:
        """The dtype that arrays are converted to."""
        return self._dtype or floatx()

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """Return the reduced loss, a scalar unless the reduction is "none".

        Args:
            y_true: targets; shape as the loss says, (batch, ...).
            y_pred: predictions, (batch, ...).
            sample_weight: a number, or weights of shape (batch,) or of any leading axes of the
                values' shape (default None).

        Raises:
            ValueError: when the shapes do not fit, naming both.
        """
        if isinstance(y_pred, Tensor):
            y_pred = as_float(y_pred, self._dtype)
        else:
            y_pred = _core.asarray(y_pred, dtype=self.dtype)
        y_true = as_labels(y_true) if self.integer_targets else as_float(y_true, y_pred.dtype)
        values = self.call(y_true, y_pred)
        mask = self.mask(y_true, values)
        if sample_weight is None and mask is None:
            return reduce_values(values, self.reduction)
        return reduce_weighted_values(values, sample_weight, mask, self.reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return one value for each sample."""
        raise NotImplementedError(
            f"{type(self).__name__} must override `call(self, y_true, y_pred)`."
        )

    def mask(self, y_true: Tensor, values: Tensor) -> Tensor | None:
        """Return which values count, a bool tensor of their shape; None means all."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `dtype` only where it was given, as Keras does."""
        config: dict[str, Any] = {"name": self.name, "reduction": self.reduction}
        return config if self._dtype is None else {**config, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a loss from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class LossFunctionWrapper(Loss):
    """Turn a function `fn(y_true, y_pred, **kwargs)` into a `Loss`.

    The function returns one value for each sample. Targets and predictions whose ranks differ
    by a last axis of 1 are brought to the same rank first. Keras `losses.LossFunctionWrapper`.

    Args:
        fn: the function.
        reduction: see `Loss` (default "sum_over_batch_size").
        name: a label (default: the function's name).
        dtype: see `Loss` (default None).
        **kwargs: further arguments of the function.

    Example:
        >>> import autodan as ad
        >>> def largest_error(y_true, y_pred):
        ...     return ad.ops.max(ad.ops.abs(y_true - y_pred), axis=-1)
        >>> loss = ad.losses.LossFunctionWrapper(largest_error)
        >>> float(loss([[0.0, 0.0]], [[1.0, 3.0]]))
        3.0
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"{type(self).__name__} needs a function. Received: fn={fn!r}.")
        name = name or getattr(fn, "__name__", None)
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn = fn
        self._fn_kwargs = kwargs

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return what the function gives for each sample."""
        if not self.integer_targets:
            y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments: the function's own, and for a wrapped one its name."""
        config = {**super().get_config(), **self._fn_kwargs}
        if type(self) is not LossFunctionWrapper:
            return config
        from autodan import losses

        return {"fn": losses.serialize(self.fn), **config}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a loss from what `get_config` returned."""
        if cls is not LossFunctionWrapper:
            return super().from_config(config)
        from autodan import losses

        return cls(**{**config, "fn": losses.get(config.get("fn"))})


def as_float(x: Any, dtype: str | None = None) -> Tensor:
    """Return `x` as a float tensor, of its own dtype (or `floatx()`) unless `dtype` is given.

    What a probability tensor remembers, the activation that made it and its logits, is kept.
    """
    tensor: Tensor = x if isinstance(x, Tensor) else _core.asarray(x)
    target = dtype or (tensor.dtype if tensor.dtype in FLOAT_DTYPES else floatx())
    if tensor.dtype == target:
        return tensor
    result = _core.cast(tensor, target)
    if tensor._logits is not None:
        activation, logits = tensor._logits
        result._logits = (activation, _core.cast(logits, target))
    return result


def as_labels(y_true: Any) -> Tensor:
    """Return class numbers as an integer tensor; numbers written as floats become int64."""
    labels: Tensor = y_true if isinstance(y_true, Tensor) else _core.asarray(y_true)
    if labels.dtype == "bool" or labels.dtype in FLOAT_DTYPES:
        return _core.cast(labels, "int64")
    return labels


def squeeze_or_expand_to_same_rank(x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
    """Drop or add a last axis of 1 where the ranks differ by just that.

    (N,) against (N, 1) becomes (N, 1); (N, T, 1) against (N, T) becomes (N, T).
    """
    difference = x1.ndim - x2.ndim
    if difference == 1 and x1.shape[-1] == 1:
        return (x1, _core.expand_dims(x2, -1)) if x2.ndim == 1 else (_core.squeeze(x1, -1), x2)
    if difference == -1 and x2.shape[-1] == 1:
        return (_core.expand_dims(x1, -1), x2) if x1.ndim == 1 else (x1, _core.squeeze(x2, -1))
    return x1, x2


def same_shape(function: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Return both as float tensors of the same shape, or say what does not fit and why.

    Raises:
        ValueError: when the shapes differ by more than a last axis of 1.
    """
    y_pred = as_float(y_pred)
    y_true = as_float(y_true, y_pred.dtype)
    if y_true.shape == y_pred.shape:
        return y_true, y_pred
    true_shape, pred_shape = y_true.shape, y_pred.shape
    y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"{function}: y_true has shape {true_shape} and y_pred has shape {pred_shape}, but "
            f"they must be the same. {_shape_hint(true_shape, pred_shape)}"
        )
    return y_true, y_pred


def same_labels(
    function: str, y_true: Any, y_pred: Any, axis: int = -1, remedy: str = "loss"
) -> tuple[Tensor, Tensor]:
    """Return class numbers and float predictions, the former without the axis of the classes.

    Raises:
        ValueError: when the shapes do not fit, with the function to use instead for one-hot
            targets: its name without "sparse_".
    """
    y_pred = as_float(y_pred)
    y_true = as_labels(y_true)
    shape = y_pred.shape
    if not shape:
        raise ValueError(f"{function}: y_pred is a scalar, but needs an axis of classes.")
    (axis,) = axes_of(function, [axis], len(shape))
    expected = shape[:axis] + shape[axis + 1 :]
    if y_true.shape == expected:
        return y_true, y_pred
    if y_true.shape == (*shape[:axis], 1, *shape[axis + 1 :]):
        return _core.squeeze(y_true, axis), y_pred
    if y_true.shape == shape:
        hint = (
            f"These targets look one-hot: use the {remedy} "
            f"'{function.removeprefix('sparse_')}', or pass class numbers, y_true.argmax(-1)."
        )
    elif y_true.shape[:1] != shape[:1]:
        hint = "Their first axes, the batch, differ."
    else:
        hint = "Is an axis missing, or does the last layer return too many (a Flatten missing)?"
    raise ValueError(
        f"{function}: y_true has shape {y_true.shape} and y_pred has shape {shape}; integer "
        f"class labels for these predictions have shape {expected}. {hint}"
    )


def _shape_hint(true_shape: tuple[int, ...], pred_shape: tuple[int, ...]) -> str:
    labels = true_shape[:-1] if true_shape[-1:] == (1,) else true_shape
    if len(pred_shape) > 1 and labels == pred_shape[:-1]:
        classes = pred_shape[-1]
        return (
            f"If y_true holds integer class labels of {classes} classes, use the loss "
            "'sparse_categorical_crossentropy', or encode them with "
            f"utils.to_categorical(y_true, {classes}); if it holds one number a sample, the last "
            "layer should have 1 unit."
        )
    if true_shape[:1] != pred_shape[:1]:
        return "Their first axes, the batch, differ."
    if len(true_shape) == len(pred_shape) and true_shape[:-1] == pred_shape[:-1]:
        return f"Give the last layer {true_shape[-1]} units, as many as y_true has values a sample."
    return "Do the model's output and y_true have the same axes (is a Flatten missing)?"


def reduce_values(values: Tensor, reduction: str | None) -> Tensor:
    """Reduce values that all count alike; the mean of none is 0."""
    if reduction is None or reduction == "none":
        return values
    if reduction == "sum" or values.size == 0:
        return _core.sum(values)
    return _core.mean(values)


def reduce_weighted_values(
    values: Tensor, sample_weight: Any, mask: Tensor | None, reduction: str | None
) -> Tensor:
    """Reduce values by weights, mask, or both; see `Loss` for the reductions.

    Masked values count for nothing, neither in the sum nor in the number that it is divided by.

    Raises:
        ValueError: when the weights do not fit the values.
    """
    weights = _core.asarray(1.0) if sample_weight is None else align_weights(sample_weight, values)
    if mask is not None:
        weights = weights * _core.cast(mask, values.dtype)
    values = values * weights
    if reduction is None or reduction == "none":
        return values
    total = _core.sum(values)
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight":
        return ops.divide_no_nan(total, _core.sum(_core.broadcast_to(weights, values.shape)))
    if mask is None:
        return total / max(values.size, 1)
    return ops.divide_no_nan(total, _core.sum(_core.cast(mask, values.dtype)))


def align_weights(sample_weight: Any, values: Tensor) -> Tensor:
    """Return weights that broadcast over the values along their leading axes.

    Raises:
        ValueError: when they do not fit.
    """
    weights = _core.cast(_core.asarray(sample_weight), values.dtype)
    shape = weights.shape
    if len(shape) == values.ndim + 1 and shape[-1] == 1:
        shape = shape[:-1]
    trailing = values.ndim - len(shape)
    fits = trailing >= 0 and all(
        size in (1, expected) for size, expected in zip(shape, values.shape, strict=False)
    )
    if not fits:
        raise ValueError(
            f"sample_weight has shape {weights.shape}, but there are values of shape "
            f"{values.shape} to weigh: give one weight for each sample, or for each value. "
            "(Predictions of shape (batch,) give a single value: add a last axis of 1.)"
        )
    shape = (*shape, *(1,) * trailing)
    return weights if shape == weights.shape else _core.reshape(weights, shape)
