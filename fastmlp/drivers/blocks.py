"""The blocks of a phase: what each of them is, and how a driver has all of them done.

A phase's blocks are independent of each other (see ``wide.phases``). On one thread the driver does one after the other;
of a team it posts the phase, and each thread does its own (see ``team``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import from_dtype, types

from fastmlp.drivers.team import begin, end, next_phase, post, wait_for_blocks
from fastmlp.kernels.narrow.phases import propagate_narrow, update_narrow
from fastmlp.kernels.records import LAYER, NETWORK, SOURCE
from fastmlp.kernels.wide.entry_products import entry_forward, entry_inference, entry_update
from fastmlp.kernels.wide.phases import propagate, update
from fastmlp.kernels.wide.sparse_products import sparse_forward, sparse_gradient, write_sample_lists
from fastmlp.simd.jit import JIT_DISABLED, always_inline, call_kernel, inner, kernel, kernel_address

# The kinds of phases on a team's board; 0 is none.
_PROPAGATE, _UPDATE = 1, 2


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
def _propagate_block(
    workspace, functions, layers, network_record, source, targets, labels, sample_weight, order, cut, n_cuts, phase_1
):  # fmt: skip
    """Phase 1 for one of the blocks that the minibatch is cut into."""
    rows, grain = network_record[0].rows, network_record[0].grain
    call_kernel(
        phase_1,
        (
            workspace, functions, layers, network_record, source, targets, labels, sample_weight, order,
            _cut(rows, cut, n_cuts, grain), _cut(rows, cut + 1, n_cuts, grain),
        ),
    )  # fmt: skip


@always_inline
def _update_block(workspace, functions, layers, network_record, tile_bounds, cut, block, phase_2):
    """Phase 2 for one block of weight tiles, which begins where `tile_bounds` says; `block` is that of its scratch."""
    call_kernel(
        phase_2, (workspace, functions, layers, network_record, tile_bounds[cut], tile_bounds[cut + 1], block)
    )  # fmt: skip


@always_inline
def propagate_blocks(
    board, workspace, functions, layers, network_record, source, targets, labels, sample_weight, order, first, n_blocks,
    n_cuts, phase_1,
):  # fmt: skip
    """Phase 1 for the blocks `first` to ``first + n_blocks`` of `n_cuts` that the minibatch is cut into."""
    number = post(board, _PROPAGATE, first, n_cuts)
    for block in range(n_blocks):
        if begin(board, number, block):
            _propagate_block(
                workspace, functions, layers, network_record, source, targets, labels, sample_weight, order,
                first + block, n_cuts, phase_1,
            )  # fmt: skip
            end(board, number, block)
    wait_for_blocks(board, number, n_blocks)


@always_inline
def update_blocks(board, workspace, functions, layers, network_record, tile_bounds, first, n_blocks, phase_2):
    """Phase 2 for the blocks `first` to ``first + n_blocks`` of weight tiles, which begin at `tile_bounds`."""
    number = post(board, _UPDATE, first, n_blocks)
    for block in range(n_blocks):
        if begin(board, number, block):
            _update_block(workspace, functions, layers, network_record, tile_bounds, first + block, block, phase_2)
            end(board, number, block)
    wait_for_blocks(board, number, n_blocks)


@kernel
def follow_training(
    board, block, workspace, functions, layers, network_record, source, targets, labels, sample_weight, order,
    tile_bounds, phase_1, phase_2,
):  # fmt: skip
    """Do a follower's block of each phase of training steps, until there are no more."""
    number, kind, first, n_cuts = next_phase(board, np.int64(0))
    while kind:
        if begin(board, number, block):
            if kind == _PROPAGATE:
                _propagate_block(
                    workspace, functions, layers, network_record, source, targets, labels, sample_weight, order,
                    first + block, n_cuts, phase_1,
                )  # fmt: skip
            else:
                _update_block(workspace, functions, layers, network_record, tile_bounds, first + block, block, phase_2)
            end(board, number, block)
        number, kind, first, n_cuts = next_phase(board, number)


_INDEX = types.int64


def array_types(dtype: np.dtype) -> tuple[tuple, tuple]:
    """Return the types of what every kernel gets first, and of the samples that training goes over."""
    number = from_dtype(dtype)
    memory = (number[::1], _INDEX[::1], from_dtype(LAYER)[::1], from_dtype(NETWORK)[::1])
    samples = (from_dtype(SOURCE)[::1], number[:, ::1], _INDEX[::1], number[::1], _INDEX[::1])
    return memory, samples


@functools.cache
def training_phases(dtype: np.dtype, narrow: bool) -> tuple[Any, Any]:
    """Return the addresses of phases 1 and 2, compiled or loaded from the cache at the first call."""
    memory, samples = array_types(dtype)
    phase_1, phase_2 = (propagate_narrow, update_narrow) if narrow else (propagate, update)
    return (
        kernel_address(phase_1, types.void(*memory, *samples, *[_INDEX] * 2)),
        kernel_address(phase_2, types.void(*memory, *[_INDEX] * 3)),
    )


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
