r"""The gradient of a tile of weights or biases: a sum over the samples of the minibatch.

How it is computed depends on the tile; `RECIPES` has a row for each kind, and `recipe_of` alone says which kind a tile
is of.

Most gradients are computed and used in phase 2. Those of small matrices are the sums of two, over the first half of the
minibatch and over the second. Two threads compute these in phase 1, each from the activations and deltas of its own
samples, which its own cache holds; phase 2 then only adds and updates::

                     thread 0                      thread 1

        phase 1      forward, backward,            forward, backward,
                     gradient over its samples     gradient over its samples
                              |       \             /       |
                              |          \       /          |
                              |             \ /             |
                              |             / \             |
                              |          /       \          |
        phase 2      one half of the tiles:        the other tiles:
                     sum of both, update           sum of both, update

Else each would fetch half of what it reads in phase 2 from the other's cache, which may take as long as all its
arithmetic. A matrix that is large beside the minibatch has gradients larger than what they are computed from: it stays
with phase 2, as do all with one thread, or with more than two. A sum of halves is computed as such wherever that is, so
it does not show in the bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastmlp.kernels.optimizers import copies_of
from fastmlp.kernels.tiles import add_tiles, tile_rows, tile_vectors, transposed_rows
from fastmlp.kernels.wide.halves import FIRST_HALF, SECOND_HALF, WHOLE, samples_of
from fastmlp.kernels.wide.remainder_gradients import is_remainder, remainder_product, transposed_product
from fastmlp.kernels.wide.sparse_products import call_sparse_gradient, call_write_sample_lists
from fastmlp.microkernels.tile import MR, NO_PREFETCH
from fastmlp.microkernels.tile_calls import gemm_tn
from fastmlp.simd.jit import inner, switch
from fastmlp.simd.vectors import lane_count, load, panel_width, splat_of, store


@inner
def bias_gradient(workspace, layer, network, out, panel, begin, end, vectors):
    """Sum the deltas of a panel over samples `begin` to `end`.

    workspace[out...] (NR,). Overwritten. Four sums side by side hide the latency of an addition.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    for column in range(0, vectors * lanes, lanes):
        first = layer.deltas + panel * network.capacity * width + column
        a = splat_of(workspace, 0.0)
        b = a
        c = a
        d = a
        whole = begin + (end - begin) // 4 * 4
        for row in range(begin, whole, 4):
            place = first + row * width
            a = a + load(workspace, place)
            b = b + load(workspace, place + width)
            c = c + load(workspace, place + 2 * width)
            d = d + load(workspace, place + 3 * width)
        for row in range(whole, end):
            a = a + load(workspace, first + row * width)
        store(workspace, out + column, (a + b) + (c + d))


@inner
def _vectors_of(workspace, layer, panel):
    return tile_vectors(layer.fan_out, panel * panel_width(workspace), lane_count(workspace))


@inner
def _bias_product(workspace, functions, layer, network, scratch, out, unit, panel, part, prefetch):
    begin, end = samples_of(network, part)
    bias_gradient(workspace, layer, network, out, panel, begin, end, _vectors_of(workspace, layer, panel))


