"""Saving models and loading them; docs/files.md says what is in the files and what is promised."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Mapping
from typing import Any

from autodan import layers
from autodan._core import InternalError, Variable
from autodan.errors import FormatError
from autodan.models import state
from autodan.models.model import Model
from autodan.models.tensor_file import (
    from_json,
    open_tensor_file,
    to_json,
    write_tensor_file,
)
from autodan.utils.custom_objects import CustomObjectScope
from autodan.utils.signals import Undisturbed

__all__ = ["clone_model", "load_model", "model_from_json", "save_model"]

_LISTED = 5

Path = str | os.PathLike[str]


def save_model(
    model: Model, filepath: Path, overwrite: bool = True, include_optimizer: bool = True
) -> None:
    """Save a model to a file; see `Model.save` (Keras `models.save_model`)."""
    _check_model(model)
    _check_overwrite(filepath, overwrite)
    try:
        document = state.describe(model, include_optimizer)
    except (NotImplementedError, ValueError) as error:
        hint = "To save the weights alone, use save_weights()."
        raise type(error)(f"Model '{model.name}' cannot be saved: {error} {hint}") from error
    variables = state.model_tensors(model)
    if include_optimizer:
        variables |= state.optimizer_tensors(model)
    write_tensor_file(filepath, document, {name: v.numpy() for name, v in variables.items()})


def save_weights(model: Model, filepath: Path, overwrite: bool = True) -> None:
    """Save a model's weights to a file; see `Model.save_weights`."""
    _check_overwrite(filepath, overwrite)
    variables = state.model_tensors(model)
    if not variables and not model.built:
        raise ValueError(
            f"Model '{model.name}' has no weights to save yet. Build it first: call it on data, "
            "or give it an Input."
        )
    write_tensor_file(filepath, None, {name: v.numpy() for name, v in variables.items()})


def load_model(
    filepath: Path, custom_objects: Mapping[str, Any] | None = None, compile: bool = True
) -> Any:
    """Load a model that `Model.save` has saved (Keras `models.load_model`).

    Nothing in the file is executed. Classes and functions are autodan's own, or those that you
    make known: by `custom_objects` or `saving.register_keras_serializable`. The global stream of
    random numbers is left alone.

    Args:
        filepath: The file.
        custom_objects: Classes and functions of your own, by name.
        compile: Whether to compile the model as it was, with the optimizer's state. Default True.

    Raises:
        FormatError: the file is damaged, lies, is of another kind, or names something unknown.
        OSError: the file cannot be read.

    >>> import tempfile
    >>> import autodan as ad
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ad.Sequential([ad.layers.Dense(2)], name="m").save(f"{folder}/m.keras")
    ...     load_model(f"{folder}/m.keras").name
    'm'
    """
    with open_tensor_file(filepath) as file, CustomObjectScope(custom_objects):
        if file.document is None:
            raise FormatError(
                f"{file.name}: holds weights alone. Make the model first, then call "
                "model.load_weights() with this file."
            )
        try:
            model = state.rebuild(file.document, file.tensors, file.digest, compile)
        except InternalError:
            raise
        except Exception as error:
            raise FormatError(f"{file.name}: its model cannot be made: {_text(error)}") from error
        variables = state.model_tensors(model)
        if compile and file.document["optimizer"] is not None:
            variables |= state.optimizer_tensors(model)
        stored = {n: t for n, t in file.tensors.items() if compile or n.startswith(state.MODEL)}
        problem = _mismatch(variables, stored)
        if problem:
            raise FormatError(f"{file.name}: its tensors are not those of its model: {problem}")
        for name, value in file.read(variables):
            variables[name].assign(value)
    return model


def load_weights(model: Model, filepath: Path, skip_mismatch: bool = False) -> None:
    """Load a model's weights; see `Model.load_weights`."""
    variables = state.model_tensors(model)
    with open_tensor_file(filepath) as file:
        stored = {n: t for n, t in file.tensors.items() if n.startswith(state.MODEL)}
        problem = _mismatch(variables, stored)
        if problem and not skip_mismatch:
            hint = "" if variables else " Build the model first: call it on data."
            raise ValueError(
                f"{file.name}: these weights do not fit model '{model.name}': {problem}.{hint}"
            )
        if problem:
            warnings.warn(f"{file.name}: some weights are not loaded: {problem}", stacklevel=3)
        fitting = [n for n, v in variables.items() if stored.get(n) == (v.dtype, tuple(v.shape))]
        # All are read before the first is assigned: an error finds the model as it was.
        values = list(file.read(fitting))
    with Undisturbed():
        for name, value in values:
            variables[name].assign(value)


def model_to_json(model: Model) -> str:
    """Return a model's architecture as JSON; see `Model.to_json`."""
    return to_json(layers.serialize(model))


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Make a model of `Model.to_json`'s result, with new weights (Keras `model_from_json`).

    Args:
        json_string: The JSON.
        custom_objects: Classes and functions of your own, by name.

    Raises:
        FormatError: the text describes no model.

    >>> import autodan as ad
    >>> model = ad.Sequential([ad.Input((3,)), ad.layers.Dense(2)])
    >>> model_from_json(model.to_json()).count_params()
    8
    """
    with CustomObjectScope(custom_objects):
        try:
            model = layers.deserialize(from_json(json_string))
            _check_model(model)
            return model
        except InternalError:
            raise
        except Exception as error:
            raise FormatError(f"model_from_json: {_text(error)}") from error


def clone_model(model: Model) -> Any:
    """Return a model of the same architecture with new weights (Keras `models.clone_model`).

    Raises:
        NotImplementedError: a class of your own has no `get_config`.

    >>> import autodan as ad
    >>> model = ad.Sequential([ad.Input((3,)), ad.layers.Dense(2)])
    >>> clone_model(model).count_params()
    8
    """
    _check_model(model)
    clone: Any = type(model).from_config(model.get_config())
    if model.built and not clone.built:
        clone.build(model._build_shape)
    return clone


def _check_model(model: Any) -> None:
    if not isinstance(model, Model):
        raise TypeError(f"Expected a model. Received {model!r} of type {type(model).__name__}.")


def _check_overwrite(filepath: Path, overwrite: bool) -> None:
    if not overwrite and os.path.exists(filepath):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(filepath))


def _mismatch(
    variables: Mapping[str, Variable], stored: Mapping[str, tuple[str, tuple[int, ...]]]
) -> str:
    """Return what differs, in words; nothing if nothing does."""
    wanted = {name: (v.dtype, tuple(v.shape)) for name, v in variables.items()}
    missing = [f"{n} {_kind(k)}" for n, k in wanted.items() if n not in stored]
    surplus = [f"{n} {_kind(k)}" for n, k in stored.items() if n not in wanted]
    other = [
        f"{n} is {_kind(stored[n])} in the file and {_kind(k)} in the model"
        for n, k in wanted.items()
        if n in stored and stored[n] != k
    ]
    parts = [("the file lacks", missing), ("the model lacks", surplus), ("", other)]
    return "; ".join(f"{start} {_listing(items)}".strip() for start, items in parts if items)


def _kind(kind: tuple[str, tuple[int, ...]]) -> str:
    return f"{kind[0]}{list(kind[1])}"


def _listing(items: list[str]) -> str:
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _text(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return str(error) or type(error).__name__
