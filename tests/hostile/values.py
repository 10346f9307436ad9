"""Arguments: what looks right for a parameter of some name, and what is wrong for most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np

import autodan as ad

Factory = Callable[[], Any]


class Raised(Exception):
    """What hostile objects raise; it may come out of a call unchanged."""


def _raise(*_: Any, **__: Any) -> Any:
    raise Raised("raised by an argument")


def _raising(*names: str) -> Factory:
    return type("Raises" + "".join(names).replace("_", ""), (), dict.fromkeys(names, _raise))


class Length:
    """A sequence that lies about its length."""

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, i: int) -> float:
        if i > 5:
            raise IndexError(i)
        return 1.0


class Index:
    """An integer to those who ask for an index."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class ArrayOf:
    """An object whose `__array__` gives something."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.value


def endless() -> Iterator[float]:
    """Yield a few numbers, then raise."""
    yield from (1.0, 2.0)
    raise Raised("raised by a generator")


def nested(depth: int) -> list[Any]:
    """Return a list in a list, `depth` deep."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic(kind: type) -> Any:
    """Return a list or a dict that holds itself."""
    if kind is dict:
        mapping: dict[str, Any] = {}
        mapping["self"] = mapping
        return mapping
    items: list[Any] = [1]
    items.append(items)
    return items


def read_only(array: np.ndarray) -> np.ndarray:
    """Return the array without the right to write to it."""
    array.flags.writeable = False
    return array


def _floats(*shape: int) -> np.ndarray:
    return np.linspace(-1.0, 2.0, math.prod(shape)).reshape(shape).astype("float32")


