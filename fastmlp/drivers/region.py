"""The parallel region: where a team of threads enters a driver, and leaves it.

It is one loop, with one turn for each thread, over all that a compiled call does. The first thread to come runs the
driver, which posts its phases, and the others follow it (see ``team``). On one thread the driver runs without a region,
and no threading layer is touched.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import from_dtype, types

from fastmlp.drivers.blocks import array_types, follow_training
from fastmlp.drivers.steps import evaluate, train
from fastmlp.drivers.team import NOBODY, board_for, dismiss, join
from fastmlp.kernels.records import RUN
from fastmlp.simd.jit import call_kernel, kernel_address, parallel_kernel


@parallel_kernel
def _run_on_team(board, n_threads, lead, arguments, follow, followed):
    """Let the first of so many threads run a driver, and the others follow it, both by their addresses.

    arguments, followed: tuples of what the two take besides the board, and besides which block is a follower's.
    """
    for _ in numba.prange(n_threads):
        member = join(board)
        if member == 0:
            call_kernel(lead, (board, *arguments))
            dismiss(board)
        else:
            call_kernel(follow, (board, member, *followed))


def _names(kernel: Any) -> list[str]:
    """Return the names of a kernel's parameters."""
    return list(inspect.signature(getattr(kernel, "py_func", kernel)).parameters)


class Driver:
    """A driver, on one thread or on several.

    Parameters
    ----------
    lead : kernel
        The driver. It takes the board of its team, empty on one thread, and its arguments.
    types_of : callable
        Returns the types of these arguments, given float32 or float64.
    follow : kernel
        What the other threads of its team do. It takes the board, the number of a block, and those of the driver's
        arguments that it has names for.

    Attributes
    ----------
    name : str
        The driver's.
    """

    def __init__(self, lead: Any, types_of: Callable[[np.dtype], tuple], follow: Any) -> None:
        self.name = lead.__name__
        self._lead, self._follow, self._types_of = lead, follow, types_of
        _, *own = _names(lead)
        _, _, *followed = _names(follow)
        self._followed = [own.index(name) for name in followed]
        self._addresses = functools.cache(self._compiled)

    def _compiled(self, dtype: np.dtype) -> tuple[Any, Any]:
        """Return the addresses of the driver and of what follows it, compiled or loaded from the cache."""
        board, arguments = types.int64[::1], self._types_of(dtype)
        followed = [arguments[number] for number in self._followed]
        return (
            kernel_address(self._lead, types.void(board, *arguments)),
            kernel_address(self._follow, types.void(board, types.int64, *followed)),
        )

    def __call__(self, n_threads: int, dtype: np.dtype, arguments: tuple) -> None:
        """Run it with all its arguments but the board, on one thread or on as many as its phases have blocks."""
        if n_threads == 1:
            self._lead(NOBODY, *arguments)
        else:
            lead, follow = self._addresses(dtype)
            followed = tuple(arguments[number] for number in self._followed)
            _run_on_team(board_for(n_threads), n_threads, lead, arguments, follow, followed)


_INDEX, _FLOAT = types.int64, types.float64


def _types_of_train(dtype: np.dtype) -> tuple:
    memory, samples = array_types(dtype)
    run = (from_dtype(RUN)[::1], types.uint32[::1], _FLOAT[::1], _FLOAT[::1])
    return (*memory, *samples, *run, _INDEX[::1], *[_INDEX] * 3)


def _types_of_evaluate(dtype: np.dtype) -> tuple:
    memory, samples = array_types(dtype)
    return (*memory, *samples, _INDEX[::1], *[_INDEX] * 2)


TRAIN = Driver(train, _types_of_train, follow_training)
EVALUATE = Driver(evaluate, _types_of_evaluate, follow_training)
