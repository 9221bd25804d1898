"""The parameters of a network, as a list of blocks: the arrays that training changes.

Whatever goes over parameters, or over what each of them has (moments, a member of a file, a part of a flat vector),
goes over this list. A block's name is that of an estimator's attribute and a number: ``coefs_0`` is ``coefs_[0]``.
First come all weights, then all biases, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

ATTRIBUTES = ("coefs_", "intercepts_")
"""The attributes of an estimator that are lists of parameters, in the order of the blocks."""

BEST_ATTRIBUTES = ("_best_coefs", "_best_intercepts")
"""Those in which it keeps the parameters of the best validation score."""


class ParameterBlock(NamedTuple):
    """One array of parameters, where a workspace holds it, and how an update differs from that of other blocks.

    Attributes
    ----------
    name : str
        ``coefs_0``, ``intercepts_0``, ...
    shape : tuple of int
        The array's.
    place : int
        Where the panels that hold it start in the workspace (see ``layout``).
    panel_rows, panel_width : int
        Rows and columns of these panels.
    first_row : int
        The first row that is its own: the biases are the row below the weights.
    transposed : int
        Where panels of the same array transposed start, or 0.
    rate_factor, decay_factor : float
        What the learning rate and alpha are multiplied by.
    """

    name: str
    shape: tuple[int, ...]
    place: int
    panel_rows: int
    panel_width: int
    first_row: int
    transposed: int
    rate_factor: float
    decay_factor: float


def parameter_shapes(layer_units: Iterable[int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all blocks of a network, by their names."""
    pairs = list(pairwise(layer_units))
    weights = {f"coefs_{number}": pair for number, pair in enumerate(pairs)}
    return weights | {f"intercepts_{number}": (fan_out,) for number, (_, fan_out) in enumerate(pairs)}


def layer_units_of(model: Any) -> list[int]:
    """Return the units of an estimator's layers, input and output included."""
    return [len(model.coefs_[0]), *(len(b) for b in model.intercepts_)]


def parameters_of(model: Any, best: bool = False) -> list[np.ndarray]:
    """Return an estimator's parameters; or, if `best`, those of the best validation score."""
    return [array for name in (BEST_ATTRIBUTES if best else ATTRIBUTES) for array in getattr(model, name)]


def as_attributes(arrays: Iterable[np.ndarray], layer_units: Iterable[int]) -> dict[str, list[np.ndarray]]:
    """Return the attributes of an estimator that has these parameters, one array for each block."""
    attributes: dict[str, list[np.ndarray]] = {name: [] for name in ATTRIBUTES}
    for name, array in zip(parameter_shapes(layer_units), arrays, strict=True):
        attributes[name.rstrip("0123456789")].append(array)
    return attributes


def replace_parameters(model: Any, arrays: Iterable[np.ndarray]) -> None:
    """Give an estimator other arrays, all at once: Ctrl-C must not leave old weights with new biases."""
    vars(model).update(as_attributes(arrays, layer_units_of(model)))


def split(flat: np.ndarray, shapes: Iterable[tuple[int, ...]]) -> list[np.ndarray]:
    """Return the views of one flat vector that are the arrays of all blocks."""
    arrays, place = [], 0
    for shape in shapes:
        size = prod(shape)
        arrays.append(flat[place : place + size].reshape(shape))
        place += size
    return arrays
