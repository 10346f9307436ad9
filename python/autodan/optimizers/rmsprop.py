"""RMSprop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodan import _core
from autodan._core import Tensor
from autodan.optimizers.optimizer import LearningRate, Optimizer
from autodan.variable import Variable


class RMSprop(Optimizer):
    """Divide the gradient by the root of the running mean of its square.

    For a variable `w` with gradient `g`:

        v = rho * v + (1 - rho) * g * g
        step = learning_rate * g / sqrt(v + epsilon)
        w = w - step

    With `centered`, `v - a * a` stands for `v` under the root, where
    `a = rho * a + (1 - rho) * g`. With `momentum`, `b = momentum * b + step` stands for `step`.
    Hinton, "Neural networks for machine learning", lecture 6e, 2012; Keras `optimizers.RMSprop`,
    whose `compile` uses it by default.

    Args:
        learning_rate: a number, a schedule, or a function without arguments (default 0.001).
        rho: decay rate of the running means (default 0.9).
        momentum: fraction of the previous step that is kept (default 0.0).
        epsilon: added under the root (default 1e-7).
        centered: divide by the estimated variance instead (default False).
        weight_decay: see `Optimizer`, as the arguments that follow (default None).
        clipnorm: limit of each gradient's norm (default None).
        clipvalue: limit of each gradient's elements (default None).
        global_clipnorm: limit of the joint norm (default None).
        name: a label (default "rmsprop").
        **kwargs: refused, with the nearest valid name.

    Raises:
        ValueError: as `Optimizer`.

    Example:
        >>> import autodan as ad
        >>> w = ad.Variable([10.0])
        >>> optimizer = ad.optimizers.RMSprop(learning_rate=0.1)
        >>> optimizer.apply([[10.0]], [w])
        >>> round(float(w.numpy()[0]), 4)
        9.6838
    """

    _COMPOSED = True

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "rmsprop",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            name=name,
            **kwargs,
        )
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered
        self._velocities: list[Variable] = []
        self._momentums: list[Variable] = []
        self._average_gradients: list[Variable] = []

    def create_slots(self, variables: Sequence[Variable]) -> None:
        """Create the running means, and what `momentum` and `centered` need."""
        self._velocities = self.add_optimizer_variables(variables, "velocity")
        if self.momentum > 0:
            self._momentums = self.add_optimizer_variables(variables, "momentum")
        if self.centered:
            self._average_gradients = self.add_optimizer_variables(variables, "average_gradient")

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: float) -> None:
        """Update one variable."""
        index = self._get_variable_index(variable)
        v = self._velocities[index]
        v.assign(self.rho * v + (1 - self.rho) * _core.square(gradient))
        denominator = v + self.epsilon
        if self.centered:
            average = self._average_gradients[index]
            average.assign(self.rho * average + (1 - self.rho) * gradient)
            denominator = denominator - _core.square(average)
        step = learning_rate * gradient / _core.sqrt(denominator)
        if self.momentum > 0:
            accumulated = self._momentums[index]
            accumulated.assign(self.momentum * accumulated + step)
            step = accumulated
        variable.assign_sub(step)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }
