"""One training from the start, in the process of one library: its seconds, accuracy and memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from benches.compare.data import NAMES
from benches.compare.libraries.base import Learner, Library


class Lesson:
    """A network that learns from the files of `save_splits`.

    Two steps and one of the size of the last batch are made at once, so that whatever a library
    compiles is compiled before the first epoch; `start` says how long that took.

    Args:
        library: The library to train with.
        folder: Where the files are.
        network: A name of `NETWORKS`.
        batch: Images in a step.
        seed: Of the weights and the orders of the images.
    """

    def __init__(self, library: Library, folder: str, network: str, batch: int, seed: int) -> None:
        before = memory()
        x, y, self._x, self._y = (np.load(Path(folder, f"{name}.npy")) for name in NAMES)
        loaded = memory()
        start = time.perf_counter()
        self._learner: Learner = library.learner(network, batch, x, y, seed)
        self._learner.epoch(2 * batch + len(x) % batch)
        self.start: dict[str, Any] = {
            "first_steps_seconds": time.perf_counter() - start,
            "imported_bytes": before.get("VmRSS"),
            "loaded_bytes": loaded.get("VmRSS"),
        }

    def epoch(self, tested: bool) -> dict[str, Any]:
        """Train an epoch; its seconds, the memory after it, and the accuracy where wanted."""
        start = time.perf_counter()
        self._learner.epoch(None)
        seconds = time.perf_counter() - start
        now = memory()
        accuracy = float(np.mean(self._learner.classes(self._x) == self._y)) if tested else None
        return {
            "seconds": seconds,
            "accuracy": accuracy,
            "resident_bytes": now.get("VmRSS"),
            "peak_bytes": now.get("VmHWM"),
        }


def memory() -> dict[str, int]:
    """Return the bytes of this process by Linux's names, VmRSS and VmHWM; elsewhere nothing."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return {}
    fields = (line.split() for line in lines if line.startswith(("VmRSS:", "VmHWM:")))
    return {name.rstrip(":"): 1024 * int(size) for name, size, _ in fields}
