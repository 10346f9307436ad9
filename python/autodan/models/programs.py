"""The compiled steps of a model: which there are, and when they still hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

from autodan import _core, config, random
from autodan._core import Tensor, Variable
from autodan.tracing import CompiledStep, UntraceableError, trace
from autodan.utils.signals import Undisturbed
from autodan.utils.versioned import Versioned

if TYPE_CHECKING:
    from autodan.models.steps import Steps

# Programs of one model that are kept; where batches differ so much, eager steps are quicker.
MOST_PROGRAMS = 8
# Times that a model may change within one loop and be compiled again.
MOST_CHANGES = 16

# Most of what attributes hold, and what holds no part of a model.
_PLAIN = frozenset(
    (str, int, float, bool, NoneType, FunctionType, BuiltinFunctionType, Tensor, Variable)
)
_WITHOUT_PARTS = frozenset(
    ("_added_losses", "_build_shape", "_declared", "_seen_shape", "_shapes", "_tracked", "_weights")
)

# The kind of a step, the global settings, and the outline of its batch.
Spec: TypeAlias = tuple[str, tuple[Any, ...], Any]


@dataclass(slots=True)
class Entry:
    """A step for one kind and one shape of batch; None runs eagerly, for the reason given."""

    step: CompiledStep | None
    version: int
    reason: str = ""
    # Dtypes and shapes of the batch's tensors.
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()


class Programs:
    """Finds or compiles the program of a step; one for each model.

    A program holds for the shapes and dtypes of its batch, and as long as no attribute of a layer,
    metric, loss or optimizer of the model is set.

    Args:
        model: Whose steps they are.
    """

    def __init__(self, model: Steps) -> None:
        self._model = model
        self._entries: dict[Spec, Entry] = {}
        self._parts: list[Versioned] = []
        # The containers among their attributes, and which objects those held.
        self._containers: list[list[Any] | dict[Any, Any]] = []
        self._held = b""
        self._seen_version = -1
        # How often anything had changed when all this was found to hold.
        self._seen_changes = -1
        # The last step found of each kind, and how often anything had changed by then.
        self._latest: dict[str, tuple[int, _core._Outline, CompiledStep]] = {}
        self._streams: list[random.SeedGenerator] = []
        self._flags = -1
        self._trainable: list[bool] = []
        self._trainable_version = 0
        self._changes = 0
        self._noted: set[str] = set()
        # A step that only its eager run can tell from one that fails anyway.
        self._suspect: tuple[Spec, Entry] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the programs behind: a copy makes its own."""
        return {"_model": self._model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the model."""
        self.__init__(state["_model"])  # type: ignore[misc]

    def refresh(self, begins: bool = False) -> None:
        """Look again for the parts of the model; a loop does so once, before its first step.

        Args:
            begins: Whether a training begins, which forgets how often the model has changed.
        """
        model = self._model
        layers = model._flatten_layers()
        parts, self._containers = _parts(model)
        if [*map(id, parts)] != [*map(id, self._parts)]:
            self._entries.clear()
            self._latest.clear()
        self._parts = parts
        self._held = _core._identities(self._containers)
        self._streams = [s for layer in layers for s in layer._children(random.SeedGenerator)]
        self._flags = -1
        if begins:
            self._changes = 0
        self._seen_version = self._version()

    def refresh_if_changed(self) -> None:
        """As `refresh`, unless no attribute was set and no container has changed since."""
        changes = _core._changes()
        if _core._identities(self._containers) != self._held or (
            changes != self._seen_changes and self._version() != self._seen_version
        ):
            self.refresh()
        self._seen_changes = changes

    def find(
        self, kind: str, step: Callable[[Any], Any], batch: Any
    ) -> tuple[CompiledStep | None, list[Tensor]]:
        """Return the program for a batch, and the batch's tensors; None for a step to run eagerly.

        Args:
            kind: "train", "test" or "predict".
            step: The step, a function of a batch.
            batch: A structure of tensors.
        """
        # Nearly always nothing has changed since the last step, which left the caches to us cold:
        # what is not looked at here need not come from memory.
        changes = _core._changes()
        latest = self._latest.get(kind)
        if latest is not None and latest[0] == changes and latest[1].fits(batch):
            return latest[2], [*batch]
        tensors: list[Tensor] = []
        found = self._look_up(kind, step, batch, tensors).step
        if found is not None:
            self._latest[kind] = changes, _core._Outline(tensors), found
        return found, tensors

    def try_out(self, kind: str, step: Callable[[Any], Any], batch: Any) -> Entry:
        """Return the entry that `find` would use, but keep no program that was not there before."""
        before = set(self._entries)
        try:
            return self._look_up(kind, step, batch, [])
        finally:
            self._suspect = None
            for spec in set(self._entries) - before:
                del self._entries[spec]

    def largest(self, kind: str, batch_size: int | None = None) -> Entry | None:
        """Return what holds now for the largest batches of a kind, the latest of equals, or None.

        The last batch of an epoch is smaller than what a reader takes for the step.

        Args:
            kind: "train", "test" or "predict".
            batch_size: Look only for batches of so many samples. Default: all.
        """

        def rows(entry: Entry) -> int:
            return entry.inputs[0][1][0] if entry.inputs and entry.inputs[0][1] else 0

        version, settings = self._version(), config.settings()
        held = [
            entry
            for spec, entry in reversed(self._entries.items())
            if spec[:2] == (kind, settings)
            and entry.version == version
            and batch_size in (None, rows(entry))
        ]
        return max(held, key=rows, default=None)

    @property
    def streams(self) -> list[random.SeedGenerator]:
        """The generators of random numbers that a step may draw from."""
        return [*self._streams, random.global_stream()]

    def _look_up(
        self, kind: str, step: Callable[[Any], Any], batch: Any, tensors: list[Tensor]
    ) -> Entry:
        self._suspect = None
        spec: Spec = (kind, config.settings(), _outline(batch, tensors))
        entry = self._entries.get(spec)
        version = self._version()
        if entry is None or entry.version != version:
            entry = self._compiled(kind, step, batch, spec, entry, version)
            entry.inputs = tuple((x.dtype, tuple(x.shape)) for x in tensors)
        return entry

    def succeeded(self) -> None:
        """Hear that the step which `find` did not compile has run."""
        if self._suspect is not None:
            (spec, entry), self._suspect = self._suspect, None
            self._entries[spec] = entry
            self._note(spec[0], entry.reason)

    def _version(self) -> int:
        flags = _core.trainable_changes()
        if flags != self._flags:
            self._flags = flags
            trainable = [variable.trainable for variable in self._model.variables]
            if trainable != self._trainable:
                self._trainable = trainable
                self._trainable_version += 1 << 32
        return self._trainable_version + sum([part._version for part in self._parts])

    def _fingerprint(self) -> Any:
        """Return what a step leaves as it is if all that it does is done by tensors."""
        contents = [len(value) for part in self._parts for value in _containers(part).values()]
        return self._version(), contents

    def _compiled(
        self,
        kind: str,
        step: Callable[[Any], Any],
        batch: Any,
        spec: Spec,
        before: Entry | None,
        version: int,
    ) -> Entry:
        if before is None and len(self._entries) >= MOST_PROGRAMS:
            reason = f"its batches have had {MOST_PROGRAMS} shapes already"
            self._note(kind, reason)
            return Entry(None, version, reason)
        if before is not None:
            self._changes += 1
            # What changed may have brought other parts.
            self.refresh()
        if self._changes > MOST_CHANGES:
            reason = "the model changes from step to step"
            self._note(kind, reason)
            return Entry(None, version, reason)
        compiled, reason = None, ""
        try:
            # An interrupt in the middle would leave random streams where a trace put them.
            with Undisturbed(), _attributes_kept_on_error(self._parts):
                compiled = trace(step, batch, self._streams, self._fingerprint)
        except UntraceableError as error:
            reason = str(error)
            self._note(kind, reason)
        except MemoryError:
            raise
        except Exception as error:
            reason = f"tensors without values make it raise {type(error).__name__}: {error}"
            # Most likely the eager step raises the same, where it belongs.
            entry = Entry(None, version, reason)
            self._suspect = spec, entry
            return entry
        finally:
            self._model._clear_losses()
        # The first step of all may have made metrics.
        self._parts, _ = _parts(self._model)
        entry = self._entries[spec] = Entry(compiled, self._version(), reason)
        return entry

    def _note(self, kind: str, reason: str) -> None:
        if reason not in self._noted:
            self._noted.add(reason)
            warnings.warn(
                f"Model '{self._model.name}': the {kind} step runs eagerly, since {reason}. Pass "
                "run_eagerly=True to compile() to choose this.",
                stacklevel=2,
            )


def _outline(structure: Any, tensors: list[Tensor]) -> Any:
    """Return what two batches of one program have in common; collect the tensors in their order."""
    if isinstance(structure, Tensor):
        tensors.append(structure)
        return structure.shape, structure.dtype
    if isinstance(structure, dict):
        return "dict", *((key, _outline(item, tensors)) for key, item in structure.items())
    return type(structure), *[_outline(item, tensors) for item in structure]


def _parts(model: Steps) -> tuple[list[Versioned], list[Any]]:
    """Return a model's layers, metrics, losses, optimizers and penalties; what contains some."""
    found: dict[int, Versioned] = {}
    seen: dict[int, Any] = {}
    pending: list[Any] = [model]
    while pending:
        value = pending.pop()
        if isinstance(value, Versioned):
            if id(value) not in found:
                found[id(value)] = value
                pending += [
                    item
                    for name, item in vars(value).items()
                    if type(item) not in _PLAIN and name not in _WITHOUT_PARTS
                ]
        elif isinstance(value, (list, tuple, dict)) and id(value) not in seen:
            seen[id(value)] = value
            items = value.values() if isinstance(value, dict) else value
            pending += [item for item in items if type(item) not in _PLAIN]
    return list(found.values()), [value for value in seen.values() if not isinstance(value, tuple)]


def _containers(part: Versioned) -> dict[str, Any]:
    kinds = (list, dict, set)
    return {name: value for name, value in vars(part).items() if isinstance(value, kinds)}


@contextmanager
def _attributes_kept_on_error(parts: Sequence[Versioned]) -> Iterator[None]:
    """Let a trace that fails leave nothing behind in attributes: no count, no tensor."""
    states = [(vars(part), dict(vars(part))) for part in parts]
    contents = [(value, value.copy()) for part in parts for value in _containers(part).values()]
    try:
        yield
    except BaseException:
        for attributes, before in states:
            for name in attributes.keys() - before.keys():
                del attributes[name]
            attributes.update(before)
        for value, before in contents:
            value.clear()
            value.extend(before) if isinstance(value, list) else value.update(before)
        _core._note_change()
        raise
