"""Saving the model while it is trained."""

from __future__ import annotations

import os
from typing import Any

from autodan.callbacks.callback import Callback, Logs, in_floats
from autodan.callbacks.monitor import Monitor


class ModelCheckpoint(Callback):
    """Saves the model, or its weights, after epochs or after numbers of batches.

    A file is replaced at once and whole, so that whatever happens there is one to load. Training
    goes on from it by `model = models.load_model(path)` and
    `model.fit(..., initial_epoch=model.epochs_trained)`. Keras `callbacks.ModelCheckpoint`.

    Args:
        filepath: the file; `{epoch}` and names of the logs are filled in, as in
            "model.{epoch:02d}-{val_loss:.2f}.keras".
        monitor: the value to watch for `save_best_only` (default "val_loss").
        verbose: 1 says what it does, 0 is silent (default 0).
        save_best_only: save only when the value has become better than ever (default False).
        save_weights_only: save the weights alone (default False).
        mode: "min", "max", or "auto" to tell by the value's name and the model's metrics
            (default "auto").
        save_freq: "epoch", or a number of batches (default "epoch").
        initial_value_threshold: what the value must be better than from the start (default None).

    Raises:
        ValueError: for an unknown mode or `save_freq`, or when "auto" cannot tell.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import autodan as ad
        >>> model = ad.Sequential([ad.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x = np.zeros((8, 2), "float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save = ad.callbacks.ModelCheckpoint(folder + "/{epoch:02d}.keras")
        ...     history = model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[save])
        ...     ad.models.load_model(folder + "/02.keras").epochs_trained
        2
    """

    _lazy_logs = True

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__()
        if save_freq != "epoch" and (type(save_freq) is not int or save_freq < 1):
            raise ValueError(
                "ModelCheckpoint needs save_freq='epoch' or a positive number of batches. "
                f"Received: save_freq={save_freq!r}."
            )
        self.filepath = os.fspath(filepath)
        self.monitor = monitor
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._monitor = Monitor("ModelCheckpoint", monitor, mode, 0.0)
        self._monitor.best = initial_value_threshold
        self._epoch = 0
        self._batches = 0

    @property
    def best(self) -> float | None:
        """The best value so far, None before the first."""
        return self._monitor.best

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save, where enough batches have passed."""
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches >= int(self.save_freq):
            self._batches = 0
            self._save(in_floats(logs), batch=batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, where epochs count."""
        if self.save_freq == "epoch":
            self._save(logs or {})

    def _save(self, logs: Logs, **position: int) -> None:
        path = self._path(logs, **position)
        reason = "saving the model"
        if self.save_best_only:
            value = self._monitor.value(logs)
            if value is None:
                return
            best = self.best
            if not self._monitor.improves(value, best, self.model):
                self._say(f"{self.monitor} did not improve from {_shown(best)}")
                return
            self._monitor.best = value
            reason = f"{self.monitor} improved from {_shown(best)} to {value:.5f}, saving the model"
        self._say(f"{reason} to {path}")
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)

    def _path(self, logs: Logs, **position: Any) -> str:
        try:
            return self.filepath.format(epoch=self._epoch + 1, **position, **logs)
        except KeyError as error:
            known = ", ".join(["epoch", *position, *logs])
            raise KeyError(
                f"ModelCheckpoint: the filepath '{self.filepath}' mentions {error}, which is not "
                f"available. Available: {known}."
            ) from error

    def _say(self, what: str) -> None:
        if self.verbose:
            print(f"\nEpoch {self._epoch + 1}: {what}")


def _shown(best: float | None) -> str:
    return "nothing" if best is None else f"{best:.5f}"
