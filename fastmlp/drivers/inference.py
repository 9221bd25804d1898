"""A prediction: the forward pass over blocks of samples, which one or several threads take from a common counter.

Samples are independent of each other, so a thread takes the next block whenever it is done with one, and needs nothing
but a part of the workspace of its own::

    order    | block 0 | block 1 | block 2 | block 3 | block 4 |
    caller     0, in rows 0 .. 99            3, in rows 0 .. 99        waits for block 4
    helper 1             1, in rows 100 .. 199     4, in rows 100 .. 199

The caller waits for blocks that a helper has begun, and for nothing else. A helper that comes late finds none left, and
one that never comes leaves all of them to the caller. If another process takes its processor away from a helper in the
midst of a block, the caller does have to wait; after that it does without helpers for a while.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.drivers.team import wait_until
from fastmlp.kernels.records import MEMORY, SOURCE
from fastmlp.kernels.wide.phases import infer
from fastmlp.simd.arguments import INTEGER, INTEGERS, TRUTH, Array
from fastmlp.simd.atomics import fetch_and_add
from fastmlp.simd.clock import ticks
from fastmlp.simd.jit import call_kernel, callable_from_python, kernel, kernel_address
from fastmlp.simd.tile_table import TILE, aligned_zeros

if TYPE_CHECKING:
    from fastmlp.process.helper_threads import Helper

PREDICTION_ROWS = 256
"""Rows of a workspace that is made for a prediction: more bring no speed, and only take memory."""

# A thread that is done early waits for the last blocks of the others, so there are several for each; fewer rows than
# these read the weights too often.
_BLOCKS_PER_THREAD, _FEWEST_ROWS = 4, 32

# Two counters, each in a pair of cache lines of its own: blocks that have been begun, and those that are done.
_BEGUN, _DONE = 0, 16


def inference_block_rows(n_rows: int, capacity: int, n_threads: int) -> int:
    """Return how many samples are a block, if so many threads share a workspace of `capacity` rows."""
    if n_threads == 1:
        return min(n_rows, capacity)
    own_rows = capacity // n_threads // TILE.rows * TILE.rows
    fair_share = -(-n_rows // (_BLOCKS_PER_THREAD * n_threads * TILE.rows)) * TILE.rows
    return min(own_rows, max(fair_share, _FEWEST_ROWS))


@kernel(
    INTEGERS, INTEGER, MEMORY, Array(SOURCE), INTEGERS, Array(ndim=2), INTEGER, INTEGER, returns=TRUTH
)  # fmt: skip
def infer_blocks(counters, member, memory, source, order, out, block_rows, phase):
    """Predict one block of samples after another until none is left, in the rows of the workspace of one thread.

    out (len(order), n_outputs): overwritten. member: 0 for the caller, who waits until all blocks are done. counters: 0
    at first. block_rows: samples of a block, and rows of the workspace that each thread has.

    Returns whether the caller has waited for longer than a block takes, twice over: a helper was held up.
    """
    n_blocks = (len(order) + block_rows - 1) // block_rows
    top = member * block_rows
    longest = 0
    block = fetch_and_add(counters, _BEGUN, 1)
    while block < n_blocks:
        began = ticks()
        first = block * block_rows
        rows = min(block_rows, len(order) - first)
        call_kernel(phase, (memory, source, order, out, first, top, top + rows))
        fetch_and_add(counters, _DONE, 1)
        longest = max(longest, ticks() - began)
        block = fetch_and_add(counters, _BEGUN, 1)
    if member > 0:
        return False
    began = ticks()
    wait_until(counters, _DONE, n_blocks)
    return ticks() - began > 2 * longest > 0


@functools.cache
def _compiled(dtype: np.dtype) -> tuple[Any, Any]:
    """Return the address of the phase of a prediction and what calls `infer_blocks`, compiled at the first call."""
    return kernel_address(infer, dtype), callable_from_python(infer_blocks, dtype)


def run_inference(helpers: Sequence[Helper], dtype: np.dtype, arguments: tuple, block_rows: int) -> None:
    """Predict on this thread, and on as many helpers as come in time.

    Parameters
    ----------
    helpers : sequence of Helper
        The threads that may help.
    dtype : dtype
        float32 or float64.
    arguments : tuple
        Those of `infer_blocks` from `memory` to `out`.
    block_rows : int
        Samples of a block. The workspace has so many rows for each thread.
    """
    counters = aligned_zeros(2 * _DONE, np.int64)
    phase, infer_some = _compiled(dtype)

    def take_blocks(member: int) -> bool:
        return bool(infer_some(counters, member, *arguments, block_rows, phase))

    try:
        for member, helper in enumerate(helpers, start=1):
            helper.offer(functools.partial(take_blocks, member))
        was_held_up = take_blocks(0)
        for helper in helpers:
            helper.rest(was_held_up)
    finally:
        for helper in helpers:
            helper.withdraw()
