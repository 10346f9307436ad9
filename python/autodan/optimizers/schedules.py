"""Learning rates as functions of the step: `optimizers.schedules` of Keras.

A schedule is a pure function of the number of updates already made. It is computed in Python
floats, once per update and outside the tensors, so that it costs the same for every model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from autodan.utils.custom_objects import CustomObjectScope, file_name, find
from autodan.utils.resolve import read_config, require_config


class LearningRateSchedule:
    """Base class of learning-rate schedules; subclasses write `__call__(step)`.

    `step` is the number of updates made so far: the optimizer's `iterations` variable, which
    takes part in arithmetic like a number. Return a float or a scalar tensor. Keras
    `optimizers.schedules.LearningRateSchedule`.

    Example:
        >>> from autodan.optimizers import SGD, schedules
        >>> class Inverse(schedules.LearningRateSchedule):
        ...     def __call__(self, step):
        ...         return 0.5 / (1 + step)
        >>> optimizer = SGD(learning_rate=Inverse())
        >>> float(optimizer.learning_rate)
        0.5
    """

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of the update that follows `step` earlier ones."""
        raise NotImplementedError(f"{type(self).__name__} must override `__call__(self, step)`.")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; needed only for a schedule that is to be saved."""
        raise NotImplementedError(
            f"{type(self).__name__} must override `get_config(self)` in order to be serialized."
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a schedule from what `get_config` returned."""
        return cls(**config)


