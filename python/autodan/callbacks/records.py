"""Callbacks that record training: in memory, on the terminal, in a file."""

from __future__ import annotations

import csv
import operator
import os
from collections.abc import Mapping
from typing import Any, TextIO

from autodan.callbacks.callback import Callback, Logs
from autodan.utils.progress import Progbar


class History(Callback):
    """Records the logs of every epoch; `fit` returns it.

    `history` maps each name to its values, one an epoch, and `epoch` lists the epochs. Keras
    `callbacks.History`.

    Example:
        >>> from autodan.callbacks import History
        >>> history = History()
        >>> history.on_train_begin()
        >>> history.on_epoch_end(0, {"loss": 0.5})
        >>> history.on_epoch_end(1, {"loss": 0.25})
        >>> history.history, history.epoch
        ({'loss': [0.5, 0.25]}, [0, 1])
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start anew."""
        self.epoch = []
        self.history = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Record an epoch."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class ProgbarLogger(Callback):
    """Shows a progress bar of every epoch, of `evaluate` and of `predict`.

    `verbose` 1 (or "auto") draws a bar, 2 writes a line an epoch, 0 nothing; a bar that is not on
    a terminal becomes a line. Validation within `fit` shows only its results. Keras
    `callbacks.ProgbarLogger`.

    Example:
        >>> from autodan.callbacks import ProgbarLogger
        >>> bar = ProgbarLogger()
        >>> bar.set_params({"verbose": 2, "epochs": 3, "steps": 10})
        >>> bar.on_epoch_begin(0)
        Epoch 1/3
        >>> bar.on_epoch_end(0, {"loss": 0.5})  # doctest: +ELLIPSIS
        10/10 - 0s - ...s/step - loss: 0.5000
    """

    _lazy_logs = True

    def __init__(self) -> None:
        super().__init__()
        self.verbose = 1
        self.epochs = 1
        self.target: int | None = None
        self.seen = 0
        self.progbar: Progbar | None = None
        self._in_fit = False

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Take `verbose`, `epochs` and `steps`."""
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs = params.get("epochs", 1)
        self.target = params.get("steps")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Note that this is `fit`, where validation has no bar of its own."""
        self._in_fit = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Note that `fit` is over."""
        self._in_fit = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start a bar, under the epoch's number where there are several."""
        if self.verbose and self.epochs > 1:
            print(f"Epoch {epoch + 1}/{self.epochs}", flush=True)
        self._start()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Start a bar of `evaluate`."""
        if not self._in_fit:
            self._start()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Start a bar of `predict`."""
        self._start()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar on."""
        self._advance(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar of `evaluate` on."""
        if not self._in_fit:
            self._advance(batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar of `predict` on."""
        self._advance(batch, None)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Finish the bar."""
        self._finish(logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Finish the bar of `evaluate`."""
        if not self._in_fit:
            self._finish(logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Finish the bar of `predict`."""
        self._finish(None)

    def release(self) -> None:
        """End the bar's line where it is."""
        self._in_fit = False
        if self.progbar is not None:
            self.progbar.close()
            self.progbar = None

    def _start(self) -> None:
        self.seen = 0
        self.progbar = Progbar(self.target, verbose=self.verbose, unit_name="step")

    def _advance(self, batch: int, logs: Logs | None) -> None:
        self.seen = batch + 1
        if self.verbose == 1 and self.progbar is not None:
            values = _by_name(logs)
            # The logs are means over the epoch already: shown as they are, not averaged again.
            if values and not self.progbar.stateful_metrics:
                self.progbar.stateful_metrics = frozenset(name for name, _ in values)
            self.progbar.update(self.seen, values, finalize=False)

    def _finish(self, logs: Logs | None) -> None:
        if self.progbar is None:
            return
        if self.target is None:
            self.target = self.progbar.target = self.seen
        self.progbar.update(self.target, _by_name(logs), finalize=True)
        self.progbar = None


def _by_name(logs: Logs | None) -> list[tuple[str, Any]]:
    """Return the logs sorted by name, as Keras shows them."""
    return sorted((logs or {}).items(), key=operator.itemgetter(0))


class CSVLogger(Callback):
    """Writes the logs of every epoch into a CSV file, one row an epoch.

    The columns are `epoch` and the names of the first epoch's logs. Keras `callbacks.CSVLogger`.

    Args:
        filename: the file.
        separator: what stands between columns (default ",").
        append: add to an existing file instead of replacing it (default False).

    Example:
        >>> import pathlib, tempfile
        >>> from autodan.callbacks import CSVLogger
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> logger = CSVLogger(path)
        >>> logger.on_train_begin()
        >>> logger.on_epoch_end(0, {"loss": 0.5, "accuracy": 0.25})
        >>> logger.on_train_end()
        >>> path.read_text().splitlines()
        ['epoch,accuracy,loss', '0,0.25,0.5']
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._file: TextIO | None = None
        self._keys: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the file."""
        self.release()
        self._file = open(  # noqa: SIM115 - closed by on_train_end
            self.filename, "a" if self.append else "w", newline="", encoding="utf-8"
        )
        self._keys = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a row, before the first one the header."""
        if self._file is None:
            return
        logs = logs or {}
        writer = csv.writer(self._file, delimiter=self.separator)
        if self._keys is None:
            self._keys = sorted(logs)
            if self._file.tell() == 0:
                writer.writerow(["epoch", *self._keys])
        writer.writerow([epoch, *(logs.get(key, "NA") for key in self._keys)])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        self.release()

    def release(self) -> None:
        """Close the file, which has the rows of the epochs so far."""
        if self._file is not None:
            self._file.close()
            self._file = None
