"""Names: looking them up with a hint for misspelt ones, and making them unique as Keras does."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, TypeVar

T = TypeVar("T")

_WORD_BOUNDARY = re.compile(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")
_LONGEST_SHOWN = 100
_name_counts: Counter[str] = Counter()


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return `table[name]`, or raise an error that names the nearest valid name.

    Args:
        kind: What the table holds, for the message, such as "activation".
        name: The name that was asked for.
        table: The valid names and what they stand for.

    Raises:
        ValueError: the table has no such name.

    >>> lookup("optimizer", "adm", {"adam": 1, "sgd": 2})
    Traceback (most recent call last):
        ...
    ValueError: Unknown optimizer 'adm'. Did you mean 'adam'? Valid: adam, sgd.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    shown = str(name)
    shown = shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "..."
    hint = nearest(shown, table)
    question = f" Did you mean '{hint}'?" if hint else ""
    valid = ", ".join(sorted(table))
    raise ValueError(f"Unknown {kind} '{shown}'.{question} Valid: {valid}.")


def nearest(name: str, candidates: Mapping[str, object]) -> str | None:
    """Return the candidate most like `name`, letter case ignored, or None if none is near.

    >>> nearest("Relu6", {"relu6": 0, "softmax": 0})
    'relu6'
    >>> nearest("sparse_entropy", {"binary_entropy": 0, "sparse_categorical_entropy": 0})
    'sparse_categorical_entropy'
    """
    folded = {candidate.lower(): candidate for candidate in candidates}
    parts = set(name.lower().split("_"))
    # A forgotten part is likelier than another word: all the parts that were given come first.
    complete = [c for c in folded if len(parts) > 1 and parts < set(c.split("_"))]
    matches = difflib.get_close_matches(name.lower(), complete or folded, n=1, cutoff=0.5)
    return folded[matches[0]] if matches else None


def missing_attribute(module: str, names: Iterable[str]) -> Callable[[str], NoReturn]:
    """Return a module's `__getattr__`, which names the nearest of the module's public `names`.

    >>> missing_attribute("autodan.layers", ["Dense", "Flatten"])("Dens")
    Traceback (most recent call last):
        ...
    AttributeError: module 'autodan.layers' has no attribute 'Dens'. Did you mean 'Dense'?
    """
    candidates = dict.fromkeys(names)

    def refuse(name: str) -> NoReturn:
        hint = None if name.startswith("_") else nearest(name, candidates)
        question = f". Did you mean '{hint}'?" if hint else ""
        raise AttributeError(f"module '{module}' has no attribute '{name}'{question}")

    return refuse


def to_snake_case(name: str) -> str:
    """Turn a class name into the snake case that Keras names layers with.

    >>> [to_snake_case(n) for n in ("Conv2D", "MaxPooling2D", "ReLU", "MyCNNModel")]
    ['conv2d', 'max_pooling2d', 're_lu', 'my_cnn_model']
    """
    return _WORD_BOUNDARY.sub("_", re.sub(r"\W", "", name)).lower()


def unique_name(base: str) -> str:
    """Return `base`, then `base_1`, `base_2` and so on, as Keras names its layers.

    >>> unique_name("doctest"), unique_name("doctest")
    ('doctest', 'doctest_1')
    """
    count = _name_counts[base]
    _name_counts[base] += 1
    return f"{base}_{count}" if count else base


def reset_names() -> None:
    """Start the numbering of `unique_name` anew (done by `utils.clear_session`).

    >>> reset_names()
    >>> unique_name("fresh")
    'fresh'
    """
    _name_counts.clear()
