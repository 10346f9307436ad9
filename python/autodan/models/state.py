"""What a saved model consists of: a document that describes it, and its tensors by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autodan import config as settings
from autodan import layers, optimizers, random
from autodan._core import Variable
from autodan.layers.layer import Layer
from autodan.utils.declared import only_declared

# The prefixes of the tensors' names.
MODEL, OPTIMIZER = "model/", "optimizer/"


def walk_layers(root: Layer) -> Iterator[tuple[str, Layer, Layer | None]]:
    """Yield the layers of a model with their paths and parents, each once and parents first.

    The children of a layer are looked for after it was yielded, so they may be made meanwhile.

    >>> import autodan as ad
    >>> model = ad.Sequential([ad.layers.Flatten(), ad.layers.Dense(2)])
    >>> [path for path, _, _ in walk_layers(model)]
    ['', 'layers/0', 'layers/1']
    """
    seen: set[int] = set()
    pending: list[tuple[str, Layer, Layer | None]] = [("", root, None)]
    while pending:
        path, layer, parent = pending.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield path, layer, parent
        children = [(n, child) for n, child in layer._members() if isinstance(child, Layer)]
        pending.extend((_join(path, n), child, layer) for n, child in reversed(children))


def named(root: Layer, kind: type) -> dict[str, Any]:
    """Return the objects of a class that a model's layers hold, by path.

    >>> import autodan as ad
    >>> list(named(ad.Sequential([ad.Input((3,)), ad.layers.Dense(2)]), Variable))
    ['layers/0/kernel', 'layers/0/bias']
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for path, layer, _ in walk_layers(root):
        for name, item in layer._members():
            if isinstance(item, kind) and id(item) not in seen:
                seen.add(id(item))
                name = _join(path, name)
                while name in found:  # a key of a dict may look like a path
                    name += "~"
                found[name] = item
    return found


def model_tensors(model: Layer) -> dict[str, Variable]:
    """Return the weights of a model by their names in files."""
    return {MODEL + path: variable for path, variable in named(model, Variable).items()}


def optimizer_tensors(model: Any) -> dict[str, Variable]:
    """Return the state of the model's optimizer by the names in files; nothing without state."""
    optimizer = model.optimizer
    if optimizer is None or not optimizer.built:
        return {}
    return {f"{OPTIMIZER}{index}": v for index, v in enumerate(optimizer.variables)}


def describe(model: Any, with_optimizer: bool = True) -> dict[str, Any]:
    """Return everything about a model but its tensors.

    Args:
        model: A model.
        with_optimizer: Whether the optimizer's state belongs to it. Default True.

    Raises:
        NotImplementedError: a class of the user's own does not say how it was made.
        ValueError: a config holds what cannot be described.
    """
    paths = {id(variable): path for path, variable in named(model, Variable).items()}
    stream = model._shuffle
    optimizer = model.optimizer if with_optimizer else None
    return {
        "floatx": settings.floatx(),
        "model": layers.serialize(model),
        "layers": {
            path: {"built": layer.built, "shape": layer._build_shape, "trainable": layer.trainable}
            for path, layer, _ in walk_layers(model)
        },
        "frozen": [path for path, v in named(model, Variable).items() if not v.trainable],
        "seeds": {
            path: [generator.seed, generator.counter]
            for path, generator in named(model, random.SeedGenerator).items()
        },
        "shuffle": None if stream is None else [stream.seed, stream.counter],
        "epochs": model.epochs_trained,
        "compile": model.get_compile_config(),
        "optimizer": None if optimizer is None else _describe_optimizer(optimizer, paths),
    }


def _describe_optimizer(
    optimizer: optimizers.Optimizer, paths: Mapping[int, str]
) -> dict[str, Any] | None:
    if not optimizer.built:
        return None
    variables = optimizer._trainable_variables
    foreign = [v.path for v in variables if id(v) not in paths]
    if foreign:
        raise ValueError(
            f"The optimizer updates variables that are not the model's, {foreign}, so its state "
            "cannot be saved with the model. Save with include_optimizer=False, or save_weights."
        )
    return {
        "variables": [paths[id(v)] for v in variables],
        "undecayed": [paths[id(v)] for v in variables if id(v) in optimizer._undecayed_ids],
    }


