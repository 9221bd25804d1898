"""The parallel region of Numba's that a team enters under the JIT.

It is one loop, with one turn for each thread, over all that a compiled call does. The first thread to come runs the
driver, which posts its phases, and the others follow it (see ``team``).

This module needs Numba, so it is imported when a call is first shared.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numba
from numba.core import types

from fastmlp.drivers.team import board_for, join
from fastmlp.simd.arguments import Argument, Together
from fastmlp.simd.jit import JIT_DISABLED, call_kernel, parallel_kernel

if TYPE_CHECKING:
    import numpy as np

    from fastmlp.simd.jit import Kernel


@parallel_kernel
def _run(board, n_threads, lead, arguments, followers, followed):
    """Let the first of so many threads run a driver, and the others follow it, both by their addresses.

    arguments, followed: what the two take besides the board, and the number of a follower's block, as `_flat` has it.
    """
    for _ in numba.prange(n_threads):
        member = join(board)
        if member == 0:
            call_kernel(lead, (board, *arguments))
        else:
            call_kernel(followers, (board, member, *followed))


def run_on_team(n_threads: int, lead: Any, followers: Any, arguments: tuple) -> None:
    """Run a driver on so many threads.

    Parameters
    ----------
    n_threads : int
        Threads that enter the region.
    lead, followers : int
        Addresses of the driver and of what follows it.
    arguments : tuple
        What the driver takes besides the board. Its first three are what the followers take besides.
    """
    _run(board_for(n_threads), n_threads, lead, _flat(arguments), followers, _flat(arguments[:3]))


def compile_loop(lead: Kernel, dtype: np.dtype) -> None:
    """Compile the region for teams of a driver, or load it from the cache."""
    arguments = _flat_types(lead.arguments[1:], dtype)
    followed = _flat_types(lead.arguments[1:4], dtype)
    _run.of_numba.compile(types.void(types.int64[::1], types.int64, types.int64, arguments, types.int64, followed))


def _flat_types(arguments: Sequence[Argument], dtype: np.dtype) -> Any:
    """Return the type of what `_flat` makes of arguments of these kinds."""
    members = (argument.members if isinstance(argument, Together) else (argument,) for argument in arguments)
    return types.Tuple([member.numba_type(dtype) for member in itertools.chain.from_iterable(members)])


def _flat(arguments: tuple) -> tuple:
    """Return arguments with the members of tuples in their place: a parallel region takes no tuples of tuples.

    To the machine code of a kernel they are the same arguments, one array after the other. Interpreted they are not.
    """
    if JIT_DISABLED:
        return arguments
    members = (argument if isinstance(argument, tuple) else (argument,) for argument in arguments)
    return tuple(itertools.chain.from_iterable(members))
