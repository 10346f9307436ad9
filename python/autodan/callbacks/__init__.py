"""Callbacks, under Keras's names: `keras.callbacks`.

Example:
    >>> from autodan import callbacks
    >>> stop = callbacks.EarlyStopping(monitor="val_accuracy", patience=3)
    >>> stop.patience
    3
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autodan.callbacks.callback import Callback, LambdaCallback
from autodan.callbacks.callback_list import CallbackList
from autodan.callbacks.checkpoint import ModelCheckpoint
from autodan.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from autodan.callbacks.records import CSVLogger, History, ProgbarLogger
from autodan.callbacks.stopping import EarlyStopping, TerminateOnNaN
from autodan.utils.naming import missing_attribute

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]

if not TYPE_CHECKING:
    __getattr__ = missing_attribute(__name__, __all__)
