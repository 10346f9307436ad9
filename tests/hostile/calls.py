"""One call of a seed: made, described, and judged."""

from __future__ import annotations

import inspect
import random
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import autodan as ad
from autodan import _core, config
from hostile.callables import CHANGERS, HOOKS, SETTERS, Target
from hostile.values import ANY, BY_NAME, HOSTILE, LARGE, PATIENCE, Raised

# What a call may raise. `Raised` comes out of the arguments' own methods.
DOCUMENTED = (
    TypeError,
    ValueError,
    IndexError,
    OverflowError,
    MemoryError,
    OSError,
    RuntimeError,
    AttributeError,
    BufferError,
    Raised,
)
NEVER = (ad.InternalError, RecursionError)
CPU_SECONDS = 10
WALL_SECONDS = 60


class Hang(BaseException):
    """The call took too long."""


@dataclass
class Call:
    """A target and its arguments, each with what it is."""

    target: Target
    positional: list[tuple[str, Any]] = field(default_factory=list)
    named: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = [label for label, _ in self.positional]
        shown += [f"{name}={label}" for name, (label, _) in self.named.items()]
        if self.target.kind == "property":
            return f"{self.target.name} = {shown[0]}"
        return f"{self.target.name}({', '.join(shown)})"

    def values(self) -> list[Any]:
        """Return the arguments."""
        return [v for _, v in self.positional] + [v for _, v in self.named.values()]


def _parameters(target: Target) -> list[inspect.Parameter] | None:
    function: Any = target.function
    if target.receiver is not None:
        function = getattr(target.receiver(), target.member, None)
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _argument(rng: random.Random, name: str) -> tuple[str, Any]:
    table = BY_NAME.get(name, ANY) if rng.random() < 0.55 else HOSTILE
    label = rng.choice(list(table))
    if name in PATIENCE and label in LARGE:
        label = "-1"
    return label, table[label]()


def generate(target: Target, rng: random.Random) -> Call:
    """Return a call with arguments as the generator of random numbers will have it."""
    call = Call(target)
    if target.kind == "property":
        call.positional.append(_argument(rng, target.member))
        return call
    parameters = _parameters(target)
    if parameters is None:
        call.positional = [_argument(rng, "value") for _ in range(rng.randrange(4))]
        return call
    by_position = True
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            extra = [_argument(rng, parameter.name) for _ in range(rng.randrange(3))]
            call.positional += extra if by_position else []
        elif parameter.kind is parameter.VAR_KEYWORD:
            if rng.random() < 0.1:
                call.named["nonsense"] = _argument(rng, "nonsense")
        else:
            optional = parameter.default is not parameter.empty
            if rng.random() < (0.6 if optional else 0.03):
                by_position = False
                continue
            argument = _argument(rng, parameter.name)
            if parameter.kind is parameter.KEYWORD_ONLY:
                by_position = False
            if by_position and (parameter.kind is parameter.POSITIONAL_ONLY or rng.random() < 0.7):
                call.positional.append(argument)
            elif parameter.kind is not parameter.POSITIONAL_ONLY:
                by_position = False
                call.named[parameter.name] = argument
    if rng.random() < 0.02:
        call.positional.append(_argument(rng, "extra"))
    if rng.random() < 0.02:
        call.named["no_such_argument"] = _argument(rng, "extra")
    return call


def fingerprint(value: Any, seen: frozenset[int] = frozenset()) -> Any:
    """Return something that changes when the value does; by identity for what is not data."""
    if id(value) in seen or len(seen) > 20:
        return id(value)
    seen |= {id(value)}
    if isinstance(value, np.ndarray):
        content = value.tobytes() if value.nbytes < 1e6 else b""
        return (value.shape, value.strides, value.dtype, value.flags.writeable, content)
    if isinstance(value, ad.Tensor):
        grad = value.grad
        return (
            value.numpy().tobytes(),
            value.shape,
            value.dtype,
            value.requires_grad,
            None if grad is None else grad.numpy().tobytes(),
        )
    if isinstance(value, bytearray):
        return bytes(value)
    if type(value) in (list, tuple):
        return (type(value), tuple(fingerprint(item, seen) for item in value))
    if type(value) is dict:
        return tuple((key, fingerprint(item, seen)) for key, item in value.items())
    return id(value)


def state() -> tuple[Any, ...]:
    """Return what no call may change, unless that is its purpose."""
    smallest, ulp = 5e-324, 2.0**-53
    return (
        _core.num_threads(),
        _core.isa(),
        _core.is_grad_enabled(),
        config.floatx(),
        config.epsilon(),
        config.image_data_format(),
        tuple(warnings.filters),
        tuple(np.geterr().items()),
        # The processor's: subnormals are kept, rounding is to nearest.
        smallest * 1.0 > 0 and smallest * 2 > 0,
        (1.0 + ulp, 1.0 + ulp * 1.5, -1.0 - ulp),
    )


