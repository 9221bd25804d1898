"""What finishes a tile of a product while it is in cache: the activation, or the multiplication by its slope.

All forms of the products end here: wide, sparse, narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastmlp.kernels.activations import ACTIVATIONS, Activation
from fastmlp.simd.jit import inner, switch
from fastmlp.simd.tile_table import TILE
from fastmlp.simd.vectors import lane_count, load, store

_FLOOR = next(row.code for row in ACTIVATIONS.values() if row.is_floor)

# From a number to its tanh it is a long chain of instructions that wait for each other, and a processor looks ahead at
# so many and no more: in two loops of half the way each it works on more numbers at the same time. But with registers
# of 512 bits the division that ends the way takes a loop of its own as long as all that comes before it, which does not
# wait for it in one loop. (`bench/test_vector_maths.py` measures both ways.)
IN_TWO_PASSES = TILE.in_two_passes


@inner
def _apply(function, workspace, out, stride, rows, columns):
    """Replace numbers, workspace[out...] (rows, columns), rows `stride` apart, by the function's values."""
    lanes = lane_count(workspace)
    for row in range(rows):
        for place in range(out + row * stride, out + row * stride + columns, lanes):
            store(workspace, place, function(load(workspace, place)))


@inner
def _apply_and_store_slopes(function, workspace, slopes, out, stride, rows, columns):
    """As `_apply`, with a function that returns value and slope; slopes: how far behind the values those are stored."""
    lanes = lane_count(workspace)
    for row in range(rows):
        for place in range(out + row * stride, out + row * stride + columns, lanes):
            value, slope = function(load(workspace, place))
            store(workspace, place, value)
            store(workspace, place + slopes, slope)


def _activated_tiles(row: Activation) -> Callable[..., Any]:
    """Return the loop that applies one activation; micro-kernels have taken the floor."""
    value, value_and_slope = row.value, row.value_and_slope
    is_done = value is None or row.is_floor
    in_two_passes = IN_TWO_PASSES and len(row.two_passes) == 2
    first, second = row.two_passes if in_two_passes else (None, None)

    @inner
    def activate(workspace, layer, out, stride, rows, columns):
        if is_done:
            return
        if value_and_slope is not None and layer.slopes > 0:
            slopes = layer.slopes - layer.outputs
            _apply_and_store_slopes(value_and_slope, workspace, slopes, out, stride, rows, columns)
        elif in_two_passes:
            _apply(first, workspace, out, stride, rows, columns)
            _apply(second, workspace, out, stride, rows, columns)
        else:
            _apply(value, workspace, out, stride, rows, columns)

    return activate


def _differentiated_tiles(row: Activation) -> Callable[..., Any]:
    """Return the loop that multiplies deltas by one activation's slope; micro-kernels have taken the floor's."""
    slope_of, is_stored = row.slope, row.value_and_slope is not None

    @inner
    def differentiate(workspace, layer, deltas, stride, outputs, outputs_stride, rows, columns):
        if slope_of is None and not is_stored:
            return
        lanes = lane_count(workspace)
        if is_stored:
            outputs += layer.slopes - layer.outputs
        for row in range(rows):
            for column in range(0, columns, lanes):
                place = deltas + row * stride + column
                slope = load(workspace, outputs + row * outputs_stride + column)
                if slope_of is not None:
                    slope = slope_of(slope)
                store(workspace, place, load(workspace, place) * slope)

    return differentiate


_activate = switch({row.code: _activated_tiles(row) for row in ACTIVATIONS.values()})
_differentiate = switch({row.code: _differentiated_tiles(row) for row in ACTIVATIONS.values()})
_relu = ACTIVATIONS["relu"].value


@inner
def floor_of(workspace, layer):
    """Return the number that a micro-kernel raises the sums of a layer's units to, minus infinity for none."""
    return workspace.dtype.type(0.0 if layer.activation == _FLOOR else -float("inf"))


@inner
def mask_of(layer, outputs):
    """Return where a micro-kernel finds the values whose zeros clear a delta, -1 for none.

    outputs: where those of a layer's units are that belong to a tile of its deltas.
    """
    return outputs if layer.activation == _FLOOR else -1


@inner
def finish_forward(workspace, layer, out, stride, rows, columns):
    """Apply the activation to sums that a micro-kernel has raised to `floor_of`: a tile, or panels.

    workspace[out...] : (rows, columns) of layer.outputs, rows `stride` apart. Overwritten, and so are their slopes
    where these are stored.
    """
    _activate(layer.activation, workspace, layer, out, stride, rows, columns)


@inner
def finish_sums(workspace, layer, out, stride, rows, columns):
    """Do the same to sums that no micro-kernel has raised."""
    if layer.activation == _FLOOR:
        _apply(_relu, workspace, out, stride, rows, columns)
    else:
        finish_forward(workspace, layer, out, stride, rows, columns)


@inner
def finish_deltas(workspace, layer, deltas, stride, outputs, outputs_stride, rows, columns):
    """Multiply deltas by the slope of their layer's activation, but for what a micro-kernel did with `mask_of`.

    workspace[deltas...], workspace[outputs...] : (rows, columns) of layer.deltas and layer.outputs, rows `stride` and
    `outputs_stride` apart. The first is overwritten.
    """
    _differentiate(layer.activation, workspace, layer, deltas, stride, outputs, outputs_stride, rows, columns)
