"""What all optimizers share: the three ways to apply, checks, learning rate, configuration."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import autodan as ad
from autodan import optimizers
from autodan.optimizers import SGD, Adam, Optimizer, RMSprop, schedules


def two_variables():
    kernel = ad.Variable([[1.0, 2.0]], name="kernel")
    kernel.path = "dense/kernel"
    return kernel, ad.Variable([0.5], name="bias")


def test_apply_takes_and_clears_gradients():
    kernel, bias = two_variables()
    optimizer = SGD(0.5)
    optimizer.build([kernel, bias])
    (ad.ops.sum(kernel) + 2.0 * ad.ops.sum(bias)).backward()
    optimizer.apply()
    assert kernel.numpy().tolist() == [[0.5, 1.5]]
    assert bias.numpy().tolist() == [-0.5]
    assert kernel.grad is None
    assert bias.grad is None
    assert int(optimizer.iterations) == 1


def test_gradients_accumulate_until_applied():
    w = ad.Variable([0.0])
    optimizer = SGD(1.0)
    optimizer.build([w])
    for _ in range(3):
        ad.ops.sum(w).backward()
    optimizer.apply()
    assert w.numpy().tolist() == [-3.0]


def test_apply_with_gradients_alone():
    kernel, bias = two_variables()
    optimizer = SGD(1.0)
    optimizer.build([kernel, bias])
    optimizer.apply([np.ones((1, 2)), [1.0]])
    assert kernel.numpy().tolist() == [[0.0, 1.0]]
    assert bias.numpy().tolist() == [-0.5]


def test_apply_gradients_takes_a_zip_and_returns_iterations():
    kernel, bias = two_variables()
    optimizer = SGD(1.0)
    result = optimizer.apply_gradients(zip([[[1.0, 1.0]], [1.0]], [kernel, bias], strict=True))
    assert result is optimizer.iterations
    assert int(result) == 1
    assert kernel.numpy().tolist() == [[0.0, 1.0]]


def test_tape_dialect():
    w = ad.Variable([1.0, 2.0])
    with ad.GradientTape() as tape:
        loss = ad.ops.sum(w * w)
    optimizer = SGD(0.25)
    optimizer.apply_gradients(zip(tape.gradient(loss, [w]), [w], strict=True))
    assert w.numpy().tolist() == [0.5, 1.0]
    assert w.grad is None


def test_update_is_not_recorded():
    w = ad.Variable([1.0])
    for optimizer in (SGD(0.1, clipnorm=1.0), RMSprop(0.1, weight_decay=0.1), Adam(amsgrad=True)):
        optimizer.apply([[1.0]], [w])
        ad.ops.sum(w).backward()
        assert w.grad.numpy().tolist() == [1.0]
        w.grad = None


def test_no_gradients_is_no_step():
    optimizer = SGD()
    optimizer.apply([], [])
    assert int(optimizer.iterations) == 0


def test_missing_gradients_warn_and_leave_the_variable():
    kernel, bias = two_variables()
    optimizer = SGD(1.0)
    with pytest.warns(UserWarning, match=r"do not exist for variables \['dense/kernel'\]"):
        optimizer.apply([None, [1.0]], [kernel, bias])
    assert kernel.numpy().tolist() == [[1.0, 2.0]]
    assert bias.numpy().tolist() == [-0.5]
    optimizer.apply([[[1.0, 1.0]]], [kernel])  # built on both variables
    assert kernel.numpy().tolist() == [[0.0, 1.0]]


def test_iterators_are_accepted():
    kernel, bias = two_variables()
    SGD(1.0).apply(iter([[[1.0, 1.0]], [1.0]]), trainable_variables=iter([kernel, bias]))
    assert kernel.numpy().tolist() == [[0.0, 1.0]]


def test_frozen_variables_are_skipped_silently():
    kernel, bias = two_variables()
    optimizer = SGD(1.0)
    optimizer.build([kernel, bias])
    kernel.trainable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.apply([None, [1.0]])
    assert bias.numpy().tolist() == [-0.5]


# -- what is refused, and that nothing has changed then ------------------------------------------


def unchanged(optimizer, *variables):
    values = [v.numpy().tolist() for v in variables]
    return values == [[[1.0, 2.0]], [0.5]] and int(optimizer.iterations) == 0


def test_all_gradients_missing():
    kernel, bias = two_variables()
    optimizer = SGD(1.0)
    optimizer.build([kernel, bias])
    with pytest.raises(ValueError, match=r"no gradients provided .*'dense/kernel', 'bias'"):
        optimizer.apply()
    with pytest.raises(ValueError, match="no gradients provided"):
        optimizer.apply([None, None])
    assert unchanged(optimizer, kernel, bias)


@pytest.mark.parametrize("kind", [SGD, Adam, RMSprop])
def test_wrong_shape_changes_nothing(kind):
    kernel, bias = two_variables()
    optimizer = kind(clipnorm=1.0, weight_decay=0.1)
    optimizer.build([kernel, bias])
    message = r"gradient for variable 'bias' has shape \(2,\), but the variable has shape \(1,\)"
    with pytest.raises(ValueError, match=message):
        optimizer.apply([[[1.0, 1.0]], [1.0, 1.0]])
    assert unchanged(optimizer, kernel, bias)
    assert all(not v.numpy().any() for v in optimizer.variables[2:])


def test_wrong_shape_keeps_gradients_and_leaves_optimizer_unbuilt():
    kernel, bias = two_variables()
    optimizer = SGD(1.0)
    with pytest.raises(ValueError, match="has shape"):
        optimizer.apply([[1.0], [1.0]], [kernel, bias])
    assert not optimizer.built
    optimizer.apply([[1.0]], [bias])


def test_wrong_number_of_gradients():
    kernel, bias = two_variables()
    optimizer = SGD(1.0)
    optimizer.build([kernel, bias])
    with pytest.raises(ValueError, match="received 1 gradients for 2 variables"):
        optimizer.apply([[1.0]])
    assert unchanged(optimizer, kernel, bias)


def test_unknown_variable():
    kernel, bias = two_variables()
    optimizer = SGD(1.0)
    optimizer.build([bias])
    with pytest.raises(ValueError, match=r"does not know variable 'dense/kernel' of shape \(1, 2"):
        optimizer.apply([[1.0], [[1.0, 1.0]]], [bias, kernel])
    with pytest.raises(ValueError, match="built on other variables"):
        optimizer.build([kernel])
    assert unchanged(optimizer, kernel, bias)
    optimizer.build([bias])


def test_repeated_variable():
    _, bias = two_variables()
    with pytest.raises(ValueError, match="received variable 'bias' twice"):
        SGD().apply([[1.0], [1.0]], [bias, bias])
    with pytest.raises(ValueError, match="received variable 'bias' twice"):
        SGD().build([bias, bias])


def test_unbuilt():
    with pytest.raises(ValueError, match=r"'SGD' is not built.*optimizer.build\("):
        SGD().apply()
    with pytest.raises(ValueError, match=r"received no \(gradient, variable\) pairs"):
        SGD().apply_gradients([])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(clipnorm=1.0, clipvalue=1.0), "takes only one of clipnorm, clipvalue"),
        (lambda: Adam(global_clipnorm=0.0), "needs global_clipnorm > 0; leave it out"),
        (lambda: SGD(momentum=1.5), r"momentum in \[0, 1\]. Received: momentum=1.5"),
        (lambda: Adam(beta_1=1.0), r"beta_1 in \[0, 1\)"),
        (lambda: SGD("fast"), "needs a learning_rate that is a number.*'fast'"),
        (lambda: SGD(None), "needs a learning_rate that is a number"),
        (lambda: SGD(schedules.CosineDecay), "needs a learning_rate that is a number"),
        (lambda: SGD(lr=0.1), "SGD has no argument 'lr'. Did you mean 'learning_rate'?"),
        (lambda: Adam(beta1=0.1), "Adam has no argument 'beta1'. Did you mean 'beta_1'?"),
    ],
)
def test_refused_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_decay_of_old_keras_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="`decay` is no longer supported"):
        SGD(decay=1e-6)


# -- learning rate -------------------------------------------------------------------------------


def test_learning_rate_is_settable_during_training():
    w = ad.Variable([0.0])
    optimizer = SGD(1.0)
    optimizer.apply([[1.0]], [w])
    optimizer.learning_rate = 0.25
    optimizer.apply([[1.0]], [w])
    optimizer.learning_rate.assign(0.5)
    optimizer.apply([[1.0]], [w])
    optimizer.learning_rate = optimizer.learning_rate * 0.5
    optimizer.apply([[1.0]], [w])
    assert w.numpy().tolist() == [-2.0]
    with pytest.raises(ValueError, match="needs a learning_rate that is a number"):
        optimizer.learning_rate = "slow"
    assert float(optimizer.learning_rate) == 0.25


def test_learning_rate_keeps_its_variable():
    optimizer = SGD(1.0)
    rate = optimizer.learning_rate
    optimizer.learning_rate = 0.5
    assert optimizer.learning_rate is rate
    assert any(variable is rate for variable in optimizer.variables)


def test_schedule_sees_the_steps_made():
    w = ad.Variable([0.0])
    optimizer = SGD(schedules.PiecewiseConstantDecay([0, 1], [1.0, 0.5, 0.25]))
    for _ in range(3):
        optimizer.apply([[1.0]], [w])
    assert w.numpy().tolist() == [-1.75]
    assert float(optimizer.learning_rate) == 0.25
    with pytest.raises(TypeError, match="created with the schedule PiecewiseConstantDecay"):
        optimizer.learning_rate = 0.1


def test_user_written_schedule_and_function():
    class Inverse(schedules.LearningRateSchedule):
        def __call__(self, step):
            return 1.0 / (step + 1)

    w = ad.Variable([0.0])
    optimizer = SGD(Inverse())
    optimizer.apply([[1.0]], [w])
    optimizer.apply([[1.0]], [w])
    assert w.numpy().tolist() == [-1.5]
    rates = iter([1.0, 0.5])
    optimizer = SGD(lambda: next(rates))
    optimizer.apply([[1.0]], [w])
    optimizer.apply([[1.0]], [w])
    assert w.numpy().tolist() == [-3.0]


def test_failing_schedule_changes_nothing():
    class Broken(schedules.LearningRateSchedule):
        def __call__(self, step):
            raise RuntimeError("no rate")

    w = ad.Variable([1.0])
    optimizer = SGD(Broken(), weight_decay=0.1)
    optimizer.build([w])
    ad.ops.sum(w).backward()
    with pytest.raises(RuntimeError, match="no rate"):
        optimizer.apply()
    assert w.numpy().tolist() == [1.0]
    assert w.grad is not None


# -- subclassing, state, configuration -----------------------------------------------------------


def test_optimizer_written_as_for_keras():
    class Momentum(Optimizer):
        def build(self, variables):
            super().build(variables)
            self.speeds = [self.add_variable_from_reference(v, name="speed") for v in variables]

        def update_step(self, gradient, variable, learning_rate):
            speed = self.speeds[self._get_variable_index(variable)]
            speed.assign(0.5 * speed + gradient)
            variable.assign_sub(learning_rate * speed)

    w = ad.Variable([0.0])
    optimizer = Momentum(learning_rate=1.0)
    assert optimizer.name.startswith("momentum")
    optimizer.build([w])
    optimizer.apply([[1.0]])
    optimizer.apply([[1.0]])
    assert w.numpy().tolist() == [-2.5]


def test_formula_is_required():
    with pytest.raises(NotImplementedError, match="Optimizer must override `update_step"):
        Optimizer(0.1).apply([[1.0]], [ad.Variable([1.0])])


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        (SGD(), []),
        (SGD(momentum=0.5), ["momentum"]),
        (Adam(), ["momentum", "velocity"]),
        (Adam(amsgrad=True), ["momentum", "velocity", "velocity_hat"]),
        (RMSprop(), ["velocity"]),
        (RMSprop(momentum=0.5, centered=True), ["velocity", "momentum", "average_gradient"]),
    ],
)
def test_variables_hold_all_state(optimizer, slots):
    kernel, bias = two_variables()
    optimizer.build([kernel, bias])
    iterations, rate, *rest = optimizer.variables
    assert (iterations.dtype, iterations.shape) == ("int64", ())
    assert float(rate) == float(optimizer.learning_rate)
    expected = [f"{owner}_{slot}" for slot in slots for owner in ("dense_kernel", "bias")]
    assert [v.name for v in rest] == expected
    assert not any(v.trainable for v in optimizer.variables)


def test_state_can_be_carried_over():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(4, 3))
    w = ad.Variable(np.ones(3))
    first = Adam(0.1)
    for g in gradients[:2]:
        first.apply([g], [w])
    copy = ad.Variable(w.numpy())
    second = Adam.from_config(first.get_config())
    second.build([copy])
    for target, source in zip(second.variables, first.variables, strict=True):
        target.assign(source)
    for g in gradients[2:]:
        first.apply([g], [w])
        second.apply([g], [copy])
    assert w.numpy().tolist() == copy.numpy().tolist()


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.5, momentum=0.25, nesterov=True, clipnorm=2.0, name="mine"),
        Adam(schedules.ExponentialDecay(0.5, 10, 0.5), beta_1=0.5, amsgrad=True, weight_decay=0.5),
        RMSprop(0.5, rho=0.5, momentum=0.5, centered=True, global_clipnorm=1.0),
    ],
)
def test_configuration_makes_a_round_trip(optimizer):
    config = optimizer.get_config()
    assert type(optimizer).from_config(config).get_config() == config
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == config


def test_function_as_rate_has_no_configuration():
    with pytest.raises(ValueError, match="has a function as learning rate"):
        SGD(lambda: 0.1).get_config()


def test_get():
    assert optimizers.get(None) is None
    assert isinstance(optimizers.get("rmsprop"), RMSprop)
    assert isinstance(optimizers.get("SGD"), SGD)
    assert isinstance(optimizers.get(Adam), Adam)
    optimizer = SGD(0.5)
    assert optimizers.get(optimizer) is optimizer
    config = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.5}}
    assert optimizers.get(config).momentum == 0.5
    with pytest.raises(ValueError, match=r"Unknown optimizer 'adm'\. Did you mean 'adam'\?"):
        optimizers.get("adm")
    with pytest.raises(TypeError, match="Cannot interpret 3 as optimizer"):
        optimizers.get(3)


def test_custom_objects():
    class Mine(SGD):
        pass

    config = optimizers.serialize(Mine(0.5))
    assert isinstance(optimizers.deserialize(config, {"Mine": Mine}), Mine)


def test_keras_defaults():
    assert [float(kind().learning_rate) for kind in (SGD, Adam, RMSprop)] == pytest.approx(
        [0.01, 0.001, 0.001]
    )
    assert (Adam().beta_1, Adam().beta_2, Adam().epsilon) == (0.9, 0.999, 1e-7)
    assert (RMSprop().rho, RMSprop().momentum, RMSprop().epsilon) == (0.9, 0.0, 1e-7)
    assert (SGD().name, Adam().name, RMSprop().name) == ("SGD", "adam", "rmsprop")
