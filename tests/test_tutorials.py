"""Programs as tutorials print them, with `keras` and `tensorflow` replaced by `autodan`."""

from __future__ import annotations

import os
from textwrap import dedent

import numpy as np
import pytest

import autodan as ad
from autodan import datasets

TRAIN, TEST = 1400, 300


def enlarged_digits():
    """Return the embedded digits, 8x8, as images of MNIST's size and range."""
    (x, y), (test_x, test_y) = datasets.digits.load_data()

    def enlarge(images):
        large = np.kron(images.reshape(-1, 8, 8), np.ones((1, 3, 3)))
        return np.pad(large * (255 / 16), ((0, 0), (2, 2), (2, 2))).astype("uint8")

    x, y = np.concatenate([x, test_x]), np.concatenate([y, test_y])
    return enlarge(x), y


@pytest.fixture
def mnist(monkeypatch):
    """Make `mnist.load_data` return a part of MNIST, or digits that look like it."""
    if os.environ.get("AUTODAN_DATA"):
        (x, y), _ = datasets.mnist.load_data()
    else:
        x, y = enlarged_digits()
    data = (x[:TRAIN], y[:TRAIN]), (x[TRAIN : TRAIN + TEST], y[TRAIN : TRAIN + TEST])
    monkeypatch.setattr(datasets.mnist, "load_data", lambda path="mnist.npz": data)
    ad.utils.set_random_seed(1)
    ad.utils.clear_session()
    return data


@pytest.fixture
def cifar10(monkeypatch):
    """Make `cifar10.load_data` return colored noise whose color tells the class."""
    rng = np.random.default_rng(0)
    colors = np.array([[r, g, b] for r in (40, 200) for g in (40, 200) for b in (40, 120, 200)])

    def part(n):
        y = rng.integers(0, 10, size=(n, 1)).astype("uint8")
        noise = rng.integers(-30, 30, size=(n, 32, 32, 3))
        return (colors[y[:, 0]][:, None, None] + noise).astype("uint8"), y

    data = part(320), part(64)
    monkeypatch.setattr(datasets.cifar10, "load_data", lambda: data)
    ad.utils.set_random_seed(1)
    ad.utils.clear_session()
    return data


def run(program, **names):
    """Run a program as a user's file would run, and return its variables."""
    exec(compile(dedent(program), "tutorial.py", "exec"), names)
    return names


def test_first_look_at_mnist(mnist, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    program = """
        import autodan as keras
        from autodan import datasets, layers, models
        (train_images, train_labels), (test_images, test_labels) = datasets.mnist.load_data()
        train_images = train_images.reshape((60000, 28, 28, 1)); test_images = test_images.reshape((10000, 28, 28, 1))
        model = models.Sequential([layers.Conv2D(32, (3, 3), input_shape=(28, 28, 1)), layers.Flatten(), layers.Dense(100), layers.Dense(10)])
        model.summary()
        model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        history = model.fit(train_images, train_labels, epochs=3, validation_data=(test_images, test_labels))
        print(model.predict(test_images)[0].argmax())
    """  # noqa: E501 - as it is printed
    names = run(program.replace("60000", str(TRAIN)).replace("10000", str(TEST)))
    history = names["history"].history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["accuracy"][-1] > 0.9
    assert history["val_accuracy"][-1] > 0.75
    out = capsys.readouterr().out
    assert "│ conv2d (Conv2D)                 │ (None, 26, 26, 32)     │           320 │" in out
    assert " Total params: 2,164,630 (8.26 MB)" in out
    assert "Epoch 3/3" in out
    first = names["model"].predict(names["test_images"][:1], verbose=0)[0].argmax()
    assert out.splitlines()[-1] == str(first)


def test_first_look_written_with_tf_keras(mnist):
    program = """
        import autodan as tf
        from autodan.keras import datasets, layers, models
        (train_images, train_labels), (test_images, test_labels) = datasets.mnist.load_data()
        train_images, test_images = train_images / 255.0, test_images / 255.0
        model = models.Sequential([
            layers.Conv2D(32, (3, 3), input_shape=(28, 28, 1)),
            layers.Flatten(),
            layers.Dense(100),
            layers.Dense(10)
        ])
        model.compile(optimizer='adam',
                      loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                      metrics=['accuracy'])
        history = model.fit(train_images, train_labels, epochs=1, verbose=0,
                            validation_data=(test_images, test_labels))
    """
    history = run(program)["history"].history
    assert history["val_accuracy"][0] > 0.75


def test_cnn_by_add(mnist):
    (x_train, y_train), (x_test, y_test) = mnist
    program = """
        from autodan.keras.models import Sequential
        from autodan.keras.layers import Conv2D, MaxPooling2D, Flatten, Dense
        model = Sequential()
        model.add(Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)))
        model.add(MaxPooling2D((2, 2)))
        model.add(Flatten())
        model.add(Dense(128, activation='relu'))
        model.add(Dense(10, activation='softmax'))
        model.compile(optimizer='adam', loss='sparse_categorical_crossentropy', metrics=['accuracy'])
        model.fit(x_train, y_train, epochs=4, batch_size=32)
    """  # noqa: E501 - as it is printed
    names = run(program, x_train=x_train / 255.0, y_train=y_train)
    loss, accuracy = names["model"].evaluate(x_test / 255.0, y_test, verbose=0)
    assert accuracy > 0.85
    assert loss < 0.6


def test_cnn_of_the_second_tutorial():
    program = """
        from autodan.models import Sequential
        from autodan.layers import Conv2D, MaxPooling2D, Flatten, Dense
        model = Sequential()
        model.add(Conv2D(32, kernel_size=(3, 3), activation='relu', input_shape=(28, 28, 1)))
        model.add(MaxPooling2D(pool_size=(2, 2)))
        model.add(Flatten())
        model.add(Dense(128, activation='relu'))
        model.add(Dense(10, activation='softmax'))
    """
    model = run(program)["model"]
    assert model.count_params() == 320 + (13 * 13 * 32 * 128 + 128) + 1290
    assert model.output_shape == (None, 10)


def test_cifar10_with_one_hot_labels(cifar10, capsys):
    program = """
        import autodan as tf
        (train_images, train_labels), (test_images, test_labels) = tf.keras.datasets.cifar10.load_data()
        train_images, test_images = train_images / 255.0, test_images / 255.0
        train_labels = tf.keras.utils.to_categorical(train_labels, 10)
        test_labels = tf.keras.utils.to_categorical(test_labels, 10)

        from autodan.keras import layers, models
        model = models.Sequential([
            layers.Conv2D(32, (3, 3), activation='relu', input_shape=(32, 32, 3)),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation='relu'),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation='relu'),
            layers.Flatten(),
            layers.Dense(64, activation='relu'),
            layers.Dense(10, activation='softmax')
        ])
        model.compile(optimizer='adam',
                      loss='categorical_crossentropy',
                      metrics=['accuracy'])
        history = model.fit(train_images, train_labels, epochs=10,
                            validation_data=(test_images, test_labels))
        test_loss, test_acc = model.evaluate(test_images,  test_labels, verbose=2)
        print('\\nTest accuracy:', test_acc)
    """  # noqa: E501 - as it is printed
    names = run(program)
    assert names["model"].count_params() == 122_570
    assert names["test_acc"] > 0.5
    history = names["history"].history
    assert len(history["val_accuracy"]) == 10
    assert history["val_accuracy"][-1] == pytest.approx(names["test_acc"])
    assert f"\nTest accuracy: {names['test_acc']}\n" in capsys.readouterr().out
