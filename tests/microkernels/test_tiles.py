"""The micro-kernel against its naive twin, for every height and width of a tile."""

import itertools

import numpy as np
import pytest

from fastmlp.microkernels import naive as microkernel_naive
from fastmlp.microkernels.dot_products import DOT_COLUMNS, DOT_ROWS, gemm_nt
from fastmlp.microkernels.function_table import function_table
from fastmlp.microkernels.narrow_tiles import MOST_ROWS
from fastmlp.microkernels.sparse_tiles import sparse_gemm_nn, sparse_gemm_tn
from fastmlp.microkernels.tile import MR, NO_PREFETCH, VECTORS, row_counts
from fastmlp.simd.jit import JIT_DISABLED, uncached
from fastmlp.simd.tile_table import SPARSE_TILE_ROWS, TILE
from tests.helpers.problems import DTYPES
from tests.helpers.tile_products import FINISHES, TWINS, Products, call_nn, call_tn, inner_sizes


@uncached
def call_nt(workspace, functions, out, a, a_step, b, b_step, n_vectors, n_tiles, rows, columns):
    gemm_nt(workspace, functions, out, a, a_step, b, b_step, n_vectors, n_tiles, rows, columns)


# Weight gradients start with zeros, and nothing is done to them.
EACH_PRODUCT = [*(("nn", finish) for finish in FINISHES), ("tn", None)]


