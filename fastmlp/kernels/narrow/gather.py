"""The gather of a narrow network: samples, in any order, become columns of its panels (see ``narrow.products``)."""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.csr import add_sparse_row
from fastmlp.kernels.samples import sample_of
from fastmlp.simd.conversion import SOURCE_KINDS, scalar_converted
from fastmlp.simd.jit import inner
from fastmlp.simd.transposition import copy_transposed, row_addresses
from fastmlp.simd.vectors import BLOCK_COLUMNS, lane_count, panel_width

# Kinds of X up to this one are of floating-point numbers.
_FLOAT64 = SOURCE_KINDS[np.dtype(np.float64)]


@inner
def _gather_floats(workspace, panel, address, row_stride, column_stride, item_bytes, columns, order, first, samples):
    """Copy rows ``order[first]`` and on, of float32 or float64, into columns of one panel.

    The rest of a register is filled with the last sample. `row_addresses` finds the samples of a whole register, as
    `sample_of` does for one row.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    # Columns that lie apart are copied one by one.
    block = min(BLOCK_COLUMNS, lanes) if column_stride == item_bytes else 1
    for lane in range(0, samples, lanes):
        addresses = row_addresses(workspace, address, row_stride, order, first + lane, samples - lane)
        for column in range(0, columns, block):
            copy_transposed(
                workspace, panel + column * width + lane, width, addresses, column * column_stride, item_bytes == 8,
                min(block, columns - column),
            )  # fmt: skip


@inner
def _gather_integers(workspace, panel, source, order, start, first, samples):
    """Copy samples `first` and on of the minibatch, of whole numbers, one by one into columns of one panel."""
    width = panel_width(workspace)
    for lane in range(samples):
        address = source.address + sample_of(order, start, first + lane) * source.row_stride
        for unit in range(source.columns):
            workspace[panel + unit * width + lane] = scalar_converted(workspace, address, source.kind)
            address += source.column_stride


@inner
def narrow_gather(workspace, layer, source, order, start, first, end):
    """Copy samples `first` to `end` of the minibatch, one panel, into columns of A_0^T.

    Behind the last sample there are finite numbers, whatever they are: their deltas are zeros.

    workspace[layer.inputs...] : panels of fan_in + 1 rows. The panel's are overwritten, but for the last, the ones.
    """
    width = panel_width(workspace)
    panel = layer.inputs + first // width * (layer.fan_in + 1) * width
    samples = end - first
    if source.is_sparse:
        workspace[panel : panel + layer.fan_in * width] = 0
        for lane in range(samples):
            add_sparse_row(workspace, panel + lane, 1, width, source, sample_of(order, start, first + lane))
    elif source.kind <= _FLOAT64:
        _gather_floats(
            workspace, panel, source.address, source.row_stride, source.column_stride, source.item_bytes,
            source.columns, order, start + first, samples,
        )  # fmt: skip
    else:
        _gather_integers(workspace, panel, source, order, start, first, samples)


@inner
def narrow_gather_targets(workspace, layer, network, targets, labels, sample_weight, order, first, end):
    """Copy targets (or labels) and weights of samples `first` to `end`, one panel, to where lanes find them."""
    width = panel_width(workspace)
    samples = end - first
    if network.weighted:
        for lane in range(samples):
            workspace[network.weights + first + lane] = sample_weight[sample_of(order, network.start, first + lane)]
    if network.has_labels:
        for lane in range(samples):
            workspace[network.targets + first + lane] = labels[sample_of(order, network.start, first + lane)]
        return
    panel = network.targets + first // width * layer.fan_out * width
    item_bytes = workspace.itemsize
    _gather_floats(
        workspace, panel, targets.ctypes.data, layer.fan_out * item_bytes, item_bytes, item_bytes, layer.fan_out, order,
        network.start + first, samples,
    )  # fmt: skip
