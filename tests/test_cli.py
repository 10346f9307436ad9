"""The command line: results, exit codes, and what it says when something is wrong."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from autodan import cli, doctor
from autodan.datasets import source
from autodan.models import load_model
from autodan.utils.plotting import plot_history


@pytest.fixture(autouse=True)
def no_data_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTODAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refuse(url: str, target: Path) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr(source, "http_get", refuse)


Run = pytest.CaptureFixture[str]


def usage_error(arguments: list[str], capsys: Run) -> str:
    """The one line that is said about arguments that cannot be understood."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert not out and err.endswith("\n") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("model", ["cnn", "lenet", "mlp"])
def test_train_digits_ends_with_the_test_accuracy(model: str, capsys: Run) -> None:
    code = cli.main(["train", "digits", "--model", model, "--epochs", "3", "--seed", "1"])
    out, err = capsys.readouterr()
    first, *_, timing, last = out.splitlines()
    assert code == 0 and not err
    assert first.startswith("digits: 1,437 training and 360 test images of 8x8x1; " + model)
    assert first.endswith(" parameters; 3 epochs in batches of 32")
    assert timing.startswith("trained in ")
    name, _, accuracy = last.partition(": ")
    assert name == "test accuracy" and 0.5 < float(accuracy) <= 1


def test_train_digits_reaches_what_the_readme_says(capsys: Run) -> None:
    assert cli.main(["train", "digits", "--seed", "1"]) == 0
    assert float(capsys.readouterr().out.rsplit(" ", 1)[1]) >= 0.97


def test_a_seed_makes_the_run_repeatable(capsys: Run) -> None:
    results = []
    for _ in range(2):
        cli.main(["train", "digits", "--model", "mlp", "--epochs", "1", "--seed", "7"])
        results.append(capsys.readouterr().out.splitlines()[-1])
    assert results[0] == results[1]


def test_verbose_prints_the_network(capsys: Run) -> None:
    cli.main(["train", "digits", "--model", "mlp", "--epochs", "1"])
    short = capsys.readouterr().out
    cli.main(["train", "digits", "--model", "mlp", "--epochs", "1", "--verbose"])
    assert len(capsys.readouterr().out.splitlines()) > len(short.splitlines())


def test_plot_writes_a_picture(tmp_path: Path, capsys: Run) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "run.png"
    arguments = ["train", "digits", "--model", "mlp", "--epochs", "2", "--plot", str(picture)]
    assert cli.main(arguments) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines()[-1].startswith("test accuracy: ")


def test_explain_prints_the_step(capsys: Run) -> None:
    assert cli.main(["train", "digits", "--model", "mlp", "--epochs", "1", "--explain"]) == 0
    out = capsys.readouterr().out
    assert 'Training step of model "' in out and "  inputs   32x8x8x1 float32, 32 " in out
    assert "A step as called from Python: " in out
    assert out.splitlines()[-1].startswith("test accuracy: ")


@pytest.mark.parametrize(
    ("file", "message"),
    [("run.pgn", "the ending must be one of"), ("no/folder/run.png", "there is no folder")],
)
def test_a_plot_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, capsys: Run, file: str, message: str
) -> None:
    pytest.importorskip("matplotlib")
    assert cli.main(["train", "digits", "--plot", str(tmp_path / file)]) == 2
    out, err = capsys.readouterr()
    assert not out and message in err and err.count("\n") == 1


def test_save_writes_a_model_that_loads(tmp_path: Path, capsys: Run) -> None:
    file = tmp_path / "digits.keras"
    arguments = ["train", "digits", "--model", "mlp", "--epochs", "1", "--save", str(file)]
    assert cli.main(arguments) == 0
    *_, saved, last = capsys.readouterr().out.splitlines()
    assert saved == f"saved to {file}" and last.startswith("test accuracy: ")
    assert load_model(file).epochs_trained == 1


