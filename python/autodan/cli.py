"""The command `autodan`: trains a network, measures kernels, describes the machine."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from autodan import doctor
from autodan.errors import FormatError
from autodan.utils.naming import lookup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main"]

USAGE_ERROR = 2
INTERRUPTED = 130
MOST_DIGITS = 20  # those of 2**64
LONGEST_SECONDS = 60


@dataclass(frozen=True)
class Task:
    """How a data set is trained on unless the user says otherwise.

    Args:
        epochs: passes over the training data.
        brightest: the pixel value that becomes 1.
    """

    epochs: int
    brightest: int = 255


TASKS = {
    "digits": Task(epochs=30, brightest=16),
    "mnist": Task(epochs=3),
    "fashion_mnist": Task(epochs=5),
    "cifar10": Task(epochs=10),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: what follows the program's name. Default: those of this process.

    Returns:
        The exit code: 0, 2 for what the user must mend, 130 after Ctrl-C.

    Raises:
        SystemExit: for `--help`, `--version` and arguments that cannot be understood, as
            `argparse` does.

    Example:
        >>> main(["train", "mnist", "--data", "/nowhere"])  # tells where to put MNIST
        2
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except (OSError, FormatError, _UserError) as error:
        message = str(error)
        if not options.verbose:
            message = message.partition("\n")[0]
        print(f"autodan {options.command}: {message}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(f"autodan {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


class _UserError(Exception):
    """Something that the user must mend, in one line."""


class _OneLineParser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="autodan", description=__doc__)
    parser.add_argument("--version", action="version", version=f"autodan {doctor.version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train a network and measure its test accuracy")
    train.add_argument("dataset", type=_one_of("data set", TASKS), help=", ".join(TASKS))
    train.add_argument(
        "--model",
        type=_one_of("model", MODELS),
        default="cnn",
        help=f"{', '.join(MODELS)}; default cnn",
    )
    train.add_argument("--epochs", type=_positive, metavar="N", help="passes over the data")
    train.add_argument(
        "--batch-size", type=_positive, default=32, metavar="N", help="samples per step; default 32"
    )
    train.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the folder that holds the data set, or its sub-folder",
    )
    train.add_argument("--seed", type=_seed, metavar="N", help="makes the run repeatable")
    train.add_argument(
        "--save", type=Path, metavar="FILE", help="save the trained model, for models.load_model"
    )
    train.add_argument("--plot", type=Path, metavar="FILE", help="draw loss and accuracy")
    train.add_argument(
        "--explain", action="store_true", help="tell what a step runs, and where its time goes"
    )
    train.add_argument(
        "--verbose", action="store_true", help="print the network, and errors in full"
    )
    train.set_defaults(run=_train)

    bench = commands.add_parser(
        "bench", help="measure this machine, and this build's kernels against it"
    )
    bench.add_argument(
        "--match", default="", metavar="TEXT", help="only kernels whose name contains this"
    )
    bench.add_argument("--quick", action="store_true", help="less time, small kernels only")
    bench.add_argument(
        "--threads", type=_positive, metavar="N", help="threads that the kernels use"
    )
    bench.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        help="time for each measurement; default 0.2, quick 0.01",
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    bench.add_argument("--plot", type=Path, metavar="FILE", help="draw the roofline")
    bench.set_defaults(run=_bench, verbose=False)

    examine = commands.add_parser("doctor", help="describe this build and this machine")
    examine.set_defaults(run=_doctor, verbose=False)
    return parser


def _one_of(kind: str, table: Mapping[str, object]) -> Callable[[str], str]:
    def check(name: str) -> str:
        try:
            lookup(kind, name, table)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return name

    return check


def _positive(text: str) -> int:
    if (number := _natural(text)) == 0:
        raise argparse.ArgumentTypeError("must be at least 1, got 0")
    return number


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be a whole number, not negative, got '{text}'")
    if len(text) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"is too large, with {len(text)} digits")
    return int(text)


def _seed(text: str) -> int:
    if (number := _natural(text)) >= 1 << 64:
        raise argparse.ArgumentTypeError(f"must be below 2**64, got {text}")
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"must be a number above 0 and at most {LONGEST_SECONDS}, got '{text}'"
        )
    return seconds


def _train(options: argparse.Namespace) -> None:
    from autodan import Sequential
    from autodan.utils import plotting, set_random_seed
    from autodan.utils.files import check_writable

    task = TASKS[options.dataset]
    epochs = options.epochs or task.epochs
    if options.plot:
        try:
            plotting.require_plot_file(options.plot)
        except (ImportError, ValueError) as error:
            raise _UserError(str(error)) from error
    if options.save:
        check_writable(options.save)
    if options.seed is not None:
        set_random_seed(options.seed)

    (x_train, y_train), (x_test, y_test) = _load(options.dataset, options.data)
    x_train, x_test = (_scaled(x, task.brightest) for x in (x_train, x_test))
    shape = x_train.shape[1:]
    model = Sequential(MODELS[options.model](shape))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    if options.verbose:
        model.summary()
    print(
        f"{options.dataset}: {len(x_train):,} training and {len(x_test):,} test images of "
        f"{'x'.join(map(str, shape))}; {options.model} with {model.count_params():,} parameters; "
        f"{epochs} {'epoch' if epochs == 1 else 'epochs'} in batches of {options.batch_size}"
    )

    start = time.perf_counter()
    history = model.fit(x_train, y_train, batch_size=options.batch_size, epochs=epochs)
    seconds = time.perf_counter() - start
    print(f"trained in {seconds:.1f} s, {seconds / epochs:.2f} s per epoch")
    if options.explain:
        model.explain_step(profile=True)
    if options.save:
        model.save(options.save)
        print(f"saved to {options.save}")
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test accuracy: {accuracy:.4f}", flush=True)
    if options.plot:
        plotting.plot_history(history, options.plot)


def _bench(options: argparse.Namespace) -> None:
    from autodan.benchmark import command

    try:
        command.run(
            match=options.match,
            threads=options.threads,
            seconds=options.seconds,
            quick=options.quick,
            json_file=options.json,
            plot_file=options.plot,
        )
    except (ImportError, ValueError) as error:
        raise _UserError(str(error)) from error


def _doctor(options: argparse.Namespace) -> None:
    print(doctor.report())


def _load(name: str, folder: Path | None) -> Any:
    from autodan.datasets import cifar10, digits, fashion_mnist, mnist

    if name == "digits":
        if folder is not None:
            raise _UserError("digits is part of autodan and is not read from a folder; omit --data")
        return digits.load_data()
    loaders = {"mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar10}
    if folder is None:
        return loaders[name].load_data()
    return loaders[name].load_data(folder)


def _scaled(images: NDArray[np.uint8], brightest: int) -> NDArray[np.float32]:
    """Pixels from 0 to 1, with a channel axis."""
    import numpy as np

    scaled = np.multiply(images, np.float32(1 / brightest), dtype=np.float32)
    return scaled if scaled.ndim == 4 else scaled[..., None]


def _cnn(shape: tuple[int, ...]) -> list[Any]:
    from autodan import Input, layers

    return [
        Input(shape),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


def _lenet(shape: tuple[int, ...]) -> list[Any]:
    """LeNet-5 (LeCun et al., 1998); images too small for its second kernel are padded."""
    from autodan import Input, layers

    second = "valid" if min(shape[:2]) >= 16 else "same"
    return [
        Input(shape),
        layers.Conv2D(6, 5, padding="same", activation="tanh"),
        layers.AveragePooling2D(),
        layers.Conv2D(16, 5, padding=second, activation="tanh"),
        layers.AveragePooling2D(),
        layers.Flatten(),
        layers.Dense(120, activation="tanh"),
        layers.Dense(84, activation="tanh"),
        layers.Dense(10, activation="softmax"),
    ]


def _mlp(shape: tuple[int, ...]) -> list[Any]:
    from autodan import Input, layers

    return [
        Input(shape),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax"),
    ]


MODELS: dict[str, Callable[[tuple[int, ...]], list[Any]]] = {
    "cnn": _cnn,
    "lenet": _lenet,
    "mlp": _mlp,
}