@inner
def _dense_product(workspace, functions, layer, network, scratch, out, unit, panel, part, prefetch):
    """A_l^T delta_{l+1}, up to MR rows from row `unit` on, one micro-tile or several smaller ones."""
    width = panel_width(workspace)
    begin, end = samples_of(network, part)
    vectors = _vectors_of(workspace, layer, panel)
    left = layer.inputs + (unit // width * network.capacity + begin) * width + unit % width
    right = layer.deltas + (panel * network.capacity + begin) * width
    copies = copies_of(network, prefetch)
    height = min(MR, layer.fan_in - unit)
    row = 0
    while row < height:
        rows = tile_rows(height - row)
        gemm_tn(workspace, functions, out + row * width, left + row, right, end - begin, rows, vectors, copies)
        row += rows


@inner
def _sparse_product(workspace, functions, layer, network, scratch, out, unit, panel, part, prefetch):
    call_sparse_gradient(
        network.sparse_gradient, (workspace, functions, layer, network, scratch, out, unit, panel, part, prefetch)
    )  # fmt: skip


@inner
def _row_of_product(workspace, layer, unit, panel):
    return 1, _vectors_of(workspace, layer, panel) * lane_count(workspace)


@inner
def _tile_of_product(workspace, layer, unit, panel):
    return min(MR, layer.fan_in - unit), _vectors_of(workspace, layer, panel) * lane_count(workspace)


@inner
def _remainder_of_product(workspace, layer, unit, panel):
    return layer.remainder_units, panel_width(workspace)


@inner
def _nothing(workspace, layer, network, scratch, unit, begin, end):
    pass


@inner
def _sample_lists(workspace, layer, network, scratch, unit, begin, end):
    call_write_sample_lists(network.write_sample_lists, (workspace, layer, network, scratch, unit, begin, end))


@inner
def _as_it_is(workspace, layer, scratch, unit):
    return scratch


class GradientRecipe(NamedTuple):
    """How the gradient of one kind of tile is computed.

    Attributes
    ----------
    product : kernel
        Computes it over a part of the minibatch from ``(workspace, functions, layer, network, scratch, out, unit,
        panel, part, prefetch)``, and writes it to workspace[out...]. Meanwhile it may prefetch the parameters at
        `prefetch` with their moments, if that is not `NO_PREFETCH`.
    shape : kernel
        Returns rows and columns of the product, from ``(workspace, layer, unit, panel)``.
    prepare : kernel
        Is called before the first product of the tiles from row `unit` on, whatever their panel: ``(workspace, layer,
        network, scratch, unit, begin, end)``. Products over samples `begin` to `end` will follow.
    finish : kernel
        Makes a tile of W of the product at workspace[scratch...], or of the sum of two, and returns where it is:
        ``(workspace, layer, scratch, unit)``.
    """

    product: Callable[..., Any]
    shape: Callable[..., Any]
    prepare: Callable[..., Any] = _nothing
    finish: Callable[..., Any] = _as_it_is


DENSE, BIAS, REMAINDER, SPARSE = range(4)  # the most frequent first: the switch goes through them in this order

RECIPES = {
    DENSE: GradientRecipe(_dense_product, _tile_of_product),
    BIAS: GradientRecipe(_bias_product, _row_of_product),
    REMAINDER: GradientRecipe(remainder_product, _remainder_of_product, finish=transposed_product),
    SPARSE: GradientRecipe(_sparse_product, _tile_of_product, prepare=_sample_lists),
}
"""The kinds of tiles: weights; biases; of a remainder panel, A and delta exchanged; over nonzeros of X."""

_product, _shape, _prepare, _finish = (
    switch({code: getattr(recipe, name) for code, recipe in RECIPES.items()}) for name in GradientRecipe._fields
)


@inner
def recipe_of(workspace, layer, unit, panel):
    """Return the code of the recipe for a tile; `unit` is fan_in for the biases of a panel."""
    if unit == layer.fan_in:
        return BIAS
    if is_remainder(workspace, layer, panel):
        return REMAINDER
    # A lower tile at the end of a layer that leaves zeros out takes all samples.
    return SPARSE if layer.marks > 0 and layer.fan_in - unit >= MR else DENSE


@inner
def _place_in_half(workspace, layer, unit, panel):
    """Return where the product for a tile lies in a half of the gradient: like W, but products to be transposed."""
    width = panel_width(workspace)
    above = unit
    if is_remainder(workspace, layer, panel):
        above = (unit + width - 1) // width * transposed_rows(workspace)
    return (panel * (layer.fan_in + 1) + above) * width


@inner
def half_gradient(workspace, functions, layer, network, begin, end):
    """Compute a layer's gradient over samples `begin` to `end`, which are one half of the minibatch.

    workspace[layer.first_half...] or workspace[layer.second_half...]: the products of all tiles. Overwritten.
    """
    width = panel_width(workspace)
    part = SECOND_HALF if end > network.middle else FIRST_HALF
    half = layer.second_half if part == SECOND_HALF else layer.first_half
    # Halves that are pieces of a step come one after the other, and there may be one block's scratch.
    scratch = network.scratch + (part == SECOND_HALF and network.on_several_threads) * network.scratch_size
    for panel in range((layer.fan_out + width - 1) // width):
        height = width if is_remainder(workspace, layer, panel) else MR
        for tile in range((layer.fan_in + height - 1) // height + 1):
            unit = min(tile * height, layer.fan_in)
            recipe = recipe_of(workspace, layer, unit, panel)
            out = half + _place_in_half(workspace, layer, unit, panel)
            if panel == 0:
                _prepare(recipe, workspace, layer, network, scratch, unit, begin, end)
            _product(recipe, workspace, functions, layer, network, scratch, out, unit, panel, part, NO_PREFETCH)


@inner
def tile_gradient(workspace, functions, layer, network, scratch, unit, panel, is_first, prefetch):
    """Compute the gradient of a tile, from row `unit` on, over the whole minibatch; return where it lies.

    workspace[scratch...]: network.scratch_size numbers. Overwritten. is_first: whether this block has come to no tile
    of these rows before. prefetch: see `GradientRecipe`.
    """
    recipe = recipe_of(workspace, layer, unit, panel)
    first = scratch
    second = scratch + (transposed_rows(workspace) if recipe == REMAINDER else MR) * panel_width(workspace)
    if layer.first_half and network.blocks_are_halves:
        place = _place_in_half(workspace, layer, unit, panel)
        first, second = layer.first_half + place, layer.second_half + place
    else:
        if is_first:
            _prepare(recipe, workspace, layer, network, scratch, unit, 0, network.rows)
        parts = (FIRST_HALF, SECOND_HALF) if layer.first_half else (WHOLE, WHOLE)
        out = first
        for part in range(parts[0], parts[1] + 1):
            _product(recipe, workspace, functions, layer, network, scratch, out, unit, panel, part, prefetch)
            out = second
    if layer.first_half:
        rows, columns = _shape(recipe, workspace, layer, unit, panel)
        add_tiles(workspace, first, second, scratch, rows, columns)
    return _finish(recipe, workspace, layer, scratch, unit)
