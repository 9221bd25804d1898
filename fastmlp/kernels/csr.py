"""Rows of a CSR matrix, read where they lie."""

from __future__ import annotations

from fastmlp.simd.conversion import index_at, scalar_converted
from fastmlp.simd.jit import inner


@inner
def add_sparse_row(workspace, place, panel_columns, panel_step, source, sample):
    """Add the entries of one row of a CSR matrix to what stands in the workspace.

    Column j is added at ``place + j // panel_columns * panel_step + j % panel_columns``.
    """
    wide = source.row_starts_wide != 0
    index_bytes = 8 if wide else 4
    item = index_at(source.row_starts + sample * index_bytes, wide)
    last = index_at(source.row_starts + (sample + 1) * index_bytes, wide)
    wide = source.column_numbers_wide != 0
    index_bytes = 8 if wide else 4
    while item < last:
        column = index_at(source.column_numbers + item * index_bytes, wide)
        target = place + column // panel_columns * panel_step + column % panel_columns
        # Added, not assigned: a CSR matrix may hold an entry in several parts.
        workspace[target] += scalar_converted(workspace, source.address + item * source.item_bytes, source.kind)
        item += 1
