"""Files that are whole at every moment."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import autodan as ad
from autodan import layers, models
from autodan.utils.files import check_writable, whole_file


def write(path, text):
    with whole_file(path) as partial:
        partial.write_text(text)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path, umask):
    for mask, expected in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        os.umask(mask)
        write(tmp_path / f"{mask}", "x")
        assert mode(tmp_path / f"{mask}") == expected


def test_a_replaced_file_keeps_its_permissions(tmp_path, umask):
    path = tmp_path / "f"
    path.write_text("old")
    for bits in (0o600, 0o640, 0o755):
        path.chmod(bits)
        with whole_file(path) as partial:
            assert mode(partial) == bits
        assert mode(path) == bits


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real", tmp_path / "link"
    link.symlink_to("folder/real")
    for text in ("created", "replaced"):
        write(link, text)
        assert (link.is_symlink(), real.read_text()) == (True, text)
    assert sorted(os.listdir(tmp_path)) == ["folder", "link"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as partial:
        partial.write_text("half")
        raise error
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["f"])


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    cases = {
        tmp_path / "no" / "f": errno.ENOENT,
        tmp_path: errno.EISDIR,
        tmp_path / "file" / "f": errno.ENOTDIR,
        tmp_path / "loop": errno.ELOOP,
        tmp_path / ("x" * 300): errno.ENAMETOOLONG,
        Path("/dev/null"): errno.EINVAL,
    }
    for path, number in cases.items():
        for attempt in (lambda p: write(p, "x"), check_writable):
            with pytest.raises(OSError, match=r".+") as caught:
                attempt(path)
            assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    write(tmp_path / ("ö" * 120), "a long name")
    assert len(os.listdir(tmp_path)) == 3


def test_check_writable_leaves_no_trace(tmp_path):
    (tmp_path / "f").write_text("old")
    check_writable(tmp_path / "f")
    check_writable(tmp_path / "g")
    assert ((tmp_path / "f").read_text(), os.listdir(tmp_path)) == ("old", ["f"])


UNPRIVILEGED = """
import os, sys
from autodan.utils.files import whole_file
os.setuid(65534)
try:
    with whole_file(sys.argv[1]):
        print("written")
except PermissionError as error:
    print(error.filename)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs a folder that is another user's")
def test_a_folder_that_may_not_be_written_to():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "f")
        path.write_text("old")
        command = [sys.executable, "-c", UNPRIVILEGED, str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert (result.stdout, path.read_text()) == (f"{path}\n", "old")


@pytest.mark.skipif(os.getuid() != 0, reason="needs a folder that is another user's")
def test_a_folder_need_not_be_listed(tmp_path):
    program = UNPRIVILEGED.replace("PermissionError", "ZeroDivisionError")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o733)
        command = [sys.executable, "-c", program, str(Path(folder, "f"))]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert (result.stdout, os.listdir(folder)) == ("written\n", ["f"])


FULL = """
import resource, signal, sys, autodan as ad
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = ad.Sequential([ad.Input((300,)), ad.layers.Dense(300)])
model.save(sys.argv[1])
old = open(sys.argv[1], "rb").read()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
model.layers[0].kernel.assign(model.layers[0].kernel + 1)
try:
    model.save(sys.argv[1])
except OSError as error:
    print(error.filename)
assert open(sys.argv[1], "rb").read() == old
"""


def test_a_full_disk_leaves_the_old_model(tmp_path):
    path = tmp_path / "m"
    command = [sys.executable, "-c", FULL, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"{path}\n"
    assert os.listdir(tmp_path) == ["m"]
    models.load_model(path)


KILLED = """
import os, signal, sys
from autodan.utils.files import whole_file
with whole_file(sys.argv[1]) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_leaves_goes_with_the_next_write(tmp_path):
    path = tmp_path / "f"
    for _ in range(2):
        process = subprocess.run([sys.executable, "-c", KILLED, str(path)])
        assert process.returncode == -signal.SIGKILL
        (left,) = os.listdir(tmp_path)  # not two
        assert left.startswith(".f.") and left.endswith(".part")
    (tmp_path / ".f.mine.part").write_text("not ours")
    with whole_file(path) as first, whole_file(path) as second:  # those at work are spared
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == [".f.mine.part", "f"]


def test_a_reader_sees_the_old_model_or_the_new_one(tmp_path):
    path = tmp_path / "m"
    model = ad.Sequential([ad.Input((40,)), layers.Dense(40)])
    kernel = model.layers[0].kernel
    model.save(path)
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            values = np.unique(models.load_model(path).layers[0].kernel.numpy())
            if len(values) == 1:
                seen.add(float(values[0]))
            time.sleep(0)

    readers = [threading.Thread(target=read) for _ in range(2)]
    kernel.assign(np.zeros((40, 40)))
    model.save(path)
    for reader in readers:
        reader.start()
    for step in range(1, 40):
        kernel.assign(np.full((40, 40), float(step)))
        model.save(path)
    stop.set()
    for reader in readers:
        reader.join()
    assert seen and seen <= {float(step) for step in range(40)}
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_overwriting(tmp_path, method):
    path = tmp_path / "model.h5"
    model = ad.Sequential([ad.Input((2,)), layers.Dense(1)])
    save = getattr(model, method)
    save(path, overwrite=False)
    with pytest.raises(FileExistsError) as caught:
        save(str(path), overwrite=False)
    assert caught.value.filename == str(path)
    save(path)
