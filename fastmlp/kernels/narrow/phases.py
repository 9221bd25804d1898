"""The two phases of a narrow network's training step (see ``narrow.products`` and ``wide.phases``)."""

from __future__ import annotations

from fastmlp.kernels.narrow.gather import narrow_gather, narrow_gather_targets
from fastmlp.kernels.narrow.gradients import narrow_gradient, narrow_half_gradient, write_rows
from fastmlp.kernels.narrow.losses import narrow_loss
from fastmlp.kernels.narrow.products import narrow_backward_data, narrow_forward, panels_at_once
from fastmlp.kernels.optimizers import update_tile
from fastmlp.kernels.records import MEMORY, SAMPLES
from fastmlp.kernels.tiles import prefetch_lines, tile_vectors
from fastmlp.simd.arguments import INTEGER
from fastmlp.simd.denormals import flush_denormals, restore_denormals
from fastmlp.simd.jit import always_inline, inner, kernel
from fastmlp.simd.vectors import lane_count, line_count, panel_width, prefetch_to_read


@inner
def _prefetch_weights(workspace, layers, n_layers):
    """Prefetch all W: parts of them were written by another core."""
    width = panel_width(workspace)
    for number in range(n_layers):
        layer = layers[number]
        n_panels = (layer.fan_out + width - 1) // width
        end = layer.parameters + n_panels * (layer.fan_in + 1) * width
        for place in range(layer.parameters, end, line_count(workspace)):
            prefetch_to_read(workspace, place)


@inner
def _place_of_tile(workspace, layer, tile):
    """Return the panel and the first unit of one of a layer's tiles of W, its place, and its rows and columns.

    The last tile of a panel has the biases in its last row.
    """
    width = panel_width(workspace)
    panel = tile // layer.row_tiles
    unit = tile % layer.row_tiles * width
    place = layer.parameters + (panel * (layer.fan_in + 1) + unit) * width
    height = min(width, layer.fan_in + 1 - unit)
    columns = tile_vectors(layer.fan_out, panel * width, lane_count(workspace)) * lane_count(workspace)
    return panel, unit, place, height, columns


