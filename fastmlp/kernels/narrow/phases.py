"""The two phases of a narrow network's training step (see ``narrow.products`` and ``wide.phases``)."""

from __future__ import annotations

from fastmlp.kernels.narrow.gather import narrow_gather, narrow_gather_targets
from fastmlp.kernels.narrow.gradients import narrow_gradient, narrow_half_gradient, write_rows
from fastmlp.kernels.narrow.losses import narrow_loss
from fastmlp.kernels.narrow.products import narrow_backward_data, narrow_forward, panels_at_once
from fastmlp.kernels.optimizers import update_tile
from fastmlp.kernels.tiles import ask_for_lines, tile_vectors
from fastmlp.simd.denormals import flush_denormals, restore_denormals
from fastmlp.simd.jit import inner, kernel
from fastmlp.simd.vectors import ask_to_read, lane_count, line_count, panel_width


@inner
def _ask_for_weights(workspace, layers, n_layers):
    """Ask for all W: parts of them were written by another core."""
    width = panel_width(workspace)
    for number in range(n_layers):
        layer = layers[number]
        n_panels = (layer.fan_out + width - 1) // width
        end = layer.parameters + n_panels * (layer.fan_in + 1) * width
        for place in range(layer.parameters, end, line_count(workspace)):
            ask_to_read(workspace, place)


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
def _ask_for_tiles(workspace, layers, n_layers, first_tile, last_tile):
    """Ask for the tiles of W that this core will write, for it alone: see ``wide.phases``."""
    width = panel_width(workspace)
    for number in range(n_layers):
        layer = layers[number]
        n_tiles = layer.row_tiles * ((layer.fan_out + width - 1) // width)
        for tile in range(max(first_tile - layer.first_tile, 0), min(last_tile - layer.first_tile, n_tiles)):
            _, _, place, height, columns = _place_of_tile(workspace, layer, tile)
            ask_for_lines(workspace, place, height, columns, lane_count(workspace))


@kernel
def propagate_narrow(workspace, tiles, layers, network, source, targets, labels, sample_weight, order, begin, end):
    """Phase 1 for samples `begin` to `end`, some panels at a time; `begin` starts a panel."""
    former = flush_denormals()
    shared = network[0]
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    last = layers[shared.n_layers - 1]
    most = panels_at_once(workspace, layers, shared.n_layers)
    if shared.shared:
        _ask_for_weights(workspace, layers, shared.n_layers)
    first = begin
    while first < end:
        # Whole panels go together, and the rest on its own.
        panels = max(1, min(most, (end - first) // width))
        samples = min(width, end - first)
        vectors = tile_vectors(end, first, lanes)
        panel = first // width
        if shared.gather:
            for place in range(first, first + panels * width, width):
                narrow_gather(workspace, layers[0], source[0], order, shared.start, place, place + samples)
                if layers[0].rows:
                    write_rows(workspace, layers[0], place, samples, shared.capacity)
                narrow_gather_targets(
                    workspace, last, shared, targets, labels, sample_weight, order, place, place + samples
                )
        for number in range(shared.n_layers):
            narrow_forward(workspace, tiles, layers[number], panel, panels, vectors)
        narrow_loss(workspace, last, shared, panel, panels, samples, vectors)
        for number in range(shared.n_layers - 1, 0, -1):
            narrow_backward_data(workspace, tiles, layers[number], layers[number - 1], panel, panels, vectors)
        first += panels * width
    if shared.blocks_are_halves:
        for number in range(shared.n_layers):
            if layers[number].first_half:
                narrow_half_gradient(workspace, tiles, layers[number], shared, begin, end)
    restore_denormals(former)


@inner
def _update_weights(workspace, tiles, layer, shared, tile, scratch):
    """Gradient and update of one of a layer's tiles of W; return what it adds to the L2 term.

    The biases of the last row have a rate and a decay of their own.
    """
    panel, unit, place, height, columns = _place_of_tile(workspace, layer, tile)
    rows = min(height, layer.fan_in - unit)
    gradient = narrow_gradient(workspace, tiles, layer, shared, scratch, tile, unit, panel)
    term = update_tile(workspace, shared, gradient, place, place, rows, columns, layer.rate_factor, layer.decay_factor)
    if rows < height:
        below = rows * panel_width(workspace)
        term += update_tile(
            workspace, shared, gradient + below, place + below, place + below, height - rows, columns,
            layer.bias_rate_factor, layer.bias_decay_factor,
        )  # fmt: skip
    return term


@kernel
def update_narrow(workspace, tiles, layers, network, first_tile, last_tile, block):
    """Phase 2 for weight tiles `first_tile` to `last_tile`: gradients over the minibatch, and the updates."""
    former = flush_denormals()
    shared = network[0]
    width = panel_width(workspace)
    scratch = shared.scratch + block * shared.scratch_size
    if shared.shared:
        _ask_for_tiles(workspace, layers, shared.n_layers, first_tile, last_tile)
    for number in range(shared.n_layers):
        layer = layers[number]
        n_tiles = layer.row_tiles * ((layer.fan_out + width - 1) // width)
        for tile in range(max(first_tile - layer.first_tile, 0), min(last_tile - layer.first_tile, n_tiles)):
            workspace[shared.squares + layer.first_tile + tile] = _update_weights(
                workspace, tiles, layer, shared, tile, scratch
            )
    restore_denormals(former)
