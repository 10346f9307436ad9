"""The base of all optimizers: it walks the parameters, a subclass writes the formula.

What every optimizer shares happens here, once: which gradient belongs to which variable, the
checks, clipping, weight decay, the learning rate and the step counter.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from autodan import _core, initializers, tracing
from autodan._core import Tensor
from autodan.autograd import no_grad
from autodan.config import floatx
from autodan.optimizers import schedules
from autodan.utils.declared import initial_value
from autodan.utils.naming import to_snake_case, unique_name
from autodan.utils.rollback import kept_on_error
from autodan.utils.signals import Undisturbed
from autodan.utils.versioned import Versioned
from autodan.variable import Variable

LearningRate = float | schedules.LearningRateSchedule | Callable[[], Any]


class Optimizer(Versioned):
    """Base class of optimizers; subclasses write `update_step` or `update_steps`.

    One call of `apply` does, in this order: clip the gradients, decay the weights
    (`w -= learning_rate * weight_decay * w`), let the subclass update the variables, count the
    step. Everything is checked before the first variable changes. Keras `optimizers.Optimizer`.

    Args:
        learning_rate: a number, a schedule, or a function without arguments.
        weight_decay: decoupled weight decay (default None, none).
        clipnorm: scale each gradient whose L2 norm exceeds this (default None).
        clipvalue: clip each gradient element into [-clipvalue, clipvalue] (default None).
        global_clipnorm: scale all gradients together when their joint L2 norm exceeds this
            (default None).
        name: a label (default: from the class's name).

    Raises:
        ValueError: for more than one kind of clipping, a limit that is not positive, a learning
            rate that is not a number, or an argument that does not exist.

    Example:
        >>> import autodan as ad
        >>> class SignDescent(ad.optimizers.Optimizer):
        ...     def update_step(self, gradient, variable, learning_rate):
        ...         variable.assign_sub(learning_rate * ad.ops.sign(gradient))
        >>> w = ad.Variable([1.0, -2.0])
        >>> optimizer = SignDescent(learning_rate=0.5)
        >>> optimizer.apply([[3.0, -4.0]], [w])
        >>> w.numpy().tolist()
        [0.5, -1.5]
    """

    # Whether `update_step` is made of ops on tensors alone, which a program can hold.
    _COMPOSED = False
    # A program reads both before each of its runs.
    _UNVERSIONED = frozenset({"learning_rate", "_learning_rate"})

    def __init__(
        self,
        learning_rate: LearningRate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        _refuse_unknown_arguments(type(self), kwargs)
        limits = {
            "clipnorm": clipnorm,
            "clipvalue": clipvalue,
            "global_clipnorm": global_clipnorm,
        }
        given = {argument: limit for argument, limit in limits.items() if limit is not None}
        if len(given) > 1:
            raise ValueError(
                f"{type(self).__name__} takes only one of clipnorm, clipvalue and "
                f"global_clipnorm. Received: {given}."
            )
        for argument, limit in given.items():
            if not limit > 0:
                raise ValueError(
                    f"{type(self).__name__} needs {argument} > 0; leave it out for no clipping. "
                    f"Received: {argument}={limit}."
                )
        self.name = name or unique_name(to_snake_case(type(self).__name__))
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.built = False
        self.iterations = Variable(0, trainable=False, name="iteration", dtype="int64")
        self._learning_rate = self._standardized(learning_rate)
        self._slots: list[Variable] = []
        self._trainable_variables: list[Variable] = []
        self._indices: dict[int, int] = {}
        self._undecayed: tuple[list[Variable], list[str]] = ([], [])
        self._undecayed_ids: set[int] = set()

    # -- what a subclass writes ----------------------------------------------------------------

    def create_slots(self, variables: Sequence[Variable]) -> None:
        """Create the optimizer's own state, one slot a variable; called once, by `build`."""

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: float) -> None:
        """Update one variable by its gradient (same shape and dtype); the formula."""
        raise NotImplementedError(
            f"{type(self).__name__} must override "
            "`update_step(self, gradient, variable, learning_rate)`."
        )

    def update_steps(
        self, gradients: list[Tensor], variables: list[Variable], learning_rate: float
    ) -> None:
        """Update all variables; overridden where one kernel call does it in a single pass."""
        with kept_on_error([*variables, *self.variables]):
            for gradient, variable in zip(gradients, variables, strict=True):
                self.update_step(gradient, variable, learning_rate)

    def _kernel_rule(self, variables: list[Variable]) -> tracing.Rule | None:
        """Return what `update_steps` does as one kernel; None, the default, if it is no such.

        The name of the kernel, its constants, and the slots of `variables` by kind.
        """
        return None

    # -- state ---------------------------------------------------------------------------------

    def build(self, variables: Iterable[Variable]) -> None:
        """Create the state for `variables`; `apply` does it on its first call otherwise.

        Building again on the same variables, or on some of them, changes nothing.

        Raises:
            ValueError: when a variable is listed twice, or the optimizer was built on others.
            TypeError: when one of them is no Variable.

        Example:
            >>> import autodan as ad
            >>> optimizer = ad.optimizers.Adam()
            >>> optimizer.build([ad.Variable([1.0, 2.0])])
            >>> len(optimizer.variables)
            4
        """
        variables = self._listed(variables)
        if self.built:
            self._check_known(variables)
            return
        _check_distinct(self.name, variables)
        self._indices = {id(variable): i for i, variable in enumerate(variables)}
        self._trainable_variables = variables
        exempt, patterns = self._undecayed
        self._undecayed_ids = {id(variable) for variable in exempt} | {
            id(variable)
            for variable in variables
            if any(re.search(pattern, variable.name) for pattern in patterns)
        }
        self._slots = []
        self.create_slots(variables)
        self.built = True

    @property
    def variables(self) -> list[Variable]:
        """All state that training changes: step counter, learning rate, slots."""
        rate = self._learning_rate
        return [self.iterations, *([rate] if isinstance(rate, Variable) else []), *self._slots]

    def add_variable_from_reference(
        self, reference_variable: Variable, name: str = "slot", initializer: str = "zeros"
    ) -> Variable:
        """Add a non-trainable variable with the shape and dtype of another one."""
        slot = Variable(
            initial_value(
                initializers.get(initializer), reference_variable.shape, reference_variable.dtype
            ),
            trainable=False,
            name=f"{_label(reference_variable).replace('/', '_')}_{name}",
            dtype=reference_variable.dtype,
        )
        self._slots.append(slot)
        return slot

    def add_optimizer_variables(
        self, trainable_variables: Iterable[Variable], name: str, initializer: str = "zeros"
    ) -> list[Variable]:
        """Add one slot for each variable, in their order."""
        return [
            self.add_variable_from_reference(variable, name, initializer)
            for variable in trainable_variables
        ]

    def exclude_from_weight_decay(
        self,
        var_list: Iterable[Variable] | None = None,
        var_names: Iterable[str] | None = None,
    ) -> None:
        """Exempt variables from weight decay: those listed, and those whose name matches.

        Args:
            var_list: variables (default None).
            var_names: regular expressions searched in the variables' names, such as "bias"
                (default None).

        Raises:
            ValueError: when the optimizer is built already.
        """
        if self.built:
            raise ValueError(
                f"Optimizer '{self.name}' is built already: call exclude_from_weight_decay "
                "before `build`, and before the model's `compile`."
            )
        self._undecayed = (list(var_list or ()), list(var_names or ()))

    def __getstate__(self) -> dict[str, Any]:
        """Tell variables apart by their place, since those of a copy are others."""
        undecayed = [id(v) in self._undecayed_ids for v in self._trainable_variables]
        return {**vars(self), "_indices": {}, "_undecayed_ids": undecayed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Find the variables of the copy by their place."""
        vars(self).update(state)
        ids = [id(variable) for variable in self._trainable_variables]
        self._indices = {number: i for i, number in enumerate(ids)}
        undecayed = zip(ids, state["_undecayed_ids"], strict=True)
        self._undecayed_ids = {number for number, is_undecayed in undecayed if is_undecayed}

    # -- learning rate -------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next update, a scalar tensor; may be set at any time.

        With a number it is a variable of the optimizer, so that `float(...)`, `.numpy()` and
        `.assign(...)` work on it; with a schedule it is the schedule's value at this step.

        Example:
            >>> from autodan.optimizers import SGD
            >>> optimizer = SGD(learning_rate=0.5)
            >>> optimizer.learning_rate = 0.25
            >>> float(optimizer.learning_rate)
            0.25
        """
        if isinstance(self._learning_rate, Variable):
            return self._learning_rate
        return _core.asarray(self._current_learning_rate(), dtype=floatx())

    @learning_rate.setter
    def learning_rate(self, learning_rate: LearningRate) -> None:
        current = self._learning_rate
        value = self._standardized(learning_rate)
        if isinstance(value, Variable):
            if isinstance(current, schedules.LearningRateSchedule):
                raise TypeError(
                    f"Optimizer '{self.name}' was created with the schedule "
                    f"{type(current).__name__}, so its learning rate cannot be set to a number. "
                    "Create it with a float `learning_rate` to set the rate during training."
                )
            if isinstance(current, Variable):
                current.assign(value)
                return
        self._learning_rate = value

    def _standardized(self, learning_rate: Any) -> Any:
        if isinstance(learning_rate, schedules.LearningRateSchedule):
            return learning_rate
        if callable(learning_rate) and not isinstance(learning_rate, Tensor | type):
            return learning_rate
        if not isinstance(learning_rate, str | bool | type):
            with contextlib.suppress(TypeError, ValueError):
                value = float(learning_rate)
                return Variable(value, trainable=False, name="learning_rate", dtype=floatx())
        raise ValueError(
            f"{type(self).__name__} needs a learning_rate that is a number, a "
            "LearningRateSchedule or a function without arguments. "
            f"Received: learning_rate={learning_rate!r}."
        )

    def _current_learning_rate(self) -> float:
        rate = self._learning_rate
        if isinstance(rate, schedules.LearningRateSchedule):
            rate = rate(self.iterations)
        elif not isinstance(rate, Variable):
            rate = rate()
        return float(rate)

    # -- one step ------------------------------------------------------------------------------

    def apply(
        self,
        grads: Iterable[Any] | None = None,
        trainable_variables: Iterable[Variable] | None = None,
    ) -> None:
        """Update the variables by one step.

        `apply()` takes the `.grad` of the variables that the optimizer was built on, and clears
        it; `apply(grads)` takes gradients in the order of those variables;
        `apply(grads, trainable_variables)` pairs both lists, and builds the optimizer if it is not
        built yet. A gradient of None leaves its variable as it is, with a warning.

        Args:
            grads: gradients, each of its variable's shape, or None (default None).
            trainable_variables: the variables to update (default: those of `build`).

        Raises:
            ValueError: when the optimizer is not built, a variable is unknown to it or listed
                twice, numbers or shapes do not fit, or all gradients are None. Nothing has been
                changed then.

        Example:
            >>> import autodan as ad
            >>> w = ad.Variable([1.0, 2.0])
            >>> optimizer = ad.optimizers.SGD(learning_rate=0.5)
            >>> optimizer.build([w])
            >>> ad.ops.sum(w * w).backward()
            >>> optimizer.apply()
            >>> w.numpy().tolist(), w.grad
            ([0.0, 0.0], None)
        """
        targets = self._targets(trainable_variables)
        given = [variable.grad for variable in targets] if grads is None else list(grads)
        if not given:
            return
        gradients, variables = self._checked(given, targets)
        if not self.built:
            self.build(targets)
        if tracing.is_tracing():
            self._trace(gradients, variables)
            return
        learning_rate = self._current_learning_rate()
        # All or nothing: an interrupt waits, an error is taken back. A kernel call that updates all
        # variables is all or nothing by itself.
        with Undisturbed(), no_grad(), kept_on_error(variables if self.weight_decay else ()):
            iterations = self.iterations + 1
            gradients = self._clipped(gradients)
            self._decay_weights(variables, learning_rate)
            self.update_steps(gradients, variables, learning_rate)
            self.iterations.assign(iterations)
            if grads is None:
                for variable in variables:
                    variable.grad = None

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> Variable:
        """Update by pairs of gradient and variable; returns `iterations`, as Keras does.

        Raises:
            ValueError: when there are no pairs, and as `apply`.

        Example:
            >>> import autodan as ad
            >>> w = ad.Variable([1.0, 2.0])
            >>> with ad.GradientTape() as tape:
            ...     loss = ad.ops.sum(w * w)
            >>> optimizer = ad.optimizers.SGD(learning_rate=0.5)
            >>> int(optimizer.apply_gradients(zip(tape.gradient(loss, [w]), [w])))
            1
        """
        pairs = list(grads_and_vars)
        if not pairs:
            raise ValueError(
                f"Optimizer '{self.name}' received no (gradient, variable) pairs. Is every layer "
                "of the model frozen (trainable=False), or was the `zip` used up before?"
            )
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self.iterations

    def _targets(self, variables: Iterable[Variable] | None) -> list[Variable]:
        if variables is None:
            if not self.built:
                raise ValueError(
                    f"Optimizer '{self.name}' is not built: it does not know its variables yet. "
                    "Call `optimizer.build(model.trainable_variables)` first, or pass them: "
                    "`optimizer.apply(grads, model.trainable_variables)`."
                )
            return self._trainable_variables
        targets = self._listed(variables)
        _check_distinct(self.name, targets)
        if self.built:
            self._check_known(targets)
        return targets

    def _listed(self, variables: Iterable[Variable]) -> list[Variable]:
        listed = list(variables)
        for variable in listed:
            if not isinstance(variable, Variable):
                raise TypeError(
                    f"Optimizer '{self.name}' updates Variables, such as "
                    f"model.trainable_variables. Received one of type {type(variable).__name__}."
                )
        return listed

    def _checked(
        self, grads: list[Any], variables: list[Variable]
    ) -> tuple[list[Tensor], list[Variable]]:
        """Pair gradients with variables: drop the missing, refuse shapes, adapt dtypes."""
        if len(grads) != len(variables):
            raise ValueError(
                f"Optimizer '{self.name}' received {len(grads)} gradients for {len(variables)} "
                "variables; it needs one for each, in the variables' order (None where a "
                "variable has no gradient)."
            )
        if any(gradient is None for gradient in grads):
            grads, variables = self._present(grads, variables)
        checked = []
        for gradient, variable in zip(grads, variables, strict=True):
            if not isinstance(gradient, Tensor):
                gradient = _core.asarray(gradient, dtype=variable.dtype)
            if gradient.shape != variable.shape:
                raise ValueError(
                    f"Optimizer '{self.name}': the gradient for variable '{_label(variable)}' has "
                    f"shape {gradient.shape}, but the variable has shape {variable.shape}. Are "
                    "gradients and variables in the same order?"
                )
            if gradient.dtype != variable.dtype:
                gradient = _core.cast(gradient, variable.dtype)
            checked.append(gradient)
        return checked, variables

    def _present(
        self, grads: list[Any], variables: list[Variable]
    ) -> tuple[list[Any], list[Variable]]:
        pairs = list(zip(grads, variables, strict=True))
        present = [(gradient, variable) for gradient, variable in pairs if gradient is not None]
        missing = [
            _label(variable)
            for gradient, variable in pairs
            if gradient is None and (variable.trainable or not present)
        ]
        if not present:
            raise ValueError(
                f"Optimizer '{self.name}': no gradients provided for any variable of {missing}. "
                "Call `loss.backward()` before `apply()`, and check that the loss depends on "
                "these variables."
            )
        if missing:
            warnings.warn(
                f"Optimizer '{self.name}': gradients do not exist for variables {missing}; they "
                "are left as they are. Does the loss depend on them?",
                stacklevel=4,
            )
        return [gradient for gradient, _ in present], [variable for _, variable in present]

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        if self.clipnorm is not None:
            limit = self.clipnorm
            return [g * _shrinkage(_core.global_norm([g]), limit, g.dtype) for g in gradients]
        if self.global_clipnorm is not None:
            norm = _core.global_norm(gradients)
            return [g * _shrinkage(norm, self.global_clipnorm, g.dtype) for g in gradients]
        if self.clipvalue is not None:
            return [_core.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        return gradients

    def _decay_weights(self, variables: list[Variable], learning_rate: float) -> None:
        if not self.weight_decay:
            return
        for variable in variables:
            if id(variable) not in self._undecayed_ids:
                variable.assign_sub(variable * (learning_rate * self.weight_decay))

    def _trace(self, gradients: list[Tensor], variables: list[Variable]) -> None:
        """Write the step down: as one kernel, op by op, or as what follows the program."""
        rule = None
        dtypes = {variable.dtype for variable in variables}
        if self.clipnorm or self.global_clipnorm:
            pass
        elif self._COMPOSED and self._wrote_both("_COMPOSED", "update_step") and len(dtypes) == 1:
            rate: Any = tracing.rate_of(self, *dtypes)
            gradients = self._clipped(gradients)
            self._decay_weights(variables, rate)
            self.update_steps(gradients, variables, rate)
            self.iterations.assign(self.iterations + 1)
            return
        elif not self.weight_decay:
            known = self._wrote_both("_kernel_rule", "update_steps")
            rule = self._kernel_rule(variables) if known else None
        if rule is not None:
            gradients = self._clipped(gradients)
        tracing.note_update(self, gradients, variables, rule)

    def _wrote_both(self, statement: str, formula: str) -> bool:
        """Return whether what states something of a formula knows it: a subclass may change one."""
        stated, written = (
            next(owner for owner in type(self).__mro__ if name in vars(owner))
            for name in (statement, formula)
        )
        return issubclass(stated, written)

    def _slots_of(self, slots: list[Variable], variables: list[Variable]) -> list[Variable]:
        """Return the slots that belong to `variables`, in their order."""
        if variables is self._trainable_variables:
            return slots
        self._check_known(variables)
        return [slots[self._indices[id(variable)]] for variable in variables]

    def _get_variable_index(self, variable: Variable) -> int:
        """Return the position of a variable in `build`'s list, and so in every slot list."""
        return self._indices[id(variable)]

    def _check_known(self, variables: list[Variable]) -> None:
        for variable in variables:
            if id(variable) not in self._indices:
                raise ValueError(
                    f"Optimizer '{self.name}' does not know variable '{_label(variable)}' of "
                    f"shape {variable.shape}: it was built on other variables. Create a new "
                    "optimizer for a new model, or after unfreezing layers."
                )

    # -- configuration -------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; a schedule as `schedules.serialize` does.

        Raises:
            ValueError: when the learning rate is a function, which cannot be described.
        """
        rate = self._learning_rate
        if isinstance(rate, schedules.LearningRateSchedule):
            learning_rate: Any = schedules.serialize(rate)
        elif isinstance(rate, Variable):
            learning_rate = float(rate)
        else:
            raise ValueError(
                f"Optimizer '{self.name}' has a function as learning rate, which get_config "
                "cannot describe. Use a LearningRateSchedule."
            )
        return {
            "name": self.name,
            "learning_rate": learning_rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build an optimizer from what `get_config` returned; its state starts afresh."""
        arguments = dict(config)
        if isinstance(arguments.get("learning_rate"), Mapping):
            arguments["learning_rate"] = schedules.deserialize(arguments["learning_rate"])
        return cls(**arguments)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def _label(variable: Variable) -> str:
    """Name a variable in a message: its path where it has one."""
    return variable.path or variable.name


def _shrinkage(norm: Tensor, limit: float, dtype: str) -> Tensor:
    """Return `min(1, limit / norm)`, safe at norm 0."""
    return _core.cast(limit / _core.maximum(norm, limit), dtype)


def _check_distinct(optimizer: str, variables: list[Variable]) -> None:
    if len({id(variable) for variable in variables}) == len(variables):
        return
    seen: set[int] = set()
    for variable in variables:
        if id(variable) in seen:
            raise ValueError(
                f"Optimizer '{optimizer}' received variable '{_label(variable)}' twice; add its "
                "gradients up and list it once."
            )
        seen.add(id(variable))


def _refuse_unknown_arguments(optimizer: type[Optimizer], kwargs: dict[str, Any]) -> None:
    if kwargs.pop("decay", None) is not None:
        warnings.warn(
            f"{optimizer.__name__}: argument `decay` is no longer supported and is ignored. Use "
            "a schedule, such as optimizers.schedules.ExponentialDecay, or `weight_decay`.",
            stacklevel=4,
        )
    for argument in kwargs:
        known = [name for name in inspect.signature(optimizer).parameters if name != "kwargs"]
        nearest = difflib.get_close_matches(argument, known, n=1)
        if argument == "lr":
            nearest = ["learning_rate"]
        hint = f" Did you mean '{nearest[0]}'?" if nearest else f" Valid: {', '.join(known)}."
        raise ValueError(f"{optimizer.__name__} has no argument '{argument}'.{hint}")
