"""Adam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodan import _core
from autodan._core import Tensor
from autodan.optimizers.optimizer import LearningRate, Optimizer
from autodan.tracing import Rule
from autodan.variable import Variable


class Adam(Optimizer):
    """Adaptive moments: step by the gradient's running mean over its running magnitude.

    At step `t`, for a variable `w` with gradient `g`:

        m = m + (1 - beta_1) * (g - m)
        v = v + (1 - beta_2) * (g * g - v)
        alpha = learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t)
        w = w - alpha * m / (sqrt(v) + epsilon)

    `epsilon` is the paper's epsilon-hat: it stands outside the bias correction. With `amsgrad`,
    `v` in the last line is the largest `v` so far. Kingma and Ba, "Adam", 2014; Reddi et al.,
    "On the convergence of Adam and beyond", 2018; Keras `optimizers.Adam`.

    Args:
        learning_rate: a number, a schedule, or a function without arguments (default 0.001).
        beta_1: decay rate of the mean, in [0, 1) (default 0.9).
        beta_2: decay rate of the squares, in [0, 1) (default 0.999).
        epsilon: added to the denominator (default 1e-7).
        amsgrad: never let the denominator shrink (default False).
        weight_decay: see `Optimizer`, as the arguments that follow (default None).
        clipnorm: limit of each gradient's norm (default None).
        clipvalue: limit of each gradient's elements (default None).
        global_clipnorm: limit of the joint norm (default None).
        name: a label (default "adam").
        **kwargs: refused, with the nearest valid name.

    Raises:
        ValueError: when a decay rate lies outside [0, 1), and as `Optimizer`.

    Example:
        >>> import autodan as ad
        >>> w = ad.Variable([1.0, 1.0])
        >>> optimizer = ad.optimizers.Adam(learning_rate=0.1)
        >>> optimizer.apply([[100.0, -0.01]], [w])
        >>> [round(value, 3) for value in w.numpy().tolist()]
        [0.9, 1.1]
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adam",
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
        for argument, rate in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0.0 <= rate < 1.0:
                raise ValueError(f"Adam needs {argument} in [0, 1). Received: {argument}={rate}.")
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad
        self._momentums: list[Variable] = []
        self._velocities: list[Variable] = []
        self._velocity_hats: list[Variable] = []

    def create_slots(self, variables: Sequence[Variable]) -> None:
        """Create both moments of every variable, and the largest second one for `amsgrad`."""
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._velocities = self.add_optimizer_variables(variables, "velocity")
        if self.amsgrad:
            self._velocity_hats = self.add_optimizer_variables(variables, "velocity_hat")

    def update_steps(
        self, gradients: list[Tensor], variables: list[Variable], learning_rate: float
    ) -> None:
        """Update all variables in one pass of the kernel; `amsgrad` has none and goes singly."""
        if self.amsgrad:
            super().update_steps(gradients, variables, learning_rate)
            return
        _core.adam_update(
            variables,
            gradients,
            self._slots_of(self._momentums, variables),
            self._slots_of(self._velocities, variables),
            learning_rate,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            int(self.iterations) + 1,
        )

    def _kernel_rule(self, variables: list[Variable]) -> Rule | None:
        """Return the kernel that is the whole step; None for `amsgrad`."""
        if self.amsgrad:
            return None
        slots = [self._slots_of(kind, variables) for kind in (self._momentums, self._velocities)]
        return "adam", [self.beta_1, self.beta_2, self.epsilon], slots

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: float) -> None:
        """Update one variable by AMSGrad."""
        index = self._get_variable_index(variable)
        m, v, v_hat = (
            slots[index] for slots in (self._momentums, self._velocities, self._velocity_hats)
        )
        step = int(self.iterations) + 1
        alpha = learning_rate * (1 - self.beta_2**step) ** 0.5 / (1 - self.beta_1**step)
        m.assign_add((gradient - m) * (1 - self.beta_1))
        v.assign_add((_core.square(gradient) - v) * (1 - self.beta_2))
        v_hat.assign(_core.maximum(v_hat, v))
        variable.assign_sub(m * alpha / (_core.sqrt(v_hat) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }
