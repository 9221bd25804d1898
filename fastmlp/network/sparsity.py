"""How much of X is zero, and whether that is worth leaving out, or keeping nothing but the entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.simd.tile_table import SPARSE_TILE_ROWS

# Rows that are looked at, spread over all of X, so that four that follow each other have as little in common as four
# of a shuffled minibatch.
_SAMPLED_ROWS = 64

# A term of a list takes so many times as long as one of all terms. Writing the lists, and what is the same either way
# on two threads, takes as long as so many terms of a register of units. (``python -m bench.zeros``)
_COST_OF_A_TERM = 1.35
_COST_OF_LISTS = 0.9

# Going over one entry of a sparse X takes about as long as so many numbers of dense panels, with lists or without.
_NUMBERS_OF_AN_ENTRY = 16


def kept_entries(X: Any) -> float:
    """Return the entries of a row of X on average where a fit had better keep those alone, else 0.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The samples.
    """
    if isinstance(X, np.ndarray) or X.nnz * _NUMBERS_OF_AN_ENTRY > X.shape[0] * X.shape[1]:
        return 0.0
    return max(X.nnz / X.shape[0], 1.0)


def parts_left(X: Any) -> tuple[float, float]:
    """Return which parts of the first layer's terms are left without those of zeros: in forward, in the gradient.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The samples. Of fewer than make a tile, nothing is left out.
    """
    n_rows, n_features = X.shape
    n_sampled = min(_SAMPLED_ROWS, n_rows) // SPARSE_TILE_ROWS * SPARSE_TILE_ROWS
    if n_sampled == 0:
        return 1.0, 1.0
    sample = X[np.linspace(0, n_rows - 1, n_sampled).astype(np.intp)]
    is_nonzero = sample != 0 if isinstance(sample, np.ndarray) else sample.astype(bool).toarray()
    # In forward four samples share a term of each feature, in the gradient four features one of each sample.
    in_forward = is_nonzero.reshape(-1, SPARSE_TILE_ROWS, n_features).any(axis=1).mean()
    in_gradient = np.logical_or.reduceat(is_nonzero, np.arange(0, n_features, SPARSE_TILE_ROWS), axis=1).mean()
    return float(in_forward), float(in_gradient)


def term_density(X: Any, fan_out: int, lanes: int) -> float:
    """Return which part of the terms is left in both products together, or 1 where lists would not take less time.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The samples.
    fan_out : int
        Units of the first layer.
    lanes : int
        Numbers in a register.
    """
    part = sum(parts_left(X)) / 2
    # What the lists cost is spread over the units, a register at a time.
    most = (1 - _COST_OF_LISTS / -(-fan_out // lanes)) / _COST_OF_A_TERM
    return part if part <= most else 1.0
