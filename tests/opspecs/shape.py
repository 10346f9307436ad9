"""Views, joining and picking: elements move, none is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import autodan as ad
from autodan.testing import shapes
from opspecs.spec import SAME, Call, Error, Shape, Spec, axes_of, axis_of, same_shapes

DIMENSIONS = shapes(min_dims=1, max_size=300)


def calls(
    arguments: Callable[[Shape], st.SearchStrategy[dict[str, Any]]],
    shape: st.SearchStrategy[Shape] | None = None,
) -> st.SearchStrategy[Call]:
    """Return calls of one operand whose arguments depend on its shape."""
    drawn = shapes(max_size=300) if shape is None else shape
    return drawn.flatmap(lambda s: arguments(s).map(lambda kwargs: Call((s,), kwargs)))


def split_up(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    """Return shapes of as many elements, one side perhaps as -1."""
    size = math.prod(shape)
    sides = [side for side in (1, 2, 3, 4, 6, 8) if size % side == 0]

    def build(front: list[int]) -> list[int]:
        rest = size
        out = []
        for side in front:
            if rest % side == 0:
                out.append(side)
                rest //= side
        return [*out, rest]

    def unknown(newshape: list[int]) -> dict[str, Any]:
        return {"newshape": tuple(newshape)}

    known = st.lists(st.sampled_from(sides), max_size=3).map(build)
    return st.one_of(
        known.map(unknown),
        known.map(lambda s: {"newshape": (*s[:-1], -1) if 0 not in s[:-1] else tuple(s)}),
    )


def permutations(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    orders = st.permutations(range(len(shape))).map(tuple)
    signed = orders.map(lambda axes: tuple(a - len(shape) if a % 2 else a for a in axes))
    return st.one_of(st.none(), signed).map(lambda axes: {"axes": axes})


@st.composite
def moves(draw: st.DrawFn, shape: Shape) -> dict[str, Any]:
    count = draw(st.integers(0, len(shape)))
    source = draw(st.permutations(range(len(shape))))[:count]
    target = draw(st.permutations(range(-len(shape), 0)))[:count]
    return {"source": tuple(source), "destination": tuple(target)}


def squeezes(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    ones = [axis for axis, side in enumerate(shape) if side == 1]
    some = st.sets(st.sampled_from(ones)).map(tuple) if ones else st.just(())
    return st.one_of(st.none(), some).map(lambda axis: {"axis": axis})


@st.composite
def widened(draw: st.DrawFn) -> Call:
    """Draw a shape and one that it broadcasts to."""
    whole = draw(shapes(max_size=300))
    dropped = draw(st.integers(0, len(whole)))
    ones = draw(st.integers(0, 2 ** len(whole) - 1))
    kept = enumerate(whole[dropped:])
    shape = tuple(1 if ones >> axis & 1 else side for axis, side in kept)
    return Call((shape,), {"shape": whole})


@st.composite
def joined(draw: st.DrawFn, stacked: bool = False) -> Call:
    shape = draw(shapes(min_dims=0 if stacked else 1, max_dims=4, max_size=150))
    count = draw(st.integers(1, 4))
    if stacked:
        axis = draw(st.integers(-len(shape) - 1, len(shape)))
        return Call((shape,) * count, {"axis": axis})
    axis = draw(axis_of(shape))
    place = axis % len(shape)
    sides = draw(st.lists(st.sampled_from((1, 0, 2, 7, 9)), min_size=count, max_size=count))
    return Call(tuple((*shape[:place], n, *shape[place + 1 :]) for n in sides), {"axis": axis})


@st.composite
def taken(draw: st.DrawFn) -> Call:
    shape = draw(shapes(min_dims=1, max_dims=4, max_size=200))
    axis = draw(st.one_of(st.none(), axis_of(shape)))
    side = math.prod(shape) if axis is None else shape[axis]
    places = draw(shapes(max_dims=2, max_size=40))
    if side == 0:
        places = (*places, 0)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    indices = rng.integers(-side, max(side, 1 - side), places)
    return Call(
        (shape,),
        {"indices": indices.astype(draw(st.sampled_from(("int64", "int32")))), "axis": axis},
    )


@st.composite
def padded(draw: st.DrawFn) -> Call:
    shape = draw(shapes(max_dims=4, max_size=100))
    widths = st.tuples(st.integers(0, 3), st.integers(0, 3))
    each = draw(st.lists(widths, min_size=len(shape), max_size=len(shape)).map(tuple))
    width = draw(st.sampled_from((each, (1, 2), 2) if shape else (each,)))
    return Call((shape,), {"pad_width": width, "constant_values": draw(st.sampled_from((0, 3)))})


def pad(x, pad_width, constant_values):
    return np.pad(x, pad_width, constant_values=constant_values) if x.ndim else x


def repeated(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    counts = st.lists(st.integers(0, 3), max_size=3).map(tuple)
    return st.one_of(st.integers(0, 3), counts).map(lambda repeats: {"repeats": repeats})


@st.composite
def parted(draw: st.DrawFn) -> Call:
    shape = draw(shapes(min_dims=1, max_dims=4, max_size=200))
    axis = draw(axis_of(shape))
    parts = [n for n in (1, 2, 3, 4) if shape[axis] % n == 0]
    cuts = st.lists(st.integers(0, shape[axis]), max_size=3).map(sorted)
    where = draw(st.one_of(st.sampled_from(parts), cuts))
    return Call((shape,), {"indices_or_sections": where, "axis": axis})


@st.composite
def side_by_side(draw: st.DrawFn, axis: int) -> Call:
    shape = draw(shapes(min_dims=1, max_dims=3, max_size=150))
    place = 0 if len(shape) == 1 else axis
    if len(shape) == 1 and axis == 0:
        return Call((shape, shape))
    sides = draw(st.lists(st.sampled_from((1, 0, 2, 7)), min_size=1, max_size=3))
    return Call(tuple((*shape[:place], n, *shape[place + 1 :]) for n in sides))


@st.composite
def appended(draw: st.DrawFn) -> Call:
    if draw(st.booleans()):
        return Call((draw(DIMENSIONS), draw(DIMENSIONS)), {"axis": None})
    call = draw(joined())
    return Call((call.shapes[0], call.shapes[-1]), call.kwargs)


def row(
    name: str, reference: Any, strategy: Any, *errors: Error, op: Any = None, **more: Any
) -> Spec:
    return Spec(
        name=name,
        op=op or getattr(ad, name),
        reference=reference,
        calls=strategy,
        errors=errors,
        **{"gradients": (0,), "dtypes": SAME, "special": True, "subnormals": True, **more},
    )


X = ad.ones((2, 3))

SPECS = (
    row(
        "reshape",
        lambda x, newshape: x.reshape(newshape),
        calls(split_up),
        Error(
            lambda: ad.reshape(X, (4, 2)),
            ValueError,
            r"reshape: a tensor of shape \(2, 3\) has 6 elements, shape \(4, 2\) would have 8",
        ),
        Error(lambda: ad.reshape(X, (-1, 4)), ValueError, r"reshape: cannot reshape \(2, 3\)"),
        Error(lambda: ad.reshape(X, (-1, -1)), ValueError, "reshape: .*at most one -1"),
        Error(lambda: ad.reshape(X, (2**62, 2**62)), ValueError, "reshape: .*address space"),
        Error(lambda: ad.reshape(X, (2.0, 3)), TypeError, "expected an integer"),
    ),
    row(
        "transpose",
        lambda x, axes: np.transpose(x, axes),
        calls(permutations),
        Error(lambda: ad.transpose(X, (0, 0)), ValueError, "transpose: axis 0 is named twice"),
        Error(lambda: ad.transpose(X, (0,)), ValueError, r"transpose: axes \[0\] do not name all"),
        Error(lambda: ad.transpose(X, (0, 2)), IndexError, "transpose: axis 2 is out of bounds"),
    ),
    row(
        "expand_dims",
        np.expand_dims,
        calls(lambda s: st.integers(-len(s) - 1, len(s)).map(lambda axis: {"axis": axis})),
        Error(lambda: ad.expand_dims(X, 3), IndexError, "expand_dims: axis 3 is out of bounds"),
    ),
    row(
        "squeeze",
        np.squeeze,
        calls(squeezes, shapes(max_size=300, sides=(1, 1, 2, 0, 9))),
        Error(lambda: ad.squeeze(X, 1), ValueError, r"squeeze: .*\(2, 3\)"),
        Error(lambda: ad.squeeze(X, 2), IndexError, "squeeze: axis 2 is out of bounds"),
        Error(
            lambda: ad.squeeze(ad.ones((1, 2)), (0, 0)),
            ValueError,
            "squeeze: axis 0 is named twice",
        ),
    ),
    row(
        "broadcast_to",
        np.broadcast_to,
        widened(),
        Error(
            lambda: ad.broadcast_to(X, (2, 4)),
            ValueError,
            r"broadcast_to: shape \(2, 3\) does not broadcast to \(2, 4\)",
        ),
        Error(lambda: ad.broadcast_to(X, (3,)), ValueError, "broadcast_to: shape"),
        Error(lambda: ad.broadcast_to(X, (-1, 3)), ValueError, "negative side"),
        Error(
            lambda: ad.broadcast_to(X, (2**62, 2, 3)), ValueError, "broadcast_to: .*address space"
        ),
    ),
    row(
        "flip",
        np.flip,
        calls(lambda s: axes_of(s).map(lambda axis: {"axis": axis})),
        Error(lambda: ad.flip(X, 2), IndexError, "flip: axis 2 is out of bounds"),
        Error(lambda: ad.flip(X, (0, -2)), ValueError, "flip: axis -2 is named twice"),
    ),
    row(
        "moveaxis",
        np.moveaxis,
        calls(moves),
        Error(lambda: ad.moveaxis(X, 0, 2), IndexError, "moveaxis: axis 2 is out of bounds"),
        Error(lambda: ad.moveaxis(X, (0, 1), (0,)), ValueError, "moveaxis: source"),
    ),
    row(
        "swapaxes",
        np.swapaxes,
        calls(
            lambda s: st.tuples(axis_of(s), axis_of(s)).map(
                lambda pair: {"axis1": pair[0], "axis2": pair[1]}
            ),
            DIMENSIONS,
        ),
        Error(lambda: ad.swapaxes(X, 0, 2), IndexError, "swapaxes: axis 2 is out of bounds"),
    ),
    row(
        "ravel",
        np.ravel,
        calls(lambda s: st.just({})),
        Error(lambda: ad.ravel(None), TypeError, "cannot make a tensor of"),
    ),
    row(
        "concatenate",
        lambda *xs, axis: np.concatenate(xs, axis),
        joined(),
        Error(lambda: ad.concatenate([]), ValueError, "concatenate: there are no tensors to join"),
        Error(
            lambda: ad.concatenate([X, ad.ones((3, 3))], axis=1),
            ValueError,
            r"concatenate: tensor 1 of shape \(3, 3\) does not continue .*\(2, 3\)",
        ),
        Error(lambda: ad.concatenate([X, X], axis=2), IndexError, "concatenate: axis 2"),
        op=lambda *xs, axis: ad.concatenate(xs, axis),
        gradients=(0, 1, 2, 3),
        alike=same_shapes(3, DIMENSIONS, axis=-1),
    ),
    row(
        "stack",
        lambda *xs, axis: np.stack(xs, axis),
        joined(stacked=True),
        Error(lambda: ad.stack([]), ValueError, "stack: there are no tensors to join"),
        Error(
            lambda: ad.stack([X, ad.ones((3, 3))]),
            ValueError,
            r"stack: shapes \(2, 3\) and \(3, 3\) differ",
        ),
        Error(lambda: ad.stack([X, X], axis=3), IndexError, "stack: axis 3 is out of bounds"),
        op=lambda *xs, axis: ad.stack(xs, axis),
        gradients=(0, 1, 2, 3),
        alike=same_shapes(3, axis=-1),
    ),
    row(
        "hstack",
        lambda *xs: np.hstack(xs),
        side_by_side(1),
        Error(lambda: ad.hstack([]), ValueError, "hstack: there are no tensors to join"),
        Error(
            lambda: ad.hstack([X, ad.ones((3, 3))]),
            ValueError,
            r"concatenate: tensor 1 of shape \(3, 3\) .*axis 1",
        ),
        op=lambda *xs: ad.hstack(xs),
        gradients=(0, 1, 2),
        alike=same_shapes(3, DIMENSIONS),
    ),
    row(
        "vstack",
        lambda *xs: np.vstack(xs),
        side_by_side(0),
        Error(lambda: ad.vstack([]), ValueError, "there are no tensors to join"),
        Error(
            lambda: ad.vstack([X, ad.ones((2, 2))]),
            ValueError,
            r"concatenate: tensor 1 of shape \(2, 2\) .*axis 0",
        ),
        op=lambda *xs: ad.vstack(xs),
        gradients=(0, 1, 2),
        alike=same_shapes(3, DIMENSIONS),
    ),
    row(
        "append",
        np.append,
        appended(),
        Error(
            lambda: ad.append(X, ad.ones((2, 2)), axis=0),
            ValueError,
            r"concatenate: tensor 1 of shape \(2, 2\) does not continue the first, .* \(2, 3\)",
        ),
        Error(lambda: ad.append(X, X, axis=2), IndexError, "concatenate: axis 2 is out of bounds"),
        gradients=(0, 1),
        alike=same_shapes(2, axis=None),
    ),
    row(
        "take",
        np.take,
        taken(),
        Error(
            lambda: ad.take(X, [3], axis=1),
            IndexError,
            "take: index 3 is out of bounds for an axis of 3 elements",
        ),
        Error(lambda: ad.take(X, [-3], axis=0), IndexError, "take: index -3 is out of bounds"),
        Error(lambda: ad.take(X, [0.5], axis=0), TypeError, "take: expected integer indices"),
        Error(lambda: ad.take(X, [0], axis=2), IndexError, "take: axis 2 is out of bounds"),
    ),
    row(
        "pad",
        pad,
        padded(),
        Error(lambda: ad.pad(X, ((1, 1),) * 3), ValueError, "pad: 3 pairs of widths for the 2"),
        Error(lambda: ad.pad(X, (-1, 0)), ValueError, r"pad: .*none negative.*\(-1, 0\)"),
        Error(lambda: ad.pad(X, ((2**62, 2**62), (0, 0))), ValueError, "pad: .*address space"),
    ),
    row(
        "tile",
        lambda x, repeats: np.tile(x, repeats),
        calls(repeated, shapes(max_dims=3, max_size=60)),
        Error(lambda: ad.tile(X, -1), ValueError, r"tile: .*0 or more.*repeats=-1"),
        Error(lambda: ad.tile(X, (1, 1.5)), TypeError, r"tile: .*integer.*repeats=\(1, 1.5\)"),
        Error(lambda: ad.tile(X, "ab"), TypeError, "tile: .*integer.*'ab'"),
        Error(lambda: ad.tile(X, (2**40, 2**40)), ValueError, "address space"),
    ),
    row(
        "split",
        lambda x, indices_or_sections, axis: np.split(x, indices_or_sections, axis),
        parted(),
        Error(
            lambda: ad.split(X, 2, axis=1),
            ValueError,
            r"split: axis 1 of shape \(2, 3\) cannot be divided into 2 equal parts",
        ),
        Error(lambda: ad.split(X, -1), ValueError, "split: .*into -1 equal parts"),
        Error(lambda: ad.split(X, 1.5), TypeError, "split: .*1.5"),
        Error(lambda: ad.split(X, 1, axis=2), IndexError, "split: axis 2 is out of bounds"),
    ),
)
