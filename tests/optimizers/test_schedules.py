"""Learning-rate schedules against their formulas."""

from __future__ import annotations

import math

import pytest

import autodan as ad
from autodan.optimizers import schedules
from autodan.optimizers.schedules import CosineDecay, ExponentialDecay, PiecewiseConstantDecay

STEPS = [0, 1, 7, 10, 11, 25, 100, 1000]


@pytest.mark.parametrize("step", STEPS)
def test_exponential_decay(step):
    assert ExponentialDecay(0.1, 10, 0.9)(step) == pytest.approx(0.1 * 0.9 ** (step / 10))
    stairs = ExponentialDecay(0.1, 10, 0.9, staircase=True)
    assert stairs(step) == pytest.approx(0.1 * 0.9 ** (step // 10))


@pytest.mark.parametrize("step", STEPS)
def test_cosine_decay(step):
    cosine = 0.5 * (1 + math.cos(math.pi * min(step, 50) / 50))
    assert CosineDecay(0.1, 50, alpha=0.2)(step) == pytest.approx(0.1 * (0.8 * cosine + 0.2))


@pytest.mark.parametrize("step", STEPS)
def test_cosine_decay_after_warmup(step):
    schedule = CosineDecay(0.01, 50, warmup_target=0.1, warmup_steps=10)
    if step < 10:
        expected = 0.01 + 0.09 * step / 10
    else:
        expected = 0.1 * 0.5 * (1 + math.cos(math.pi * min(step - 10, 50) / 50))
    assert schedule(step) == pytest.approx(expected)


def test_piecewise_constant_decay_includes_its_boundaries():
    schedule = PiecewiseConstantDecay([5, 10], [1.0, 0.5, 0.1])
    assert [schedule(s) for s in (0, 5, 6, 10, 11, 99)] == [1.0, 1.0, 0.5, 0.5, 0.1, 0.1]


def test_step_may_be_a_variable():
    step = ad.Variable(10, trainable=False, dtype="int64")
    assert ExponentialDecay(0.5, 10, 0.5)(step) == 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialDecay(0.1, 0, 0.9), "ExponentialDecay needs decay_steps > 0.*=0"),
        (lambda: CosineDecay(0.1, -1), "CosineDecay needs decay_steps > 0"),
        (lambda: PiecewiseConstantDecay([1], [0.1]), "one value more than boundaries"),
        (lambda: PiecewiseConstantDecay([2, 1], [3.0, 2.0, 1.0]), "strictly increasing"),
    ],
)
def test_refused_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "schedule",
    [
        ExponentialDecay(0.1, 10, 0.9, staircase=True, name="mine"),
        CosineDecay(0.1, 50, alpha=0.2, warmup_target=0.5, warmup_steps=3),
        PiecewiseConstantDecay([5, 10], [1.0, 0.5, 0.1]),
    ],
)
def test_round_trip(schedule):
    again = schedules.deserialize(schedules.serialize(schedule))
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    assert [again(s) for s in STEPS] == [schedule(s) for s in STEPS]


def test_unknown_schedule():
    with pytest.raises(ValueError, match=r"Did you mean 'CosineDecay'\?"):
        schedules.deserialize({"class_name": "CosinDecay", "config": {}})


def test_base_class_says_what_to_override():
    class Unfinished(schedules.LearningRateSchedule):
        pass

    with pytest.raises(NotImplementedError, match="Unfinished must override `__call__"):
        Unfinished()(0)
    with pytest.raises(NotImplementedError, match="Unfinished must override `get_config"):
        Unfinished().get_config()
