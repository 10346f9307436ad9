"""The base of all metrics: state variables, and how they are made, found and reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from autodan import _core, initializers
from autodan.autograd import no_grad
from autodan.config import floatx
from autodan.utils.naming import to_snake_case, unique_name
from autodan.utils.versioned import Versioned
from autodan.variable import Variable


class Metric(Versioned):
    """Base class of metrics: values accumulated over batches.

    Subclasses create their state in `__init__` by `add_variable`, change it in `update_state`
    and compute the value in `result`. Keras `metrics.Metric`.

    Args:
        name: a label, the key in logs (default: from the class's name).
        dtype: the dtype of the state and of the result (default None, `config.floatx()`).

    Example:
        >>> import autodan as ad
        >>> class Positives(ad.metrics.Metric):
        ...     def __init__(self, name="positives", **kwargs):
        ...         super().__init__(name=name, **kwargs)
        ...         self.count = self.add_variable(shape=(), initializer="zeros", name="count")
        ...
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         positive = ad.ops.greater(y_pred, 0.5)
        ...         self.count.assign_add(ad.ops.sum(ad.ops.cast(positive, self.dtype)))
        ...
        ...     def result(self):
        ...         return self.count
        >>> metric = Positives()
        >>> metric.update_state([0, 1], [0.2, 0.9])
        >>> metric.update_state([1, 1], [0.8, 0.7])
        >>> float(metric.result())
        3.0
        >>> metric.reset_state()
        >>> float(metric.result())
        0.0
    """

    # Whether a larger value is better ("up"), a smaller one ("down"), or unknown (None): what
    # callbacks with mode="auto" go by.
    _direction: str | None = None

    def __init__(self, name: str | None = None, dtype: str | None = None) -> None:
        self.name = name or unique_name(to_snake_case(type(self).__name__))
        self._dtype = dtype or floatx()
        self._variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        """The dtype of the state and of the result."""
        return self._dtype

    @property
    def variables(self) -> list[Variable]:
        """The state: variables added, those set as attributes, and those of inner metrics."""
        found = {id(variable): variable for variable in self._added()}
        for value in vars(self).values():
            if isinstance(value, Variable):
                found[id(value)] = value
            elif isinstance(value, Metric):
                found.update((id(variable), variable) for variable in value.variables)
        return list(found.values())

    def add_variable(
        self,
        shape: Sequence[int] = (),
        initializer: Any = "zeros",
        dtype: str | None = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """Add a non-trainable state variable.

        Args:
            shape: its shape (default (), a scalar).
            initializer: its first value, any initializer (default "zeros").
            dtype: its dtype (default None, the metric's).
            aggregation: accepted as in Keras; there is one replica only.
            name: a label (default None, "variable").
        """
        added = self._added()
        dtype = dtype or self.dtype
        initial = initializers.get(initializer or "zeros")(tuple(shape), dtype)
        variable = Variable(initial, trainable=False, name=name or "variable", dtype=dtype)
        variable.path = f"{self.name}/{variable.name}"
        added.append(variable)
        return variable

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Any = "zeros",
        dtype: str | None = None,
        name: str | None = None,
    ) -> Variable:
        """Add a state variable: the older name of `add_variable`."""
        return self.add_variable(shape=shape, initializer=initializer, dtype=dtype, name=name)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch to the state; usually `update_state(y_true, y_pred, sample_weight=None)`."""
        raise NotImplementedError(f"{type(self).__name__} must override `update_state`.")

    def result(self) -> Any:
        """Return the value so far: a scalar tensor, or a dict of scalar tensors."""
        raise NotImplementedError(f"{type(self).__name__} must override `result(self)`.")

    def reset_state(self) -> None:
        """Set every state variable to 0, before an epoch or an evaluation."""
        for variable in self.variables:
            variable.assign(_core.zeros(variable.shape, dtype=variable.dtype))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Update the state and return the result."""
        with no_grad():
            self.update_state(*args, **kwargs)
            return self.result()

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a metric from what `get_config` returned; its state starts afresh."""
        return cls(**config)

    def _added(self) -> list[Variable]:
        try:
            return self._variables
        except AttributeError:
            raise RuntimeError(
                f"Metric {type(self).__name__}: call `super().__init__()` first in `__init__()`."
            ) from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"
