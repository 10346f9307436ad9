"""Many callbacks as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autodan.callbacks.callback import ALIASES, MOMENTS, Callback, Logs, in_floats
from autodan.callbacks.records import History, ProgbarLogger
from autodan.utils.tree import leaves


class CallbackList(Callback):
    """Calls several callbacks as one; what `fit` uses, and a custom training loop may use.

    Only methods that a callback overrides are called. After a batch, callbacks get floats; the
    values are read only where a callback asks for them. Keras `callbacks.CallbackList`.

    Args:
        callbacks: a callback or a list of them (default None).
        add_history: add a `History` unless there is one (default False).
        add_progbar: add a `ProgbarLogger` unless there is one (default False).
        model: the model of the run (default None).
        **params: the parameters of the run: `verbose`, `epochs`, `steps`.

    Raises:
        TypeError: when something is not a callback.

    Example:
        >>> from autodan.callbacks import CallbackList, LambdaCallback
        >>> first = LambdaCallback(on_train_batch_end=lambda batch, logs: print(batch, logs))
        >>> callbacks = CallbackList([first])
        >>> callbacks.on_train_batch_end(0, {"loss": 0.5})
        0 {'loss': 0.5}
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        super().__init__()
        self.callbacks: list[Callback] = []
        self._methods: dict[str, list[tuple[Callable[..., Any], bool]]] = {
            name: [] for name in MOMENTS
        }
        for callback in leaves([] if callbacks is None else callbacks):
            self.append(callback)
        if add_history and not self._has(History):
            self.append(History())
        if add_progbar and not self._has(ProgbarLogger):
            self.append(ProgbarLogger())
        if model is not None:
            self.set_model(model)
        if params:
            self.set_params(params)

    def append(self, callback: Callback) -> None:
        """Add a callback at the end."""
        if not isinstance(callback, Callback):
            hint = ""
            if isinstance(callback, type) and issubclass(callback, Callback):
                hint = f" Pass an instance: {callback.__name__}(...)."
            raise TypeError(f"callbacks[{len(self.callbacks)}] is no Callback: {callback!r}.{hint}")
        if self.params:
            callback.set_params(self.params)
        if self.model is not None:
            callback.set_model(self.model)
        self.callbacks.append(callback)
        for name in MOMENTS:
            method = _overridden(callback, name)
            if method is not None:
                self._methods[name].append((method, callback._lazy_logs))

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Hand the parameters of the run to every callback."""
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def release(self) -> None:
        """Tell all callbacks that an error or an interrupt has ended the loop."""
        for callback in self.callbacks:
            callback.release()

    def set_model(self, model: Any) -> None:
        """Hand the model of the run to every callback; its `history` is the `History`."""
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)
            if isinstance(callback, History):
                model.history = callback

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Tell all callbacks."""
        self._tell("on_train_begin", logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Tell all callbacks, with floats."""
        self._tell("on_train_end", in_floats(logs))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell all callbacks."""
        self._tell("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell all callbacks, with floats; the same dict for all, so that they may add to it."""
        logs = {} if logs is None else logs
        logs.update(in_floats(logs))
        self._tell("on_epoch_end", epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Tell all callbacks that listen."""
        self._tell("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Tell all callbacks that listen, with floats where they are read."""
        self._tell_values("on_train_batch_end", batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Tell all callbacks."""
        self._tell("on_test_begin", logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Tell all callbacks, with floats."""
        self._tell("on_test_end", in_floats(logs))

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Tell all callbacks that listen."""
        self._tell("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Tell all callbacks that listen, with floats where they are read."""
        self._tell_values("on_test_batch_end", batch, logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Tell all callbacks."""
        self._tell("on_predict_begin", logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Tell all callbacks."""
        self._tell("on_predict_end", logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Tell all callbacks that listen."""
        self._tell("on_predict_batch_begin", batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Tell all callbacks that listen; the outputs stay as they are."""
        self._tell("on_predict_batch_end", batch, logs)

    def _tell(self, name: str, *arguments: Any) -> None:
        *position, logs = arguments
        for method, _ in self._methods[name]:
            method(*position, {} if logs is None else logs)

    def _tell_values(self, name: str, batch: int, logs: Logs | None) -> None:
        methods = self._methods[name]
        if not methods:
            return
        floats: Logs | None = None
        for method, lazy in methods:
            if lazy:
                method(batch, logs)
                continue
            if floats is None:
                floats = in_floats(logs)
            method(batch, floats)

    def _has(self, kind: type[Callback]) -> bool:
        return any(isinstance(callback, kind) for callback in self.callbacks)


def _overridden(callback: Callback, name: str) -> Callable[..., Any] | None:
    """Return the callback's own method, under the newer name or the older; None without one."""
    for candidate in (name, ALIASES.get(name)):
        if candidate is not None:
            method: Callable[..., Any] = getattr(callback, candidate)
            if getattr(method, "__func__", None) is not getattr(Callback, candidate):
                return method
    return None
