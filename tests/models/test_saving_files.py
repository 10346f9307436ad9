"""Model files that are damaged, lie, or mean harm: a result or FormatError, and nothing besides."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodan as ad
from autodan import _core, layers, models
from autodan.errors import FormatError
from autodan.models import tensor_file


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of a model file, and where it lies."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model = ad.Sequential([ad.Input((5,)), layers.Dense(4), layers.Dropout(0.5), layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((4, 5)), np.ones((4, 2)), verbose=0)
    model.save(path)
    return path.read_bytes(), path


def refused(path, content, match=".+"):
    path.write_bytes(content)
    for load in (models.load_model, ad.Sequential([layers.Dense(1)]).load_weights):
        with pytest.raises(FormatError, match=match) as caught:
            load(path)
        assert str(path) in str(caught.value)


def sealed(metadata, tensors, data):
    """The bytes of a file with a true digest."""
    blank = _core._encode_header({"digest": "0" * 64, **metadata}, tensors)
    digest = hashlib.sha256(blank + data).hexdigest()
    return _core._encode_header({"digest": digest, **metadata}, tensors) + data


def forged(content, change, tensors=None, data=None):
    """The bytes of a file whose document was changed, sealed again."""
    length = 8 + int.from_bytes(content[:8], "little")
    metadata, listing = _core._parse_header(content[:length])
    document = json.loads(metadata["model"])
    document = change(document) or document
    text = document if isinstance(document, str) else json.dumps(document)
    listing = listing if tensors is None else tensors
    return sealed(
        {"format": metadata["format"], "model": text},
        listing,
        content[length:] if data is None else data,
    )


def test_truncations_are_refused(saved, tmp_path):
    content, _ = saved
    header = 8 + int.from_bytes(content[:8], "little")
    lengths = {*range(12), header - 1, header, header + 1, len(content) - 1}
    for length in lengths | set(random.Random(1).sample(range(len(content)), 40)):
        refused(tmp_path / "m", content[:length])
    refused(tmp_path / "m", content + b"\0", "too long")


def test_flipped_bits_are_refused(saved, tmp_path):
    content, _ = saved
    header = 8 + int.from_bytes(content[:8], "little")
    rng = random.Random(2)
    bits = [*range(64), *rng.sample(range(64, header * 8), 150)]
    bits += rng.sample(range(header * 8, len(content) * 8), 50)
    for bit in bits:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(tmp_path / "m", bytes(damaged))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"an HDF5 file.*set_weights"),
        (b"PK\x03\x04" + bytes(100), r"a zip archive.*set_weights"),
        (b"\x80\x04\x95" + bytes(100), "not a model file"),
        (b"", "not a model file, or cut short"),
        (b"\xff" * 100, "not a model file"),
        ((1 << 23).to_bytes(8, "little") + bytes(1 << 23), "not a model file"),
        (((1 << 23) + 8).to_bytes(8, "little") + bytes((1 << 23) + 8), "not a model file"),
        (_core._encode_header({"made": "elsewhere"}, []), "none that autodan has saved"),
        (sealed({"format": "autodan 9", "model": "null"}, [], b""), "has the format 'autodan 9'"),
    ],
)
def test_files_of_other_kinds_say_what_they_are(tmp_path, content, match):
    refused(tmp_path / "m", content, match)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(FormatError, match="not an ordinary file"):
            models.load_model(path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        models.load_model(tmp_path / "nothing")


def layer(document, index=1):
    return document["model"]["config"]["layers"][index]["config"]


def nested(levels):
    start = '{"class_name":"Sequential","config":{"layers":['
    return start * levels + "]}}" * levels


LIES = {
    "null": lambda d: "[]",
    "huge units": lambda d: layer(d).update(units=10**12),
    "units beyond integers": lambda d: layer(d).update(units=10**40),
    "a bit more units": lambda d: layer(d).update(units=5),
    "negative units": lambda d: layer(d).update(units=-1),
    "units as text": lambda d: layer(d).update(units="4"),
    "units as list": lambda d: layer(d).update(units=[4]),
    "name as number": lambda d: layer(d).update(name=4),
    "unknown argument": lambda d: layer(d).update(evil=1),
    "unknown class": lambda d: d["model"]["config"]["layers"][1].update(class_name="Lambda"),
    "module path": lambda d: d["model"]["config"]["layers"][1].update(class_name="os.system"),
    "class as list": lambda d: d["model"]["config"]["layers"][1].update(class_name=["Dense"]),
    "initializer that is a layer": lambda d: layer(d).update(
        kernel_initializer={"class_name": "Dense", "config": {"units": 1}}
    ),
    "activation that is none": lambda d: layer(d).update(activation="eval"),
    "op that is none": lambda d: layer(d).update(activation="ops>__import__"),
    "rank a million": lambda d: layer(d, 0).update(batch_shape=[None] + [1] * 100_000),
    "rank beyond all": lambda d: layer(d, 0).update(batch_shape=[1] * 10**6),
    "huge input": lambda d: layer(d, 0).update(batch_shape=[None, 10**15]),
    "negative input": lambda d: layer(d, 0).update(batch_shape=[None, -5]),
    "input as text": lambda d: layer(d, 0).update(batch_shape="55"),
    "a hundred thousand layers": lambda d: d["model"]["config"].update(
        layers=[{"class_name": "ReLU", "config": {}}] * 50_000
    ),
    "no layers": lambda d: d["model"]["config"].update(layers=[]),
    "a million layers": lambda d: d["model"]["config"].update(layers=[0] * 1_000_000),
    "layers inside layers": lambda d: json.dumps({**d, "model": 0}).replace(
        '"model": 0', f'"model": {nested(300)}'
    ),
    "layers inside layers inside layers": lambda d: nested(5000),
    "rate of dropout": lambda d: layer(d, 2).update(rate=7),
    "no model": lambda d: d.update(model={"class_name": "Dense", "config": {"units": 1}}),
    "no document": lambda d: d.pop("model") and None,
    "nothing known of layers": lambda d: d.update(layers={}),
    "layers too many": lambda d: d["layers"].update(more=d["layers"]["layers/0"]),
    "states as list": lambda d: d.update(layers=[]),
    "frozen as number": lambda d: d.update(frozen=3),
    "seeds gone": lambda d: d.update(seeds={}),
    "seed out of range": lambda d: d["seeds"].update({"layers/1/seed_generator": [-1, 0]}),
    "seed as text": lambda d: d["seeds"].update({"layers/1/seed_generator": ["1", 0]}),
    "three seeds": lambda d: d["seeds"].update({"layers/1/seed_generator": [1, 2, 3]}),
    "shuffle as text": lambda d: d.update(shuffle="ab"),
    "epochs below zero": lambda d: d.update(epochs=-1),
    "float type": lambda d: d.update(floatx="float8"),
    "optimizer unknown": lambda d: d["compile"]["optimizer"].update(class_name="Adamm"),
    "optimizer's argument": lambda d: d["compile"]["optimizer"]["config"].update(learning_rate="x"),
    "optimizer with slots more": lambda d: d["compile"]["optimizer"]["config"].update(amsgrad=True),
    "optimizer of another kind": lambda d: d["compile"].update(
        optimizer={"class_name": "SGD", "config": {}}
    ),
    "optimizer's variables": lambda d: d["optimizer"].update(variables=["layers/0/none"]),
    "optimizer's variables twice": lambda d: d["optimizer"].update(
        variables=["layers/0/kernel"] * 4
    ),
    "not compiled": lambda d: d.update(compile=None),
    "loss unknown": lambda d: d["compile"].update(loss="evil"),
    "loss that is an optimizer": lambda d: d["compile"].update(
        loss={"class_name": "Adam", "config": {}}
    ),
    "metrics as number": lambda d: d["compile"].update(metrics=3),
    "argument of compile": lambda d: d["compile"].update(evil=3),
    "infinity": lambda d: json.dumps(d).replace('"epochs": 1', '"epochs": Infinity'),
    "beyond floats": lambda d: json.dumps(d).replace('"epochs": 1', '"epochs": 1e999'),
    "digits": lambda d: json.dumps(d).replace('"epochs": 1', '"epochs": ' + "9" * 5000),
    "key twice": lambda d: json.dumps(d).replace('"epochs": 1', '"epochs": 1, "epochs": 1'),
    "brackets": lambda d: "[" * 150_000,
    "a million values": lambda d: "[" + "0," * 1_000_000 + "0]",
    "surrogate": lambda d: json.dumps(d).replace('"dense', '"\\ud800'),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_under_a_true_digest_are_refused(saved, tmp_path, lie):
    path = tmp_path / "m"
    path.write_bytes(forged(saved[0], LIES[lie]))
    with pytest.raises(FormatError):
        models.load_model(path)


def test_tensors_that_are_not_the_models_are_refused(saved, tmp_path):
    content, _ = saved
    length = 8 + int.from_bytes(content[:8], "little")
    _, listing = _core._parse_header(content[:length])

    def forge(change, data=b""):
        changed = [t for t in map(change, listing) if t is not None]
        blob = bytes(sum(np.dtype(d).itemsize * int(np.prod(s)) for _, d, s in changed))
        return forged(content, lambda d: None, changed, blob)

    kernel = "model/layers/0/kernel"
    cases = {
        "the file holds no float32 weights": lambda t: None if t[0] == kernel else t,
        "the file lacks model/layers/0/kernel": lambda t: (t[0] + "x", *t[1:]),
        r"the file holds no float32 weights of shape \(5, 4\)": lambda t: (
            (t[0], t[1], t[2][::-1]) if t[0] == kernel else t
        ),
        "the file holds no float32": lambda t: (t[0], "float64", t[2]) if t[0] == kernel else t,
    }
    for says, change in cases.items():
        (tmp_path / "m").write_bytes(forge(change))
        with pytest.raises(FormatError, match=says):
            models.load_model(tmp_path / "m")


def test_bools_are_bools(tmp_path):
    class Masked(layers.Layer):
        def build(self, input_shape):
            self.mask = self.add_weight((3,), "ones", dtype="bool")

        def call(self, inputs):
            return inputs

    model = ad.Sequential([ad.Input((3,)), Masked()])
    model.save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    assert content.endswith(b"\1\1\1")
    objects = {"Masked": Masked}
    assert models.load_model(tmp_path / "m", objects).layers[0].mask.tolist() == [True] * 3
    (tmp_path / "m").write_bytes(forged(content, lambda d: None, None, b"\1\2\0"))
    with pytest.raises(FormatError, match="neither 0 nor 1"):
        models.load_model(tmp_path / "m", objects)


def paths_into(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        yield from paths_into(item, (*path, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@given(st.data())
def test_any_value_in_any_place_gives_a_model_or_a_format_error(saved, data):
    content, path = saved
    target = path.with_name("forged")

    def change(document):
        place = data.draw(st.sampled_from(list(paths_into(document))[1:]))
        holder = document
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = data.draw(JSON)

    target.write_bytes(forged(content, change))
    try:
        model = models.load_model(target)
    except FormatError:
        return
    assert isinstance(model, ad.Model)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(saved, content):
    path = saved[1].with_name("bytes")
    for start in (b"", len(content).to_bytes(8, "little")):
        path.write_bytes(start + content)
        with pytest.raises(FormatError):
            models.load_model(path)


def test_an_error_while_loading_weights_leaves_the_model(saved, tmp_path, monkeypatch):
    model = models.load_model(saved[1])
    before = [w.copy() for w in model.get_weights()]
    other = models.clone_model(model)
    other.save_weights(tmp_path / "w")

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(tensor_file, "_read_exactly", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.load_weights(tmp_path / "w")
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


PEAK = """
import resource, sys, numpy as np, autodan as ad
from autodan.models import tensor_file
ad.models.load_model(sys.argv[1])  # what it takes once
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
try:
    model = ad.models.load_model(sys.argv[2])
