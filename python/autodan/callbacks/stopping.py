"""Callbacks that end training."""

from __future__ import annotations

import math
from typing import Any

from autodan.callbacks.callback import Callback, Logs
from autodan.callbacks.monitor import Monitor


class EarlyStopping(Callback):
    """Ends training when a value has stopped improving.

    Keras `callbacks.EarlyStopping`.

    Args:
        monitor: the value to watch (default "val_loss").
        min_delta: the least change that counts as an improvement (default 0).
        patience: how many epochs without improvement to endure (default 0).
        verbose: 1 says what it does, 0 is silent (default 0).
        mode: "min", "max", or "auto" to tell by the value's name and the model's metrics
            (default "auto").
        baseline: a value that must be beaten as well before patience starts anew (default None).
        restore_best_weights: put back the weights of the best epoch at the end (default False).
        start_from_epoch: how many epochs to let pass before watching (default 0).

    Raises:
        ValueError: for an unknown mode, or when "auto" cannot tell.

    Example:
        >>> import numpy as np
        >>> import autodan as ad
        >>> model = ad.Sequential([ad.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> x = np.zeros((8, 2), "float32")  # nothing to learn: the loss stays 0
        >>> stop = ad.callbacks.EarlyStopping(monitor="loss", patience=2)
        >>> history = model.fit(x, x[:, :1], epochs=10, verbose=0, callbacks=[stop])
        >>> len(history.history["loss"])
        3
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None
        self._monitor = Monitor("EarlyStopping", monitor, mode, min_delta)

    @property
    def best(self) -> float | None:
        """The best value so far, None before the first."""
        return self._monitor.best

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start anew."""
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights = None
        self._monitor.reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare with the best value, and stop when patience is at its end."""
        current = self._monitor.value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._remember(epoch)
        self.wait += 1
        if self._monitor.improves(current, self.best, self.model):
            self._monitor.best = current
            self._remember(epoch)
            if self._monitor.improves(current, self.baseline, self.model):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Put the best weights back, where asked to."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(
                    "Restoring model weights from the end of the best epoch: "
                    f"{self.best_epoch + 1}."
                )
            self.model.set_weights(self.best_weights)

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()


class TerminateOnNaN(Callback):
    """Ends training when the loss is NaN or infinite after a batch.

    Reads the loss after every batch, which costs a little. Keras `callbacks.TerminateOnNaN`.

    Args:
        raise_error: raise instead of stopping gracefully (default False).

    Raises:
        RuntimeError: during training, with `raise_error`.

    Example:
        >>> from types import SimpleNamespace
        >>> from autodan.callbacks import TerminateOnNaN
        >>> callback = TerminateOnNaN()
        >>> callback.set_model(SimpleNamespace(stop_training=False))
        >>> callback.on_train_batch_end(7, {"loss": float("nan")})
        Batch 7: loss is nan, training ends.
        >>> callback.model.stop_training
        True
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"The loss is {loss} after batch {batch}.")
        print(f"Batch {batch}: loss is {loss}, training ends.")
        self.model.stop_training = True
