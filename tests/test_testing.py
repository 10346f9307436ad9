"""`autodan.testing` finds what it is for: each kind of mistake, planted, and says where it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodan as ad
from autodan.testing import (
    View,
    arrays,
    assert_close,
    check_gradients,
    check_views,
    overlapping_views,
    shapes,
    special_values,
    views,
)

REVERSED = View((4,), (("flip", 0),))
BROADCAST = View((3,), (("broadcast_to", (2, 3)),))


def is_contiguous(x: ad.Tensor) -> bool:
    return bool(x.detach().numpy().flags["C_CONTIGUOUS"])


# -- gradients -----------------------------------------------------------------------------------


def wrong_scale(x):
    return 2.0 * ad.exp(x) - ad.exp(x).detach()


def wrong_in_one_place(x):
    mask = np.zeros(x.shape)
    mask.flat[-2] = 1.0
    return ad.where(mask, ad.square(x).detach(), ad.square(x))


def missing_broadcast_sum(x, bias):
    # The bias's gradient comes from the first row alone.
    return ad.concatenate([x[:1] + bias, x[1:] + bias.detach()])


def not_a_number(x):
    return x + 0.0 * ad.sqrt(x - x)


@pytest.mark.parametrize("shape", [(4,), (9, 9)], ids=["whole", "direction"])
@pytest.mark.parametrize("planted", [wrong_scale, wrong_in_one_place, not_a_number])
def test_a_wrong_gradient_is_found(planted, shape):
    x = np.random.default_rng(0).uniform(0.5, 1.0, shape)
    with pytest.raises(AssertionError, match=r"gradient of order 1.*analytic.*numeric"):
        check_gradients(planted, x)


def test_a_missing_sum_over_a_broadcast_is_found():
    with pytest.raises(AssertionError, match=r"output 0 at \(1, 0\) by input 1 at \(0,\)"):
        check_gradients(missing_broadcast_sum, np.ones((2, 3)), np.ones(3))


@pytest.mark.parametrize("size", [5, 200])
def test_the_message_names_the_worst_element(size):
    x = np.random.default_rng(1).uniform(0.5, 1.0, size)
    message = rf"input 0 at \({size - 2},\): analytic 0\.0, numeric -?\d\.\d+"
    with pytest.raises(AssertionError, match=message):
        check_gradients(wrong_in_one_place, x)


def test_a_wrong_second_derivative_is_found():
    def planted(x):
        return ad.square(x) * x.detach() / 2.0 + ad.square(x).detach() * x / 2.0

    def first_only(x):
        # d/dx (x * c) with c = x taken for a constant: right at once, wrong when repeated.
        return x * (3.0 * ad.square(x).detach()) - (2.0 * x * ad.square(x)).detach()

    with pytest.raises(AssertionError, match="order 1"):
        check_gradients(planted, [1.0, 2.0])
    check_gradients(first_only, [1.0, 2.0])
    with pytest.raises(AssertionError, match="order 2"):
        check_gradients(first_only, [1.0, 2.0], order=2)


def test_right_gradients_pass_and_say_how_well():
    share = check_gradients(lambda x, y: ad.matmul(x, y), np.ones((3, 4)), np.ones((4, 2)), order=2)
    assert 0.0 <= share < 1e-2


def test_a_function_of_nothing_has_no_gradient_to_check():
    assert check_gradients(ad.exp, np.ones((0, 3))) == 0.0


# -- views ---------------------------------------------------------------------------------------


def test_a_value_that_depends_on_the_layout_is_found():
    def planted(x):
        return x if is_contiguous(x) else x * (1.0 + 2.0**-52)

    check_views(ad.exp, [np.ones(4)], [REVERSED])
    with pytest.raises(
        AssertionError, match=r"operand 0 as a view \(\('flip', 0\),\): output 0 at"
    ):
        check_views(planted, [np.arange(1.0, 5.0)], [REVERSED])


def test_the_operand_that_is_read_wrongly_is_named():
    def planted(x, y):
        return x + (y if is_contiguous(y) else y + 1.0)

    with pytest.raises(AssertionError, match="operand 1 as a view"):
        check_views(planted, [np.ones(4), np.ones(4)], [REVERSED, REVERSED])


def test_a_wrong_shape_or_dtype_of_a_view_is_found():
    def planted(x):
        return x if is_contiguous(x) else ad.cast(x, "float32")

    with pytest.raises(AssertionError, match=r"has shape .* dtype float32, on a copy .* float64"):
        check_views(planted, [np.ones(4)], [REVERSED])


@pytest.mark.parametrize("view", [REVERSED, BROADCAST], ids=["reversed", "broadcast"])
def test_a_gradient_that_depends_on_the_layout_is_found(view):
    def planted(x):
        return x if is_contiguous(x) else 2.0 * x - x.detach()

    with pytest.raises(AssertionError, match="gradient by operand 0, a view"):
        check_views(planted, [np.arange(1.0, view.base[0] + 1.0)], [view])


def test_a_gradient_that_only_copies_have_is_found():
    def planted(x):
        return x if is_contiguous(x) else x.detach()

    with pytest.raises(AssertionError, match="only one of view and copy has a gradient"):
        check_views(planted, [np.ones(4)], [REVERSED])


def test_operands_may_overlap():
    base = np.arange(5.0)
    steps = (View((5,), (("index", slice(0, 4)),)), View((5,), (("index", slice(1, 5)),)))
    check_views(ad.multiply, [base, base], steps)

    def planted(x, y):
        return x * y.detach()

    check_views(planted, [base, base], steps)


# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "want"),
    [
        ([np.nan], [1.0]),
        ([1.0], [np.nan]),
        ([np.inf], [-np.inf]),
        ([np.inf], [1e308]),
        ([2.0], [1]),
    ],
)
def test_values_that_differ_are_found(got, want):
    with pytest.raises(AssertionError, match=r"1 of 1 elements differ; the worst, at \(0,\): got"):
        assert_close(got, want)


def test_shapes_that_differ_are_found():
    with pytest.raises(AssertionError, match=r"shapes differ: got \(1,\), expected \(1, 1\)"):
        assert_close([1.0], [[1.0]])


def test_the_share_of_the_tolerance_is_returned():
    assert assert_close([1.0, 2.5], [1.0, 2.0], rtol=0.0, atol=1.0) == 0.5
    assert assert_close([np.nan, np.inf], [np.nan, np.inf]) == 0.0


# -- strategies ----------------------------------------------------------------------------------


@given(st.data())
def test_views_have_their_shape_and_agree_with_numpy(data):
    view = data.draw(shapes(max_size=100).flatmap(views))
    x = data.draw(arrays(view.base))
    assert view(ad.tensor(x)).numpy().tobytes() == view(x).tobytes()
    gradient = np.random.default_rng(0).normal(size=view(x).shape)
    leaf = ad.tensor(x, requires_grad=True)
    view(leaf).backward(ad.tensor(gradient))
    assert_close(leaf.grad, view.scatter(gradient), 1e-12, 1e-12)


@given(st.lists(shapes(max_size=40), min_size=2, max_size=3).flatmap(overlapping_views))
def test_overlapping_views_share_their_base(ways):
    assert len({view.base for view in ways}) == 1
    assert all(view.places().size <= 0 or view.places().max() < view.base[0] for view in ways)


@given(special_values(np.ones(64, "float32")))
def test_special_values_are_put_in(x):
    assert x.dtype == np.float32 and x.shape == (64,)


@given(arrays(shapes(max_size=30), low=-3, high=3, dtype="int32"))
def test_arrays_stay_in_their_range(x):
    assert x.dtype == np.int32 and (np.abs(x) <= 3).all()
