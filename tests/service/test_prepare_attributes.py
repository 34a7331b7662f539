"""How a chain of convolutions is written as ONNX, beside Keras itself."""

from __future__ import annotations

import os
import subprocess
import sys

from running import ROOT

# In a process of its own, because it imports TensorFlow: a small network with all that VGG-Face has.
COMPARE = """
import numpy as np, onnx, tensorflow as tf
from preparation.chain import written
from serving.runtimes import import_onnxruntime

layers = tf.keras.layers
def network(*last):
    return tf.keras.Sequential([
        layers.ZeroPadding2D((1, 1), input_shape=(8, 8, 3)),
        layers.Conv2D(5, (3, 3), activation="relu", bias_initializer="normal"),
        layers.ZeroPadding2D(((2, 1), (1, 0))),
        layers.Conv2D(7, (3, 2), activation="relu"),
        layers.MaxPooling2D((2, 2), strides=(2, 2)),
        layers.Conv2D(6, (4, 4), activation="relu", bias_initializer="normal"),
        layers.Dropout(0.5),
        *last,
    ])

model = network(layers.Conv2D(11, (1, 1)), layers.Flatten(), layers.Activation("softmax"))
made = written(model, "crops", "probabilities", 17)
onnx.checker.check_model(made, full_check=True)
session = import_onnxruntime().InferenceSession(made.SerializeToString())
crops = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
(values,) = session.run(["probabilities"], {"crops": crops})
assert values.shape == (4, 11)
assert np.abs(values - model(crops, training=False)).max() < 1e-6
assert values.std(axis=0).max() > 1e-4  # else any answer would do

for last in (
    [layers.BatchNormalization()],
    [layers.Conv2D(3, (1, 1), activation="tanh")],
    [layers.Conv2D(3, (1, 1), padding="same")],
    [layers.UpSampling2D(), layers.Flatten()],
):
    try:
        written(network(*last), "crops", "probabilities", 17)
    except ValueError:
        continue
    raise AssertionError(last)
"""


def test_it_computes_what_keras_does_and_refuses_what_it_does_not_know() -> None:
    environment = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    ran = subprocess.run(
        [sys.executable, "-c", COMPARE],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
