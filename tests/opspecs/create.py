"""Tensors from nothing but arguments, and from the shapes and labels of others."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan.testing import shapes
from opspecs.shape import calls
from opspecs.spec import ALL, SAME, Call, Error, Spec, fixed

DTYPES = st.sampled_from(ALL)
SOME = shapes(max_size=200)


def row(
    name: str,
    reference: Any,
    strategy: Any,
    *errors: Error,
    dtypes: Any = None,
    special: str = "takes no floating-point operand, or its shape alone",
) -> Spec:
    return Spec(
        name=name,
        op=getattr(ad, name),
        reference=reference,
        calls=strategy,
        domain=((0, 4),),
        dtypes=SAME if dtypes is None else dtypes,
        special=special,
        errors=errors,
    )


def arguments(**strategies: Any) -> st.SearchStrategy[Call]:
    return st.fixed_dictionaries(strategies).map(lambda kwargs: Call((), kwargs))


def arange(start, stop=None, step=1, dtype=None):
    x = np.arange(start, stop, step) if stop is not None else np.arange(start)
    floats = "float32" if x.dtype.kind == "f" else "int64"
    return x.astype(dtype or floats)


def one_hot(x, num_classes, axis=-1, dtype="float32"):
    hot = x[..., None] == np.arange(num_classes)
    return np.moveaxis(hot, -1, axis).astype(dtype)


def multi_hot(x, num_classes, axis=-1, dtype="float32"):
    # As Keras has it: the second axis of the result of one_hot is joined, wherever the classes are.
    return one_hot(x, num_classes, axis, dtype).max(axis=1 if x.ndim > 1 else 0)


def labelled(shape: tuple[int, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "num_classes": st.sampled_from((5, 1, 3, 0, 17)),
            "axis": st.integers(-len(shape) - 1, len(shape)),
            "dtype": DTYPES,
        }
    )


def too_large(function: Any) -> Error:
    return Error(lambda: function((2**62, 2**62)), ValueError, "address space")


def no_memory(function: Any) -> Error:
    return Error(lambda: function((2**55,)), MemoryError, "cannot allocate")


def unknown_dtype(call: Any) -> Error:
    return Error(call, TypeError, "'float16' is not a supported dtype; those are bool, .*float64")


def negative(function: Any) -> Error:
    return Error(lambda: function((2, -1)), ValueError, r"shape \[2, -1\] has a negative side")


# Labels are integers whatever the dtype of the result.
LABELS = {
    **dict.fromkeys(ALL, "float32"),
    **dict.fromkeys(("bool", "float32", "float64"), TypeError),
}

SPECS = (
    row(
        "zeros",
        np.zeros,
        arguments(shape=SOME, dtype=DTYPES),
        too_large(ad.zeros),
        no_memory(ad.zeros),
        negative(ad.zeros),
    ),
    row(
        "ones",
        np.ones,
        arguments(shape=SOME, dtype=DTYPES),
        too_large(ad.ones),
        no_memory(ad.ones),
        negative(ad.ones),
    ),
    row(
        "full",
        np.full,
        arguments(shape=SOME, fill_value=st.sampled_from((0, 1, 3)), dtype=DTYPES),
        too_large(lambda shape: ad.full(shape, 1.0)),
        no_memory(lambda shape: ad.full(shape, 1.0)),
        negative(lambda shape: ad.full(shape, 1.0)),
    ),
    *(
        row(
            name,
            getattr(np, name),
            calls(lambda s: st.fixed_dictionaries({"dtype": st.none() | DTYPES})),
            unknown_dtype(lambda name=name: getattr(ad, name)(1.0, "float16")),
            Error(lambda name=name: getattr(ad, name)(None), TypeError, "cannot make a tensor of"),
        )
        for name in ("zeros_like", "ones_like")
    ),
    row(
        "full_like",
        np.full_like,
        calls(
            lambda s: st.fixed_dictionaries(
                {"fill_value": st.sampled_from((0, 1, 3)), "dtype": st.none() | DTYPES}
            )
        ),
        unknown_dtype(lambda: ad.full_like(1.0, 2.0, "float16")),
        Error(lambda: ad.full_like(1.0, "a"), TypeError, "cannot make a tensor of <U1"),
    ),
    row(
        "eye",
        lambda n, m, dtype: np.eye(n, m, dtype=dtype),
        arguments(n=st.integers(0, 9), m=st.none() | st.integers(0, 9), dtype=DTYPES),
        Error(lambda: ad.eye(-1), OverflowError, "negative"),
    ),
    row(
        "identity",
        lambda n, dtype: np.eye(n, dtype=dtype),
        arguments(n=st.integers(0, 9), dtype=DTYPES),
        Error(lambda: ad.identity(-1), OverflowError, "negative"),
        Error(lambda: ad.identity(2, "float16"), ValueError, "'float16'.*float64"),
    ),
    row(
        "arange",
        arange,
        fixed(
            Call((), {"start": 5}),
            Call((), {"start": 2, "stop": 9, "step": 3}),
            Call((), {"start": 9, "stop": 2, "step": -2}),
            Call((), {"start": 3, "stop": 3}),
            Call((), {"start": 3, "stop": 1}),
            Call((), {"start": 0.0, "stop": 1.0, "step": 0.25}),
            Call((), {"start": 0, "stop": 4, "dtype": "uint8"}),
            Call((), {"start": 2**60, "stop": 2**60 + 3}),
        ),
        Error(lambda: ad.arange(0, 1, 0), ValueError, "arange: .*step=0"),
        Error(lambda: ad.arange(0.0, np.inf), ValueError, "arange: .*must be finite"),
        Error(lambda: ad.arange("a"), TypeError, "must be real number, not str"),
        Error(lambda: ad.arange(0, 2**55), MemoryError, "cannot allocate"),
        Error(lambda: ad.arange(0, 2**62), ValueError, "arange: .*address space"),
    ),
    row(
        "linspace",
        lambda start, stop, num, dtype: np.linspace(start, stop, num, dtype=dtype),
        arguments(
            start=st.sampled_from((0.0, -2.0)),
            stop=st.sampled_from((4.0, 0.0)),
            num=st.sampled_from((5, 0, 1, 2, 9)),
            dtype=st.sampled_from(("float32", "float64")),
        ),
        Error(lambda: ad.linspace(0, 1, -1), OverflowError, "negative"),
    ),
    row(
        "one_hot",
        one_hot,
        calls(labelled, shapes(max_size=300, sides=(1, 2, 3, 7, 8, 9, 16, 17))),
        Error(lambda: ad.one_hot([0.5], 3), TypeError, "one_hot: expected integer"),
        Error(lambda: ad.one_hot([1], 3, axis=3), IndexError, "one_hot: axis 3 is out of bounds"),
        Error(lambda: ad.one_hot([1], 3, sparse=True), ValueError, "one_hot: sparse"),
        dtypes=LABELS,
    ),
    row(
        "multi_hot",
        multi_hot,
        calls(
            lambda s: st.fixed_dictionaries(
                {
                    "num_classes": st.sampled_from((5, 1, 17)),
                    "axis": st.sampled_from((-1, 0)),
                    "dtype": DTYPES,
                }
            ),
            shapes(min_dims=1, max_dims=2, max_size=60, sides=(1, 2, 7)),
        ),
        Error(lambda: ad.multi_hot([0.5], 3), TypeError, "one_hot: expected integer.*float32"),
        Error(lambda: ad.multi_hot([1], 3, axis=3), IndexError, "one_hot: axis 3"),
        dtypes=LABELS,
    ),
)
