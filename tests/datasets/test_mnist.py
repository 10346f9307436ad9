"""MNIST and Fashion-MNIST, made up on the spot and, where `AUTODAN_DATA` has it, real."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from autodan.datasets import fashion_mnist, idx, mnist, source
from autodan.errors import DatasetNotFoundError, FormatError

REAL = Path(os.environ.get("AUTODAN_DATA", "/nonexistent"), "mnist")


def encode(array: np.ndarray) -> bytes:
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def made_up() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, count in (("train", 6), ("t10k", 3)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-images-idx3-ubyte"] = images
        arrays[f"{prefix}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8)
    return arrays


def write(folder: Path, arrays: dict[str, np.ndarray], compressed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        data = encode(array)
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A made-up MNIST with its own checksums."""
    arrays = made_up()
    for name, array in arrays.items():
        monkeypatch.setitem(mnist.SHA256, f"{name}.gz", hashlib.sha256(encode(array)).hexdigest())
    return arrays


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AUTODAN_DATA", raising=False)

    def refuse(url: str, target: Path) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr(source, "http_get", refuse)


def assert_is(loaded: tuple[idx.Split, idx.Split], arrays: dict[str, np.ndarray]) -> None:
    expected = iter(arrays.values())
    for split in loaded:
        for array in split:
            np.testing.assert_array_equal(array, next(expected), strict=True)


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist_is_read_from_a_folder(
    tmp_path: Path, pinned: dict[str, np.ndarray], compressed: bool
) -> None:
    write(tmp_path, pinned, compressed)
    assert_is(mnist.load_data(tmp_path), pinned)


@pytest.mark.usefixtures("offline")
def test_mnist_is_found_by_autodan_data_and_keras_default_name(
    tmp_path: Path, pinned: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data" / "mnist", pinned)
    monkeypatch.setenv("AUTODAN_DATA", str(tmp_path / "data"))
    assert_is(mnist.load_data(), pinned)
    assert_is(mnist.load_data(path="mnist.npz"), pinned)


def test_another_data_set_in_mnists_place_is_refused(tmp_path: Path) -> None:
    write(tmp_path, made_up())
    with pytest.raises(FormatError, match=r"train-images-idx3-ubyte\.gz: .* SHA-256"):
        mnist.load_data(tmp_path)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("dataset", [mnist, fashion_mnist])
def test_offline_the_error_begins_with_what_to_do(dataset: object) -> None:
    with pytest.raises(DatasetNotFoundError) as caught:
        dataset.load_data()  # type: ignore[attr-defined]
    first, *rest = str(caught.value).splitlines()
    assert "put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-" in first
    assert any("bcebos.com" in line for line in rest)


def test_mnist_is_downloaded_file_by_file(
    tmp_path: Path, pinned: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "web", pinned)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AUTODAN_DATA", raising=False)

    def get(url: str, target: Path) -> None:
        target.write_bytes((tmp_path / "web" / url.rpartition("/")[2]).read_bytes())

    monkeypatch.setattr(source, "http_get", get)
    assert_is(mnist.load_data(), pinned)
    cached = sorted(path.name for path in (tmp_path / "cache/autodan/mnist").iterdir())
    assert cached == sorted(mnist.SHA256)


@pytest.mark.usefixtures("offline")
def test_fashion_mnist_downloads_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "http_get", lambda url, target: target.write_bytes(b"spoilt"))
    with pytest.raises(DatasetNotFoundError, match="expected 3aede38d"):
        fashion_mnist.load_data()
    assert not list((tmp_path / "cache/autodan/fashion_mnist").iterdir())


def test_fashion_mnist_is_read_from_a_folder(tmp_path: Path) -> None:
    arrays = made_up()
    write(tmp_path / "fashion_mnist", arrays)
    assert_is(fashion_mnist.load_data(tmp_path), arrays)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((6, 27, 28), np.uint8), r"\(6, 27, 28\)"),
        ("t10k-labels-idx1-ubyte", np.zeros(4, np.uint8), "expected 3 uint8 labels"),
        ("train-labels-idx1-ubyte", np.full(6, 10, np.uint8), "label 10 is not one of 0 to 9"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    write(tmp_path, made_up() | {name: array})
    with pytest.raises(FormatError, match=message) as caught:
        fashion_mnist.load_data(tmp_path)
    assert name in str(caught.value)


@pytest.mark.skipif(not REAL.is_dir(), reason="AUTODAN_DATA holds no mnist/")
def test_the_real_mnist() -> None:
    (x_train, y_train), (x_test, y_test) = mnist.load_data(REAL)
    assert x_train.shape == (60000, 28, 28) and x_test.shape == (10000, 28, 28)
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9] and y_test[:4].tolist() == [7, 2, 1, 0]
    assert round(float(x_train.mean()), 2) == 33.32
