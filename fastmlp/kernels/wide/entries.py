r"""The entries of a sparse X: what a first layer keeps of a minibatch in place of dense panels.

A text that is hashed to 2**18 columns has some twenty entries a row. Panels of it would be nothing but zeros, and take
longer to write and to read than all that is computed from them. Where X is a CSR matrix and so sparse that it pays (see
``network.sparsity``), phase 1 copies the entries of its samples, one after the other, into four lists: values, columns,
samples, and links. Weights lie row after row, so that an entry needs one run of numbers of W in forward, and changes
one run of its gradient::

                 columns                      values    a    b    c    d    e
                 0 1 2 3   4 5 6 7            columns   1    4    5    2    0
               +---------+---------+          samples   0    0    1    2    2
      sample 0 | . a . . | b . . . |          links     3    2    -    -    -
      sample 1 | . . . . | . c . . |                    |    |              linked by tiles of W: here
      sample 2 | e . d . | . . . . |                    +-> d, e            four rows each
               +---------+---------+                         +-> c

Phase 2 links the entries of each tile of W, in the order of the samples, and each block those of its own tiles. A sum
has its terms in that order, whichever block computes it.

Numbers of columns, samples and entries are integers in the workspace, as wide as its numbers.
"""

from __future__ import annotations

from fastmlp.kernels.samples import sample_of
from fastmlp.simd.conversion import index_at, scalar_converted
from fastmlp.simd.integers import load_index, store_index
from fastmlp.simd.jit import inner
from fastmlp.simd.tile_table import ENTRY_TILE_ROWS

NO_ENTRY = -1


@inner
def entries_of_row(source, sample):
    """Return where the entries of a row of X begin and end."""
    is_wide = source.row_starts_wide != 0
    index_bytes = 8 if is_wide else 4
    place = source.row_starts + sample * index_bytes
    return index_at(place, is_wide), index_at(place + index_bytes, is_wide)


@inner
def copy_entries(workspace, layer, source, first, last, place):
    """Copy entries `first` to `last` of X to the lists of columns and values, from `place` on."""
    is_wide = source.column_numbers_wide != 0
    index_bytes = 8 if is_wide else 4
    for item in range(first, last):
        column = index_at(source.column_numbers + item * index_bytes, is_wide)
        address = source.address + item * source.item_bytes
        store_index(workspace, layer.entry_columns + place, column)
        workspace[layer.entry_values + place] = scalar_converted(workspace, address, source.kind)
        place += 1


@inner
def gather_entries(workspace, layer, source, order, start, begin, end):
    """Copy the entries of samples ``order[start + begin : start + end]``, which are `begin` to `end` of the minibatch.

    Their place in all lists, and in those of where the entries of a sample begin and end, is overwritten.
    """
    place = 0
    for row in range(begin):  # another block may not have copied these yet
        first, last = entries_of_row(source, sample_of(order, start, row))
        place += last - first
    for row in range(begin, end):
        first, last = entries_of_row(source, sample_of(order, start, row))
        copy_entries(workspace, layer, source, first, last, place)
        store_index(workspace, layer.entry_begins + row, place)
        for _ in range(first, last):
            store_index(workspace, layer.entry_samples + place, row)
            place += 1
        store_index(workspace, layer.entry_ends + row, place)


@inner
def entries_of_sample(workspace, layer, row):
    """Return where the entries of a sample of the minibatch begin and end in the lists."""
    return load_index(workspace, layer.entry_begins + row), load_index(workspace, layer.entry_ends + row)


@inner
def link_entries(workspace, layer, rows, first_tile, last_tile):
    """Link the entries of each tile of W from `first_tile` to `last_tile`, over a minibatch of so many rows.

    workspace[layer.tile_entries...], [layer.entry_links...]: those of these tiles are overwritten.
    """
    for tile in range(first_tile, last_tile):
        store_index(workspace, layer.tile_entries + tile, NO_ENTRY)
    # From the last entry to the first: each is put in front of those that come after it.
    for entry in range(load_index(workspace, layer.entry_ends + rows - 1) - 1, -1, -1):
        tile = load_index(workspace, layer.entry_columns + entry) // ENTRY_TILE_ROWS
        if first_tile <= tile < last_tile:
            store_index(workspace, layer.entry_links + entry, load_index(workspace, layer.tile_entries + tile))
            store_index(workspace, layer.tile_entries + tile, entry)
