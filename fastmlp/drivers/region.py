"""The parallel region: where a team of threads enters a driver, and leaves it.

It is one loop, with one turn for each thread, over all that a compiled call does. The first thread to come runs the
driver, which posts its phases, and the others follow it (see ``team``). On one thread the driver runs without a region,
and no threading layer is touched.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import from_dtype, types

from fastmlp.drivers.blocks import argument_types, follow
from fastmlp.drivers.steps import evaluate, train
from fastmlp.drivers.team import NOBODY, board_for, dismiss, join
from fastmlp.kernels.records import RUN, Run
from fastmlp.simd.jit import JIT_DISABLED, call_kernel, kernel_address, parallel_kernel


@parallel_kernel
def _run_on_team(board, n_threads, lead, arguments, followers, followed):
    """Let the first of so many threads run a driver, and the others follow it, both by their addresses.

    arguments, followed: what the two take besides the board, and the number of a follower's block, as `_flat` has it.
    """
    for _ in numba.prange(n_threads):
        member = join(board)
        if member == 0:
            call_kernel(lead, (board, *arguments))
            dismiss(board)
        else:
            call_kernel(followers, (board, member, *followed))


def _flat(arguments: tuple) -> tuple:
    """Return arguments with the members of tuples in their place: a parallel region takes no tuples of tuples.

    To the machine code of a kernel they are the same arguments, one array after the other. Interpreted they are not.
    """
    if JIT_DISABLED:
        return arguments
    members = (argument if isinstance(argument, tuple) else (argument,) for argument in arguments)
    return tuple(itertools.chain.from_iterable(members))


class Driver:
    """A driver, on one thread or on several.

    Parameters
    ----------
    lead : kernel
        The driver. It takes the board of its team, empty on one thread, `Memory`, `Samples`, `Phases`, and what it
        needs besides.
    types_of : callable
        Returns the types of all but the board, given float32 or float64.
    followers : kernel
        What the other threads of its team do. It takes the board, the number of a block, and the first three of the
        driver's arguments behind its board.

    Attributes
    ----------
    name : str
        The driver's.
    """

    def __init__(self, lead: Any, types_of: Callable[[np.dtype], tuple], followers: Any = follow) -> None:
        self.name = lead.__name__
        self._lead, self._followers, self._types_of = lead, followers, types_of
        self._addresses = functools.cache(self._compiled)

    def _compiled(self, dtype: np.dtype) -> tuple[Any, Any]:
        """Return the addresses of the driver and of what follows it, compiled or loaded from the cache."""
        board, arguments = types.int64[::1], self._types_of(dtype)
        return (
            kernel_address(self._lead, types.void(board, *arguments)),
            kernel_address(self._followers, types.void(board, types.int64, *arguments[:3])),
        )

    def __call__(self, n_threads: int, dtype: np.dtype, arguments: tuple) -> None:
        """Run it with all its arguments but the board, on one thread or on as many as its phases have blocks."""
        if n_threads == 1:
            self._lead(NOBODY, *arguments)
        else:
            lead, followers = self._addresses(dtype)
            _run_on_team(board_for(n_threads), n_threads, lead, _flat(arguments), followers, _flat(arguments[:3]))


def _types_of_train(dtype: np.dtype) -> tuple:
    rates = types.float64[::1]
    run = types.NamedTuple((from_dtype(RUN)[::1], types.uint32[::1], rates, rates), Run)
    return (*argument_types(dtype), run, types.int64)


TRAIN = Driver(train, _types_of_train)
EVALUATE = Driver(evaluate, argument_types)