HOSTILE: dict[str, Factory] = {
    "None": lambda: None,
    "True": lambda: True,
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "object()": object,
    "int (the type)": lambda: int,
    "a lambda": lambda: lambda *a, **k: None,
    "a raising lambda": lambda: _raise,
    "''": lambda: "",
    "'abc'": lambda: "abc",
    "'\\0'": lambda: "a\0b",
    "a surrogate": lambda: "\ud800",
    "a long str": lambda: "x" * 100_000,
    "bytes": lambda: b"abc",
    "bytearray": lambda: bytearray(8),
    "memoryview": lambda: memoryview(b"12345678"),
    "memoryview 2-d": lambda: memoryview(_floats(2, 3)),
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "-0.0": lambda: -0.0,
    "1e308": lambda: 1e308,
    "5e-324": lambda: 5e-324,
    "0.5": lambda: 0.5,
    "1j": lambda: 1j,
    "Fraction": lambda: Fraction(1, 3),
    "datetime": lambda: datetime(2020, 1, 1),
    **{f"{n}": (lambda n=n: n) for n in (0, -1, -2, 1, 7, 100, 2**31, 2**32, 2**40, -(2**31))},
    **{f"2**{e}": (lambda e=e: 2**e) for e in (53, 63, 64)},
    "-2**63": lambda: -(2**63),
    "-2**63-1": lambda: -(2**63) - 1,
    "10**30": lambda: 10**30,
    "10**5000": lambda: 10**5000,
    "Index(2)": lambda: Index(2),
    "Index(2**70)": lambda: Index(2**70),
    "Index('a')": lambda: Index("a"),  # type: ignore[arg-type]
    "[]": list,
    "()": tuple,
    "{}": dict,
    "set": lambda: {1, 2},
    "frozenset": lambda: frozenset({1.0}),
    "range": lambda: range(3),
    "slice": lambda: slice(None, None, 0),
    "slice of strings": lambda: slice("a", "b"),
    "generator": lambda: (x for x in (1.0, 2.0)),
    "raising generator": endless,
    "iterator": lambda: iter([1, 2]),
    "[None]": lambda: [None],
    "['a', 'b']": lambda: ["a", "b"],
    "[1, 'a', None]": lambda: [1, "a", None],
    "[[1, 2], [3]]": lambda: [[1, 2], [3]],
    "[1j]": lambda: [1j],
    "[nan]": lambda: [math.nan, math.inf],
    "[10**30]": lambda: [10**30],
    "[object()]": lambda: [object()],
    "[-1, -1]": lambda: [-1, -1],
    "[0, 0, 0]": lambda: [0, 0, 0],
    "{'a': 1}": lambda: {"a": 1},
    "{1: {2: None}}": lambda: {1: {2: None}},
    "{'class_name': 'Dense'}": lambda: {"class_name": "Dense", "config": {"units": -1}},
    "{'class_name': 3}": lambda: {"class_name": 3, "config": 4},
    "{'config': None}": lambda: {"class_name": "zeros", "config": {"nonsense": 1}},
    "nested 40": lambda: nested(40),
    "nested 10000": lambda: nested(10_000),
    "cyclic list": lambda: cyclic(list),
    "cyclic dict": lambda: cyclic(dict),
    "(2**40,)": lambda: (2**40,),
    "(2**32, 2**32)": lambda: (2**32, 2**32),
    "(2**63, 0)": lambda: (2**63, 0),
    "(0, 2**62, 4)": lambda: (0, 2**62, 4),
    "(2, -3)": lambda: (2, -3),
    "(2, None)": lambda: (2, None),
    "(1,) * 70": lambda: (1,) * 70,
    "(0.5, 1)": lambda: (0.5, 1),
    "('same', 3)": lambda: ("same", 3),
    "((1, 2), (3,))": lambda: ((1, 2), (3,)),
    "object array": lambda: np.array([None, "a", 3], dtype=object),
    "self array": lambda: ArrayOf(np.float64(3)),
    "array of str": lambda: np.array(["a", "bc"]),
    "array of bytes": lambda: np.array([b"a", b"bc"]),
    "array of datetime": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "array of timedelta": lambda: np.array([1, 2], dtype="timedelta64[s]"),
    "NaT": lambda: np.datetime64("NaT"),
    "structured array": lambda: np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
    "void": lambda: np.zeros(2, dtype="V3"),
    "complex array": lambda: np.ones((2, 3), dtype="complex64"),
    "longdouble array": lambda: np.ones((2, 3), dtype="longdouble"),
    "float16 array": lambda: np.ones((2, 3), dtype="float16"),
    "uint64 array": lambda: np.full((2, 3), 2**64 - 1, dtype="uint64"),
    "int8 array": lambda: np.full((2, 3), -7, dtype="int8"),
    "big-endian array": lambda: _floats(2, 3).astype(">f4"),
    "big-endian ints": lambda: np.arange(6).reshape(2, 3).astype(">i8"),
    "negative strides": lambda: _floats(4, 6)[::-2, ::-2],
    "misaligned": lambda: np.zeros(25, dtype="u1")[1:].view("f4").reshape(2, 3),
    "overlapping": lambda: np.lib.stride_tricks.as_strided(_floats(4), (2, 3), (4, 4)),
    "stride 0": lambda: np.broadcast_to(np.float32(1), (2, 3)),
    "fortran": lambda: np.asfortranarray(_floats(2, 3)),
    "read-only array": lambda: read_only(_floats(2, 3)),
    "0-d array": lambda: np.array(2.0),
    "empty array": lambda: np.zeros((0, 3), dtype="float32"),
    "(3, 0, 2**40) array": lambda: np.zeros((3, 0, 2**40), dtype="float32"),
    "huge broadcast": lambda: np.broadcast_to(np.float32(1), (4, 2**30)),
    "masked array": lambda: np.ma.masked_array([1.0, 2.0], mask=[True, False]),
    "matrix of NaN": lambda: np.full((2, 3), np.nan),
    "matrix of inf": lambda: np.full((2, 3), np.inf, dtype="float32"),
    "32 axes": lambda: np.zeros((1,) * 32, dtype="float32"),
    "64 axes": lambda: np.zeros((1,) * 64, dtype="float32"),
    **{
        f"np.{t}": (lambda t=t: np.dtype(t).type(1))
        for t in ("bool", "int8", "uint16", "int64", "uint64", "float16", "float32", "float64")
    },
    "np.complex64": lambda: np.complex64(1j),
    "np.longdouble": lambda: np.longdouble(1),
    "np.str_": lambda: np.str_("a"),
    "np.float64(nan)": lambda: np.float64("nan"),
    "raises in __array__": _raising("__array__"),
    "raises in __index__": _raising("__index__"),
    "raises in __float__": _raising("__float__"),
    "raises in __len__": _raising("__len__", "__getitem__"),
    "raises in __iter__": _raising("__iter__"),
    "raises in __eq__": _raising("__eq__", "__hash__"),
    "raises in __repr__": _raising("__repr__", "__str__"),
    "raises in __getattr__": _raising("__getattr__"),
    "raises in __bool__": _raising("__bool__"),
    "lies in __len__": Length,
    "__array__ gives a str": lambda: ArrayOf("text"),
    "__array__ gives objects": lambda: ArrayOf(np.array([object()])),
    "Tensor () int64": lambda: ad.tensor(2),
    "Tensor (2, 3)": lambda: ad.tensor(_floats(2, 3)),
    "Tensor (0, 3)": lambda: ad.zeros((0, 3)),
    "Tensor 5-d": lambda: ad.ones((1, 2, 1, 2, 1)),
    "Tensor of bool": lambda: ad.tensor([[True, False, True]] * 2),
    "Tensor of uint8": lambda: ad.ones((2, 3), dtype="uint8"),
    "Tensor of int64": lambda: ad.arange(6).reshape(2, 3),
    "Tensor of float64": lambda: ad.tensor(_floats(2, 3).astype("float64")),
    "Tensor of NaN": lambda: ad.tensor([math.nan, math.inf]),
    "Tensor with gradient": lambda: ad.tensor(_floats(2, 3), requires_grad=True),
    "result with gradient": lambda: ad.tensor(_floats(2, 3), requires_grad=True) * 2,
    "Tensor, a view": lambda: ad.tensor(_floats(6, 4))[::-2, 3:0:-1].T,
    "Variable": lambda: ad.Variable(_floats(2, 3)),
    "Variable of int64": lambda: ad.Variable(np.arange(3), trainable=False),
    "KerasTensor": lambda: ad.Input((3,)),
    "a layer": lambda: ad.layers.Dense(2),
    "a model": lambda: ad.Sequential([ad.layers.Dense(2)]),
    "a module": lambda: math,
}

