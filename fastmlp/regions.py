"""The parallel regions: where a team of threads enters a driver, and leaves it.

A region is one loop, with one turn for each thread, over all that a compiled call does. The first thread to come runs
the driver, which posts its phases, and the others follow it (see ``team``). On one thread the driver runs without a
region, and no threading layer is touched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import from_dtype, types

from fastmlp._jit import call_kernel, kernel_address, parallel_kernel
from fastmlp.blocks import array_types, follow_inference, follow_training
from fastmlp.sources import SOURCE
from fastmlp.step import RUN, evaluate, infer_all, train
from fastmlp.team import NOBODY, board_for, dismiss, join


@parallel_kernel
def _train_on_team(
    board, driver, workspace, tiles, layers, network, source, targets, labels, sample_weight, order, run_record,
    generator, learning_rates, epoch_losses, tile_bounds, n_blocks, phase_1, phase_2,
):  # fmt: skip
    """Run `train`, whose address is `driver`, on as many threads as there are blocks."""
    for _ in numba.prange(n_blocks):
        member = join(board)
        if member == 0:
            call_kernel(
                driver,
                (
                    board, workspace, tiles, layers, network, source, targets, labels, sample_weight, order,
                    run_record, generator, learning_rates, epoch_losses, tile_bounds, n_blocks, phase_1, phase_2,
                ),
            )  # fmt: skip
            dismiss(board)
        else:
            follow_training(
                board, member, workspace, tiles, layers, network, source, targets, labels, sample_weight, order,
                tile_bounds, phase_1, phase_2,
            )  # fmt: skip


@parallel_kernel
def _evaluate_on_team(
    board, driver, workspace, tiles, layers, network, source, targets, labels, sample_weight, order, tile_bounds,
    phase_1, phase_2,
):  # fmt: skip
    """Run `evaluate`, whose address is `driver`, on as many threads as there are blocks."""
    for _ in numba.prange(len(tile_bounds) - 1):
        member = join(board)
        if member == 0:
            call_kernel(
                driver,
                (
                    board, workspace, tiles, layers, network, source, targets, labels, sample_weight, order,
                    tile_bounds, phase_1, phase_2,
                ),
            )  # fmt: skip
            dismiss(board)
        else:
            follow_training(
                board, member, workspace, tiles, layers, network, source, targets, labels, sample_weight, order,
                tile_bounds, phase_1, phase_2,
            )  # fmt: skip


@parallel_kernel
def _infer_all_on_team(board, driver, workspace, tiles, layers, network, source, order, out, n_blocks, phase):
    """Run `infer_all`, whose address is `driver`, on as many threads as there are blocks."""
    for _ in numba.prange(n_blocks):
        member = join(board)
        if member == 0:
            call_kernel(
                driver, (board, workspace, tiles, layers, network, source, order, out, n_blocks, phase)
            )  # fmt: skip
            dismiss(board)
        else:
            follow_inference(board, member, workspace, tiles, layers, network, source, order, out, phase)


class Driver:
    """A driver, on one thread or on several.

    Parameters
    ----------
    alone : kernel
        The driver.
    on_team : parallel kernel
        The region that runs it by its address.
    types_of : callable
        Returns the types of its arguments behind the board, given float32 or float64.

    Attributes
    ----------
    name : str
        The driver's.
    """

    def __init__(self, alone: Any, on_team: Any, types_of: Callable[[np.dtype], tuple]) -> None:
        self.name = alone.__name__
        self._alone, self._on_team = alone, on_team
        self._address = functools.cache(
            lambda dtype: kernel_address(alone, types.void(types.int64[::1], *types_of(dtype)))
        )

    def __call__(self, n_threads: int, dtype: np.dtype, arguments: tuple) -> None:
        """Run it with all its arguments but the board, on one thread or on as many as its phases have blocks."""
        if n_threads == 1:
            self._alone(NOBODY, *arguments)
        else:
            self._on_team(board_for(n_threads), self._address(dtype), *arguments)


_INDEX, _FLOAT = types.int64, types.float64


def _types_of_train(dtype: np.dtype) -> tuple:
    memory, samples = array_types(dtype)
    run = (from_dtype(RUN)[::1], types.uint32[::1], _FLOAT[::1], _FLOAT[::1])
    return (*memory, *samples, *run, _INDEX[::1], *[_INDEX] * 3)


def _types_of_evaluate(dtype: np.dtype) -> tuple:
    memory, samples = array_types(dtype)
    return (*memory, *samples, _INDEX[::1], *[_INDEX] * 2)


def _types_of_infer_all(dtype: np.dtype) -> tuple:
    memory, _ = array_types(dtype)
    return (*memory, from_dtype(SOURCE)[::1], _INDEX[::1], from_dtype(dtype)[:, ::1], *[_INDEX] * 2)


TRAIN = Driver(train, _train_on_team, _types_of_train)
EVALUATE = Driver(evaluate, _evaluate_on_team, _types_of_evaluate)
INFER_ALL = Driver(infer_all, _infer_all_on_team, _types_of_infer_all)
