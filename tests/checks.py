"""What the tests of the table of ops share: references, tolerances, comparisons."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from opreport import FIGURES
from opspecs import SPECS, Spec
from opspecs.spec import FLOATS
from strategies import Case

import autodan as ad
from autodan.testing import assert_close, float32_tolerance


def rows(specs: Any = SPECS) -> Any:
    return pytest.mark.parametrize("spec", specs, ids=lambda spec: spec.name)


def many(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def takes(spec: Spec, dtype: str) -> bool:
    """Return whether operands may have this dtype."""
    return isinstance(spec.dtypes.get(dtype), str)


def same_bits(a: Any, b: Any) -> bool:
    pairs = zip(many(a), many(b), strict=True)
    return all(x.shape == y.shape and x.numpy().tobytes() == y.numpy().tobytes() for x, y in pairs)


def reference(spec: Spec, arrays: list[np.ndarray], kwargs: dict[str, Any]) -> list[np.ndarray]:
    """Return NumPy's results; what it warns of is what special values are for."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return [np.asarray(y) for y in many(spec.reference(*arrays, **kwargs))]


def tolerances(spec: Spec, expected: Any, arrays: Any, kwargs: Any, dtype: str) -> list[Any]:
    if spec.bound is None:
        return [0.0] * len(expected)
    single = expected[0] if len(expected) == 1 else expected
    with np.errstate(all="ignore"):
        bounds = many(spec.bound(single, *arrays, **kwargs))
        if dtype == "float32":
            return [np.nan_to_num(float32_tolerance(b)) for b in bounds]
        # NumPy's functions of doubles have errors of their own.
        return [
            np.nan_to_num(float32_tolerance(b + 4 * np.abs(y))) * 2.0**-29
            for b, y in zip(bounds, expected, strict=True)
        ]


def check_values(spec: Spec, case: Case, dtype: str) -> None:
    tensors = case.tensors(dtype)
    arrays = [x.astype("float64") for x in case.arrays(dtype)]
    actual = many(spec.op(*tensors, **case.kwargs))
    expected = reference(spec, arrays, case.kwargs)
    assert len(actual) == len(expected)
    for y, want, atol in zip(
        actual, expected, tolerances(spec, expected, arrays, case.kwargs, dtype), strict=True
    ):
        if spec.bound is None and y.dtype in FLOATS:
            want = want.astype(y.dtype)
        share = assert_close(y, want, rtol=0.0, atol=atol)
        if dtype == "float32" and y.dtype == "float32":
            FIGURES[spec.name].note("float32", share, case)


def gradients(spec: Spec, operands: Any, kwargs: Any, leaves: Any) -> Any:
    output = many(spec.op(*operands, **kwargs))[0]
    return ad.GradientTape().gradient(output, leaves, [ad.ones_like(output)])


def away_from_kinks(spec: Spec, case: Case) -> bool:
    return spec.away is None or spec.away(*case.arrays("float64"), **case.kwargs)


def function_of_bases(
    spec: Spec, case: Case, dtype: str = "float64"
) -> tuple[Any, list[np.ndarray]]:
    """Return the op as a function of the bases that it can be differentiated by."""
    constants = case.tensors(dtype)
    by = [i for i in range(len(case.bases)) if i in spec.gradients]
    bases = list({id(case.bases[i]): case.bases[i] for i in by}.values())

    def function(*leaves: ad.Tensor) -> list[ad.Tensor]:
        operands = list(constants)
        places = {id(base): leaf for base, leaf in zip(bases, leaves, strict=True)}
        for i in by:
            operands[i] = case.views[i](places[id(case.bases[i])])
        result = many(spec.op(*operands, **case.kwargs))
        return [y for y in result if y.requires_grad or not any(x.requires_grad for x in operands)]

    return function, bases
