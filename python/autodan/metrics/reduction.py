"""Metrics that add values up: sums and means over all batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from autodan import _core, ops
from autodan._core import Tensor
from autodan.autograd import no_grad
from autodan.losses.loss import align_weights
from autodan.metrics.metric import Metric
from autodan.utils import resolve as identifiers

# Sums are kept in float64: in float32 a count stops growing at 2**24 samples.
ACCUMULATOR = "float64"


class Sum(Metric):
    """The (weighted) sum of all values.

    Keras `metrics.Sum`.

    Args:
        name: a label (default "sum").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.Sum()
        >>> metric.update_state([1.0, 3.0, 5.0])
        >>> metric.update_state([7.0, 7.0], sample_weight=[1.0, 0.0])
        >>> float(metric.result())
        16.0
    """

    def __init__(self, name: str | None = "sum", dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", dtype=ACCUMULATOR, name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values of any shape; weights fit along their leading axes."""
        values = _core.cast(values, self.dtype)
        if sample_weight is not None:
            values = values * align_weights(sample_weight, values)
        self.total.assign_add(_core.sum(values))

    def result(self) -> Tensor:
        """Return the sum, a scalar."""
        return _core.cast(self.total, self.dtype)


class Mean(Metric):
    """The (weighted) mean of all values; 0 before the first.

    Values of shape (batch, ...) are averaged over all axes but the first, so that every sample
    counts once; a scalar counts as one sample, or as `sample_weight` many. Keras `metrics.Mean`.

    Args:
        name: a label (default "mean").
        dtype: dtype of the result (default None, `config.floatx()`).

    Example:
        >>> from autodan import metrics
        >>> metric = metrics.Mean()
        >>> metric.update_state([1.0, 3.0])
        >>> metric.update_state(8.0, sample_weight=2)
        >>> float(metric.result())
        5.0
    """

    def __init__(self, name: str | None = "mean", dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", dtype=ACCUMULATOR, name="total")
        self.count = self.add_variable((), "zeros", dtype=ACCUMULATOR, name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values of shape (), (batch,) or (batch, ...).

        Args:
            values: the values.
            sample_weight: a number, or weights that fit along the values' leading axes
                (default None).

        Raises:
            ValueError: when the weights do not fit.
        """
        values = _core.cast(values, self.dtype)
        ndim = values.ndim
        if sample_weight is None:
            if ndim > 1:
                values = _core.mean(values, axis=tuple(range(1, ndim)))
            self.total.assign_add(_core.sum(values) if ndim else values)
            self.count.assign_add(values.shape[0] if ndim else 1)
        elif ndim == 0 and isinstance(sample_weight, int | float):
            self.total.assign_add(values * sample_weight)
            self.count.assign_add(sample_weight)
        else:
            self._add_weighted(values, sample_weight)

    def _add_weighted(self, values: Tensor, sample_weight: Any) -> None:
        weights = align_weights(sample_weight, values)
        weights = _core.broadcast_to(weights, values.shape)
        values = values * weights
        if values.ndim > 1:
            inner = tuple(range(1, values.ndim))
            values, weights = _core.mean(values, axis=inner), _core.mean(weights, axis=inner)
        self.total.assign_add(_core.sum(values))
        self.count.assign_add(_core.sum(weights))

    def result(self) -> Tensor:
        """Return the mean, a scalar."""
        return _core.cast(ops.divide_no_nan(self.total, self.count), self.dtype)


class MeanMetricWrapper(Mean):
    """The mean of a function `fn(y_true, y_pred, **kwargs)`.

    The function returns one value for each sample, shape (batch,) or (batch, ...), or one for
    the batch. Keras `metrics.MeanMetricWrapper`; `compile(metrics=[fn])` makes one of a function.

    Args:
        fn: the function.
        name: a label (default None, the function's name).
        dtype: dtype of the result (default None, `config.floatx()`).
        **kwargs: further arguments of the function.

    Example:
        >>> import autodan as ad
        >>> def largest_error(y_true, y_pred):
        ...     return ad.ops.max(ad.ops.abs(y_true - y_pred), axis=-1)
        >>> metric = ad.metrics.MeanMetricWrapper(largest_error)
        >>> metric.update_state(ad.tensor([[0.0, 0.0]]), ad.tensor([[1.0, 3.0]]))
        >>> metric.name, float(metric.result())
        ('largest_error', 3.0)
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"{type(self).__name__} needs a function. Received: fn={fn!r}.")
        super().__init__(name=name or getattr(fn, "__name__", None), dtype=dtype)
        self._fn = fn
        self._fn_kwargs = kwargs

    def update_state(  # type: ignore[override]  # Keras's signature, too
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Add the function's values for a batch; see `Mean.update_state` for the weights."""
        with no_grad():
            values = self._fn(y_true, y_pred, **self._fn_kwargs)
            super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments: the function's own, and for a wrapped one its name."""
        config = {**super().get_config(), **self._fn_kwargs}
        if type(self) is MeanMetricWrapper:
            from autodan import metrics

            return {"fn": identifiers.serialize(self._fn, metrics.FUNCTIONS), **config}
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a metric from what `get_config` returned; its state starts afresh."""
        if cls is not MeanMetricWrapper:
            return super().from_config(config)
        from autodan import metrics

        return cls(
            **{**config, "fn": identifiers.resolve("function", config.get("fn"), metrics.FUNCTIONS)}
        )
