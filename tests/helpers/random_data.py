"""Samples and labels of any size."""

import numpy as np


def draw(n_samples, n_features, dtype=np.float32):
    return np.random.RandomState(0).standard_normal((n_samples, n_features)).astype(dtype)


def labels(n_samples, n_classes):
    return np.random.RandomState(1).randint(0, n_classes, n_samples)