def rebuild(
    document: Any, tensors: Mapping[str, tuple[str, tuple[int, ...]]], digest: str, compile: bool
) -> Any:
    """Make the model that a document describes, its variables without values yet.

    Nothing is allocated for them, and nothing can be made that is not among `tensors`. Random
    numbers come from a stream of its own that depends on the file alone.

    Args:
        document: What `describe` returned.
        tensors: Dtype and shape of each tensor of the file.
        digest: The file's digest, for that stream.
        compile: Whether to compile the model as it was.

    Raises:
        Exception: of any class, where the document is wrong.
    """
    floatx = settings.floatx()
    settings.set_floatx(document["floatx"])
    try:
        with random.separate_stream(int(digest[:16], 16)):
            return _rebuild(document, tensors.values(), compile)
    finally:
        settings.set_floatx(floatx)


def _rebuild(document: Any, tensors: Iterable[tuple[str, tuple[int, ...]]], compile: bool) -> Any:
    states, optimizer = document["layers"], document["optimizer"]
    with only_declared(tensors):
        model = layers.deserialize(document["model"])
        if not hasattr(model, "compile_from_config"):
            raise ValueError(f"it describes a {type(model).__name__}, which is no model")
        for path, layer, parent in walk_layers(model):
            state = states[path]
            if state["built"] and not layer.built:
                layer._build_for(_shapes(state["shape"]), None, parent)
        found = [path for path, _, _ in walk_layers(model)]
        if found != list(states):
            raise ValueError(f"its layers are {list(states)}, but the config makes {found}")
        variables = named(model, Variable)
        if compile and optimizer is not None:
            built = optimizers.deserialize(document["compile"]["optimizer"])
            built.exclude_from_weight_decay([variables[path] for path in optimizer["undecayed"]])
            built.build([variables[path] for path in optimizer["variables"]])
            # What it was built on need not be what is to be trained next.
            _set_trainable(variables, set(variables) - set(optimizer["variables"]))
            model._compile_as(document["compile"], built)
    _set_trainable(variables, set(document["frozen"]))
    for path, layer, _ in walk_layers(model):
        layer._trainable = bool(states[path]["trainable"])
    if compile and optimizer is None and document["compile"] is not None:
        model.compile_from_config(document["compile"])

    generators = named(model, random.SeedGenerator)
    seeds = document["seeds"]
    if set(generators) != set(seeds):
        raise ValueError(f"it has seeds of {list(seeds)}, but the model has {list(generators)}")
    for path, generator in generators.items():
        _restore(generator, seeds[path])
    if document["shuffle"] is not None:
        model._shuffle, model._shuffle_seeding = random.SeedGenerator(0), random.seedings()
        _restore(model._shuffle, document["shuffle"])
    model.epochs_trained = random.check_seed(document["epochs"])
    return model


def _set_trainable(variables: Mapping[str, Variable], frozen: set[str]) -> None:
    for path, variable in variables.items():
        variable.trainable = path not in frozen


def _restore(generator: random.SeedGenerator, state: Any) -> None:
    seed, counter = state
    generator.seed, generator.counter = random.check_seed(seed), random.check_seed(counter)


def _shapes(value: Any) -> Any:
    """Return shapes as they were before JSON made lists of their tuples."""
    if isinstance(value, dict):
        return {key: _shapes(item) for key, item in value.items()}
    if isinstance(value, list) and all(side is None or type(side) is int for side in value):
        if any(side is not None and side < 0 for side in value):
            raise ValueError(f"it speaks of the shape {value}")
        return tuple(value)
    if isinstance(value, list):
        return [_shapes(item) for item in value]
    if value is not None:
        raise ValueError(f"it has {value!r} for a shape")
    return None


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
