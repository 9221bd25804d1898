"""The blocks of a phase: what each of them is, and how a driver has all of them done.

A phase's blocks are independent of each other (see ``wide.phases``). On one thread the driver does one after the other;
of a team it posts the phase, and each thread does its own (see ``team``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastmlp.drivers.team import begin, end, next_phase, post, wait_for_blocks
from fastmlp.kernels.narrow.phases import propagate_narrow, update_narrow
from fastmlp.kernels.records import MEMORY, SAMPLES
from fastmlp.kernels.wide.entry_products import entry_forward, entry_inference, entry_update
from fastmlp.kernels.wide.phases import propagate, update
from fastmlp.kernels.wide.sparse_products import sparse_forward, sparse_gradient, write_sample_lists
from fastmlp.simd.arguments import INTEGER, INTEGERS, Together
from fastmlp.simd.jit import JIT_DISABLED, always_inline, call_kernel, inner, kernel, kernel_address

# The kinds of phases on a team's board; 0 is none.
PROPAGATE, UPDATE = 1, 2


class Phases(NamedTuple):
    """The two phases of a step.

    Attributes
    ----------
    tile_bounds : ndarray of int64, shape (n_blocks + 1,)
        Where each block of weight tiles begins, and the last one ends.
    propagate, update : int
        Their addresses; interpreted, the kernels themselves.
    """

    tile_bounds: Any
    propagate: Any
    update: Any


PHASES = Together(Phases, (INTEGERS, INTEGER, INTEGER))
"""The same as a kernel is declared with it."""


@inner
def _cut(rows, block, n_blocks, grain):
    """Return where a block of samples begins."""
    grains = (rows + grain - 1) // grain
    return min(rows, grains * block // n_blocks * grain)


@inner
def first_half(rows, grain):
    """Return the samples of the first of the two blocks into which phase 1 is cut on two threads."""
    return _cut(rows, 1, 2, grain)


@always_inline
def _run_block(memory, samples, phases, kind, cut, n_cuts, block):
    """Do one of the blocks that a phase is cut into; `block` is that of its scratch."""
    network = memory.network_record[0]
    if kind == PROPAGATE:
        begin, end = _cut(network.rows, cut, n_cuts, network.grain), _cut(network.rows, cut + 1, n_cuts, network.grain)
        call_kernel(phases.propagate, (memory, samples, begin, end, block))
    else:
        begin, end = phases.tile_bounds[cut], phases.tile_bounds[cut + 1]
        call_kernel(phases.update, (memory, samples, begin, end, block))


@always_inline
def run_blocks(board, memory, samples, phases, kind, first, n_blocks, n_cuts):
    """Do the blocks `first` to ``first + n_blocks`` of `n_cuts` that a phase is cut into."""
    number = post(board, kind, first, n_cuts)
    for block in range(n_blocks):
        if begin(board, number, block):
            _run_block(memory, samples, phases, kind, first + block, n_cuts, block)
            end(board, number, block)
    wait_for_blocks(board, number, n_blocks)


@kernel(INTEGERS, INTEGER, MEMORY, SAMPLES, PHASES)
def follow(board, block, memory, samples, phases):
    """Do a follower's block of each phase, until there are no more."""
    number, kind, first, n_cuts = next_phase(board, np.int64(0))
    while kind:
        if begin(board, number, block):
            _run_block(memory, samples, phases, kind, first + block, n_cuts, block)
            end(board, number, block)
        number, kind, first, n_cuts = next_phase(board, number)


@functools.cache
def _addresses_of_phases(dtype: np.dtype, narrow: bool) -> tuple[Any, Any]:
    """Return the addresses of phases 1 and 2, compiled or loaded from the cache at the first call."""
    phase_1, phase_2 = (propagate_narrow, update_narrow) if narrow else (propagate, update)
    return kernel_address(phase_1, dtype), kernel_address(phase_2, dtype)


def training_phases(dtype: np.dtype, narrow: bool, tile_bounds: np.ndarray) -> Phases:
    """Return the two phases of a step whose blocks of weight tiles begin at `tile_bounds`."""
    return Phases(tile_bounds, *_addresses_of_phases(dtype, narrow))


@functools.cache
def sparse_kernels(dtype: np.dtype) -> dict[str, int]:
    """Return the addresses of what phases call where zeros of X are left out, by their names in the record."""
    return _addresses((sparse_forward, sparse_gradient, write_sample_lists), dtype)


@functools.cache
def entry_kernels(dtype: np.dtype) -> dict[str, int]:
    """Return the addresses of what phases call where the entries of a sparse X are kept, by their names."""
    return _addresses((entry_forward, entry_inference, entry_update), dtype)


def _addresses(kernels: Iterable[Any], dtype: np.dtype) -> dict[str, int]:
    """Return the addresses of kernels; interpreted, nothing asks for any."""
    return {} if JIT_DISABLED else {called.name: kernel_address(called, dtype) for called in kernels}