_TENSORS: dict[str, Factory] = {
    "floats (2, 3)": lambda: ad.tensor(_floats(2, 3)),
    "floats (3,)": lambda: ad.tensor(_floats(3)),
    "floats (3, 2)": lambda: _floats(3, 2),
    "floats (2, 4, 4, 3)": lambda: ad.tensor(_floats(2, 4, 4, 3)),
    "floats (2, 2, 3, 3)": lambda: _floats(2, 2, 3, 3),
    "nested lists": lambda: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    "ints (2, 3)": lambda: ad.tensor(np.arange(6).reshape(2, 3)),
    "ints (2,)": lambda: np.array([0, 2]),
    "probabilities": lambda: np.full((2, 3), 1 / 3, dtype="float32"),
    "2.0": lambda: 2.0,
}
_NUMBERS: dict[str, Factory] = {"0.25": lambda: 0.25, "1": lambda: 1, "0.0": lambda: 0.0}
_COUNTS: dict[str, Factory] = {"2": lambda: 2, "3": lambda: 3, "1": lambda: 1}
_FLAGS: dict[str, Factory] = {"False": lambda: False, "True": lambda: True}
_AXES: dict[str, Factory] = {
    "0": lambda: 0,
    "-1": lambda: -1,
    "(0, 1)": lambda: (0, 1),
    "None": lambda: None,
}
_SHAPES: dict[str, Factory] = {
    "(2, 3)": lambda: (2, 3),
    "6": lambda: 6,
    "(3, -1)": lambda: (3, -1),
    "(None, 3)": lambda: (None, 3),
    "(4, 4, 3)": lambda: (4, 4, 3),
}
_DTYPES: dict[str, Factory] = {
    name: (lambda name=name: name)
    for name in ("float32", "float64", "int32", "int64", "uint8", "bool")
}
_WINDOWS: dict[str, Factory] = {"2": lambda: 2, "(1, 2)": lambda: (1, 2), "1": lambda: 1}
_NAMES: dict[str, Factory] = {
    name: (lambda name=name: name)
    for name in ("relu", "mse", "adam", "zeros", "l2", "accuracy", "same", "loss", "glorot_normal")
}


