"""The machine below: instruction sets, threads, the same bits at any number of them, fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from checks import check_values, function_of_bases, many, same_bits
from hypothesis import given, settings
from opspecs import SPECS
from opspecs.spec import FLOATS
from strategies import cases

import autodan as ad
from autodan import _core, layers, models

ISAS = _core.available_isas()
few = settings(max_examples=max(settings().max_examples // 5, 1))


@pytest.fixture
def threads():
    """Set the number of threads; it is restored."""
    before = _core.num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


@pytest.fixture(params=ISAS)
def isa(request):
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


# -- instruction sets ----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_values_on_every_instruction_set(spec, isa):
    assert _core.isa() == isa

    @few
    @given(case=cases(spec, wide=True))
    def check(case):
        for dtype in FLOATS:
            if not isinstance(spec.dtypes.get(dtype), type):
                check_values(spec, case, dtype)
                copies = [ad.tensor(x) for x in case.arrays(dtype)]
                viewed = spec.op(*case.tensors(dtype), **case.kwargs)
                assert same_bits(viewed, spec.op(*copies, **case.kwargs))

    check()


@pytest.mark.parametrize("spec", [s for s in SPECS if s.gradients], ids=lambda spec: spec.name)
def test_float32_gradients_on_every_instruction_set(spec, isa):
    @few
    @given(case=cases(spec, smooth=True, max_size=300))
    def check(case):
        results = []
        for dtype in FLOATS:
            function, bases = function_of_bases(spec, case, dtype)
            leaves = [
                ad.tensor(x.astype("float32").astype(dtype), requires_grad=True) for x in bases
            ]
            outputs = [y for y in many(function(*leaves)) if y.requires_grad]
            ones = [ad.ones_like(y) for y in outputs]
            results.append(_core.grad(outputs, leaves, ones) if outputs else [])
        for single, double in zip(*results, strict=True):
            assert (single is None) == (double is None)
            if single is not None:
                scale = 1 + np.abs(double.numpy()).max(initial=0.0)
                np.testing.assert_allclose(
                    single.numpy(), double.numpy(), rtol=1e-4, atol=1e-4 * scale
                )

    check()


def test_an_instruction_set_that_does_not_exist():
    with pytest.raises(ValueError, match=r"instruction set 'mmx' is not available .*portable"):
        _core.set_isa("mmx")


def test_the_environment_forces_an_instruction_set():
    for isa in ISAS:
        code = "from autodan import _core; print(_core.isa())"
        assert python(code, AUTODAN_ISA=isa).stdout.strip() == isa


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


# -- threads -------------------------------------------------------------------------------------


def big(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


LARGE = {
    "add": lambda: ad.add(big(700, 900), big(900)),
    "exp": lambda: ad.exp(big(600_001)),
    "strided": lambda: ad.tanh(ad.tensor(big(700, 900)).T[::-1, ::2]),
    "sum": lambda: ad.sum(big(600_001)),
    "sum of rows": lambda: ad.sum(big(700, 901), axis=1),
    "sum of columns": lambda: ad.sum(big(701, 900), axis=0),
    "sum of a middle axis": lambda: ad.sum(big(30, 200, 90), axis=1),
    "var": lambda: ad.var(big(900, 700), axis=(0,)),
    "max": lambda: ad.max(big(700, 900), axis=0),
    "argmax": lambda: ad.argmax(big(700, 900), axis=1),
    "prod": lambda: ad.prod(1 + big(300, 900) / 100, axis=0),
    "softmax": lambda: ad.softmax(big(5000, 33)),
    "matmul": lambda: ad.matmul(big(301, 257), big(257, 333)),
    "batched": lambda: ad.matmul(big(40, 33, 65), big(40, 65, 31)),
    "dot": lambda: ad.matmul(big(600_001), big(600_001)),
    "conv2d": lambda: _core.conv2d(big(8, 28, 28, 16), big(3, 3, 16, 32), padding="same"),
    "depthwise": lambda: _core.conv2d(big(8, 28, 28, 32), big(3, 3, 1, 32), groups=32),
    "conv2d_max_pool": lambda: _core.conv2d_max_pool(
        big(8, 28, 28, 16), big(3, 3, 16, 32), big(32), padding="same", activation="relu"
    ),
    "max_pool2d": lambda: _core.max_pool2d(big(16, 28, 28, 32), 2),
    "average_pool2d": lambda: _core.average_pool2d(big(16, 28, 28, 32), 3, 2, "same"),
    "batch_norm": lambda: _core.batch_norm(big(64, 14, 14, 32), big(32), big(32)),
    "dropout": lambda: _core.dropout(big(600_001), 0.3, 1, 2),
    "uniform": lambda: _core.random_uniform((600_001,), 0.0, 1.0, "float32", 1, 2),
    "normal": lambda: _core.random_normal((600_001,), 0.0, 1.0, "float32", 1, 2),
    "take": lambda: ad.take(big(3000, 200), np.arange(0, 3000, 7), axis=0),
    "concatenate": lambda: ad.concatenate([big(300, 900), big(500, 900)]),
    "copy": lambda: ad.tensor(big(700, 900)).T.clone(),
    "global_norm": lambda: _core.global_norm([big(600_001), big(700, 900)]),
}


@pytest.mark.parametrize("name", LARGE)
def test_the_same_bits_at_any_number_of_threads(name, threads):
    results = []
    for n in (1, 2, 3, 8):
        threads(n)
        assert _core.num_threads() == n
        results.append(LARGE[name]())
    assert all(same_bits(results[0], result) for result in results[1:])


@pytest.mark.parametrize(
    "name", ["conv2d", "conv2d_max_pool", "matmul", "max_pool2d", "batch_norm", "softmax"]
)
def test_the_same_gradients_at_any_number_of_threads(name, threads):
    def run():
        x, w = big(16, 14, 14, 16), big(3, 3, 16, 32)
        if name in ("matmul", "softmax"):
            x, w = big(500, 200), big(200, 100)
        x, w = ad.tensor(x, requires_grad=True), ad.tensor(w, requires_grad=True)
        b = ad.tensor(big(16), requires_grad=True)
        y = {
            "conv2d": lambda: _core.conv2d(x, w),
            "conv2d_max_pool": lambda: _core.conv2d_max_pool(x, w, w[0, 0, 0]),
            "matmul": lambda: x @ w,
            "max_pool2d": lambda: _core.max_pool2d(x, 3, 2),
            "batch_norm": lambda: _core.batch_norm(x, b, b)[0],
            "softmax": lambda: ad.softmax(x),
        }[name]()
        (y * y * y).sum().backward()
        return [leaf.grad for leaf in (x, w, b) if leaf.grad is not None]

    results = []
    for n in (1, 2, 3, 8):
        threads(n)
        results.append(run())
    assert results[0]
    assert all(same_bits(results[0], result) for result in results[1:])


def test_a_training_step_has_the_same_bits_at_any_number_of_threads(threads):
    x, y = big(64, 14, 14, 1), np.arange(64) % 10

    def train():
        ad.utils.set_random_seed(3)
        model = models.Sequential(
            [
                layers.Conv2D(16, 3, activation="relu", input_shape=(14, 14, 1)),
                layers.BatchNormalization(),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dropout(0.25),
                layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
        model.fit(x, y, epochs=2, batch_size=24, verbose=0)
        return [ad.tensor(w) for w in model.get_weights()]

    results = []
    for n in (1, 2, 3, 8):
        threads(n)
        results.append(train())
    assert all(same_bits(results[0], result) for result in results[1:])


@pytest.mark.parametrize("n", [0, -1, 100_000])
def test_impossible_numbers_of_threads(n):
    with pytest.raises((ValueError, OverflowError), match=r"between 1 and|negative"):
        _core.set_num_threads(n)


def test_python_threads_compute_at_once(threads):
    threads(2)
    x, w = big(300, 300), big(300, 300)
    expected = ad.matmul(x, w).numpy()
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(ad.matmul(x, w).numpy(), expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


FORK = """
import os, sys
import autodan as ad
before = float(ad.sum(ad.ones((1000, 1000)) @ ad.ones((1000, 8))))
child = os.fork()
if child == 0:
    after = float(ad.sum(ad.ones((1000, 1000)) @ ad.ones((1000, 8))))
    os._exit(0 if after == before else 1)
