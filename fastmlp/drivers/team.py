"""How the threads of one compiled call share its phases, without the threading layer in between.

A call on several threads is one parallel region (see ``region``). Whoever enters it first is the primary thread, and
runs the driver; the others follow it. The primary thread posts each phase on a board, which the others watch; each does
the block of its number, and the primary thread does the first one, and every other that nobody has begun by then. So
nothing depends on how many threads come, or when: if the threading layer has but one, it does all::

    primary thread   post | block 0 ........ | wait | post | block 0 ..
    follower 1            | block 1 ........ |      |      | block 1 ..

Posting a phase and waiting for its end cost the time that a cache line takes from one core to the other. Forking and
joining threads through Numba and OpenMP costs nine times as much, and a step has two phases.

The board is an array of int64, whose parts lie in cache lines of their own:

- how many threads have come so far;
- the number of the last phase posted, and beside it what it is: its kind, its first block, and the number of cuts;
- for each block ``2 (n - 1)`` when it is free to be begun in phase n, ``2 n - 1`` when it has been, ``2 n`` when it is
  done.

A follower may be held up anywhere, even between reading what a phase is and beginning its block. It begins by changing
``2 (n - 1)`` to ``2 n - 1``; if the primary thread has done so before, it does nothing. If not, no further phase can
have been posted meanwhile, and what was read is right.
"""

from __future__ import annotations

import numpy as np

from fastmlp.simd.atomics import compare_and_exchange, fetch_and_add, give_way, load_acquire, pause, store_release
from fastmlp.simd.jit import inner
from fastmlp.simd.tile_table import aligned_zeros

# Processors fetch cache lines in pairs: so many words are two lines.
_PART = 16
_MEMBERS, _PHASE, _BLOCKS = 0, _PART, 2 * _PART
_KIND, _FIRST, _CUTS = _PHASE + 1, _PHASE + 2, _PHASE + 3
_OVER = -1

# A thread that has waited for so many pauses (some 50 to 500 microseconds) lets others have its processor now and then.
_PATIENCE = 4096

NOBODY = np.empty(0, np.int64)
"""The board of a call on one thread."""


def board_for(n_blocks: int, *, is_open: bool = True) -> np.ndarray:
    """Return a board for phases of so many blocks.

    Who follows an open one waits for phases. One that is not open yet, the driver opens: so nobody waits for a driver
    that an exception, such as Ctrl-C's, has kept from beginning.
    """
    board = aligned_zeros(_BLOCKS + n_blocks * _PART, np.int64)
    board[_PHASE] = 0 if is_open else _OVER
    return board


@inner
def open_board(board):
    """Tell the followers that there will be phases."""
    if len(board) > 0:
        store_release(board, _PHASE, np.int64(0))


@inner
def _wait(board, place, former):
    """Wait until a word is no longer what it was; return what it is."""
    pauses = 0
    value = load_acquire(board, place)
    while value == former:
        if pauses < _PATIENCE:
            pauses += 1
            pause()
        else:
            give_way()
        value = load_acquire(board, place)
    return value


@inner
def wait_until(board, place, value):
    """Wait until a word, which only grows, is no less than `value`."""
    present = load_acquire(board, place)
    while present < value:
        present = _wait(board, place, present)


@inner
def join(board):
    """Return how many threads have come before."""
    return fetch_and_add(board, _MEMBERS, 1)


@inner
def post(board, kind, first, n_cuts):
    """Post a phase, whose blocks are the cuts `first` and on of `n_cuts`; return its number."""
    if len(board) == 0:
        return np.int64(0)
    board[_KIND] = kind
    board[_FIRST] = first
    board[_CUTS] = n_cuts
    number = board[_PHASE] + 1
    store_release(board, _PHASE, number)
    return number


@inner
def begin(board, number, block):
    """Return whether this thread does a block of a phase: nobody else has begun it."""
    if len(board) == 0:
        return True
    place = _BLOCKS + block * _PART
    free = 2 * (number - 1)
    return load_acquire(board, place) == free and compare_and_exchange(board, place, free, free + 1)


@inner
def end(board, number, block):
    """Tell that a block of a phase is done."""
    if len(board) > 0:
        store_release(board, _BLOCKS + block * _PART, 2 * number)


@inner
def wait_for_blocks(board, number, n_blocks):
    """Wait until all blocks of a phase, which have been begun, are done."""
    if len(board) > 0:
        for block in range(n_blocks):
            _wait(board, _BLOCKS + block * _PART, 2 * number - 1)


@inner
def dismiss(board):
    """Tell the followers that there will be no further phase."""
    if len(board) > 0:
        store_release(board, _PHASE, np.int64(_OVER))


@inner
def next_phase(board, number):
    """Wait for a phase other than `number`; return its number, its kind, its first block and the number of cuts.

    Its kind is 0 when there will be none.
    """
    number = _wait(board, _PHASE, number)
    kind = np.int64(0) if number == _OVER else board[_KIND]
    return number, kind, board[_FIRST], board[_CUTS]
