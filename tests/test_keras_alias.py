"""`autodan.keras` is `autodan`, however a program imports it, and importing it stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAMS = [
    "import autodan as keras; keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])",
    "from autodan.keras import layers; import autodan; assert layers is autodan.layers",
    "import autodan.keras.models; assert autodan.keras.models is autodan.models",
    "import autodan; assert autodan.keras is autodan",
    "import autodan.keras, sys; assert autodan.keras is autodan is sys.modules['autodan.keras']",
    "import autodan.keras as keras; import autodan; assert keras is autodan",
    "from autodan import keras; import autodan; assert keras is autodan",
    "import autodan.keras; assert autodan.keras.keras.keras is autodan",
    "from autodan.keras.models import Sequential; import autodan; "
    "assert Sequential is autodan.Sequential is autodan.models.Sequential",
    "from autodan.models import Sequential; from autodan.keras.models import Sequential as Same; "
    "assert Same is Sequential",
    "from autodan.keras.layers import Conv2D, Dense, Flatten, MaxPooling2D",
    "import autodan.keras.layers as layers; import autodan; assert layers is autodan.layers",
    "from autodan.keras.utils import to_categorical; from autodan.keras.optimizers import Adam; "
    "from autodan.keras.callbacks import EarlyStopping; from autodan.keras.regularizers import l2",
    "from autodan.keras.datasets import mnist; import autodan.datasets.mnist; "
    "assert mnist is autodan.datasets.mnist",
    "from autodan.keras.optimizers.schedules import ExponentialDecay",
    "import autodan as tf; tf.keras.datasets.cifar10.load_data, tf.keras.utils.to_categorical",
    "import autodan as tf; tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
    "from autodan import *; Sequential, layers, tensor",
]


def run(program):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_in_a_fresh_interpreter(program):
    result = run(program)
    assert (result.returncode, result.stderr) == (0, "")


def test_what_is_not_there_is_said_so():
    result = run("import autodan.keras.nothing")
    assert "ModuleNotFoundError: No module named 'autodan.keras.nothing'" in result.stderr
    result = run("import autodan; autodan.Sequentiall")
    assert "has no attribute 'Sequentiall'. Did you mean 'Sequential'?" in result.stderr


def test_importing_the_package_leaves_the_rest_for_later():
    result = run(
        "import sys, autodan; "
        "print(*sorted(m for m in sys.modules if m.startswith("
        "('autodan.layers', 'autodan.models', 'tqdm', 'pooch', 'matplotlib', 'hypothesis'))))"
    )
    assert (result.returncode, result.stdout.strip()) == (0, "")


def test_every_public_name_is_there():
    program = "import autodan; [getattr(autodan, name) for name in autodan.__all__ + dir(autodan)]"
    result = run(program)
    assert (result.returncode, result.stderr) == (0, "")
