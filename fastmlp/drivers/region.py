"""Where a team of threads enters a driver, and leaves it.

On one thread the driver runs by itself. Of a team, one thread runs the driver, which posts its phases, and the others
follow it (see ``team``). There are two ways in:

- Where the kernels come from a library, the caller runs the driver, and helper threads follow it if they come in time.
- Under the JIT, a team enters a parallel region of Numba's (see ``parallel_loop``).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.drivers.blocks import follow
from fastmlp.drivers.steps import evaluate, train
from fastmlp.drivers.team import NOBODY, board_for
from fastmlp.simd.jit import callable_from_python, kernel_address
from fastmlp.simd.library import LIBRARY

if TYPE_CHECKING:
    from fastmlp.process.helper_threads import Helper


class Driver:
    """A driver, on one thread or on several.

    Parameters
    ----------
    lead : kernel
        The driver. It takes the board of its team, empty on one thread, `Memory`, `Samples`, `Phases`, and what it
        needs besides.
    followers : kernel
        What the other threads of its team do. It takes the board, the number of a block, and the first three of the
        driver's arguments behind its board.

    Attributes
    ----------
    name : str
        The driver's.
    """

    def __init__(self, lead: Any, followers: Any = follow) -> None:
        self.name = lead.__name__
        self._lead, self._followers = lead, followers
        self._addresses = functools.cache(self._compiled)
        self._calls = functools.cache(self._callables)

    def _compiled(self, dtype: np.dtype) -> tuple[Any, Any]:
        """Return the addresses of the driver and of what follows it, compiled or loaded from the cache."""
        return kernel_address(self._lead, dtype), kernel_address(self._followers, dtype)

    def _callables(self, dtype: np.dtype) -> tuple[Any, Any]:
        """Return what calls the driver and what follows it."""
        return callable_from_python(self._lead, dtype), callable_from_python(self._followers, dtype)

    def __call__(self, n_threads: int, dtype: np.dtype, arguments: tuple, helpers: Sequence[Helper] = ()) -> None:
        """Run it with all its arguments but the board, on one thread or on as many as its phases have blocks.

        helpers: the threads that help if they come, where no threading layer of Numba's is used.
        """
        if n_threads == 1:
            self._calls(dtype)[0](NOBODY, *arguments)
        elif LIBRARY is not None:
            self._run_with_helpers(n_threads, dtype, arguments, helpers)
        else:
            # Here and not above: this needs Numba.
            from fastmlp.drivers.parallel_loop import run_on_team

            run_on_team(n_threads, *self._addresses(dtype), arguments)

    def compile_for_teams(self, dtype: np.dtype) -> None:
        """Compile what a team needs under the JIT, or load it from the cache."""
        from fastmlp.drivers.parallel_loop import compile_loop

        self._addresses(dtype)
        compile_loop(self._lead, dtype)

    def _run_with_helpers(self, n_threads: int, dtype: np.dtype, arguments: tuple, helpers: Sequence[Helper]) -> None:
        board = board_for(n_threads, is_open=False)
        lead, follow_team = self._calls(dtype)
        try:
            for member, helper in enumerate(helpers, start=1):
                # None begins before this thread leaves Python, which is where the driver opens the board.
                helper.assign(functools.partial(follow_team, board, member, *arguments[:3]))
            lead(board, *arguments)
        finally:
            for helper in helpers:
                helper.withdraw()


TRAIN = Driver(train)
EVALUATE = Driver(evaluate)