def _sample(y: bool = False) -> np.ndarray:
    return np.array([0, 1, 2, 1]) if y else _floats(4, 5)


# What looks right for parameters of these names; others get something of `ANY`.
BY_NAME: dict[str, dict[str, Factory]] = {
    **dict.fromkeys(
        [
            "x",
            "x1",
            "x2",
            "xs",
            "inputs",
            "value",
            "values",
            "y_true",
            "y_pred",
            "other",
            "gradient",
            "a",
            "b",
        ],
        _TENSORS,
    ),
    **dict.fromkeys(["axis", "axes", "source", "destination", "axis1", "axis2", "dim"], _AXES),
    **dict.fromkeys(
        ["shape", "newshape", "input_shape", "target_shape", "reps", "noise_shape"], _SHAPES
    ),
    "dtype": _DTYPES,
    **dict.fromkeys(
        ["units", "filters", "n", "num", "num_classes", "k", "batch_size", "steps", "size"], _COUNTS
    ),
    **dict.fromkeys(["strides", "pool_size", "kernel_size", "dilation_rate", "groups"], _WINDOWS),
    **dict.fromkeys(
        ["keepdims", "use_bias", "trainable", "training", "from_logits", "shuffle"], _FLAGS
    ),
    **dict.fromkeys(
        ["activation", "loss", "optimizer", "metrics", "identifier", "name", "mode", "monitor"],
        _NAMES,
    ),
    **dict.fromkeys(
        ["rate", "alpha", "learning_rate", "momentum", "beta_1", "epsilon", "stddev", "mean"],
        _NUMBERS,
    ),
    **{
        key: {"7": lambda: 7, "SeedGenerator": lambda: ad.random.SeedGenerator(3)}
        for key in ["seed", "counter"]
    },
    "padding": {"valid": lambda: "valid", "same": lambda: "same"},
    "epochs": {"1": lambda: 1},
    "verbose": {"0": lambda: 0, "2": lambda: 2},
    "y": {"labels": lambda: _sample(True), "targets": lambda: _floats(4, 3)},
    "logs": {"{'loss': 0.5}": lambda: {"loss": 0.5}},
    "config": {"{}": dict, "{'units': 2}": lambda: {"units": 2}},
    "weights": {"[]": list, "one": lambda: [_floats(2, 3)]},
    "variables": {"one": lambda: [ad.Variable(_floats(2, 3))]},
    "grads": {"one": lambda: [ad.tensor(_floats(2, 3))]},
    "var_list": {"one": lambda: [ad.Variable(_floats(2, 3))]},
    "key": {"0": lambda: 0, "(slice, None)": lambda: (slice(None), None), "...": lambda: ...},
    "callbacks": {"[]": list, "None": lambda: None},
    "xy": {"batch": lambda: _sample()},
}
ANY: dict[str, Factory] = (
    _TENSORS
    | _NUMBERS
    | _COUNTS
    | _FLAGS
    | _AXES
    | _SHAPES
    | _DTYPES
    | _NAMES
    | {"samples": _sample, "labels": lambda: _sample(True)}
)
# Numbers that only mean more work: no fault of the function that takes them.
PATIENCE = frozenset({"epochs", "steps_per_epoch", "initial_epoch"})
LARGE = frozenset(
    {
        "2147483648",
        "4294967296",
        "1099511627776",
        "2**53",
        "2**63",
        "2**64",
        "10**30",
        "10**5000",
        "1e308",
        "inf",
        "-2147483648",
        "-2**63",
        "-2**63-1",
        "Index(2**70)",
        "100",
    }
)
