"""The two phases of a training step, and the one of a prediction, compiled once for each data type.

Those of a step of a narrow network are in ``narrow.phases``.

Phase 1 (`propagate`) runs over blocks of samples: gather, forward through all layers, loss, deltas
back through all layers, and on two threads the gradients of small matrices over the block. Samples are
independent, so no thread waits for another between layers. Phase 2 (`update`) runs over blocks of weight
tiles: the gradient over the whole minibatch (see ``wide.gradients``), then the optimiser's update while the tile
is hot, by the thread that owns the block. Every number is computed in an order that does not depend on the
blocks, so the number of threads does not show in the bits.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.losses import activate_outputs, output_and_loss
from fastmlp.kernels.optimizers import update_tile
from fastmlp.kernels.records import MEMORY, SAMPLES, SOURCE
from fastmlp.kernels.samples import sample_of
from fastmlp.kernels.tiles import add_tiles, prefetch_lines, tile_vectors
from fastmlp.kernels.wide.entry_products import call_entry_forward, call_entry_inference, call_entry_update
from fastmlp.kernels.wide.gather import gather_rows
from fastmlp.kernels.wide.gradients import half_gradient, tile_gradient
from fastmlp.kernels.wide.products import dense_backward_data, dense_forward
from fastmlp.kernels.wide.remainder_gradients import is_remainder, regular_panels
from fastmlp.kernels.wide.sparse_products import call_sparse_forward
from fastmlp.microkernels.tile import MR, NO_PREFETCH
from fastmlp.simd.arguments import INTEGER, INTEGERS, Array
from fastmlp.simd.denormals import flush_denormals, restore_denormals
from fastmlp.simd.jit import always_inline, inner, kernel
from fastmlp.simd.tile_table import TILE
from fastmlp.simd.vectors import (
    BLOCK_COLUMNS,
    fence_nontemporal_stores,
    lane_count,
    load,
    panel_width,
    store_nontemporal,
    transpose_tile,
)

# Constants to the compiler: other tiles have no code for these.
STORES_NONTEMPORAL = TILE.stores_nontemporal
PREFETCHES_PANELS = TILE.prefetches_panels


@inner
def _prefetches_panels(layer, network):
    """Return whether panels of W are prefetched: where it is large, or parts of it were written by another core."""
    if PREFETCHES_PANELS:
        return network.on_several_threads | layer.prefetch_panels
    return np.intp(0)


@inner
def _sparse_layers(workspace, functions, layer, network, begin, end, is_new, prefetches):
    """Go forward through the first layer if it leaves zeros out; return how many layers that is."""
    if layer.marks == 0:
        return 0
    call_sparse_forward(network.sparse_forward, (workspace, functions, layer, network, begin, end, is_new, prefetches))
    return 1


@always_inline
def gather(workspace, layers, network, source, sample_weight, order, begin, end):
    """Copy samples `begin` to `end` of the minibatch into the first layer's panels, and their weights."""
    if layers[0].row_size == 0:  # else its entries are copied where they are multiplied
        gather_rows(workspace, layers[0].inputs, source[0], order, network.start, begin, end, network.capacity)
    if network.weighted:
        for row in range(begin, end):
            workspace[network.weights + row] = sample_weight[sample_of(order, network.start, row)]


@always_inline
def forward(workspace, functions, layers, network, source, order, begin, end):
    """Compute the activations of all layers for samples `begin` to `end`."""
    if layers[0].row_size:
        call_entry_forward(network.entry_forward, (workspace, layers[0], network, source[0], order, begin, end))
        n_done = 1
    else:
        prefetches = _prefetches_panels(layers[0], network)
        n_done = _sparse_layers(workspace, functions, layers[0], network, begin, end, network.gather, prefetches)
    for number in range(n_done, network.n_layers):
        layer = layers[number]
        dense_forward(workspace, functions, layer, begin, end, network.capacity, _prefetches_panels(layer, network))


@always_inline
def backward(workspace, functions, layers, network, begin, end):
    """Compute the deltas of all layers from the last one's for samples `begin` to `end`, and gradients over a half."""
    for number in range(network.n_layers - 1, -1, -1):
        layer = layers[number]
        if number > 0:
            dense_backward_data(
                workspace, functions, layer, layers[number - 1], begin, end, network.capacity, network.zeros,
                _prefetches_panels(layer, network),
            )  # fmt: skip
        if network.blocks_are_halves and layer.first_half:
            half_gradient(workspace, functions, layer, network, begin, end)


@kernel(MEMORY, SAMPLES, INTEGER, INTEGER, INTEGER)
def propagate(memory, samples, begin, end, block):
    """Phase 1 for samples `begin` to `end` of the minibatch: activations, losses and deltas of all layers.

    block: the block's number; phase 2 alone needs it.
    """
    former = flush_denormals()
    workspace, functions, layers, network_record = memory
    source, targets, labels, sample_weight, order = samples
    network = network_record[0]
    if network.gather:
        gather(workspace, layers, network, source, sample_weight, order, begin, end)
    forward(workspace, functions, layers, network, source, order, begin, end)
    output_and_loss(workspace, layers[network.n_layers - 1], network, targets, labels, order, begin, end)
    backward(workspace, functions, layers, network, begin, end)
    restore_denormals(former)


