"""What `compile` makes of names: loss objects and metric objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from autodan import losses as losses_module
from autodan import metrics as metrics_module
from autodan._core import Tensor, Variable
from autodan.losses import Loss, LossFunctionWrapper, SparseCategoricalCrossentropy
from autodan.metrics import Metric
from autodan.utils.naming import to_snake_case

# A function that a class of losses wraps stands for that class, which treats labels better.
_CLASS_OF_FUNCTION: dict[Any, type[Loss]] = {
    getattr(losses_module, to_snake_case(name)): value
    for name, value in vars(losses_module).items()
    if isinstance(value, type)
    and issubclass(value, Loss)
    and callable(getattr(losses_module, to_snake_case(name), None))
}

_CHOSEN_BY_SHAPE: dict[str, tuple[type[Metric], type[Metric], type[Metric]]] = {
    **dict.fromkeys(
        ("accuracy", "acc"),
        (
            metrics_module.BinaryAccuracy,
            metrics_module.SparseCategoricalAccuracy,
            metrics_module.CategoricalAccuracy,
        ),
    ),
    **dict.fromkeys(
        ("crossentropy", "ce"),
        (
            metrics_module.BinaryCrossentropy,
            metrics_module.SparseCategoricalCrossentropy,
            metrics_module.CategoricalCrossentropy,
        ),
    ),
}


def resolve_loss(identifier: Any) -> Loss | None:
    """Return the Loss for a name, class, function or instance; None for None.

    Raises:
        ValueError: the name is unknown (the message gives the nearest one), or there are several
            losses.

    >>> resolve_loss("mse").name
    'mean_squared_error'
    """
    if isinstance(identifier, Mapping) and "class_name" not in identifier:
        identifier = list(identifier.values())
    if isinstance(identifier, (list, tuple)):
        if len(identifier) != 1:
            raise ValueError(
                f"compile: `loss` holds {len(identifier)} losses, but the model has one output."
            )
        identifier = identifier[0]
    found = losses_module.get(identifier)
    if found is None or isinstance(found, Loss):
        return found
    if found in _CLASS_OF_FUNCTION:
        return _CLASS_OF_FUNCTION[found]()
    return LossFunctionWrapper(found)


def takes_integer_labels(loss: Any) -> bool:
    """Return whether a loss wants class labels, which must be in range.

    >>> takes_integer_labels(resolve_loss("sparse_categorical_crossentropy"))
    True
    """
    return isinstance(loss, SparseCategoricalCrossentropy)


class CompiledMetrics(Metric):
    """The metrics given to `compile`, as one.

    Names are looked up at once; "accuracy" and "crossentropy" wait for the shapes of the first
    batch to choose among the binary, sparse and categorical form, as in Keras.

    Args:
        metrics: List of names, functions, classes or instances.
        weighted_metrics: The same for metrics that use sample weights.

    Raises:
        ValueError: a name is unknown; the message gives the nearest one.
        TypeError: the metrics are not in a list.
    """

    def __init__(self, metrics: Any = None, weighted_metrics: Any = None) -> None:
        super().__init__(name="compile_metrics")
        self._entries: list[Metric | str] = []
        self._weighted: list[bool] = []
        for argument, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            for identifier in _listed(argument, given):
                self._entries.append(_resolve_metric(identifier))
                self._weighted.append(argument == "weighted_metrics")
        self._unshaped = self._entries
        self._pending = any(isinstance(entry, str) for entry in self._entries)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, the metrics as names or configs."""
        entries = [
            entry if isinstance(entry, str) else metrics_module.serialize(entry)
            for entry in self._unshaped
        ]
        pairs = list(zip(entries, self._weighted, strict=True))
        return {
            "metrics": [entry for entry, weighted in pairs if not weighted],
            "weighted_metrics": [entry for entry, weighted in pairs if weighted],
        }

    @property
    def metrics(self) -> list[Metric]:
        """The metrics whose form is known."""
        return [entry for entry in self._entries if isinstance(entry, Metric)]

    @property
    def variables(self) -> list[Variable]:
        """The state of the metrics."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Choose the form of "accuracy" and "crossentropy" by the shapes of a batch."""
        self._entries = [
            _choose(entry, y_true, y_pred) if isinstance(entry, str) else entry
            for entry in self._entries
        ]
        self._pending = False

    @contextmanager
    def unbuilt_on_error(self) -> Iterator[None]:
        """Forget a form that was chosen by data which turned out not to fit."""
        pending = self._pending
        try:
            yield
        except BaseException:
            if pending:
                self._entries, self._pending = self._unshaped, True
            raise

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        if self._pending:
            self.build(y_true, y_pred)
        for metric, weighted in zip(self.metrics, self._weighted, strict=True):
            if weighted and sample_weight is not None:
                metric.update_state(y_true, y_pred, sample_weight)
            else:
                metric.update_state(y_true, y_pred)

    def result(self) -> dict[str, Tensor]:
        """Return the results by name; a repeated name gets a number."""
        results: dict[str, Tensor] = {}
        for metric, weighted in zip(self._entries, self._weighted, strict=True):
            if isinstance(metric, str):
                continue
            name = metric.name
            if name in results and weighted:
                name = f"weighted_{name}"
            base, count = name, 0
            while name in results:
                count += 1
                name = f"{base}_{count}"
            results[name] = metric.result()
        return results

    def reset_state(self) -> None:
        """Start anew."""
        for metric in self.metrics:
            metric.reset_state()


def _listed(argument: str, given: Any) -> Iterator[Any]:
    if given is None:
        return
    if isinstance(given, Mapping):
        given = list(given.values())
    if not isinstance(given, (list, tuple)):
        raise TypeError(
            f"compile: `{argument}` must be a list. Received: {given!r}. "
            f"Write {argument}=[{given!r}]."
        )
    for item in given:
        if isinstance(item, (list, tuple)):
            yield from _listed(argument, item)
        elif item is not None:
            yield item


def _resolve_metric(identifier: str | Callable[..., Any] | Any) -> Metric | str:
    if not isinstance(identifier, str):
        return metrics_module.get(identifier)
    if identifier in _CHOSEN_BY_SHAPE:
        return identifier
    metric = metrics_module.get(identifier)
    metric.name = identifier
    return metric


def _choose(name: str, y_true: Any, y_pred: Any) -> Metric:
    binary, sparse, categorical = _CHOSEN_BY_SHAPE[name]
    true_shape, pred_shape = y_true.shape, y_pred.shape
    classes = pred_shape[-1] if pred_shape else 1
    if classes == 1:
        return binary(name=name)
    if len(true_shape) < len(pred_shape) or true_shape[-1] == 1:
        return sparse(name=name)
    return categorical(name=name)