@pytest.mark.parametrize(("kind", "finish"), EACH_PRODUCT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tile_is_that_of_the_naive_twin(dtype, kind, finish):
    products = Products(dtype)
    tolerance = 50 * np.finfo(dtype).eps
    for rows, vectors, inner_size in itertools.product(row_counts(MR), range(1, VECTORS + 1), inner_sizes(dtype)):
        compiled, naive = products.multiply(kind, rows, vectors, inner_size, finish)
        # NaN all around: what lies outside the tile is neither read nor written.
        np.testing.assert_allclose(compiled, naive, rtol=tolerance, atol=tolerance)
        changed = (compiled != products.workspace) & ~(np.isnan(compiled) & np.isnan(products.workspace))
        row, column = np.ogrid[:rows, : vectors * TILE.lanes(dtype)]
        inside = products.places["out"] + row * products.width + column
        assert changed[inside].all()
        assert changed.sum() == inside.size


@pytest.mark.parametrize("kind", TWINS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tile_does_not_show_in_the_bits(dtype, kind):
    products = Products(dtype, seed=1)
    width, lanes = products.width, TILE.lanes(dtype)
    inner_size = width + 3
    whole = products.workspace.copy()
    TWINS[kind][0](whole, *products.arguments(kind, MR, VECTORS, inner_size, "identity"))
    parts = products.workspace.copy()
    for row, vector in itertools.product(range(MR), range(VECTORS)):
        place, column = row * width + vector * lanes, vector * lanes
        if kind == "nn":
            functions, out, start, stride, left, step, right, *rest = products.arguments(
                kind, 1, 1, inner_size, "identity"
            )
            own = (start + place, stride, left + row * width, step, right + column)
        else:
            functions, out, left, right, *rest = products.arguments(kind, 1, 1, inner_size, None)
            own = (left + row, right + column)
        TWINS[kind][0](parts, functions, out + place, *own, *rest)
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize(("kind", "finish"), EACH_PRODUCT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_prefetching_does_not_show_in_the_bits(dtype, kind, finish):
    products = Products(dtype, seed=4)
    places = (0, products.places["right"], len(products.workspace))
    for (rows, vectors), inner_size in itertools.product(((MR, VECTORS), (MR, 1), (1, VECTORS)), inner_sizes(dtype)):
        size = rows, vectors, inner_size, finish
        plain, naive = products.multiply(kind, *size)
        np.testing.assert_allclose(plain, naive, rtol=50 * np.finfo(dtype).eps, atol=50 * np.finfo(dtype).eps)
        for compiled, naive in (products.multiply(kind, *size, place) for place in places):
            np.testing.assert_array_equal(compiled, plain)
            np.testing.assert_allclose(naive, plain, rtol=50 * np.finfo(dtype).eps, atol=50 * np.finfo(dtype).eps)


@pytest.mark.parametrize("finish", FINISHES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_pass_through(dtype, finish):
    products = Products(dtype, seed=2)
    place = products.places["left_nn"]
    products.workspace[place] = np.nan
    products.workspace[place + products.width] = np.inf
    products.workspace[products.places["activations"]] = np.nan
    compiled, naive = products.multiply("nn", row_counts(MR)[0], VECTORS, 4, finish)
    np.testing.assert_allclose(compiled, naive, rtol=1e-4)
    assert np.isnan(compiled[products.places["out"]])


@uncached
def call_sparse_nn(
    workspace, functions, out, left, right, left_places, right_places, count, vectors, start, stride, floor, prefetch
):  # fmt: skip
    sparse_gemm_nn(
        workspace, functions, out, left, right, left_places, right_places, count, vectors, start, stride, floor,
        prefetch
    )  # fmt: skip


@uncached
def call_sparse_tn(workspace, functions, out, left, right, left_places, right_places, count, vectors, prefetch):
    sparse_gemm_tn(workspace, functions, out, left, right, left_places, right_places, count, vectors, prefetch)


SPARSE_TWINS = {
    "nn": (call_sparse_nn, microkernel_naive.sparse_gemm_nn, call_nn),
    "tn": (call_sparse_tn, microkernel_naive.sparse_gemm_tn, call_tn),
}


class SparseProducts(Products):
    """The operands of a product, most of whose numbers of A are zero, and the lists of those k where not all are."""

    def __init__(self, dtype, kind, inner_size):
        super().__init__(dtype, seed=6)
        self.kind, self.inner_size = kind, inner_size
        width = self.width
        k, row = np.arange(inner_size), np.arange(SPARSE_TILE_ROWS)[:, np.newaxis]
        if kind == "nn":
            in_a = k // width * self.rows * width + k % width
            left = self.places["left_nn"] + row * width + in_a
        else:
            in_a = k * width
            left = self.places["left_tn"] + row + in_a
        generator = np.random.RandomState(inner_size)
        self.workspace[left[generator.uniform(size=left.shape) < 0.8]] = 0
        is_listed = (self.workspace[left] != 0).any(axis=0)
        self.count = int(is_listed.sum())
        lists = np.concatenate([in_a[is_listed], k[is_listed] * width])
        self.places["lists"] = len(self.workspace)
        self.workspace = np.append(self.workspace, np.zeros(len(lists), dtype))
        microkernel_naive.as_indices(self.workspace)[self.places["lists"] :] = lists

    def sparse_arguments(self, vectors, finish=None, prefetch=NO_PREFETCH):
        places = self.places
        operands = (
            function_table(np.dtype(self.dtype), False, True), places["out"], places[f"left_{self.kind}"],
            places["right"], places["lists"], places["lists"] + self.count, self.count, vectors,
        )  # fmt: skip
        if self.kind == "tn":
            return (*operands, (prefetch, places["activations"], places["start"]))
        shares_start, floor, _ = FINISHES[finish]
        return (*operands, places["start"], 0 if shares_start else self.width, self.dtype(floor), prefetch)


@pytest.mark.parametrize(("kind", "finish"), [("nn", "identity"), ("nn", "relu"), ("tn", None)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_over_a_list_is_the_same_to_the_last_bit(dtype, kind, finish):
    tolerance = 50 * np.finfo(dtype).eps
    compiled_twin, naive_twin, call_whole = SPARSE_TWINS[kind]
    for inner_size, vectors in itertools.product(inner_sizes(dtype), range(1, VECTORS + 1)):
        products = SparseProducts(dtype, kind, inner_size)
        assert products.count < max(inner_size, 1)
        whole, naive = products.workspace.copy(), products.workspace.copy()
        call_whole(whole, *products.arguments(kind, SPARSE_TILE_ROWS, vectors, inner_size, finish))
        naive_twin(naive, *products.sparse_arguments(vectors, finish))
        np.testing.assert_allclose(naive, whole, rtol=tolerance, atol=tolerance)
        for prefetch in (NO_PREFETCH, 0, products.places["right"]):
            sparse = products.workspace.copy()
            compiled_twin(sparse, *products.sparse_arguments(vectors, finish, prefetch))
            np.testing.assert_array_equal(sparse, whole)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inner_products_over_samples(dtype):
    width, lanes = TILE.columns(dtype), TILE.lanes(dtype)
    generator = np.random.RandomState(0)
    most_tiles = 2
    a_units, b_units, n_panels = most_tiles * DOT_ROWS + 1, DOT_COLUMNS + 2, 3
    a, out = 5, 5 + n_panels * a_units * width
    b = out + most_tiles * DOT_ROWS * width + 3
    workspace = generator.standard_normal(b + n_panels * b_units * width).astype(dtype)
    workspace[out : out + most_tiles * DOT_ROWS * width] = np.nan
    table = function_table(np.dtype(dtype), True)
    tolerance = 200 * np.finfo(dtype).eps
    numbers_of_vectors = [1, VECTORS - 1, VECTORS, VECTORS + 1, n_panels * VECTORS]
    for rows, columns, n_vectors, n_tiles in itertools.product(
        range(1, DOT_ROWS + 1), range(1, DOT_COLUMNS + 1), numbers_of_vectors, range(1, most_tiles + 1)
    ):
        arguments = (table, out, a, a_units * width, b, b_units * width, n_vectors, n_tiles, rows, columns)
        compiled, naive, expected = workspace.copy(), workspace.copy(), workspace.copy()
        call_nt(compiled, *arguments)
        microkernel_naive.gemm_nt(naive, *arguments)
        for i, j in itertools.product(range(n_tiles * rows), range(columns)):
            # The panels' rows of one unit, one behind the other.
            left, right = (
                workspace[place:][: n_panels * units * width].reshape(n_panels, units, width)[:, unit].ravel()
                for place, units, unit in ((a, a_units, i), (b, b_units, j))
            )
            expected[out + i * width + j] = left[: n_vectors * lanes] @ right[: n_vectors * lanes]
        np.testing.assert_allclose(compiled, expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(naive, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_tiles_does_not_show_in_the_bits_of_inner_products(dtype):
    width, n_vectors = TILE.columns(dtype), 2 * VECTORS + 1
    a, b, out = 0, 9 * DOT_ROWS * width, 15 * DOT_ROWS * width
    workspace = np.random.RandomState(1).standard_normal(18 * DOT_ROWS * width).astype(dtype)
    steps = 3 * DOT_ROWS * width, 2 * width
    table = function_table(np.dtype(dtype), True)
    together, apart = workspace.copy(), workspace.copy()
    call_nt(together, table, out, a, steps[0], b, steps[1], n_vectors, 3, DOT_ROWS, 2)
    for tile in range(3):
        below = tile * DOT_ROWS * width
        call_nt(apart, table, out + below, a + below, steps[0], b, steps[1], n_vectors, 1, DOT_ROWS, 2)
    np.testing.assert_array_equal(together, apart)


def test_the_heights_of_tiles_cover_every_number_of_rows():
    heights = row_counts(MR)
    assert heights[0] == MR
    assert heights[-1] == 1
    assert heights == sorted(heights, reverse=True)
    assert row_counts(6) == [6, 4, 2, 1]
    assert row_counts(8) == [8, 4, 2, 1]


@pytest.mark.needs_jit
def test_the_table_holds_an_address_for_each_function():
    assert not JIT_DISABLED
    for dtype in DTYPES:
        n_tiles = 2 * len(row_counts(MR)) * VECTORS + 2  # and those that prefetch
        n_narrow = 2 * sum(MOST_ROWS) + DOT_ROWS * DOT_COLUMNS
        for narrow, count in ((False, n_tiles), (True, n_narrow)):
            table = function_table(np.dtype(dtype), narrow)
            assert len(set(table[table != 0])) == count
