"""Model files made to harm, where damage alone would be noticed by the digest: it is put right."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodan as ad
from autodan import layers, models
from autodan.errors import FormatError

# Where the digest stands in the header, and what it is computed over instead of itself.
DIGEST = slice(35, 35 + 64)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "model.keras"
    model = ad.Sequential([ad.Input((3,)), layers.Dense(4, "relu"), layers.Dense(2)], name="m")
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 2)), verbose=0)
    model.save(path)
    return path


def sealed(content: bytearray, data: int) -> bytes:
    """The file with its length and digest put right, as its author would; `data` bytes follow."""
    content[:8] = max(len(content) - 8 - data, 0).to_bytes(8, "little")
    content[DIGEST] = b"0" * 64
    content[DIGEST] = hashlib.sha256(content).hexdigest().encode()
    return bytes(content)


def loads(path: Path) -> bool:
    """Whether there is a model in the file; if not, the error must be the right one."""
    try:
        model = models.load_model(path)
    except FormatError as error:
        assert str(path) in str(error)
        return False
    assert isinstance(model, ad.Model)
    return True


edits = st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=6)


@given(edits=edits)
def test_changed_bytes_under_a_true_digest(file: Path, edits: list[tuple[int, int]]) -> None:
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    changed = bytearray(whole)
    for position, value in edits:
        changed[8 + position % length] = value
    target = file.with_name("changed")
    target.write_bytes(sealed(changed, len(whole) - 8 - length))
    loads(target)


@given(at=st.integers(0), cut=st.integers(0, 40), insert=st.binary(max_size=40))
def test_spliced_headers_under_a_true_digest(file: Path, at: int, cut: int, insert: bytes) -> None:
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    at = 110 + at % (length - 110)
    changed = bytearray(whole)
    changed[8 + at : 8 + min(at + cut, length)] = insert
    target = file.with_name("spliced")
    target.write_bytes(sealed(changed, len(whole) - 8 - length))
    loads(target)


def test_sealing_is_what_saving_does(file: Path) -> None:
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    assert sealed(bytearray(whole), len(whole) - 8 - length) == whole and loads(file)


WATCH = """
import sys
import numpy as np
import autodan as ad

model = ad.models.load_model(sys.argv[1])  # imports what loading needs
seen, armed = [], False
sys.addaudithook(lambda event, args: seen.append((event, str(args[0]))) if armed and
                 event.partition(".")[0] in EVENTS else None)
EVENTS = {"open", "os", "shutil", "subprocess", "socket", "import", "exec", "compile", "pickle",
          "marshal", "ctypes", "tempfile"}
armed = True
for path in sys.argv[2:]:
    try:
        ad.models.load_model(path)
    except ad.FormatError:
        pass
    model.load_weights(sys.argv[1])
armed = False
print(sorted({name for event, name in seen if event == "open"}))
print(sorted({event for event, name in seen} - {"open"}))
"""


def test_nothing_but_the_given_file_is_opened_and_no_code_runs(file: Path) -> None:
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    evil = whole.replace(b'\\"class_name\\":\\"Dense\\"', b'\\"class_name\\":\\"../os.system\\"')
    assert evil != whole
    target = file.with_name("evil")
    target.write_bytes(sealed(bytearray(evil), len(whole) - 8 - length))
    command = [sys.executable, "-c", WATCH, str(file), str(file), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    opened, events = done.stdout.splitlines()
    assert opened == str(sorted([str(file), str(target)])) and events == "[]"
