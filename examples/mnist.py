"""Trains a convolutional network on MNIST and tells its accuracy on the test images.

    python examples/mnist.py

The data set is looked for in `$AUTODAN_DATA/mnist`, then in the cache, then downloaded.
"""

from autodan import datasets, layers, models

(train_images, train_labels), (test_images, test_labels) = datasets.mnist.load_data()
x_train, x_test = train_images / 255.0, test_images / 255.0

model = models.Sequential(
    [
        layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.summary()
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, train_labels, epochs=3, validation_data=(x_test, test_labels))
loss, accuracy = model.evaluate(x_test, test_labels, verbose=0)
print(f"test accuracy: {accuracy:.4f}")
