"""Shows that a model file survives `kill -9`: children train and save in a loop and are killed.

Each child loads the file that the one before it left, trains epoch after epoch, saves after each,
and is killed at a random moment. After every kill the file must load, and must have, byte for
byte, the content that it has after as many epochs of one run without interruptions: weights,
optimizer, random streams. So every child resumes what some killed one began.

    python tests/stress/kill_while_saving.py --count 1000
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import autodan as ad
from autodan import layers, models

# What one run trains; then the next one starts.
EPOCHS = 200

rng = np.random.default_rng(1)
X = rng.random((64, 8, 8, 1), dtype="float32")
Y = rng.integers(0, 5, 64)


def make():
    ad.utils.set_random_seed(7)
    model = ad.Sequential(
        [
            ad.Input((8, 8, 1), name="input"),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(name="flat"),
            layers.Dropout(0.3, name="drop"),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(5, activation="softmax", name="out"),
        ],
        name="model",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def reference(path):
    """The digests of the file after each epoch of a run without interruptions."""
    model = make()
    found = []

    def save(epoch, logs):
        model.save(path)
        found.append(digest(path))

    callback = ad.callbacks.LambdaCallback(on_epoch_end=save)
    model.fit(X, Y, epochs=EPOCHS, verbose=0, callbacks=[callback])
    return found


def child(path, ready):
    """Go on from the file until killed."""
    model = models.load_model(path) if path.exists() else make()
    os.write(ready, b"x")
    while model.epochs_trained < EPOCHS:
        model.fit(
            X, Y, initial_epoch=model.epochs_trained, epochs=model.epochs_trained + 1, verbose=0
        )
        model.save(path)
    signal.pause()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="kills; default 1000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=0.06, help="seconds until a kill at most")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    start = time.perf_counter()
    failures, halves, epochs, resumed, unsaved = [], 0, 0, 0, 0

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        expected = reference(Path(folder, "reference"))
        for kill in range(options.count):
            ready, tell = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    child(path, tell)
                finally:
                    os._exit(1)
            os.close(tell)
            alive = os.read(ready, 1)
            os.close(ready)
            time.sleep(moments.uniform(0, options.longest))
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            if not alive or not os.WIFSIGNALED(status):
                failures.append(f"kill {kill}: the child failed by itself")
            halves += any(name.endswith(".part") for name in os.listdir(folder))
            if not path.exists():
                unsaved += 1
                continue
            try:
                reached = models.load_model(path).epochs_trained
            except Exception as error:
                failures.append(f"kill {kill}: {type(error).__name__}: {error}")
                path.unlink()
                continue
            if digest(path) != expected[reached - 1]:
                failures.append(f"kill {kill}: epoch {reached} has other bytes")
            resumed += 1
            if reached == EPOCHS:
                path.unlink()
                epochs += EPOCHS
        epochs += reached if path.exists() else 0
        left = sum(name.endswith(".part") for name in os.listdir(folder))

    for failure in failures:
        print(failure, file=sys.stderr)
    print(
        f"{options.count} kills, {halves} of them with a file half written, {resumed} files loaded "
        f"and equal to the run without interruptions, {unsaved} before the first save, "
        f"{len(failures)} failures; {epochs} epochs through resumed files, {left} temporary files "
        f"left; {time.perf_counter() - start:.0f} s"
    )
    return bool(failures) or left > 1


if __name__ == "__main__":
    sys.exit(main())