@pytest.mark.parametrize("name", ["no folder/model.keras", "."])
def test_a_model_that_cannot_be_saved_is_refused_before_training(
    tmp_path: Path, capsys: Run, name: str
) -> None:
    assert cli.main(["train", "digits", "--save", str(tmp_path / name)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and str(tmp_path / name) in err
    assert os.listdir(tmp_path) == []


def test_without_matplotlib_plot_names_the_extra(
    capsys: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["train", "digits", "--plot", "run.png"]) == 2
    _, err = capsys.readouterr()
    assert err == "autodan train: plotting needs matplotlib: pip install 'autodan[plot]'\n"


def test_plot_history_draws_validation_beside_training() -> None:
    pytest.importorskip("matplotlib").use("agg")
    curves = {"loss": [0.9, 0.5], "accuracy": [0.6, 0.8], "val_loss": [0.8, 0.6]}
    loss, accuracy = plot_history(curves).axes
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert loss.lines[1].get_ydata().tolist() == [0.8, 0.6]
    assert len(accuracy.lines) == 1


def test_plot_history_refuses_an_empty_history() -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="the history is empty; call fit first"):
        plot_history({})


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_missing_data_is_one_line_that_says_what_to_do(
    name: str, tmp_path: Path, capsys: Run
) -> None:
    assert cli.main(["train", name]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    assert err.startswith(f"autodan train: {name}: put ")
    assert f"into {tmp_path / 'cache' / 'autodan' / name} or $AUTODAN_DATA/{name}" in err


def test_verbose_says_where_it_looked_too(tmp_path: Path, capsys: Run) -> None:
    assert cli.main(["train", "mnist", "--verbose", "--data", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == [f"  not found in {tmp_path / 'mnist'}", f"  not found in {tmp_path}"]


def test_damaged_data_is_one_line_that_names_the_file(tmp_path: Path, capsys: Run) -> None:
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{part}-ubyte.gz").write_bytes(b"damaged")
    assert cli.main(["train", "mnist", "--data", str(tmp_path)]) == 2
    _, err = capsys.readouterr()
    assert f"{tmp_path / 'train-images-idx3-ubyte.gz'}: not an IDX file" in err
    assert err.count("\n") == 1


def put_mnist(folder: Path, images: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        labels = struct.pack(">HBBI", 0, 8, 1, int.from_bytes(images[4:8]))
        labels += bytes(int.from_bytes(images[4:8]))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (struct.pack(">HBB3I", 0, 8, 3, 0, 28, 28), "holds no images"),
        (struct.pack(">HBB3I", 0, 8, 3, 1, 27, 28) + bytes(27 * 28), "expected uint8 images"),
        (struct.pack(">HBB3I", 0, 13, 3, 1, 28, 28) + bytes(28 * 28 * 4), "got float32"),
        (struct.pack(">HBB3I", 0, 8, 3, 1, 28, 28) + bytes(28 * 27), "ends after"),
    ],
)
def test_data_that_cannot_be_trained_on_is_one_line(
    tmp_path: Path, capsys: Run, images: bytes, message: str
) -> None:
    put_mnist(tmp_path, images)
    assert cli.main(["train", "fashion_mnist", "--data", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert not out and message in err and err.count("\n") == 1


def test_a_half_written_file_in_the_cache_is_one_line_that_names_it(
    tmp_path: Path, capsys: Run
) -> None:
    place = tmp_path / "cache" / "autodan" / "fashion_mnist"
    put_mnist(place, struct.pack(">HBB3I", 0, 8, 3, 2, 28, 28) + bytes(2 * 28 * 28))
    half = place / "train-images-idx3-ubyte.gz"
    half.write_bytes(half.read_bytes()[:20])
    assert cli.main(["train", "fashion_mnist"]) == 2
    out, err = capsys.readouterr()
    assert err == f"autodan train: {half}: ends within its gzip data\n" and not out


@pytest.mark.parametrize("data", ["a file", "a pipe", "nothing"])
def test_a_data_folder_that_is_none_is_one_line(tmp_path: Path, capsys: Run, data: str) -> None:
    place = tmp_path / "place"
    if data == "a file":
        place.write_bytes(b"")
    elif data == "a pipe":
        os.mkfifo(place)
    assert cli.main(["train", "cifar10", "--data", str(place)]) == 2
    out, err = capsys.readouterr()
    assert not out and f"cifar10: put cifar-10-binary.tar.gz into {place}" in err
    assert err.count("\n") == 1


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made below
    assert cli.main(["train", "mnist"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("autodan train: mnist: put ") and err.count("\n") == 1
    assert cli.main(["train", "mnist", "--verbose"]) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_digits_takes_no_folder(tmp_path: Path, capsys: Run) -> None:
    assert cli.main(["train", "digits", "--data", str(tmp_path)]) == 2
    assert "digits is part of autodan" in capsys.readouterr().err


def test_ctrl_c_ends_quietly(capsys: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(url: str, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(source, "http_get", interrupt)
    assert cli.main(["train", "mnist"]) == 130
    assert capsys.readouterr().err == "autodan train: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["train"], "the following arguments are required: dataset"),
        (["trian"], "invalid choice: 'trian'"),
        (["train", "minst"], "Unknown data set 'minst'. Did you mean 'mnist'?"),
        (["train", "digits", "--model", "ccn"], "Unknown model 'ccn'. Did you mean 'cnn'?"),
        (["train", "digits", "--epochs", "0"], "argument --epochs: must be at least 1, got 0"),
        (["train", "digits", "--epochs", "1.5"], "must be a whole number, not negative, got '1.5'"),
        (["train", "digits", "--batch-size", "-1"], "not negative, got '-1'"),
        (["train", "digits", "--seed", str(2**64)], "argument --seed: must be below 2**64"),
        (
            ["train", "digits", "--seed", "1" * 5000],
            "argument --seed: is too large, with 5000 digits",
        ),
        (
            ["train", "digits", "--epochs", "9" * 21],
            "argument --epochs: is too large, with 21 digits",
        ),
        (["train", "digits", "--batch-size", "\u0661"], "must be a whole number"),
        (["train", "digits", "--model"], "argument --model: expected one argument"),
        (["train", "digits", "mnist"], "unrecognized arguments: mnist"),
        (["train", "digits\0"], "Unknown data set"),
        (["train", "digits", "--wat"], "unrecognized arguments: --wat"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], message: str, capsys: Run) -> None:
    assert message in usage_error(arguments, capsys)


def test_version(capsys: Run) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"autodan {doctor.version()}\n"


def test_doctor_names_what_it_found(capsys: Run) -> None:
    assert cli.main(["doctor"]) == 0
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert list(lines)[:4] == ["autodan", "instruction set", "threads", "memory"]
    assert doctor.version() in lines["autodan"] and "available: " in lines["instruction set"]
    assert "matplotlib" in lines


def test_doctor_names_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "no_such_module", "nothing at all")
    assert doctor.report().endswith("no_such_module   not installed (nothing at all)")


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_cgroup_v2_the_tightest_of_all_levels_counts(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            "own": "0::/a/b\n",
            "cpu.max": "max 100000\n",
            "a/cpu.max": "150000 100000\n",
            "a/b/cpu.max": "max 100000\n",
            "a/memory.max": "1073741824\n",
            "a/b/memory.max": "max\n",
        },
    )
    assert doctor.cpu_quota(root, root / "own") == 1.5
    assert doctor.memory_limit(root, root / "own") == 1 << 30


def test_cgroup_v1(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            "own": "4:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/x\n",
            "cpu/job/cpu.cfs_quota_us": "200000\n",
            "cpu/job/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/job/memory.limit_in_bytes": "2147483648\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert doctor.cpu_quota(root, root / "own") == 2
    assert doctor.memory_limit(root, root / "own") == 2 << 30


def test_no_control_groups(tmp_path: Path) -> None:
    assert doctor.cpu_quota(tmp_path, tmp_path / "own") is None
    assert doctor.memory_limit(tmp_path, tmp_path / "own") is None


def test_memory_without_linux(tmp_path: Path) -> None:
    total, available = doctor.physical_memory(tmp_path / "meminfo")
    assert available is None and (total is None or total > 1 << 20)


def test_python_m_autodan() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autodan", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"autodan {doctor.version()}\n"
