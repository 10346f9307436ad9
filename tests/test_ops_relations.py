"""What must hold between calls: batches and their parts, adjoints, loops, sums of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks import many, reference, rows, tolerances
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opspecs import SPECS, Spec
from opspecs.spec import FLOATS
from strategies import Case, cases

import autodan as ad
from autodan import _core
from autodan.testing import assert_close

few = settings(max_examples=max(settings().max_examples // 2, 1))
BY_NAME = {spec.name: spec for spec in SPECS}


def named(*names: str) -> Any:
    return rows([BY_NAME[name] for name in names])


def alone(case: Case, axis: Any) -> bool:
    """Return whether the first axis is a batch: `axis` does not touch it."""
    ndim = case.bases[0].ndim
    return ndim > 1 and axis is not None and 0 not in {a % ndim for a in np.atleast_1d(axis)}


# Which calls have a batch along the first axis of the first operand, and nowhere else.
BATCHES = {
    "conv2d": lambda case: True,
    "conv": lambda case: True,
    "max_pool2d": lambda case: True,
    "average_pool2d": lambda case: True,
    "max_pool": lambda case: True,
    "average_pool": lambda case: True,
    "matmul": lambda case: case.bases[0].ndim > 1 and case.bases[1].ndim < 3,
    "softmax": lambda case: alone(case, case.kwargs["axis"]),
    "log_softmax": lambda case: alone(case, case.kwargs["axis"]),
    "logsumexp": lambda case: alone(case, case.kwargs["axis"]),
    "norm": lambda case: alone(case, case.kwargs["axis"]),
    "normalize": lambda case: alone(case, case.kwargs["axis"]),
    "batch_normalization": lambda case: alone(case, case.kwargs["axis"]),
    "glu": lambda case: alone(case, case.kwargs["axis"]),
    "cumsum": lambda case: alone(case, case.kwargs["axis"]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@named(*BATCHES)
def test_a_batch_is_its_members_one_by_one(spec, dtype):
    @few
    @given(case=cases(spec, strided=False, max_size=600))
    def check(case):
        assume(case.bases[0].ndim and len(case.bases[0]) and BATCHES[spec.name](case))
        x, *rest = case.tensors(dtype)
        whole = spec.op(x, *rest, **case.kwargs)
        parts = [spec.op(x[i : i + 1], *rest, **case.kwargs) for i in range(len(x))]
        arrays = [a.astype("float64") for a in case.arrays(dtype)]
        expected = reference(spec, arrays, case.kwargs)
        (allowed,) = tolerances(spec, expected, arrays, case.kwargs, dtype)
        assert_close(whole, ad.concatenate(parts), 0.0, 2 * allowed)

    check()


# Functions that are linear in each of their operands alone, and in the first of theirs.
MULTILINEAR = ("multiply", "matmul", "conv2d", "conv", "outer", "vdot", "dot", "tensordot")
LINEAR = (
    "negative",
    "sum",
    "mean",
    "cumsum",
    "average_pool2d",
    "average_pool",
    "reshape",
    "transpose",
    "expand_dims",
    "squeeze",
    "broadcast_to",
    "flip",
    "moveaxis",
    "swapaxes",
    "ravel",
    "take",
    "tile",
    "split",
    "dropout",
)


def inner(a: Any, b: Any) -> tuple[float, float]:
    """Return a sum of products in float64, and the sum of their magnitudes."""
    products = np.concatenate([[0.0], *(np.ravel(x * y) for x, y in zip(a, b, strict=True))])
    return float(products.sum()), float(np.abs(products).sum())


@pytest.mark.parametrize("dtype", FLOATS)
@named(*MULTILINEAR, *LINEAR)
def test_the_gradient_is_the_adjoint(spec, dtype):
    """<f(u), v> = <u, f'(v)>: what the forward pass does to each element, the backward undoes."""

    @few
    @given(case=cases(spec, max_size=300), by=st.sampled_from(spec.gradients))
    def check(case, by):
        assume(spec.name in MULTILINEAR or by == 0)
        operands = case.tensors(dtype)
        u = ad.tensor(case.arrays(dtype)[by], requires_grad=True)
        operands[by] = u
        outputs = many(spec.op(*operands, **case.kwargs))
        rng = np.random.default_rng(0)
        weights = [ad.tensor(rng.normal(size=y.shape), dtype=dtype) for y in outputs]
        (gradient,) = _core.grad(outputs, [u], weights)
        forward = [y.detach().numpy().astype("float64") for y in outputs]
        left, size = inner(forward, [w.numpy() for w in weights])
        right, other = inner([u.detach().numpy().astype("float64")], [gradient.numpy()])
        # Both sides sum the same products: as many roundings as each of them has terms.
        terms = sum(x.size for x in operands) + 16
        arrays = [np.abs(a.astype("float64")) for a in case.arrays(dtype)]
        total, _ = inner(
            [np.abs(y) for y in reference(spec, arrays, case.kwargs)],
            [np.abs(w.numpy()) for w in weights],
        )
        unit = float(np.finfo(dtype).eps)
        assert abs(left - right) <= terms * unit * (size + other + total)

    check()


@few
@given(case=cases(BY_NAME["max_pool2d"], whole=True))
def test_max_pooling_hands_on_the_whole_gradient(case):
    x = ad.tensor(case.arrays("float64")[0], requires_grad=True)
    y = _core.max_pool2d(x, **case.kwargs)
    weights = np.random.default_rng(0).integers(-8, 9, y.shape).astype("float64")
    y.backward(ad.tensor(weights))
    assert float(x.grad.sum()) == weights.sum()


@few
@given(case=cases(BY_NAME["average_pool2d"], whole=True))
def test_average_pooling_hands_on_the_whole_gradient(case):
    x = ad.tensor(case.arrays("float64")[0], requires_grad=True)
    y = _core.average_pool2d(x, **case.kwargs)
    weights = np.random.default_rng(0).integers(-8, 9, y.shape).astype("float64")
    y.backward(ad.tensor(weights))
    size = np.abs(weights).sum()
    assert abs(float(x.grad.sum()) - weights.sum()) <= 1e-14 * (1 + size) * (weights.size + 1)


def convolved_at(place: Any, x: Any, kernel: Any, strides: Any, pads: Any, dilation: Any) -> float:
    """Return one element of a convolution by loops; `pads` are those before the image."""
    image, i, j, f = place
    total = 0.0
    for a, b in np.ndindex(kernel.shape[:2]):
        y = i * strides[0] + a * dilation[0] - pads[0]
        z = j * strides[1] + b * dilation[1] - pads[1]
        if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
            total += float(x[image, y, z] @ kernel[a, b, :, f])
    return total


@few
@given(case=cases(BY_NAME["conv2d"], whole=True, strided=False, max_size=300))
def test_a_convolution_is_its_loops(case):
    kwargs = case.kwargs
    assume(kwargs["groups"] == 1 and kwargs["padding"] != "same")
    pads = (0, 0) if kwargs["padding"] == "valid" else tuple(p[0] for p in kwargs["padding"])
    x, kernel = case.arrays("float32")
    y = _core.conv2d(ad.tensor(x), ad.tensor(kernel), **kwargs).numpy()
    for place in np.ndindex(y.shape):
        # Whole numbers: both are exact.
        expected = convolved_at(place, x, kernel, kwargs["strides"], pads, kwargs["dilation"])
        assert y[place] == expected


def test_the_tables_name_rows():
    assert all(isinstance(BY_NAME[name], Spec) for name in (*BATCHES, *MULTILINEAR, *LINEAR))
