"""The table of ops: what every public function computes, takes and refuses.

One file for each family. `test_ops.py` drives all rows through the same tests, and fails when a
public function has no row here and is not named in `ELSEWHERE`.
"""

from __future__ import annotations

from autodan import _core, ops
from opspecs import binary, composed, create, losses, nn, reduce, scan, shape, unary, windows
from opspecs.spec import Call, Error, Spec

__all__ = [
    "ALIASES",
    "ELSEWHERE",
    "SPECS",
    "Call",
    "Error",
    "Spec",
    "covered",
    "public",
    "unlisted",
]

FAMILIES = (unary, binary, reduce, scan, shape, create, nn, windows, losses, composed)
SPECS: tuple[Spec, ...] = tuple(spec for family in FAMILIES for spec in family.SPECS)

# Other names of the same functions.
ALIASES = {
    "absolute": "abs",
    "amax": "max",
    "amin": "min",
    "swish": "silu",
    "true_divide": "divide",
}

# Functions that are no ops of arrays to arrays, and the file that tests them.
ELSEWHERE = {
    "tensor": "test_tensor.py",
    "asarray": "test_tensor.py",
    "gather_rows": "models/test_data.py",
    "array": "test_tensor.py",
    "convert_to_numpy": "test_tensor.py",
    "convert_to_tensor": "test_tensor.py",
    "is_tensor": "test_tensor.py",
    "shape": "test_tensor.py",
    "size": "test_tensor.py",
    "stop_gradient": "test_autograd.py",
    "grad": "test_autograd.py",
    "is_grad_enabled": "test_autograd.py",
    "is_tracing": "test_tracing.py",
    "trainable_changes": "test_tracing.py",
    "set_grad_enabled": "test_autograd.py",
    "random_uniform": "test_random_ops.py",
    "random_normal": "test_random_ops.py",
    "random_truncated_normal": "test_random_ops.py",
    "random_bernoulli": "test_random_ops.py",
    "random_randint": "test_random_ops.py",
    "random_permutation": "test_random_ops.py",
    "global_norm": "test_updates.py",
    "sgd_update": "test_updates.py",
    "adam_update": "test_updates.py",
    "num_threads": "test_threads.py",
    "set_num_threads": "test_threads.py",
    "isa": "test_threads.py",
    "available_isas": "test_threads.py",
    "set_isa": "test_threads.py",
    "build_info": "test_threads.py",
    "memory_info": "test_threads.py",
    "set_poison": "conftest.py",
    "fail_allocation": "test_allocation_failures.py",
    "trim_memory": "test_memory.py",
}


def public() -> set[str]:
    """Return the names of all public functions of arrays."""
    core = {
        name
        for name, value in vars(_core).items()
        if callable(value) and not isinstance(value, type) and not name.startswith("_")
    }
    return core | set(ops.__all__)


def covered() -> set[str]:
    """Return the names that have a row or a test elsewhere."""
    return {spec.name for spec in SPECS} | set(ALIASES) | set(ELSEWHERE)


def unlisted() -> list[str]:
    """Return the public functions that nothing covers."""
    return sorted(public() - covered())
