"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodan import _core
from autodan._core import Tensor
from autodan.optimizers.optimizer import LearningRate, Optimizer
from autodan.tracing import Rule
from autodan.variable import Variable


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's correction where asked for.

    For a variable `w` with gradient `g`:

        momentum == 0:  w = w - learning_rate * g
        momentum > 0:   v = momentum * v - learning_rate * g
                        w = w + v
        nesterov:       w = w + momentum * v - learning_rate * g      (with the new v)

    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013;
    Keras `optimizers.SGD`.

    Args:
        learning_rate: a number, a schedule, or a function without arguments (default 0.01).
        momentum: fraction of the previous step that is kept, in [0, 1] (default 0.0).
        nesterov: look ahead along the momentum (default False).
        weight_decay: see `Optimizer`, as the arguments that follow (default None).
        clipnorm: limit of each gradient's norm (default None).
        clipvalue: limit of each gradient's elements (default None).
        global_clipnorm: limit of the joint norm (default None).
        name: a label (default "SGD").
        **kwargs: refused, with the nearest valid name.

    Raises:
        ValueError: when `momentum` lies outside [0, 1], and as `Optimizer`.

    Example:
        >>> import autodan as ad
        >>> w = ad.Variable([1.0])
        >>> optimizer = ad.optimizers.SGD(learning_rate=0.5, momentum=0.5)
        >>> for _ in range(2):
        ...     optimizer.apply([[1.0]], [w])
        >>> w.numpy().tolist()
        [-0.25]
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "SGD",
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
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"SGD needs momentum in [0, 1]. Received: momentum={momentum}.")
        self.momentum = float(momentum)
        self.nesterov = nesterov
        self.momentums: list[Variable] = []

    def create_slots(self, variables: Sequence[Variable]) -> None:
        """Create one velocity a variable, where there is momentum."""
        if self.momentum:
            self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_steps(
        self, gradients: list[Tensor], variables: list[Variable], learning_rate: float
    ) -> None:
        """Update all variables in one pass of the kernel."""
        velocities = self._slots_of(self.momentums, variables) if self.momentum else None
        _core.sgd_update(
            variables, gradients, velocities, learning_rate, self.momentum, self.nesterov
        )

    def _kernel_rule(self, variables: list[Variable]) -> Rule:
        """Return the kernel that is the whole step."""
        slots = [self._slots_of(self.momentums, variables)] if self.momentum else []
        return "sgd", [self.momentum, float(self.nesterov)], slots

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}