_, status = os.waitpid(child, 0)
assert float(ad.sum(ad.ones((1000, 1000)))) == 1e6
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_computes():
    assert python(FORK).returncode == 0


def test_subnormals_are_zero_in_float32_and_kept_in_float64_and_around_a_call():
    tiny = np.float32(1e-40)
    assert ad.multiply(ad.tensor([tiny]), 1.0).item() == 0.0
    assert ad.multiply(ad.tensor([1e-310], "float64"), 1.0).item() == 1e-310
    assert ad.equal(ad.tensor([tiny]), 0.0).item() is False
    ad.matmul(big(300, 300), big(300, 300))
    assert np.float32(tiny) * np.float32(0.5) == np.float32(5e-41)


# -- information ---------------------------------------------------------------------------------


def test_build_info():
    info = _core.build_info()
    assert info["version"] == ad.__version__
    assert info["debug_assertions"] in (True, False)
    assert "-" in info["target"]


def test_memory_info_counts_tensors():
    before = _core.memory_info()
    x = ad.zeros((1 << 20,))
    during = _core.memory_info()
    assert during["tensors"] - before["tensors"] >= x.size * 4
    del x
    after = _core.memory_info()
    assert after["tensors"] <= before["tensors"]
    assert 0 < after["available"] <= after["total"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AUTODAN_ISA", "avx9", "AUTODAN_ISA is 'avx9', which this machine does not have"),
        ("AUTODAN_NUM_THREADS", "none", "AUTODAN_NUM_THREADS is 'none'; set it to a number"),
        ("AUTODAN_NUM_THREADS", "0", "AUTODAN_NUM_THREADS is '0'"),
        ("AUTODAN_MEMORY", "malloc", "AUTODAN_MEMORY is 'malloc'; set it to one of arena, exact"),
    ],
)
def test_a_setting_that_cannot_be_met_is_refused(name, value, message):
    program = [sys.executable, "-c", "import autodan"]
    environment = {**os.environ, name: value}
    result = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert f"ValueError: {message}" in result.stderr


def test_settings_of_the_environment_are_kept():
    program = "from autodan import _core; print(_core.isa(), _core.num_threads())"
    environment = {**os.environ, "AUTODAN_ISA": "portable", "AUTODAN_NUM_THREADS": "3"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["portable", "3"]