@inner
def _transpose(workspace, layer, weights, unit, panel, rows):
    """Copy a tile of W, from row `unit` on, to its place in W transposed."""
    width = panel_width(workspace)
    first = panel * width
    columns = min(width, layer.fan_out - first)
    for top in range(0, rows, MR):
        source = weights + top * width
        place = layer.transposed + (unit // width * layer.fan_out + first) * width + unit % width + top
        whole = 0
        if rows - top >= MR:
            # By blocks, but for the columns that would reach beyond the matrix.
            whole = columns // BLOCK_COLUMNS * BLOCK_COLUMNS
            transpose_tile(workspace, source, place, whole)
        for column in range(whole, columns):
            for row in range(min(MR, rows - top)):
                workspace[place + column * width + row] = workspace[source + row * width + column]


@inner
def _store_tile_nontemporal(workspace, source, target, rows, columns):
    """Copy a tile past the caches. workspace[source...], workspace[target...] (rows, columns)."""
    width = panel_width(workspace)
    for row in range(rows):
        for place in range(row * width, row * width + columns, lane_count(workspace)):
            store_nontemporal(workspace, target + place, load(workspace, source + place))


@inner
def _prefetch_tile(workspace, layer, place, unit, panel, height, columns):
    """Prefetch a tile of W, and its place in W transposed, for this core alone: all cores have read them in phase 1.

    Else each store would wait for the other cores to give up their copy of the line, one line after the other.
    """
    width = panel_width(workspace)
    prefetch_lines(workspace, place, height, columns, lane_count(workspace))
    if layer.transposed:
        first = panel * width
        transposed = layer.transposed + (unit // width * layer.fan_out + first) * width + unit % width
        prefetch_lines(workspace, transposed, min(width, layer.fan_out - first), height, MR)


@inner
def _tile_of_parameters(workspace, layer, unit, panel):
    """Return the place of a tile of W, from row `unit` on, or of the biases, and its rows and columns."""
    width, lanes = panel_width(workspace), lane_count(workspace)
    place = layer.parameters + (panel * (layer.fan_in + 1) + unit) * width
    columns = tile_vectors(layer.fan_out, panel * width, lanes) * lanes
    if unit == layer.fan_in:
        return place, 1, columns
    height = width if is_remainder(workspace, layer, panel) else MR
    return place, min(height, layer.fan_in - unit), columns


@always_inline
def compute_gradient(workspace, functions, layer, network, unit, panel, scratch, is_first):
    """Compute the gradient of a tile, see `tile_gradient`, and prefetch its parameters; return where it lies."""
    place, height, columns = _tile_of_parameters(workspace, layer, unit, panel)
    prefetch = NO_PREFETCH
    # While a whole tile is computed from all samples at once, its parameters can be prefetched.
    is_whole = layer.fan_in - unit >= MR and columns == panel_width(workspace)
    if is_whole and not layer.first_half and (network.prefetch_parameters or layer.marks > 0):
        prefetch = place
    elif network.on_several_threads and network.update and not STORES_NONTEMPORAL and unit < layer.fan_in:
        _prefetch_tile(workspace, layer, place, unit, panel, height, columns)
    return tile_gradient(workspace, functions, layer, network, scratch, unit, panel, is_first, prefetch)


@inner
def apply_gradient(workspace, layer, network, gradient, unit, panel):
    """Update a tile by its gradient, or add that to the gradients; return what it adds to the L2 term.

    workspace[gradient...]: may be overwritten.

    All threads have read W in phase 1, so its lines lie in the caches of all. AMD's processors take these back one
    after the other when one thread writes, which may take longer than computing the tile. A non-temporal store does not
    wait for that.
    """
    place, height, columns = _tile_of_parameters(workspace, layer, unit, panel)
    if not network.update:
        place += network.n_parameters
        add_tiles(workspace, gradient, place, place, height, columns)
        return workspace.dtype.type(0)
    is_bias = unit == layer.fan_in
    stores_nontemporal = STORES_NONTEMPORAL and network.on_several_threads and not is_bias
    updated = gradient if stores_nontemporal else place
    if is_bias:
        return update_tile(
            workspace, network, gradient, place, place, height, columns, layer.bias_rate_factor,
            layer.bias_decay_factor,
        )  # fmt: skip
    term = update_tile(
        workspace, network, gradient, place, updated, height, columns, layer.rate_factor, layer.decay_factor
    )
    if layer.transposed:
        _transpose(workspace, layer, updated, unit, panel, height)
    if stores_nontemporal:
        _store_tile_nontemporal(workspace, updated, place, height, columns)
    return term


@always_inline
def _update_tile(workspace, functions, layer, network, unit, panel, scratch, is_first):
    """Gradient and update of one tile of W, from row `unit` on, or of the biases; return its part of the L2 term."""
    gradient = compute_gradient(workspace, functions, layer, network, unit, panel, scratch, is_first)
    return apply_gradient(workspace, layer, network, gradient, unit, panel)


@inner
def tile_place(layer, tile, n_panels, width):
    """Return the panel and the first row of a layer's weight tile, fan_in for the biases.

    n_panels: those without a remainder panel (see `regular_panels`), of `width` columns each.

    The numbering keeps a block of A_l in cache. All panels of the first block of row tiles come first, then those of
    the next, and the tiles of a remainder panel are the last::

                  panel 0   panel 1   panel 2   remainder
                +---------+---------+---------+   +----+
        block 0 | 0, 1, 2 | 3, 4, 5 | 6, 7, 8 |   | 15 |    block_tiles = 3, row_tiles = 5, remainder_tiles = 2:
                +---------+---------+---------+   | 16 |    the last of them are the biases
        block 1 | 9, 10   | 11, 12  | 13, 14  |   +----+
                +---------+---------+---------+
    """
    n_tiles = layer.row_tiles * n_panels
    if tile >= n_tiles:
        return n_panels, min((tile - n_tiles) * width, layer.fan_in)
    first = tile // (layer.block_tiles * n_panels) * layer.block_tiles
    height = min(layer.block_tiles, layer.row_tiles - first)
    tile -= first * n_panels
    return tile // height, min((first + tile % height) * MR, layer.fan_in)


@always_inline
def layer_tiles(do, workspace, functions, layer, network, first_tile, last_tile, scratch):
    """Do something for a layer's weight tiles `first_tile` to `last_tile`, and keep what it adds to the L2 term."""
    width = panel_width(workspace)
    n_panels = regular_panels(layer, width)
    for tile in range(first_tile, min(last_tile, layer.row_tiles * n_panels + layer.remainder_tiles)):
        panel, unit = tile_place(layer, tile, n_panels, width)
        is_first = np.intp(panel == 0 or tile - layer.block_tiles < first_tile)
        term = do(workspace, functions, layer, network, unit, panel, scratch, is_first)
        workspace[network.squares + layer.first_tile + tile] = term


@kernel(MEMORY, SAMPLES, INTEGER, INTEGER, INTEGER)
def update(memory, samples, first_tile, last_tile, block):
    """Phase 2 for weight tiles `first_tile` to `last_tile`: gradients over the minibatch, and the updates.

    samples: phase 1 alone needs them. block: which scratch it has.
    """
    former = flush_denormals()
    workspace, functions, layers, network_record = memory
    network = network_record[0]
    scratch = network.scratch + block * network.scratch_size
    for number in range(network.n_layers):
        layer = layers[number]
        begin, end = max(first_tile - layer.first_tile, 0), last_tile - layer.first_tile
        if layer.row_size == 0:
            layer_tiles(_update_tile, workspace, functions, layer, network, begin, end, scratch)
        elif begin < min(end, layer.row_tiles):
            last = min(end, layer.row_tiles)
            call_entry_update(network.entry_update, (workspace, layer, network, begin, last, scratch))
    if STORES_NONTEMPORAL:
        fence_nontemporal_stores()
    restore_denormals(former)


@kernel(MEMORY, Array(SOURCE), INTEGERS, Array(ndim=2), INTEGER, INTEGER, INTEGER)
def infer(memory, source, order, out, first, begin, end):
    """Forward alone for samples ``order[first]`` and on, in rows `begin` to `end` of the workspace.

    out (len(order), n_outputs): the rows of these samples are overwritten.
    """
    former = flush_denormals()
    workspace, functions, layers, network_record = memory
    network = network_record[0]
    capacity = network.capacity
    if layers[0].row_size:
        call_entry_inference(
            network.entry_inference, (workspace, layers[0], network, source[0], order, first - begin, begin, end)
        )  # fmt: skip
        n_done = 1
    else:
        gather_rows(workspace, layers[0].inputs, source[0], order, first - begin, begin, end, capacity)
        prefetches = layers[0].prefetch_panels
        n_done = _sparse_layers(workspace, functions, layers[0], network, begin, end, np.intp(1), prefetches)
    for number in range(n_done, network.n_layers):
        layer = layers[number]
        dense_forward(workspace, functions, layer, begin, end, capacity, layer.prefetch_panels)
    last = layers[network.n_layers - 1]
    width = panel_width(workspace)
    activate_outputs(workspace, last, network, begin, end)
    for row in range(begin, end):
        for column in range(last.fan_out):
            place = last.outputs + (column // width * capacity + row) * width + column % width
            out[first - begin + row, column] = workspace[place]
    restore_denormals(former)