@inner
def _prefetch_tiles(workspace, layers, n_layers, first_tile, last_tile):
    """Prefetch the tiles of W that this core will write, for it alone: see ``wide.phases``."""
    width = panel_width(workspace)
    for number in range(n_layers):
        layer = layers[number]
        n_tiles = layer.row_tiles * ((layer.fan_out + width - 1) // width)
        for tile in range(max(first_tile - layer.first_tile, 0), min(last_tile - layer.first_tile, n_tiles)):
            _, _, place, height, columns = _place_of_tile(workspace, layer, tile)
            prefetch_lines(workspace, place, height, columns, lane_count(workspace))


@inner
def next_panels(workspace, most, first, end):
    """Return how many panels from sample `first` on go next, at most so many, and the samples and vectors of each.

    Whole panels go together, and the rest on its own.
    """
    width = panel_width(workspace)
    panels = max(1, min(most, (end - first) // width))
    return panels, min(width, end - first), tile_vectors(end, first, lane_count(workspace))


@always_inline
def gather_panels(workspace, layers, network, samples, first, panels, columns):
    """Copy the samples and targets of some panels into the workspace; columns: samples of each."""
    source, targets, labels, sample_weight, order = samples
    last = layers[network.n_layers - 1]
    width = panel_width(workspace)
    for place in range(first, first + panels * width, width):
        narrow_gather(workspace, layers[0], source[0], order, network.start, place, place + columns)
        if layers[0].rows:
            write_rows(workspace, layers[0], place, columns, network.capacity)
        narrow_gather_targets(
            workspace, last, network, targets, labels, sample_weight, order, place, place + columns
        )  # fmt: skip


@always_inline
def forward_panels(workspace, functions, layers, network, panel, panels, vectors):
    """Compute the activations of all layers for some panels."""
    for number in range(network.n_layers):
        narrow_forward(workspace, functions, layers[number], panel, panels, vectors)


@always_inline
def backward_panels(workspace, functions, layers, network, panel, panels, vectors):
    """Compute the deltas of all layers from the last one's for some panels."""
    for number in range(network.n_layers - 1, 0, -1):
        narrow_backward_data(workspace, functions, layers[number], layers[number - 1], panel, panels, vectors)


@kernel(MEMORY, SAMPLES, INTEGER, INTEGER, INTEGER)
def propagate_narrow(memory, samples, begin, end, block):
    """Phase 1 for samples `begin` to `end`, some panels at a time, as in ``wide.phases``; `begin` starts a panel."""
    former = flush_denormals()
    workspace, functions, layers, network_record = memory
    network = network_record[0]
    width = panel_width(workspace)
    last = layers[network.n_layers - 1]
    most = panels_at_once(workspace, layers, network.n_layers)
    if network.on_several_threads:
        _prefetch_weights(workspace, layers, network.n_layers)
    first = begin
    while first < end:
        panels, columns, vectors = next_panels(workspace, most, first, end)
        panel = first // width
        if network.gather:
            gather_panels(workspace, layers, network, samples, first, panels, columns)
        forward_panels(workspace, functions, layers, network, panel, panels, vectors)
        narrow_loss(workspace, last, network, panel, panels, columns, vectors)
        backward_panels(workspace, functions, layers, network, panel, panels, vectors)
        first += panels * width
    if network.blocks_are_halves:
        for number in range(network.n_layers):
            if layers[number].first_half:
                narrow_half_gradient(workspace, functions, layers[number], network, begin, end)
    restore_denormals(former)


@inner
def compute_narrow_gradient(workspace, functions, layer, network, tile, scratch):
    """Compute the gradient of one of a layer's tiles; return where it lies."""
    panel, unit, _, _, _ = _place_of_tile(workspace, layer, tile)
    return narrow_gradient(workspace, functions, layer, network, scratch, tile, unit, panel)


@inner
def apply_narrow_gradient(workspace, layer, network, gradient, tile):
    """Update one of a layer's tiles of W; return what it adds to the L2 term.

    The biases of the last row have a rate and a decay of their own.
    """
    _, unit, place, height, columns = _place_of_tile(workspace, layer, tile)
    rows = min(height, layer.fan_in - unit)
    term = update_tile(workspace, network, gradient, place, place, rows, columns, layer.rate_factor, layer.decay_factor)
    if rows < height:
        below = rows * panel_width(workspace)
        term += update_tile(
            workspace, network, gradient + below, place + below, place + below, height - rows, columns,
            layer.bias_rate_factor, layer.bias_decay_factor,
        )  # fmt: skip
    return term


@always_inline
def _update_tile(workspace, functions, layer, network, tile, scratch):
    """Gradient and update of one of a layer's tiles; return the sum of its squares."""
    gradient = compute_narrow_gradient(workspace, functions, layer, network, tile, scratch)
    return apply_narrow_gradient(workspace, layer, network, gradient, tile)


@always_inline
def narrow_layer_tiles(do, workspace, functions, layer, network, first_tile, last_tile, scratch):
    """Do something for a layer's weight tiles `first_tile` to `last_tile`, and keep the sum of squares it returns."""
    width = panel_width(workspace)
    n_tiles = layer.row_tiles * ((layer.fan_out + width - 1) // width)
    for tile in range(first_tile, min(last_tile, n_tiles)):
        squares = do(workspace, functions, layer, network, tile, scratch)
        workspace[network.squares + layer.first_tile + tile] = squares


@kernel(MEMORY, SAMPLES, INTEGER, INTEGER, INTEGER)
def update_narrow(memory, samples, first_tile, last_tile, block):
    """Phase 2 for weight tiles `first_tile` to `last_tile`, as in ``wide.phases``."""
    former = flush_denormals()
    workspace, functions, layers, network_record = memory
    network = network_record[0]
    scratch = network.scratch + block * network.scratch_size
    if network.on_several_threads:
        _prefetch_tiles(workspace, layers, network.n_layers, first_tile, last_tile)
    for number in range(network.n_layers):
        layer = layers[number]
        begin, end = max(first_tile - layer.first_tile, 0), last_tile - layer.first_tile
        narrow_layer_tiles(_update_tile, workspace, functions, layer, network, begin, end, scratch)
    restore_denormals(former)