except ad.FormatError:
    pass
print(peak() - before)
"""


def test_memory_is_that_of_the_tensors(saved, tmp_path):
    model = ad.Sequential([ad.Input((3000,)), layers.Dense(3000)])  # 36 MB
    model.save(tmp_path / "large")
    content = (tmp_path / "large").read_bytes()
    declared = len(content)
    lie = forged(content, lambda d: layer(d).update(units=40_000_000))
    (tmp_path / "lie").write_bytes(lie)
    for name, most in (("large", 1.1 * declared + (4 << 20)), ("lie", 8 << 20)):
        command = [sys.executable, "-c", PEAK, str(saved[1]), str(tmp_path / name)]
        peak = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        assert peak < most, (name, peak / declared)


SAVING = """
import resource, sys, autodan as ad
model = ad.Sequential([ad.Input((3000,)), ad.layers.Dense(3000)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.save(sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_saving_makes_no_second_copy(tmp_path):
    command = [sys.executable, "-c", SAVING, str(tmp_path / "m")]
    peak = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert peak < 12 << 20  # of 36 MB


def test_descriptions_too_large_to_load_are_not_saved(tmp_path):
    values = ad.initializers.Constant([0.0] * 300_000)
    model = ad.Sequential([layers.Dense(300_000, bias_initializer=values)])
    with pytest.raises(ValueError, match=r"not read again.*200000 values"):
        model.save(tmp_path / "m")
    deep = ad.Sequential([layers.Dense(1)])
    for _ in range(30):
        deep = ad.Sequential([deep])
    with pytest.raises(ValueError, match="nested deeper than 64 levels"):
        deep.save(tmp_path / "m")
    wordy = ad.Sequential([layers.Dense(1, name="x" * 9_000_000)])
    with pytest.raises(ValueError, match="the most is"):
        wordy.save(tmp_path / "m")
    assert os.listdir(tmp_path) == []
