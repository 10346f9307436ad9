"""The table of `Model.summary`, as Keras 3 prints it."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import layers, models

TUTORIAL = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ conv2d (Conv2D)                 │ (None, 26, 26, 32)     │           320 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ flatten (Flatten)               │ (None, 21632)          │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense (Dense)                   │ (None, 100)            │     2,163,300 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense_1 (Dense)                 │ (None, 10)             │         1,010 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 2,164,630 (8.26 MB)
 Trainable params: 2,164,630 (8.26 MB)
 Non-trainable params: 0 (0.00 B)
"""


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ad.utils.clear_session()


def tutorial_model():
    return models.Sequential(
        [
            layers.Conv2D(32, (3, 3), input_shape=(28, 28, 1)),
            layers.Flatten(),
            layers.Dense(100),
            layers.Dense(10),
        ]
    )


def test_the_tutorial_model(capsys):
    model = tutorial_model()
    assert model.summary() is None
    assert capsys.readouterr().out == TUTORIAL
    assert model.count_params() == 2_164_630


def test_print_fn_receives_the_text(capsys):
    received = []
    tutorial_model().summary(print_fn=received.append)
    assert ("".join(received)).strip() == TUTORIAL.strip()
    assert capsys.readouterr().out == ""


def totals(model, capsys):
    model.summary()
    return [line.strip() for line in capsys.readouterr().out.splitlines() if " params: " in line]


def test_frozen_weights_and_the_state_of_the_optimizer_count(capsys):
    model = models.Sequential([layers.Input((4,)), layers.Dense(3), layers.BatchNormalization()])
    assert totals(model, capsys) == [
        "Total params: 27 (108.00 B)",
        "Trainable params: 21 (84.00 B)",
        "Non-trainable params: 6 (24.00 B)",
    ]
    model.layers[0].trainable = False
    assert totals(model, capsys)[1:] == [
        "Trainable params: 6 (24.00 B)",
        "Non-trainable params: 21 (84.00 B)",
    ]
    model.compile(optimizer="adam", loss="mse")
    model.fit(np.zeros((2, 4)), np.zeros((2, 3)), verbose=0)
    lines = totals(model, capsys)
    assert lines[3].startswith("Optimizer params: 14 (")  # two slots of 6, iterations, rate
    assert lines[0].startswith("Total params: 41 (")


def test_a_model_that_is_not_built(capsys):
    models.Sequential([layers.Dense(3, name="d")], name="m").summary()
    text = capsys.readouterr().out
    assert "│ d (Dense)                       │ ?                      │   0 (unbuilt) │" in text
    assert "Total params: 0 (0.00 B)" in text


def test_long_names_and_options(capsys):
    inner = models.Sequential([layers.Dense(3, name="in")], name="inner_model")
    model = models.Sequential(
        [layers.Input((4,)), inner, layers.Dense(2, name="a_layer_with_a_rather_long_name")],
        name="m",
    )
    inner.trainable = False
    model.summary(line_length=60, expand_nested=True, show_trainable=True)
    out = capsys.readouterr().out
    assert all(len(line) == 60 for line in out.splitlines() if line[0] in "┏┃┡│├└")
    assert out.startswith('Model: "m"\n┏━')
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in out.splitlines()
        if line.startswith("│")
    ]
    assert [row[-1] for row in rows if row[-1]] == ["N", "N", "Y"]
    assert any(row[0].startswith("└ in (Dense)") for row in rows)


def test_layer_range(capsys):
    model = tutorial_model()
    model.summary(layer_range=["flatten", "dense"])
    text = capsys.readouterr().out
    assert "flatten (Flatten)" in text and "conv2d" not in text and "dense_1 (" in text
    with pytest.raises(ValueError, match=r"matches no layer\. Layers: conv2d, flatten, dense"):
        model.summary(layer_range=["flaten", "dense"])


def test_too_narrow():
    with pytest.raises(ValueError, match="A summary of 10 columns is too narrow"):
        tutorial_model().summary(line_length=10)