def weights(receiver: Any) -> Any:
    """Return the values of the variables of a layer, model, optimizer, metric or variable."""
    if isinstance(receiver, ad.Tensor):
        return fingerprint(receiver)
    variables = getattr(receiver, "variables", None)
    if not isinstance(variables, (list, tuple)):
        return None
    return [fingerprint(v)[:3] for v in variables if isinstance(v, ad.Variable)]


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise `Hang` in what computes, or waits, for too long."""

    def stop(number: int, _: Any) -> None:
        raise Hang(signal.Signals(number).name)

    before = [signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


def run(call: Call, receiver: Any) -> Any:
    """Make the call."""
    target = call.target
    if target.kind == "property":
        return setattr(receiver, target.member, call.positional[0][1])
    function = target.function if receiver is None else getattr(receiver, target.member)
    result = function(
        *(value for _, value in call.positional),
        **{name: value for name, (_, value) in call.named.items()},
    )
    if isinstance(result, ad.Tensor) and result.size < 10_000:
        result.numpy()
    return result


@dataclass
class Outcome:
    """What came of a call.

    Args:
        kind: "result" or the name of the exception's class.
        fault: What is wrong with that, "" for nothing.
        names: Whether the exception's text names the function or an argument; True for results.
    """

    kind: str
    fault: str = ""
    names: bool = True


def outcome(call: Call) -> Outcome:
    """Make the call and judge it."""
    target = call.target
    receiver = None if target.receiver is None else target.receiver()
    state_before, weights_before = state(), weights(receiver)
    # Methods may change their receiver, and variables where these are what they work on.
    arguments = [v for v in call.values() if v is not receiver]
    before = [fingerprint(value) for value in arguments]
    error: BaseException | None = None
    try:
        with time_limit():
            run(call, receiver)
    except Exception as caught:
        error = caught
    except Hang as hang:
        return Outcome("Hang", f"took too long ({hang})")
    except BaseException as caught:
        return Outcome(type(caught).__name__, f"raised {type(caught).__name__}: {caught}")
    kind = "result" if error is None else type(error).__name__
    faults = []
    if error is not None:
        faults += _wrong_with(error, target, arguments)
        if _differs(receiver, weights_before):
            faults.append("failed and left its object changed")
    changed = [
        value
        for value, was in zip(arguments, before, strict=True)
        if fingerprint(value) != was
        and not (error is None and (target.name in CHANGERS or isinstance(value, ad.Variable)))
    ]
    if changed:
        faults.append(f"changed an argument: {type(changed[0]).__name__}")
    if target.name not in SETTERS and state() != state_before:
        faults.append(f"changed the state from {state_before} to {state()}")
    return Outcome(kind, "; ".join(faults), error is None or _names_something(error, call))


def _differs(receiver: Any, before: Any) -> bool:
    try:
        return bool(weights(receiver) != before)
    except Exception:
        return True


def _can_be_shown(arguments: list[Any]) -> bool:
    """Return whether messages can show them: Python's own `repr` of deep lists gives up."""
    try:
        repr(arguments)
    except RecursionError:
        return False
    except Exception:
        return True
    return True


def _wrong_with(error: Exception, target: Target, arguments: list[Any]) -> list[str]:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as fault:
        return [f"{name} whose text raises {fault!r}"]
    if isinstance(error, RecursionError) and not _can_be_shown(arguments):
        return []
    if isinstance(error, NEVER):
        return [f"raised {name}: {text[:200]}"]
    if target.name.startswith("autodan.testing") and isinstance(
        error, AssertionError | AttributeError
    ):
        return []
    own_name = target.name.rpartition(".")[2]
    if own_name in HOOKS and isinstance(error, AttributeError | KeyError):
        return []
    if isinstance(error, AttributeError) and target.kind != "property":
        return [f"raised {name}: {text[:200]}"]
    if not isinstance(error, DOCUMENTED):
        return [f"raised {name}: {text[:200]}"]
    if len(text) < 4 and not isinstance(error, MemoryError | Raised):
        return [f"raised {name} with the text {text!r}"]
    return []


def _names_something(error: Exception, call: Call) -> bool:
    """Return whether an error, its notes included, names the function or an argument."""
    names = [parameter.name for parameter in _parameters(call.target) or ()]
    try:
        text = " ".join([str(error), *getattr(error, "__notes__", ())]).lower()
    except Exception:
        return False
    return any(name.lower() in text for name in (*call.target.name.split("."), *names))


def restore(before: tuple[Any, ...]) -> None:
    """Undo what a call of `SETTERS` has done."""
    _core.set_num_threads(before[0])
    _core.set_isa(before[1])
    _core.set_grad_enabled(before[2])
    config.set_floatx(before[3])
    config.set_epsilon(before[4])
    config.set_image_data_format(before[5])


def nth(targets: list[Target], seed: int, index: int) -> Call:
    """Return one call of a campaign: every target in turn, its arguments by seed and index."""
    rng = random.Random(f"{seed}:{index}")
    return generate(targets[index % len(targets)], rng)
