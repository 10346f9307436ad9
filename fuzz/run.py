"""Fuzzes a parser under coverage guidance: `python fuzz/run.py TARGET --seconds N`.

Needs atheris (`pip install atheris`); the target "header" needs Rust and a C++ compiler too.
Ends with libFuzzer's count of inputs; a broken promise ends it early, with a non-zero exit code
and the input in `fuzz/crashes/`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import atheris
import seeds

with atheris.instrument_imports(include=["autodan"], enable_loader_override=False):
    from autodan import FormatError, Model, _core, random
    from autodan.config import floatx
    from autodan.datasets import cifar10, idx
    from autodan.models import load_model

HERE = Path(__file__).resolve().parent
MODEL_FILE = seeds.model()["file"][1:]
MODEL_DATA = len(MODEL_FILE) - 8 - len(seeds.header_text(MODEL_FILE))
# What cargo-fuzz has rustc do, and without the nightly compiler.
COVERAGE = (
    "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 "
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters "
    "-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
)


def gzip_file(data: bytes) -> bytes:
    """Return the gzip file that an input stands for: itself, or a deflate stream made one.

    Without the right checksum behind it, changed data would be refused at the end whatever it is.
    """
    if data[:1] != seeds.WITHOUT_CHECKSUM:
        return data[1:]
    try:
        content = zlib.decompress(data[1:], -15)
    except zlib.error:
        content = b""
    return seeds.GZIP_HEADER + data[1:] + struct.pack("<II", zlib.crc32(content), len(content))


def archive(data: bytes) -> bytes:
    """Return the archive that an input stands for, with the checksums of its headers put right."""
    blocks = [bytearray(data[at : at + 512]) for at in range(1, len(data), 512)]
    for block in blocks if data[:1] == seeds.WITHOUT_CHECKSUM else []:
        if b"ustar" in block[257:265]:
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def read_idx(path: Path, data: bytes) -> None:
    """What is read says everything that the file says."""
    path.write_bytes(data)
    array = idx.read(path)
    plain = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    assert seeds.encode_idx(array) == plain and array.dtype.isnative


def read_idx_gzip(path: Path, data: bytes) -> None:
    """The same of compressed files."""
    read_idx(path, gzip_file(data))


def read_cifar10(path: Path, data: bytes) -> None:
    """Images and labels are as many, of the one shape, and no more than the archive held."""
    tar = archive(data)
    (path.parent / cifar10.ARCHIVE).write_bytes(gzip.compress(tar, 1))
    total = 0
    for images, labels in cifar10.load_data(path.parent):
        assert images.shape == (len(labels), 32, 32, 3) and labels.shape == (len(images), 1)
        assert images.dtype == labels.dtype == "uint8" and labels.max() <= 9
        total += images.nbytes + labels.nbytes
    assert total < len(tar)


def model_file(data: bytes) -> bytes:
    """Return the model file that an input stands for, with its length and digest put right.

    An input that is a description alone gets the header and the tensors of a whole file.
    """
    kind, data = data[:1], data[1:]
    if kind == seeds.DESCRIBED:
        texts = json.loads(seeds.header_text(MODEL_FILE))["__metadata__"]
        texts["model"] = data.decode("utf-8", "replace")
        listing = _core._parse_header(MODEL_FILE[: len(MODEL_FILE) - MODEL_DATA])[1]
        data = _core._encode_header(texts, listing) + MODEL_FILE[len(MODEL_FILE) - MODEL_DATA :]
    file = bytearray(data)
    file[:8] = (len(data) - 8 - MODEL_DATA if len(data) > 8 + MODEL_DATA else 0).to_bytes(
        8, "little"
    )
    place = slice(35, 35 + 64)
    file[place] = b"0" * len(file[place])
    file[place] = hashlib.sha256(file).hexdigest().encode()[: len(file[place])]
    return bytes(file)


def read_model(path: Path, data: bytes) -> None:
    """A model that is made can be saved, and nothing else has changed."""
    path.write_bytes(model_file(data))
    before = floatx(), random._global_generator.seed, random._global_generator.counter
    try:
        loaded = load_model(path)
        assert isinstance(loaded, Model)
        assert sum(v.size for v in loaded.variables) <= len(data)
    finally:
        assert before == (
            floatx(),
            random._global_generator.seed,
            random._global_generator.counter,
        )


TARGETS: dict[str, Callable[[Path, bytes], None]] = {
    "idx": read_idx,
    "idx_gzip": read_idx_gzip,
    "cifar10": read_cifar10,
    "model": read_model,
}
LONGEST = {"idx": 256, "idx_gzip": 256, "cifar10": 1 << 14, "model": 1 << 14, "header": 1 << 13}


def fuzz_in_rust(arguments: list[str]) -> int:
    """Build `header/` with coverage and run it; return its exit code."""
    lines = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = lines.partition("host: ")[2].splitlines()[0]
    command = ["cargo", "run", "--release", "--target", host, "--", *arguments]
    return subprocess.run(
        command, cwd=HERE / "header", env=os.environ | {"RUSTFLAGS": COVERAGE}
    ).returncode


def main() -> None:
    """Fuzz one target until the time is over or a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "header"])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--only", metavar="FILE", help="run one input and stop")
    options = parser.parse_args()
    corpus, crashes = HERE / "corpus" / options.target, HERE / "crashes" / options.target
    seeds.write(options.target, corpus)
    crashes.mkdir(parents=True, exist_ok=True)
    arguments = [
        options.only or str(corpus),
        f"-max_total_time={options.seconds}",
        f"-max_len={LONGEST[options.target]}",
        f"-artifact_prefix={crashes}/",
        # Wall-clock: long enough for a machine that has other things to do.
        "-timeout=120",
        "-rss_limit_mb=2048",
        "-len_control=0",
        "-print_final_stats=1",
    ]
    dictionary = HERE / "dictionaries" / f"{options.target.partition('_')[0]}.dict"
    if dictionary.exists():
        arguments.append(f"-dict={dictionary}")
    if options.target == "header":
        sys.exit(fuzz_in_rust(arguments))
    shm = Path("/dev/shm")
    # Files in memory, where the system has such a place: libFuzzer leaves without cleaning up.
    place = Path(tempfile.mkdtemp(prefix="autodan-fuzz-", dir=shm if shm.is_dir() else None))

    def one_input(data: bytes) -> None:
        try:
            TARGETS[options.target](place / "file", data)
        except FormatError as error:
            assert str(place) in str(error)  # names the file

    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