class ExponentialDecay(LearningRateSchedule):
    """Multiply the rate by `decay_rate` every `decay_steps` updates.

    `lr(step) = initial_learning_rate * decay_rate ** (step / decay_steps)`, where the quotient is
    rounded down when `staircase` is true. Keras `optimizers.schedules.ExponentialDecay`.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: updates per factor of `decay_rate`, positive.
        decay_rate: the factor.
        staircase: decay in jumps, every `decay_steps` updates (default False).
        name: a label (default "ExponentialDecay").

    Raises:
        ValueError: when `decay_steps` is not positive.

    Example:
        >>> from autodan.optimizers.schedules import ExponentialDecay
        >>> schedule = ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5, staircase=True)
        >>> [schedule(step) for step in (0, 9, 10, 20)]
        [0.1, 0.1, 0.05, 0.025]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        _check_decay_steps(self, decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: Any) -> float:
        """Return the decayed rate at `step`."""
        exponent = float(step) / self.decay_steps
        if self.staircase:
            exponent = math.floor(exponent)
        return float(self.initial_learning_rate * self.decay_rate**exponent)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class PiecewiseConstantDecay(LearningRateSchedule):
    """Hold `values[i]` up to and including step `boundaries[i]`, then the next value.

    Keras `optimizers.schedules.PiecewiseConstantDecay`.

    Args:
        boundaries: strictly increasing steps.
        values: the rates, one more than there are boundaries.
        name: a label (default "PiecewiseConstant").

    Raises:
        ValueError: when the lengths do not fit or the boundaries do not increase.

    Example:
        >>> from autodan.optimizers.schedules import PiecewiseConstantDecay
        >>> schedule = PiecewiseConstantDecay([100, 200], [1.0, 0.5, 0.1])
        >>> [schedule(step) for step in (0, 100, 101, 200, 201)]
        [1.0, 1.0, 0.5, 0.5, 0.1]
    """

    def __init__(
        self,
        boundaries: Sequence[float],
        values: Sequence[float],
        name: str = "PiecewiseConstant",
    ) -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "PiecewiseConstantDecay needs one value more than boundaries. Received "
                f"{len(boundaries)} boundaries, {list(boundaries)}, and {len(values)} values, "
                f"{list(values)}."
            )
        if any(later <= earlier for earlier, later in itertools.pairwise(boundaries)):
            raise ValueError(
                "PiecewiseConstantDecay needs strictly increasing boundaries. Received "
                f"{list(boundaries)}."
            )
        self.boundaries = list(boundaries)
        self.values = list(values)
        self.name = name

    def __call__(self, step: Any) -> float:
        """Return the value of the interval that holds `step`."""
        position = float(step)
        index = sum(position > boundary for boundary in self.boundaries)
        return float(self.values[index])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"boundaries": self.boundaries, "values": self.values, "name": self.name}


class CosineDecay(LearningRateSchedule):
    """Fall along half a cosine to `alpha` times the peak, after an optional linear warm-up.

    `lr(step) = peak * ((1 - alpha) * (1 + cos(pi * t)) / 2 + alpha)` with
    `t = min(step / decay_steps, 1)`. With `warmup_target`, the rate first rises linearly from
    `initial_learning_rate` to that peak during `warmup_steps`; without, the peak is
    `initial_learning_rate`. Loshchilov and Hutter, "SGDR", 2016; Keras
    `optimizers.schedules.CosineDecay`.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: length of the fall, positive.
        alpha: final rate as a fraction of the peak (default 0.0).
        name: a label (default "CosineDecay").
        warmup_target: the rate at the end of the warm-up (default None, no warm-up).
        warmup_steps: length of the warm-up (default 0).

    Raises:
        ValueError: when `decay_steps` is not positive.

    Example:
        >>> from autodan.optimizers.schedules import CosineDecay
        >>> schedule = CosineDecay(0.1, decay_steps=100)
        >>> [round(schedule(step), 4) for step in (0, 50, 100, 500)]
        [0.1, 0.05, 0.0, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        _check_decay_steps(self, decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> float:
        """Return the rate at `step`, warm-up included."""
        position = float(step)
        peak = self.initial_learning_rate
        if self.warmup_target is not None:
            if position < self.warmup_steps:
                rise = self.warmup_target - self.initial_learning_rate
                return float(self.initial_learning_rate + rise * position / self.warmup_steps)
            position -= self.warmup_steps
            peak = self.warmup_target
        fraction = min(position / self.decay_steps, 1.0)
        cosine = 0.5 * (1.0 + math.cos(math.pi * fraction))
        return float(peak * ((1.0 - self.alpha) * cosine + self.alpha))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


def _check_decay_steps(schedule: LearningRateSchedule, decay_steps: int) -> None:
    if not decay_steps > 0:
        raise ValueError(
            f"{type(schedule).__name__} needs decay_steps > 0. Received: decay_steps={decay_steps}."
        )


_SCHEDULES: dict[str, type[LearningRateSchedule]] = {
    schedule.__name__: schedule
    for schedule in (CosineDecay, ExponentialDecay, PiecewiseConstantDecay)
}


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """Describe a schedule as `{"class_name": ..., "config": ...}`.

    Example:
        >>> from autodan.optimizers import schedules
        >>> config = schedules.serialize(schedules.PiecewiseConstantDecay([10], [0.1, 0.01]))
        >>> config["class_name"]
        'PiecewiseConstantDecay'
    """
    require_config("learning rate schedule", learning_rate_schedule)
    return {
        "class_name": file_name(type(learning_rate_schedule), _SCHEDULES),
        "config": learning_rate_schedule.get_config(),
    }


def deserialize(
    config: Mapping[str, Any],
    custom_objects: Mapping[str, type[LearningRateSchedule]] | None = None,
) -> LearningRateSchedule:
    """Build a schedule from what `serialize` returned.

    Args:
        config: a mapping with `class_name` and `config`.
        custom_objects: further classes by name (default None).

    Raises:
        ValueError: for an unknown class, naming the nearest valid one.

    Example:
        >>> from autodan.optimizers import schedules
        >>> config = schedules.serialize(schedules.CosineDecay(0.1, decay_steps=100))
        >>> round(schedules.deserialize(config)(50), 4)
        0.05
    """
    with CustomObjectScope(custom_objects):
        name, arguments = read_config("learning rate schedule", config)
        return find("learning rate schedule", name, _SCHEDULES).from_config(arguments)
