"""The base of all callbacks: the moments of training that one may act at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autodan.utils.naming import lookup

Logs = dict[str, Any]


class Callback:
    """Base class of callbacks; subclasses override the methods of the moments they act at.

    `model` is the model at work and `params` holds `verbose`, `epochs` and `steps`. `logs` holds
    plain floats: of the epoch so far at the end of a batch, of the epoch and its validation
    (names with `val_`) at the end of an epoch. Keras `callbacks.Callback`.

    Example:
        >>> import numpy as np
        >>> import autodan as ad
        >>> class Announce(ad.callbacks.Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         print(epoch, sorted(logs))
        >>> model = ad.Sequential([ad.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x = np.zeros((8, 2), "float32")
        >>> history = model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[Announce()])
        0 ['loss']
        1 ['loss']
    """

    # Whether the batch methods take `logs` as they are, tensors included, so that no value has
    # to be read after every batch. Otherwise they get floats.
    _lazy_logs = False

    def __init__(self) -> None:
        self.params: Mapping[str, Any] = {}
        self._model: Any = None

    def release(self) -> None:
        """Let go of what is open; called when an error or an interrupt has ended the loop.

        Example:
            >>> Callback().release()
        """

    @property
    def model(self) -> Any:
        """The model that is trained, evaluated or asked for predictions."""
        return self._model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Take the parameters of the run; called before it begins."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Take the model of the run; called before it begins."""
        self._model = model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Act at the start of `fit`."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Act at the end of `fit`; `logs` are those of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Act at the start of an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Act at the end of an epoch, after its validation; values added to `logs` are kept."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Act before a training batch, counted from 0 in its epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after a training batch."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Act before a training batch: the older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after a training batch: the older name of `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Act at the start of `evaluate`, and of the validation within `fit`."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Act at the end of `evaluate`, and of the validation within `fit`."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Act before a batch of `evaluate` or validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after a batch of `evaluate` or validation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Act at the start of `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Act at the end of `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Act before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Act after a batch of `predict`; `logs["outputs"]` holds its predictions."""


# The methods above that a run calls; the older names are reached through the newer ones.
ALIASES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}
MOMENTS = [
    name for name in vars(Callback) if name.startswith("on_") and name not in ALIASES.values()
]


def in_floats(logs: Mapping[str, Any] | None) -> Logs:
    """Return logs with every scalar as a float; dicts of scalars are spread out.

    >>> in_floats({"loss": 1, "metrics": {"accuracy": 0.5}})
    {'loss': 1.0, 'accuracy': 0.5}
    """
    floats: Logs = {}
    for name, value in (logs or {}).items():
        if isinstance(value, float):
            floats[name] = value
        elif isinstance(value, Mapping):
            floats.update(in_floats(value))
        else:
            try:
                floats[name] = float(value)
            except (TypeError, ValueError):
                floats[name] = value
    return floats


class LambdaCallback(Callback):
    """A callback made of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: ...)`.

    Keras `callbacks.LambdaCallback`.

    Args:
        on_epoch_begin: called with `epoch, logs` (default None, as all that follow).
        on_epoch_end: called with `epoch, logs`.
        on_train_begin: called with `logs`.
        on_train_end: called with `logs`.
        on_train_batch_begin: called with `batch, logs`.
        on_train_batch_end: called with `batch, logs`.
        **kwargs: functions for other methods of `Callback`, by name.

    Raises:
        ValueError: for a name that no method has.

    Example:
        >>> from autodan.callbacks import LambdaCallback
        >>> callback = LambdaCallback(on_epoch_begin=lambda epoch, logs: print("epoch", epoch))
        >>> callback.on_epoch_begin(0, {})
        epoch 0
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Callable[..., Any] | None,
    ) -> None:
        super().__init__()
        functions = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        methods = {name: name for name in (*MOMENTS, *ALIASES.values())}
        for name, function in functions.items():
            lookup("callback method", name, methods)
            if function is not None:
                setattr(self, name, function)
