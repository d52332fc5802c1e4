"""The papers' side of `bench predict`: cv2, Keras MobileNetV2 `model.predict`, Grad-CAM by GradientTape.

The weights are random: how long a prediction takes does not depend on their values.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from bench.stopwatch import allowed_threads, time_side

SIDE_PX = 224
LABELS = 5
ALPHA = 0.4


def build_classifier() -> keras.Model:
    """MobileNetV2 -> global average pooling -> Dense(128, ReLU) -> Dense(softmax), as the papers have it."""
    keras.utils.set_random_seed(42)
    base = keras.applications.MobileNetV2(input_shape=(SIDE_PX, SIDE_PX, 3), include_top=False, weights=None)
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    hidden = keras.layers.Dense(128, activation="relu")(pooled)
    return keras.Model(base.input, keras.layers.Dense(LABELS, activation="softmax")(hidden))


def read_picture(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The picture (rows, columns, 3) as read, and its batch float32 (1, 224, 224, 3) in [0, 1]."""
    picture = cv2.imread(str(file))
    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (SIDE_PX, SIDE_PX))
    return picture, small[np.newaxis].astype(np.float32) / 255.0


def grad_cam(explainer: keras.Model, batch: np.ndarray, label_index: int) -> np.ndarray:
    """Grad-CAM of one label over the last feature maps, float32 (7, 7) in [0, 1]."""
    with tf.GradientTape() as tape:
        features, shares = explainer(batch)
        share = shares[:, label_index]
    weights = tf.reduce_mean(tape.gradient(share, features), axis=(0, 1, 2))
    heat = tf.maximum(tf.reduce_sum(features[0] * weights, axis=-1), 0.0)
    return (heat / (tf.reduce_max(heat) + 1e-8)).numpy()


def draw(picture: np.ndarray, heat: np.ndarray) -> bytes:
    """PNG of the picture under its heat map in jet colours."""
    large = cv2.resize(heat, (picture.shape[1], picture.shape[0]))
    colours = cv2.applyColorMap(np.uint8(255 * large), cv2.COLORMAP_JET)
    blended = cv2.addWeighted(picture, 1.0 - ALPHA, colours, ALPHA, 0)
    return cv2.imencode(".png", blended)[1].tobytes()


def make_answer(name: str, files: Iterator[Path]) -> Callable[[], object]:
    """What is called for each picture: its probabilities, or also its heat map as a PNG."""
    model = build_classifier()

    def prediction() -> np.ndarray:
        return model.predict(read_picture(next(files))[1], verbose=0)[0]

    if name == "prediction":
        return prediction
    explainer = keras.Model(model.input, [model.get_layer("out_relu").output, model.output])

    def picture() -> bytes:
        scan, batch = read_picture(next(files))
        shares = model.predict(batch, verbose=0)[0]
        return draw(scan, grad_cam(explainer, batch, int(shares.argmax())))

    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answer", choices=("prediction", "picture"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    asked = parser.parse_args()
    cv2.setNumThreads(allowed_threads())
    files = itertools.cycle(sorted(asked.folder.glob("*.jpg")))
    time_side(make_answer(asked.answer, files), asked.repeats)


if __name__ == "__main__":
    main()
