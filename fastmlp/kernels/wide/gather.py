"""The gather: rows of X, in any order and of any data type, dense or sparse, become panels of the first layer."""

from __future__ import annotations

from fastmlp.kernels.csr import add_sparse_row
from fastmlp.kernels.samples import sample_of
from fastmlp.simd.conversion import copy_row, scalar_converted
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import panel_width


@inner
def gather_rows(workspace, inputs, source, order, start, begin, end, capacity):
    """Copy samples ``order[start + begin : start + end]`` into rows `begin` to `end` of the panels at `inputs`.

    workspace[inputs...] : panels of `capacity` rows. Overwritten.
    """
    width = panel_width(workspace)
    if source.is_sparse:
        _gather_sparse(workspace, inputs, source, order, start, begin, end, capacity)
    elif source.column_stride == source.item_bytes:
        for row in range(begin, end):
            address = source.address + sample_of(order, start, row) * source.row_stride
            place = inputs + row * width
            for first in range(0, source.columns, width):
                columns = min(width, source.columns - first)
                copy_row(workspace, place, address + first * source.item_bytes, source.kind, columns)
                place += capacity * width
    else:
        for row in range(begin, end):
            address = source.address + sample_of(order, start, row) * source.row_stride
            for column in range(source.columns):
                place = inputs + (column // width * capacity + row) * width
                item = address + column * source.column_stride
                workspace[place + column % width] = scalar_converted(workspace, item, source.kind)


@inner
def _gather_sparse(workspace, inputs, source, order, start, begin, end, capacity):
    width = panel_width(workspace)
    for row in range(begin, end):
        for first in range(0, source.columns, width):
            place = inputs + (first // width * capacity + row) * width
            workspace[place : place + width] = 0
        add_sparse_row(workspace, inputs + row * width, width, capacity * width, source, sample_of(order, start, row))
