"""Shows that training for long takes no more memory than training for a moment.

Every step trains a small convolutional network (batch normalization, dropout, metrics); by turns a
step is followed by a gradient tape, a backward pass with its graph kept or differentiated, predict,
evaluate, a model made and dropped, an error in the middle of a step, an interrupt, an allocation
that fails, or tensors of changing sizes. After a tenth of the steps the resident memory is sampled;
its slope is that of the line of least squares through the samples. The engine's own count of bytes
in tensors must be the same at each sample, and what it keeps for reuse stay below its bound:

    python tests/stress/resident_memory.py --steps 100000
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import time
from collections.abc import Callable

import numpy as np

import autodan as ad
from autodan import _core, layers

SAMPLES = 90
LARGEST_CACHE = 1 << 30


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def network() -> ad.Sequential:
    """Return a compiled classifier of 8 by 8 images."""
    model = ad.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", padding="same"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(5, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=ad.optimizers.Adam(1e-4, clipnorm=1.0),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


class Workload:
    """A model, data, and everything that is done between its steps."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(16, 8, 8, 1)).astype("float32")
        self.y = np.arange(16) % 5
        self.model = network()
        self.rng = rng
        self.turns = itertools.cycle(self.actions())
        # Ever the same: what is kept for reuse is at its most before the first sample.
        self.sides = itertools.cycle(rng.integers(1, 400, (20, 20)))

    def actions(self) -> list[Callable[[], object]]:
        """Return what is done by turns."""
        return [
            self.tape,
            self.backward,
            self.second_order,
            lambda: self.model.predict(self.x, verbose=0),
            lambda: self.model.evaluate(self.x, self.y, verbose=0),
            lambda: network().train_on_batch(self.x, self.y),
            self.wrong_labels,
            self.interrupted,
            self.out_of_memory,
            self.sizes,
        ]

    def step(self, number: int) -> None:
        """Train on a batch; every third time do something else too."""
        self.model.train_on_batch(self.x, self.y)
        if number % 3 == 0:
            next(self.turns)()

    def tape(self) -> None:
        """Differentiate by a tape that is kept for two gradients."""
        with ad.GradientTape(persistent=True) as tape:
            loss = ad.ops.mean(self.model(self.x, training=True) ** 2)
        tape.gradient(loss, self.model.trainable_variables)
        tape.gradient(loss, self.model.trainable_variables[:1])

    def backward(self) -> None:
        """Gather gradients in the variables, on a graph that is not walked to its end twice."""
        loss = ad.ops.mean(self.model(self.x, training=True) ** 2)
        loss.backward(retain_graph=True)
        loss.backward()
        for variable in self.model.trainable_variables:
            variable.grad = None

    def second_order(self) -> None:
        """Leave a gradient with a graph of its own in a leaf."""
        x = ad.tensor(self.rng.normal(size=(10, 10)), requires_grad=True)
        ad.ops.sum(ad.ops.tanh(x) @ x).backward(create_graph=True)

    def wrong_labels(self) -> None:
        """Fail in the middle of a step."""
        try:
            self.model.train_on_batch(self.x, self.y + 5)
        except ValueError:
            return
        raise AssertionError("labels out of range were taken")

    def interrupted(self) -> None:
        """Interrupt a step when the loss is known, and keep the traceback for a moment."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        track, self.model._track_loss = self.model._track_loss, interrupt
        try:
            self.model.train_on_batch(self.x, self.y)
        except KeyboardInterrupt as error:
            assert error.__traceback__ is not None
        else:
            raise AssertionError("the interrupt was swallowed")
        finally:
            self.model._track_loss = track

    def out_of_memory(self) -> None:
        """Let one of the step's allocations fail."""
        _core.fail_allocation(int(self.rng.integers(1, 100)))
        try:
            self.model.train_on_batch(self.x, self.y)
        except MemoryError:
            return
        finally:
            _core.fail_allocation(0)
        raise AssertionError("an allocation failed unnoticed")

    def sizes(self) -> None:
        """Hold tensors of many sizes at once, freed in another order than they were made."""
        sides = next(self.sides)
        held = [ad.ones((int(side), int(side))) for side in sides]
        del held[::2]
        held += [ad.zeros((int(side) * 7,)) for side in sides]


def main() -> int:
    """Run the steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument(
        "--slope", type=float, default=2.0, help="bytes per step from which it is a failure"
    )
    options = parser.parse_args()
    # All turns fall into every sample, and the collector of Python's cycles does not blur them.
    every = max(options.steps // SAMPLES // 30, 1) * 30
    warm = max(options.steps // 10, 1500)
    work = Workload()
    places, sizes, counts, caches = [], [], [], []
    start = time.perf_counter()
    for number in range(options.steps):
        work.step(number)
        if number >= warm and number % every == 0:
            gc.collect()
            info = _core.memory_info()
            places.append(number)
            sizes.append(resident())
            counts.append(info["tensors"])
            caches.append(info["cached"])
    slope = float(np.polyfit(places, sizes, 1)[0])
    good = abs(slope) < options.slope and len(set(counts)) == 1 and max(caches) < LARGEST_CACHE
    print(
        f"{options.steps} steps, {len(sizes)} samples, {time.perf_counter() - start:.0f} s: "
        f"{slope:+.3f} bytes/step, resident {min(sizes) >> 10}..{max(sizes) >> 10} KiB, "
        f"tensors {min(counts)}..{max(counts)} bytes, cached at most {max(caches) >> 10} KiB"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
