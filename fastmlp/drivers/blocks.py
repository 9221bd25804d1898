"""The blocks of a phase: what each of them is, and how a driver has all of them done.

A phase's blocks are independent of each other (see ``wide.phases``). On one thread the driver does one after the other;
of a team it posts the phase, and each thread does its own (see ``team``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

from fastmlp.drivers.team import begin, end, next_phase, post, wait_for_blocks
from fastmlp.kernels.narrow.phases import propagate_narrow, update_narrow
from fastmlp.kernels.records import LAYER, NETWORK, SOURCE, Memory, Samples
from fastmlp.kernels.wide.entry_products import entry_forward, entry_inference, entry_update
from fastmlp.kernels.wide.phases import propagate, update
from fastmlp.kernels.wide.sparse_products import sparse_forward, sparse_gradient, write_sample_lists
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


@kernel
def follow(board, block, memory, samples, phases):
    """Do a follower's block of each phase, until there are no more."""
    number, kind, first, n_cuts = next_phase(board, np.int64(0))
    while kind:
        if begin(board, number, block):
            _run_block(memory, samples, phases, kind, first + block, n_cuts, block)
            end(board, number, block)
        number, kind, first, n_cuts = next_phase(board, number)


_INDEX = types.int64


def memory_type(dtype: np.dtype) -> Any:
    """Return the type of `Memory`, for float32 or float64."""
    arrays = (from_dtype(dtype)[::1], _INDEX[::1], from_dtype(LAYER)[::1], from_dtype(NETWORK)[::1])
    return types.NamedTuple(arrays, Memory)


def argument_types(dtype: np.dtype) -> tuple[Any, Any, Any]:
    """Return the types of what every driver gets after its board: `Memory`, `Samples` and `Phases`."""
    number = from_dtype(dtype)
    samples = (from_dtype(SOURCE)[::1], number[:, ::1], _INDEX[::1], number[::1], _INDEX[::1])
    phases = types.NamedTuple((_INDEX[::1], _INDEX, _INDEX), Phases)
    return memory_type(dtype), types.NamedTuple(samples, Samples), phases


@functools.cache
def _addresses_of_phases(dtype: np.dtype, narrow: bool) -> tuple[Any, Any]:
    """Return the addresses of phases 1 and 2, compiled or loaded from the cache at the first call."""
    memory, samples, _ = argument_types(dtype)
    phase_1, phase_2 = (propagate_narrow, update_narrow) if narrow else (propagate, update)
    signature = types.void(memory, samples, *[_INDEX] * 3)
    return kernel_address(phase_1, signature), kernel_address(phase_2, signature)


def training_phases(dtype: np.dtype, narrow: bool, tile_bounds: np.ndarray) -> Phases:
    """Return the two phases of a step whose blocks of weight tiles begin at `tile_bounds`."""
    return Phases(tile_bounds, *_addresses_of_phases(dtype, narrow))


@functools.cache
def sparse_kernels(dtype: np.dtype) -> dict[str, int]:
    """Return the addresses of what phases call where zeros of X are left out, by their names in the record."""
    workspace, records = from_dtype(dtype)[::1], (from_dtype(LAYER), from_dtype(NETWORK))
    return _addresses(
        (
            (sparse_forward, (workspace, _INDEX[::1], *records, *[_INDEX] * 4)),
            (sparse_gradient, (workspace, _INDEX[::1], *records, *[_INDEX] * 6)),
            (write_sample_lists, (workspace, *records, *[_INDEX] * 4)),
        )
    )


@functools.cache
def entry_kernels(dtype: np.dtype) -> dict[str, int]:
    """Return the addresses of what phases call where the entries of a sparse X are kept, by their names."""
    memory = (from_dtype(dtype)[::1], from_dtype(LAYER), from_dtype(NETWORK))
    samples = (from_dtype(SOURCE), _INDEX[::1])
    return _addresses(
        (
            (entry_forward, (*memory, *samples, *[_INDEX] * 2)),
            (entry_inference, (*memory, *samples, *[_INDEX] * 3)),
            (entry_update, (*memory, *[_INDEX] * 3)),
        )
    )


def _addresses(kernels: Iterable[tuple[Any, tuple]]) -> dict[str, int]:
    """Return the addresses of kernels, given with the types of what they take; interpreted, nothing asks for any."""
    if JIT_DISABLED:
        return {}
    return {called.__name__: kernel_address(called, types.void(*arguments)) for called, arguments in kernels}
