"""Global settings: default float type, fuzz factor and image layout (Keras `keras.config`)."""

from __future__ import annotations

from autodan import _core
from autodan.utils.naming import lookup

FLOAT_DTYPES = ("float32", "float64")
_DTYPES = {name: name for name in (*FLOAT_DTYPES, "int32", "int64", "uint8", "bool")}
_DATA_FORMATS = {name: name for name in ("channels_last", "channels_first")}

_floatx = "float32"
_epsilon = 1e-7
_image_data_format = "channels_last"


def floatx() -> str:
    """Return the default float dtype, "float32" unless changed (Keras `config.floatx`).

    >>> floatx()
    'float32'
    """
    return _floatx


def set_floatx(value: str) -> None:
    """Set the default float dtype of layers and initializers (Keras `config.set_floatx`).

    Args:
        value: "float32" or "float64".

    Raises:
        ValueError: `value` is not a float dtype.

    >>> set_floatx("float64")
    >>> floatx()
    'float64'
    >>> set_floatx("float32")
    """
    global _floatx
    _floatx = lookup("float dtype", value, {name: name for name in FLOAT_DTYPES})
    _core._note_change()


def epsilon() -> float:
    """Return the fuzz factor that keeps logarithms and divisions finite, 1e-7 (Keras).

    >>> epsilon()
    1e-07
    """
    return _epsilon


def set_epsilon(value: float) -> None:
    """Set the fuzz factor (Keras `config.set_epsilon`).

    >>> set_epsilon(1e-7)
    """
    global _epsilon
    _epsilon = float(value)
    _core._note_change()


def image_data_format() -> str:
    """Return the default image layout, "channels_last" unless changed (Keras).

    >>> image_data_format()
    'channels_last'
    """
    return _image_data_format


def set_image_data_format(data_format: str) -> None:
    """Set the default image layout (Keras `config.set_image_data_format`).

    Args:
        data_format: "channels_last" (N, H, W, C) or "channels_first" (N, C, H, W).

    Raises:
        ValueError: the layout has another name.

    >>> set_image_data_format("channels_last")
    """
    global _image_data_format
    _image_data_format = lookup("data_format", data_format, _DATA_FORMATS)
    _core._note_change()


def settings() -> tuple[str, float, str]:
    """Return all settings: what was compiled under others does not hold.

    >>> settings()
    ('float32', 1e-07, 'channels_last')
    """
    return _floatx, _epsilon, _image_data_format


def standardize_data_format(data_format: str | None) -> str:
    """Return `data_format`, or the global one for None.

    Raises:
        ValueError: the layout has an unknown name.

    >>> standardize_data_format(None)
    'channels_last'
    """
    if data_format is None:
        return _image_data_format
    return lookup("data_format", data_format, _DATA_FORMATS)


def standardize_dtype(dtype: object) -> str:
    """Return the plain name of a dtype: a string, a NumPy dtype or type, or None for `floatx()`.

    Raises:
        ValueError: autodan has no such dtype.

    >>> import numpy as np
    >>> standardize_dtype(np.float64), standardize_dtype(None)
    ('float64', 'float32')
    """
    if dtype is None:
        return _floatx
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    if name is None:
        name = getattr(dtype, "__name__", str(dtype))
    return lookup("dtype", {"float": _floatx, "int": "int32"}.get(name, name), _DTYPES)
