"""Metrics, under Keras's names: `keras.metrics`.

Example:
    >>> from autodan import metrics
    >>> metric = metrics.SparseCategoricalAccuracy()
    >>> metric.update_state([1, 0], [[0.1, 0.9], [0.2, 0.8]])
    >>> metric.update_state([1], [[0.3, 0.7]])
    >>> round(float(metric.result()), 4)
    0.6667
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autodan.losses import (
    BCE,
    KLD,
    MAE,
    MSE,
    bce,
    binary_crossentropy,
    categorical_crossentropy,
    hinge,
    huber,
    kl_divergence,
    kld,
    log_cosh,
    mae,
    mean_absolute_error,
    mean_squared_error,
    mse,
    sparse_categorical_crossentropy,
)
from autodan.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from autodan.metrics.accuracy import accuracy as _accuracy
from autodan.metrics.loss_metrics import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Hinge,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
)
from autodan.metrics.metric import Metric
from autodan.metrics.reduction import Mean, MeanMetricWrapper, Sum
from autodan.utils import resolve as identifiers
from autodan.utils.custom_objects import CustomObjectScope
from autodan.utils.naming import missing_attribute, to_snake_case

__all__ = [
    "BCE",
    "KLD",
    "MAE",
    "MSE",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Hinge",
    "KLDivergence",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "Sum",
    "TopKCategoricalAccuracy",
    "bce",
    "binary_accuracy",
    "binary_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "kld",
    "log_cosh",
    "mae",
    "mean_absolute_error",
    "mean_squared_error",
    "mse",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]

if not TYPE_CHECKING:
    __getattr__ = missing_attribute(__name__, __all__)

_CLASSES: list[type[Metric]] = [
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    Hinge,
    KLDivergence,
    Mean,
    MeanAbsoluteError,
    MeanMetricWrapper,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    Sum,
    TopKCategoricalAccuracy,
]
_METRICS: dict[str, Any] = {
    **{metric.__name__: metric for metric in _CLASSES},
    **{to_snake_case(metric.__name__): metric for metric in _CLASSES},
    "acc": Accuracy,
    **dict.fromkeys(("BCE", "bce"), BinaryCrossentropy),
    **dict.fromkeys(("KLD", "kld"), KLDivergence),
    **dict.fromkeys(("MAE", "mae"), MeanAbsoluteError),
    **dict.fromkeys(("MSE", "mse"), MeanSquaredError),
    "huber": huber,
    "log_cosh": log_cosh,
}
# Names that stand for functions where a function is asked for, and for classes everywhere else.
FUNCTIONS: dict[str, Any] = {
    function.__name__: function
    for function in (_accuracy, *map(globals().get, __all__))
    if function is not None and not isinstance(function, type)
}


def get(identifier: Any) -> Any:
    """Find a metric by name, config, class, function or instance; None stays None.

    A plain function `fn(y_true, y_pred)` becomes a `MeanMetricWrapper` under its own name.

    Raises:
        ValueError: for an unknown name, with the nearest valid one.
        TypeError: for another kind of object.

    Example:
        >>> from autodan import metrics
        >>> metrics.get("mse")
        <MeanSquaredError name=mean_squared_error>
        >>> def bias(y_true, y_pred):
        ...     return y_pred - y_true
        >>> metrics.get(bias)
        <MeanMetricWrapper name=bias>
    """
    return _wrapped(identifiers.resolve("metric", identifier, _METRICS))


def serialize(metric: Any) -> Any:
    """Return the config of a metric, the name of a function, or None.

    Raises:
        ValueError: it is a function without a name, as a lambda.

    Example:
        >>> from autodan import metrics
        >>> metrics.serialize(metrics.BinaryAccuracy(threshold=0.25))["config"]["threshold"]
        0.25
    """
    return identifiers.serialize(metric, _METRICS if isinstance(metric, Metric) else FUNCTIONS)


def deserialize(
    config: str | dict[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Any:
    """Build a metric from what `serialize` returned: a config, or a function's name.

    Args:
        config: a dict with `class_name` and `config`, or a name.
        custom_objects: further metrics by name (default None).

    Raises:
        ValueError: for an unknown name, with the nearest valid one.

    Example:
        >>> from autodan import metrics
        >>> config = metrics.serialize(metrics.BinaryAccuracy(threshold=0.25))
        >>> metrics.deserialize(config).get_config()["threshold"]
        0.25
    """
    with CustomObjectScope(custom_objects):
        return _wrapped(identifiers.resolve("metric", config, _METRICS))


def _wrapped(metric: Any) -> Any:
    return metric if metric is None or isinstance(metric, Metric) else MeanMetricWrapper(metric)
