"""The layout: where matrices lie, and the way into panels and back."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.network.layout import Layout, LayoutOptions
from fastmlp.network.packing import Panels
from fastmlp.simd.tile_table import ALIGNMENT, BLOCK_BYTES, RESIDENT_BYTES, SPARSE_TILE_ROWS, TILE, aligned_zeros
from tests.helpers.phases import places_of_tiles
from tests.helpers.problems import DTYPES, make_problem, parameters_of

sizes = st.integers(1, 2 * TILE.columns(np.float32) + 3)


def in_panels(array, start, rows, columns):
    """Return the matrix that lies in panels of as many rows, and what lies beyond its columns."""
    width = TILE.columns(array.dtype)
    n_panels = -(-columns // width)
    panels = array[start : start + n_panels * rows * width].reshape(n_panels, rows, width)
    whole = np.concatenate(list(panels), axis=1)
    return whole[:, :columns], whole[:, columns:]


@settings(deadline=None, derandomize=True, database=None)
@given(rows=sizes, columns=sizes, dtype=st.sampled_from(DTYPES), start=st.integers(0, 9))
def test_packing_and_unpacking(rows, columns, dtype, start):
    width = TILE.columns(dtype)
    generator = np.random.RandomState(0)
    arrays = [generator.standard_normal(shape).astype(dtype) for shape in ((rows, columns), (columns,))]
    size = -(-columns // width) * (rows + 1) * width
    copies = np.full((3, start + size + 5), 7, dtype)
    for array, first_row in zip(arrays, (0, rows), strict=True):
        panels = Panels(copies, array.shape, start, rows + 1, width, first_row)
        panels.write(array)
        panels.write(2 * array, copy=2)
        again = np.full_like(array, np.nan)
        panels.read(again)
        np.testing.assert_array_equal(again, array)
        panels.read(again, copy=2)
        np.testing.assert_array_equal(again, 2 * array)
    for copy, factor in ((0, 1), (2, 2)):
        matrix, beyond = in_panels(copies[copy], start, rows + 1, columns)
        np.testing.assert_array_equal(matrix, factor * np.vstack(arrays))
        assert not beyond.any()
    assert (copies[1] == 7).all()
    assert (copies[:, :start] == 7).all()
    assert (copies[:, -5:] == 7).all()


def test_a_matrix_of_any_strides_and_type_is_packed():
    width = 12  # one panel is enough, whatever the tile
    matrix = np.arange(60).reshape(6, 10)
    for view in (matrix, np.asfortranarray(matrix), matrix[::-1, ::2], matrix.astype(np.float64)):
        panels = Panels(np.zeros((1, 7 * width), np.float32), view.shape, 0, 7, width)
        panels.write(view)
        again = np.empty(view.shape[::-1], np.float32).T
        panels.read(again)
        np.testing.assert_array_equal(again, view)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 15, 1000])
def test_memory_starts_on_a_cache_line(size, dtype):
    for _ in range(5):
        numbers = aligned_zeros(size, dtype)
        assert numbers.ctypes.data % ALIGNMENT == 0
        assert numbers.shape == (size,)
        assert numbers.dtype == dtype
        assert not numbers.any()
        assert numbers.flags.c_contiguous
        assert numbers.flags.writeable


def extents(layout, layer_units, n_moments, with_deltas, narrow):
    """Return (begin, end) of every matrix of a layout."""
    width, capacity = layout.panel_width, layout.capacity

    def panels(rows, columns):
        return -(-columns // width) * rows * width

    places = []
    for layer, (fan_in, fan_out) in zip(layout.places, itertools.pairwise(layer_units), strict=True):
        size = panels(fan_in + 1, fan_out)
        for copy in range(n_moments + 1):
            begin = layer.parameters + copy * layout.n_parameters
            places.append((begin, begin + size))
        units, deltas = (panels(fan_out + 1, capacity), panels(fan_out, capacity)) if narrow else 2 * (
            panels(capacity, fan_out),
        )  # fmt: skip
        places.append((layer.outputs, layer.outputs + units))
        if with_deltas:
            places.append((layer.deltas, layer.deltas + deltas))
        if layer.transposed:
            places.append((layer.transposed, layer.transposed + panels(fan_out, fan_in)))
        if layer.first_half:
            if narrow:  # whole tiles
                size = layer.row_tiles * -(-fan_out // width) * width**2
            elif layer.remainder_units:  # in the last panel a register of units in each tile, and the biases
                remainder = ((layer.remainder_tiles - 1) * max(TILE.rows, layout.lanes) + 1) * width
                size = panels(fan_in + 1, fan_out - layer.remainder_units) + remainder
            else:
                size = panels(fan_in + 1, fan_out)
            places += [(half, half + size) for half in (layer.first_half, layer.second_half)]
    n_features, n_outputs = layer_units[0], layer_units[-1]
    size = panels(n_features + 1, capacity) if narrow else panels(capacity, n_features)
    places.append((layout.places[0].inputs, layout.places[0].inputs + size))
    first = layout.places[0]
    if first.marks:
        n_marks = -(-n_features // max(SPARSE_TILE_ROWS, layout.lanes))
        places.append((first.marks, first.marks + n_marks * first.mark_rows))
        places.append(
            (first.feature_lists, first.feature_lists + capacity // SPARSE_TILE_ROWS * first.feature_list_size)
        )
    if layout.places[0].rows:
        places.append((layout.places[0].rows, layout.places[0].rows + panels(panels(1, capacity), n_features)))
    if with_deltas:
        size = panels(n_outputs, capacity) if narrow else panels(capacity, n_outputs)
        places.append((layout.targets, layout.targets + size))
    places += [(place, place + capacity) for place in (layout.losses, layout.weights, layout.sums)]
    places += [(layout.squares, layout.squares + layout.n_tiles), (layout.zeros, layout.zeros + width)]
    return places


@settings(deadline=None, derandomize=True, database=None)
@given(
    layer_units=st.lists(sizes, min_size=2, max_size=5),
    capacity=st.integers(1, 70),
    dtype=st.sampled_from(DTYPES),
    n_moments=st.integers(0, 2),
    n_blocks=st.integers(1, 8),
    kind=st.sampled_from(["training", "sparse", "narrow", "narrow by rows", "prediction", "sparse prediction"]),
    in_halves=st.booleans(),
)
def test_no_two_matrices_overlap_and_all_are_aligned(
    layer_units, capacity, dtype, n_moments, n_blocks, kind, in_halves
):
    with_deltas, narrow = "prediction" not in kind, kind.startswith("narrow")
    by_rows, in_halves = kind.endswith("rows"), in_halves and with_deltas
    part = 0.5 if kind.startswith("sparse") else 1.0
    layout = Layout(
        layer_units,
        capacity,
        dtype,
        LayoutOptions(n_moments, with_deltas, n_blocks, narrow, by_rows, in_halves, part),
    )
    first = layout.places[0]
    assert (first.marks > 0) == (part < 1)
    places = sorted(extents(layout, layer_units, n_moments, with_deltas, narrow))
    scratch_rows = 3 * layout.panel_width if narrow else 2 * TILE.rows
    if any(layer.remainder_units for layer in layout.places):
        scratch_rows = 2 * max(TILE.rows, layout.lanes) + layout.panel_width
    lists_size = first.n_sample_lists * first.sample_list_size
    assert (lists_size > 0) == (kind == "sparse")
    grain = max(layout.panel_width, ALIGNMENT // np.dtype(dtype).itemsize)
    assert 0 <= layout.scratch_size - scratch_rows * layout.panel_width - lists_size < grain
    if lists_size:
        assert first.sample_lists == scratch_rows * layout.panel_width
    places.append((layout.scratch, layout.scratch + n_blocks * layout.scratch_size))
    for (_, end), (begin, _) in itertools.pairwise(places):
        assert end <= begin
    assert places[-1][1] <= layout.size
    for begin, _ in places:
        assert begin * np.dtype(dtype).itemsize % ALIGNMENT == 0
    assert (layout.places[0].rows > 0) == by_rows
    for before, after in itertools.pairwise(layout.places):
        assert after.rows == 0
        assert before.outputs == after.inputs
        assert after.first_tile == before.first_tile + len(places_of_tiles(before, layout.panel_width, narrow))


def test_lists_of_places_that_are_too_large_for_them_are_not_written():
    """A place is an integer as wide as a number."""

    def has_lists(fan_in, capacity, dtype):
        layout = Layout([fan_in, 1], capacity, dtype, LayoutOptions(0, False, 1, term_density=0.5))
        return layout.places[0].marks > 0

    width = TILE.columns(np.float32)
    most = (2**31 - 1) // width
    assert has_lists(width, most, np.float32)  # X is large
    assert not has_lists(width, most + 1, np.float32)
    assert has_lists(most // width * width, 1, np.float32)  # W is
    assert not has_lists(most // width * width + 1, 1, np.float32)
    assert has_lists(width, most + 1, np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_blocks", range(1, 9))
def test_blocks_of_weights_cover_all_tiles_once(n_blocks, dtype):
    for layer_units in ([1, 1], [3, 2, 1], [200, 100, 3], [7, 300, 20]):
        network = make_problem(layer_units, dtype=dtype).network(n_threads=1)
        bounds = network.tile_bounds(n_blocks)
        assert len(bounds) == n_blocks + 1
        assert bounds[0] == 0
        assert bounds[-1] == network.fields["n_tiles"]
        assert (np.diff(bounds) >= 0).all()


@pytest.mark.parametrize("capacity", [1, 300, 10_000, 200_000])
@pytest.mark.parametrize("fan_in", [1, 50, 700])
def test_numbers_of_tiles_keep_blocks_together(fan_in, capacity):
    width = TILE.columns(np.float32)
    n_panels = 3
    layout = Layout([fan_in, n_panels * width + 1], capacity, np.float32, LayoutOptions(0, False, 1))
    (layer,) = layout.places
    assert layer.remainder_units == 1
    places = places_of_tiles(layer, width)
    assert len(places) == layout.n_tiles
    regular, remainder = places[: -layer.remainder_tiles], places[-layer.remainder_tiles :]
    blocks = [[-(-row // TILE.rows) // layer.block_tiles, panel, row] for panel, row in regular]
    assert blocks == sorted(blocks)
    assert sorted(regular) == [
        (panel, row) for panel in range(n_panels) for row in (*range(0, fan_in, TILE.rows), fan_in)
    ]
    assert remainder == [(n_panels, row) for row in (*range(0, fan_in, width), fan_in)]
    # A block's activations fit, unless those of one tile or panel are too many.
    units = layer.block_tiles * TILE.rows
    assert units <= width or units * capacity * 4 <= BLOCK_BYTES or layer.block_tiles == layer.row_tiles
    assert (layer.block_tiles == layer.row_tiles) == (capacity * fan_in * 4 <= BLOCK_BYTES or fan_in <= width)


@pytest.mark.parametrize("dtype", DTYPES)
def test_panels_of_weights_beyond_the_second_level_cache_are_prefetched(dtype):
    rows = RESIDENT_BYTES // (1000 * np.dtype(dtype).itemsize)
    layout = Layout([rows, 1000, rows + 1, 5], 10, dtype, LayoutOptions(2, True, 1))
    assert [layer.prefetch_panels for layer in layout.places] == [0, int(TILE.prefetches_panels), 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 5, 300])
def test_parameters_and_moments_come_back_as_they_went_in(batch_size, dtype):
    for layer_units in ([2, 4, 1], [65, 24, 3], [100, 49, 50]):
        problem = make_problem(layer_units, dtype=dtype, n_samples=batch_size)
        network = problem.network(solver="adam")
        given_parameters = problem.coefs + problem.intercepts
        generator = np.random.RandomState(1)
        moments = [[generator.standard_normal(a.shape).astype(dtype) for a in given_parameters] for _ in range(2)]
        network.set_moments(*moments)
        for array, expected in zip(parameters_of(network), given_parameters, strict=True):
            np.testing.assert_array_equal(array, expected)
        returned = [[np.empty_like(array) for array in given_parameters] for _ in range(2)]
        network.get_moments(*returned)
        for array, expected in zip(itertools.chain(*returned), itertools.chain(*moments), strict=True):
            np.testing.assert_array_equal(array, expected)


def test_parameters_of_another_type_are_cast():
    problem = make_problem([3, 4, 2], dtype=np.float64)
    network = make_problem([3, 4, 2], dtype=np.float32).network()
    network.set_parameters(problem.coefs, problem.intercepts)
    for array, expected in zip(parameters_of(network), problem.coefs + problem.intercepts, strict=True):
        np.testing.assert_array_equal(array, expected.astype(np.float32))
