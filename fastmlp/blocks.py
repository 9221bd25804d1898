"""The blocks of a phase, one after the other or on several threads: where a step forks and joins.

A phase's blocks are independent of each other (see ``phases``). Each loop over them is one source with two twins: a
serial one, which is part of the drivers and touches no threading layer, and a parallel one, a kernel of its own that
the drivers call where several threads may share the work.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import from_dtype, types

from fastmlp._jit import JIT_DISABLED, call_kernel, inner, kernel_address, passage, twins
from fastmlp.layout import LAYER
from fastmlp.listed_products import listed_forward, listed_gradient, listed_half_gradient
from fastmlp.narrow_phases import propagate_narrow, update_narrow
from fastmlp.phases import infer, propagate, update
from fastmlp.records import NETWORK
from fastmlp.sources import SOURCE


class Phase(NamedTuple):
    """Where the machine code of a phase is: of one block, and of the loop over blocks on several threads, or 0."""

    block: Any
    on_threads: Any


@inner
def _cut(rows, block, n_blocks, grain):
    """Return where a block of samples begins."""
    grains = (rows + grain - 1) // grain
    return min(rows, grains * block // n_blocks * grain)


@inner
def first_half(rows, grain):
    """Return the samples of the first of the two blocks into which phase 1 is cut on two threads."""
    return _cut(rows, 1, 2, grain)


def _propagate(
    workspace, tiles, layers, network, source, targets, labels, sample_weight, order, rows, first, n_blocks, n_cuts,
    address,
):  # fmt: skip
    """Phase 1 for the blocks `first` to ``first + n_blocks`` of `n_cuts` that the minibatch of `rows` is cut into."""
    grain = network[0].grain
    for block in numba.prange(n_blocks):
        cut = np.intp(block) + first
        call_kernel(
            address,
            (
                workspace, tiles, layers, network, source, targets, labels, sample_weight, order,
                _cut(rows, cut, n_cuts, grain), _cut(rows, cut + 1, n_cuts, grain),
            ),
        )  # fmt: skip


def _update(workspace, tiles, layers, network, tile_bounds, first, n_blocks, address):
    """Phase 2 for the blocks `first` to ``first + n_blocks`` of weight tiles, which begin at `tile_bounds`."""
    for block in numba.prange(n_blocks):
        number = np.intp(block)
        call_kernel(
            address,
            (
                workspace, tiles, layers, network, tile_bounds[first + number], tile_bounds[first + number + 1],
                number,
            ),
        )  # fmt: skip


def _infer(workspace, tiles, layers, network, source, order, out, rows, n_blocks, address):
    """Forward alone for all blocks of a chunk of `rows`."""
    grain = network[0].grain
    for block in numba.prange(n_blocks):
        number = np.intp(block)
        call_kernel(
            address,
            (
                workspace, tiles, layers, network, source, order, out,
                _cut(rows, number, n_blocks, grain), _cut(rows, number + 1, n_blocks, grain),
            ),
        )  # fmt: skip


_propagate_in_turn, _propagate_on_threads = twins(_propagate)
_update_in_turn, _update_on_threads = twins(_update)
_infer_in_turn, _infer_on_threads = twins(_infer)


@passage
def propagate_blocks(
    workspace, tiles, layers, network, source, targets, labels, sample_weight, order, rows, first, n_blocks, n_cuts,
    phase,
):  # fmt: skip
    """Phase 1 for some blocks of samples."""
    if phase.on_threads:
        call_kernel(
            phase.on_threads,
            (
                workspace, tiles, layers, network, source, targets, labels, sample_weight, order, rows, first,
                n_blocks, n_cuts, phase.block,
            ),
        )  # fmt: skip
    else:
        _propagate_in_turn(
            workspace, tiles, layers, network, source, targets, labels, sample_weight, order, rows, first, n_blocks,
            n_cuts, phase.block,
        )  # fmt: skip


@passage
def update_blocks(workspace, tiles, layers, network, tile_bounds, first, n_blocks, phase):
    """Phase 2 for some blocks of weights."""
    if phase.on_threads:
        call_kernel(
            phase.on_threads, (workspace, tiles, layers, network, tile_bounds, first, n_blocks, phase.block)
        )  # fmt: skip
    else:
        _update_in_turn(workspace, tiles, layers, network, tile_bounds, first, n_blocks, phase.block)


@passage
def infer_blocks(workspace, tiles, layers, network, source, order, out, rows, n_blocks, phase):
    """Forward alone for a chunk of samples."""
    if phase.on_threads:
        call_kernel(
            phase.on_threads, (workspace, tiles, layers, network, source, order, out, rows, n_blocks, phase.block)
        )  # fmt: skip
    else:
        _infer_in_turn(workspace, tiles, layers, network, source, order, out, rows, n_blocks, phase.block)


def _phase(kernel: Any, kernel_arguments: tuple, loop: Any, loop_arguments: tuple, on_threads: bool) -> Phase:
    return Phase(
        kernel_address(kernel, types.void(*kernel_arguments)),
        kernel_address(loop, types.void(*loop_arguments)) if on_threads else 0,
    )


_INDEX = types.int64


def _array_types(dtype: np.dtype) -> tuple[tuple, tuple]:
    """Return the types of what every kernel gets first, and of the samples that training goes over."""
    number = from_dtype(dtype)
    memory = (number[::1], _INDEX[::1], from_dtype(LAYER)[::1], from_dtype(NETWORK)[::1])
    samples = (from_dtype(SOURCE)[::1], number[:, ::1], _INDEX[::1], number[::1], _INDEX[::1])
    return memory, samples


@functools.cache
def training_phases(dtype: np.dtype, narrow: bool, on_threads: bool) -> tuple[Phase, Phase]:
    """Return phases 1 and 2, compiled or loaded from the cache at the first call."""
    memory, samples = _array_types(dtype)
    phase_1, phase_2 = (propagate_narrow, update_narrow) if narrow else (propagate, update)
    return (
        _phase(
            phase_1, (*memory, *samples, *[_INDEX] * 2), _propagate_on_threads, (*memory, *samples, *[_INDEX] * 5),
            on_threads,
        ),
        _phase(
            phase_2, (*memory, *[_INDEX] * 3), _update_on_threads, (*memory, _INDEX[::1], *[_INDEX] * 3), on_threads
        ),
    )  # fmt: skip


@functools.cache
def listed_kernels(dtype: np.dtype) -> dict[str, int]:
    """Return the addresses of what phases call where zeros of X are left out, by their names in the record.

    Interpreted, they ask for none.
    """
    if JIT_DISABLED:
        return {}
    number = from_dtype(dtype)
    memory = (number[::1], _INDEX[::1], from_dtype(LAYER), from_dtype(NETWORK))
    return {
        kernel.__name__: kernel_address(kernel, types.void(*memory, *[_INDEX] * n_numbers))
        for kernel, n_numbers in ((listed_forward, 4), (listed_gradient, 5), (listed_half_gradient, 3))
    }


@functools.cache
def inference_phases(dtype: np.dtype, narrow: bool, on_threads: bool) -> tuple[Phase]:
    """Return the phase of a prediction, compiled or loaded from the cache at the first call."""
    if narrow:
        raise ValueError("Predictions run with units along the vectors.")
    memory, samples = _array_types(dtype)
    data = (*memory, samples[0], _INDEX[::1], from_dtype(dtype)[:, ::1])
    return (_phase(infer, (*data, *[_INDEX] * 2), _infer_on_threads, (*data, *[_INDEX] * 3), on_threads),)
