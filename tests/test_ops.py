"""Every row of the table of ops: completeness, values, layouts, shared operands, dtypes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from checks import (
    check_values,
    gradients,
    many,
    reference,
    rows,
    same_bits,
    takes,
    tolerances,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from opspecs import ALIASES, ELSEWHERE, SPECS, Spec, binary, covered, public, unlisted
from opspecs.spec import ALL, FLOATS, INTEGERS, met
from strategies import Case, cases

import autodan as ad
from autodan import ops
from autodan.testing import assert_close, check_views

EXAMPLES = settings().max_examples
few = settings(max_examples=max(EXAMPLES // 2, 1))

# -- completeness --------------------------------------------------------------------------------


def test_every_public_function_has_a_row():
    assert unlisted() == []
    assert sorted(covered() - public()) == []


def test_rows_are_unique():
    names = [spec.name for spec in SPECS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_has_no_row_is_tested_elsewhere(name):
    assert name in (Path(__file__).parent / ELSEWHERE[name]).read_text()


@pytest.mark.parametrize("name", ALIASES)
def test_aliases_are_the_same_function(name):
    assert getattr(ops, name) is getattr(ops, ALIASES[name])


@rows([spec for spec in SPECS if spec.alike is None])
def test_what_takes_two_operands_says_when_they_are_alike(spec):
    @few
    @given(call=spec.calls)
    def check(call):
        # Unless they differ in their dimensions, so that no tensor can be all of them.
        assert len(call.shapes) < 2 or len({len(shape) for shape in call.shapes}) > 1

    check()


# -- values --------------------------------------------------------------------------------------


@rows()
def test_values(spec):
    @given(case=cases(spec, wide=True))
    def check(case):
        for dtype in filter(lambda dtype: takes(spec, dtype), FLOATS):
            check_values(spec, case, dtype)

    check()


# -- layouts -------------------------------------------------------------------------------------


@rows()
def test_a_view_gives_the_same_bits_as_a_copy(spec):
    overlapping = st.just(False) if spec.alike is None else st.booleans()

    @given(
        case=overlapping.flatmap(lambda overlap: cases(spec, wide=not overlap, overlap=overlap)),
        dtype=st.sampled_from([dtype for dtype in ALL if takes(spec, dtype)]),
    )
    def check(case, dtype):
        case = Case(tuple(unsigned(case.bases, dtype)), case.views, case.kwargs).of_dtype(dtype)
        check_views(lambda *xs: spec.op(*xs, **case.kwargs), case.bases, case.views)

    check()


def unsigned(bases: tuple[np.ndarray, ...], dtype: str) -> list[np.ndarray]:
    """Return what such a dtype can hold; bases that are one object stay one."""
    if dtype not in ("bool", "uint8"):
        return list(bases)
    known = {id(base): np.asarray(np.abs(base)) for base in bases}
    return [known[id(base)] for base in bases]


# -- shared operands -----------------------------------------------------------------------------


@rows([spec for spec in SPECS if spec.alike is not None and spec.gradients])
def test_one_tensor_in_all_places(spec):
    @few
    @given(case=cases(spec, calls=spec.alike, smooth=True, overlap=True))
    def check(case):
        x = case.arrays("float64")[0]
        copies = [ad.tensor(x, requires_grad=True) for _ in case.views]
        shared, variable = ad.tensor(x, requires_grad=True), ad.Variable(x)
        expected = many(spec.op(*copies, **case.kwargs))
        by = [copies[i] for i in range(len(copies)) if i in spec.gradients]
        parts = [g for g in gradients(spec, copies, case.kwargs, by) if g is not None]
        for leaf in (shared, variable):
            operands = [leaf] * len(copies)
            result = many(spec.op(*operands, **case.kwargs))
            assert same_bits([y.detach() for y in result], [y.detach() for y in expected])
            (whole,) = gradients(spec, operands, case.kwargs, [leaf])
            size = sum(ad.abs(g) for g in parts).numpy()
            assert_close(whole, sum(parts), 0.0, 8 * np.finfo("float64").eps * size)

    check()


@rows([spec for spec in SPECS if spec.alike is not None and not spec.gradients])
def test_one_tensor_in_all_places_without_gradient(spec):
    @few
    @given(case=cases(spec, calls=spec.alike, overlap=True))
    def check(case):
        x = case.arrays("float64")[0]
        same = [ad.tensor(x)] * len(case.views)
        copies = [ad.tensor(x) for _ in case.views]
        assert same_bits(spec.op(*same, **case.kwargs), spec.op(*copies, **case.kwargs))

    check()


# -- dtypes --------------------------------------------------------------------------------------


def result_dtype(spec: Spec, dtype: str, case: Case) -> str | type[Exception]:
    result = spec.dtypes[dtype]
    if isinstance(result, type) or case.kwargs.get("dtype") is None:
        if not case.bases and isinstance(result, str):
            return str(reference(spec, [], case.kwargs)[0].dtype)
        return result
    return case.kwargs["dtype"]


@rows()
def test_dtypes(spec):
    assert set(spec.dtypes) == set(ALL)

    @few
    @given(case=cases(spec, whole=True))
    def check(case):
        for dtype in ALL:
            check_dtype(
                spec, Case(tuple(unsigned(case.bases, dtype)), case.views, case.kwargs), dtype
            )

    check()


def check_dtype(spec: Spec, case: Case, dtype: str) -> None:
    result = result_dtype(spec, dtype, case)
    if isinstance(result, type):
        with pytest.raises(result, match=r"\w+: "):
            spec.op(*case.tensors(dtype), **case.kwargs)
        return
    actual = many(spec.op(*case.tensors(dtype), **case.kwargs))
    assert {y.dtype for y in actual} == {result}
    keeps = result in INTEGERS and dtype not in FLOATS
    operands = [x.astype(result if keeps else "float64") for x in case.arrays(dtype)]
    expected = reference(spec, operands, case.kwargs)
    precision = "float64" if result == "float64" else "float32"
    allowed = tolerances(spec, expected, operands, case.kwargs, precision)
    for y, want, atol in zip(actual, expected, allowed, strict=True):
        assert_close(y, want.astype(result), 0.0, 0.0 if keeps else atol)


MIXED = [spec for spec in SPECS if spec.alike is not None and spec.mixes]


@rows(MIXED)
def test_two_dtypes_meet_in_one_that_holds_both(spec):
    pairs = list(itertools.permutations(ALL, 2))

    @few
    @given(case=cases(spec, whole=True, strided=False), data=st.data())
    def check(case, data):
        if len(case.bases) < 2:
            return
        dtypes = [*data.draw(st.sampled_from(pairs))]
        dtypes += dtypes[-1:] * (len(case.bases) - 2)
        case = Case(tuple(map(np.abs, case.bases)), case.views, case.kwargs)
        mixed = [ad.tensor(x.astype(d)) for x, d in zip(case.arrays("int64"), dtypes, strict=True)]
        common = met(*dtypes[slice(*spec.mixes)])
        if isinstance(spec.dtypes[common], type):
            with pytest.raises(spec.dtypes[common], match=r"\w+: "):
                spec.op(*mixed, **case.kwargs)
            return
        alike = [x if i < spec.mixes[0] else ad.cast(x, common) for i, x in enumerate(mixed)]
        got, want = many(spec.op(*mixed, **case.kwargs)), many(spec.op(*alike, **case.kwargs))
        assert [y.dtype for y in got] == [y.dtype for y in want]
        assert same_bits(got, want)

    check()


SCALARS = (True, 2, 2.0, np.bool_(True), np.uint8(2), np.int64(2), np.float32(2), np.float64(2))


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda x: f"{type(x).__name__}")
@rows([spec for spec in binary.SPECS if spec.name != "where"])
def test_scalars_take_the_dtype_of_the_tensor(spec, scalar):
    kind = np.asarray(scalar).dtype.kind
    for dtype in ALL:
        common = {"b": dtype, "f": dtype if dtype in FLOATS else "float32"}.get(
            kind, "int64" if dtype == "bool" else dtype
        )
        x = ad.tensor(np.array([1, 2, 3]).astype(dtype))
        other = ad.cast(ad.full((), float(scalar), "float64"), common)
        for swapped in (False, True):
            mixed, alike = (x, scalar), (ad.cast(x, common), other)
            if swapped:
                mixed, alike = mixed[::-1], alike[::-1]
            if isinstance(spec.dtypes[common], type):
                with pytest.raises(spec.dtypes[common], match=rf"{spec.name}: "):
                    spec.op(*mixed)
                continue
            got, want = spec.op(*mixed), spec.op(*alike)
            assert got.dtype == want.dtype and same_bits(got, want), (dtype, swapped)
