"""Shows that no damage to a model file goes unnoticed.

A file of about 64 KB is cut at every length, and every bit of its header and a sample of those of
its data are flipped, one at a time. Each of these files must be refused with `FormatError`.

    python tests/stress/damaged_files.py --count 20000
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import autodan as ad
from autodan import layers, models


def make(path):
    model = ad.Sequential(
        [ad.Input((28,)), layers.Dense(140, "relu"), layers.Dropout(0.5), layers.Dense(8)]
    )
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((8, 28)), np.ones((8, 8)), verbose=0)
    model.save(path)


class Tally:
    """Counts what was refused, and keeps the first of what was not."""

    def __init__(self, path):
        self.path = path
        self.refused = 0
        self.failures = []

    def refuse(self, what):
        try:
            models.load_model(self.path)
        except ad.FormatError:
            self.refused += 1
        except BaseException as error:
            self.failures.append(f"{what}: {type(error).__name__}: {error}")
        else:
            self.failures.append(f"{what}: loaded")


def flip(stream, content, bit, tally):
    place, value = bit // 8, content[bit // 8]
    for byte in (value ^ 1 << bit % 8, value):
        stream.seek(place)
        stream.write(bytes([byte]))
        stream.flush()
        if byte != value:
            tally.refuse(f"bit {bit} flipped")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20000, help="flips in the data; default 20000")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        make(path)
        content = path.read_bytes()
        header = 8 + int.from_bytes(content[:8], "little")
        models.load_model(path)
        cut, head, data = Tally(path), Tally(path), Tally(path)
        with open(path, "r+b") as stream:
            for bit in range(header * 8):
                flip(stream, content, bit, head)
            bits = range(header * 8, len(content) * 8)
            chosen = random.Random(options.seed).sample(bits, min(options.count, len(bits)))
            for bit in chosen:
                flip(stream, content, bit, data)
        models.load_model(path)  # all bits are back
        for length in reversed(range(len(content))):
            os.truncate(path, length)
            cut.refuse(f"cut to {length} bytes")

    failures = cut.failures + head.failures + data.failures
    for failure in failures[:20]:
        print(failure, file=sys.stderr)
    print(
        f"{len(content)} bytes, {header} of them header: refused {cut.refused} of {len(content)} "
        f"truncations, {head.refused} of {header * 8} flipped bits of the header, "
        f"{data.refused} of {len(chosen)} of the data; {len(failures)} failures; "
        f"{time.perf_counter() - start:.0f} s"
    )
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
