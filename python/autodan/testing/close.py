"""Values against a reference, under a bound that follows from the arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autodan._core import Tensor

__all__ = ["assert_close", "float32_tolerance"]


def float32_tolerance(magnitude: Any, terms: int = 1) -> NDArray[np.float64]:
    """Return `2 * terms * 2**-24 * magnitude`, the error that `terms` roundings may make.

    To that comes `2**-126`, below which float32 kernels take numbers for zero.

    For a product of matrices the magnitude is `abs(a) @ abs(b)` and the terms are those of one
    sum (Higham, Accuracy and Stability of Numerical Algorithms, section 3.5).

    Args:
        magnitude: Size of what is rounded: for a single function its value, for a sum the sum of
            the absolute values.
        terms: Number of roundings one after the other. Default 1.

    >>> float(float32_tolerance(1.0)) == 2 * 2.0**-24 + 2.0**-126
    True
    """
    # The last summand is the smallest number that is not taken for zero.
    return 2 * terms * 2.0**-24 * np.abs(np.asarray(magnitude, "float64")) + 2.0**-126


def assert_close(actual: Any, expected: Any, rtol: float = 1e-5, atol: Any = 0.0) -> float:
    """Assert that shapes are equal and `abs(actual - expected) <= atol + rtol * abs(expected)`.

    Args:
        actual: A tensor or array.
        expected: A tensor or array; NaN matches NaN, an infinity itself.
        rtol: Relative tolerance. Default 1e-5.
        atol: Absolute tolerance, a number or an array of one for each element. Default 0.

    Returns:
        The largest error as a share of its tolerance, between 0 and 1.

    Raises:
        AssertionError: they differ; the message shows the worst element.

    >>> import autodan as ad
    >>> assert_close(ad.tensor([1.0, 2.0]), [1.0, 2.0])
    0.0
    >>> assert_close([1.0, 2.5], [1.0, 2.0])
    Traceback (most recent call last):
    ...
    AssertionError: 1 of 2 elements differ; the worst, at (1,): got 2.5, expected 2.0,
    2.5e+04 times the tolerance of 2e-05
    """
    got, want = as_array(actual), as_array(expected)
    if got.shape != want.shape:
        raise AssertionError(f"shapes differ: got {got.shape}, expected {want.shape}")
    share, tolerance = shares(got, want, rtol, atol)
    if not (share > 1.0).any():
        return float(share.max(initial=0.0))
    at = tuple(int(i) for i in np.unravel_index(int(share.argmax()), share.shape))
    raise AssertionError(
        f"{int((share > 1.0).sum())} of {share.size} elements differ; the worst, at {at}: "
        f"got {got[at]}, expected {want[at]}, {float(share[at]):.3g} times the tolerance of "
        f"{float(tolerance[at]):.3g}"
    )


def shares(
    got: NDArray[Any], want: NDArray[Any], rtol: float, atol: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each element's error as a share of its tolerance, and the tolerances."""
    a, b = got.astype("float64"), want.astype("float64")
    finite = np.isfinite(a) & np.isfinite(b)
    tolerance = np.broadcast_to(atol + rtol * np.abs(np.where(finite, b, 0.0)), b.shape)
    error = np.abs(np.where(finite, a, 0.0) - np.where(finite, b, 0.0))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        share = np.where(same, 0.0, np.where(finite, error / tolerance, np.inf))
    return np.asarray(share), np.asarray(tolerance)


def as_array(x: Any) -> NDArray[Any]:
    """Return the array of a tensor, whether or not it is on the tape."""
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def as_list(result: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Return the tensors that a function has returned, one or several."""
    return [result] if isinstance(result, Tensor) else list(result)
