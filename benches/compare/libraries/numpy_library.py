"""NumPy: products, elementwise functions and overhead."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from benches.compare.libraries.base import Library as Base
from benches.compare.libraries.base import NotOfferedError, Run, numbers


class Library(Base):
    """Form "plain", with the outputs passed in where a function takes them."""

    module = "numpy"

    def describe(self) -> str:
        blas: Any = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
        threads = os.environ.get("OPENBLAS_NUM_THREADS")
        return f"{np.__version__} ({blas['name']} {blas['version']}, {threads} threads)"

    def import_time(self) -> Run:
        raise NotOfferedError("NumPy's own import is subtracted")

    def matmul(self, m: int, k: int, n: int, form: str) -> Run:
        a = numbers(*((k, m) if form == "tn" else (m, k)))
        b = numbers(*((n, k) if form == "nt" else (k, n)))
        a, b = a.T if form == "tn" else a, b.T if form == "nt" else b
        out = np.empty((m, n), np.float32)
        return lambda: np.matmul(a, b, out=out)

    def elementwise(self, op: str, rows: int, columns: int) -> Run:
        x, bias = numbers(rows, columns), numbers(columns)
        out = np.empty_like(x)
        if op == "sum":
            return lambda: np.sum(x)
        if op == "bias+relu":
            return lambda: np.maximum(np.add(x, bias, out=out), 0, out=out)
        function = getattr(np, op)
        return lambda: function(x, out=out)

    def add_small(self, autograd: bool) -> Run:
        if autograd:
            raise NotOfferedError("no autograd")
        a, b = numbers(10), numbers(10)
        return lambda: a + b
