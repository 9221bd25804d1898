"""The micro-kernel against its naive twin, for every height and width of a tile."""

import itertools

import numpy as np
import pytest

from fastmlp.microkernels import naive as microkernel_naive
from fastmlp.microkernels.dot_products import DOT_COLUMNS, DOT_ROWS, gemm_nt
from fastmlp.microkernels.function_table import function_table
from fastmlp.microkernels.narrow_tiles import MOST_ROWS, batched_gemm_nn, batched_gemm_tn
from fastmlp.microkernels.sparse_tiles import sparse_gemm_nn, sparse_gemm_tn
from fastmlp.microkernels.tile import MR, N_COPIES, NO_PREFETCH, VECTORS, row_counts
from fastmlp.microkernels.tile_calls import gemm_nn, gemm_tn
from fastmlp.simd.jit import JIT_DISABLED, uncached
from fastmlp.simd.tile_table import SPARSE_TILE_ROWS, TILE
from tests.helpers.problems import DTYPES

NO_FLOOR = -np.inf


@uncached
def call_nn(
    workspace, functions, out, start, stride, left, step, right, inner_size, rows, vectors, floor, mask, prefetch
):  # fmt: skip
    gemm_nn(
        workspace, functions, out, start, stride, left, step, right, inner_size, rows, vectors, floor, mask, prefetch
    )  # fmt: skip


@uncached
def call_tn(workspace, functions, out, left, right, inner_size, rows, vectors, prefetch):
    gemm_tn(workspace, functions, out, left, right, inner_size, rows, vectors, prefetch)


@uncached
def call_batched_nn(
    workspace, functions, out, out_step, left, right, right_step, inner_size, rows, vectors, n_panels, step, mask,
    mask_step,
):  # fmt: skip
    batched_gemm_nn(
        workspace, functions, out, out_step, left, right, right_step, inner_size, rows, vectors, n_panels, step, mask,
        mask_step,
    )  # fmt: skip


@uncached
def call_batched_tn(
    workspace, functions, out, out_step, left, right, right_step, inner_size, rows, vectors, n_panels, floor
):  # fmt: skip
    batched_gemm_tn(
        workspace, functions, out, out_step, left, right, right_step, inner_size, rows, vectors, n_panels, floor
    )  # fmt: skip


@uncached
def call_nt(workspace, functions, out, a, a_step, b, b_step, n_vectors, n_tiles, rows, columns):
    gemm_nt(workspace, functions, out, a, a_step, b, b_step, n_vectors, n_tiles, rows, columns)


TWINS = {
    "nn": (call_nn, microkernel_naive.gemm_nn),
    "tn": (call_tn, microkernel_naive.gemm_tn),
}
TWINS_OF_PANELS = {
    "nn": (call_batched_nn, microkernel_naive.batched_gemm_nn),
    "tn": (call_batched_tn, microkernel_naive.batched_gemm_tn),
}


def inner_sizes(dtype):
    width = TILE.columns(dtype)
    return [0, 1, width - 1, width, width + 1, 2 * width + 3]


class Products:
    """A workspace with every operand of a product somewhere in it, and NaN around them."""

    def __init__(self, dtype, seed=0):
        generator = np.random.RandomState(seed)
        self.dtype = dtype
        self.width = width = TILE.columns(dtype)
        longest = max(inner_sizes(dtype))
        n_panels = -(-longest // width)
        place = 5  # alignment is not asked for
        places = {}
        self.rows = highest = max(MR, *MOST_ROWS)
        for name, rows in {
            "out": highest,
            "start": highest,
            "left_nn": n_panels * highest,
            "left_tn": longest,
            "right": n_panels * width,
            "activations": highest,
        }.items():
            places[name] = place
            place += rows * width + 7
        self.workspace = np.full(place, np.nan, dtype)
        for name in ("start", "left_nn", "left_tn", "right", "activations"):
            following = [other for other in places.values() if other > places[name]]
            end = min([*following, place]) - 7
            self.workspace[places[name] : end] = generator.standard_normal(end - places[name])
        # Some units are off, as those of a relu layer are.
        activations = self.workspace[places["activations"] : places["activations"] + highest * width]
        activations[generator.uniform(size=highest * width) < 0.5] = 0
        self.places = places

    def arguments(self, kind, rows, vectors, inner_size, finish, prefetch=NO_PREFETCH):
        places, table = self.places, function_table(np.dtype(self.dtype), False)
        if kind == "tn":
            copies = (prefetch, *range(N_COPIES - 1))
            return table, places["out"], places["left_tn"], places["right"], inner_size, rows, vectors, copies
        shares_start, floor, masked = FINISHES[finish]
        return (
            table, places["out"], places["start"], 0 if shares_start else self.width, places["left_nn"],
            self.rows * self.width, places["right"], inner_size, rows, vectors, self.dtype(floor),
            places["activations"] if masked else -1, prefetch,
        )  # fmt: skip

    def multiply(self, kind, *arguments):
        """Return the workspaces after the micro-kernel and after its twin."""
        compiled, naive = self.workspace.copy(), self.workspace.copy()
        TWINS[kind][0](compiled, *self.arguments(kind, *arguments))
        TWINS[kind][1](naive, *self.arguments(kind, *arguments))
        return compiled, naive


# What is done to the tile on its way out of the registers: whether its rows share their start, floor, whether masked.
FINISHES = {"identity": (False, NO_FLOOR, False), "relu": (True, 0.0, False), "masked": (True, NO_FLOOR, True)}
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


class PanelProducts:
    """The operands of a narrow network's product: B and activations of some panels of samples, and NaN around them."""

    N_PANELS = 3

    def __init__(self, dtype):
        products = Products(dtype)
        self.dtype, self.width = dtype, products.width
        generator = np.random.RandomState(5)
        n_panels, longest = self.N_PANELS, max(inner_sizes(dtype))
        self.rows = highest = products.rows
        # Of a panel, and what lies behind them.
        rows = {"out": highest + 2, "right": longest + 1, "activations": highest + 1}
        self.steps = {name: count * self.width for name, count in rows.items()}
        left = {f"left_{kind}": products.places[f"left_{kind}"] for kind in TWINS}
        place = len(products.workspace)
        self.places = dict(left)
        for name, step in self.steps.items():
            self.places[name] = place
            place += n_panels * step + 7
        self.workspace = np.full(place, np.nan, dtype)
        self.workspace[: len(products.workspace)] = products.workspace
        for name, count in (("right", longest), ("activations", highest)):
            for panel in range(n_panels):
                numbers = generator.standard_normal(count * self.width)
                if name == "activations":
                    numbers[generator.uniform(size=len(numbers)) < 0.5] = 0
                first = self.places[name] + panel * self.steps[name]
                self.workspace[first : first + len(numbers)] = numbers

    def arguments(self, kind, rows, vectors, inner_size, floor, masked, panel, n_panels):
        places = {name: place + panel * self.steps.get(name, 0) for name, place in self.places.items()}
        of_both = (
            function_table(np.dtype(self.dtype), True), places["out"], self.steps["out"], places[f"left_{kind}"],
            places["right"], self.steps["right"], inner_size, rows, vectors, n_panels,
        )  # fmt: skip
        if kind == "tn":
            return (*of_both, self.dtype(floor))
        mask = places["activations"] if masked else -1
        return (*of_both, self.rows * self.width, mask, self.steps["activations"])


# Forward has a floor, the other products have activations.
FINISHES_OF_PANELS = [("nn", "identity"), ("nn", "masked"), ("tn", "identity"), ("tn", "relu")]


@pytest.mark.parametrize(("kind", "finish"), FINISHES_OF_PANELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tile_of_some_panels_of_samples(dtype, kind, finish):
    products = PanelProducts(dtype)
    compiled_twin, naive_twin = TWINS_OF_PANELS[kind]
    _, floor, masked = FINISHES[finish]
    tolerance = 50 * np.finfo(dtype).eps
    for rows, vectors, inner_size, n_panels in itertools.product(
        range(1, max(MOST_ROWS) + 1), range(1, VECTORS + 1), inner_sizes(dtype), (1, PanelProducts.N_PANELS)
    ):
        if rows > MOST_ROWS[vectors] or (kind == "tn" and rows > products.width):
            continue
        arguments = products.arguments(kind, rows, vectors, inner_size, floor, masked, 0, n_panels)
        compiled, naive = products.workspace.copy(), products.workspace.copy()
        compiled_twin(compiled, *arguments)
        naive_twin(naive, *arguments)
        np.testing.assert_allclose(compiled, naive, rtol=tolerance, atol=tolerance)
        changed = (compiled != products.workspace) & ~(np.isnan(compiled) & np.isnan(products.workspace))
        panel, row, column = np.ogrid[:n_panels, :rows, : vectors * TILE.lanes(dtype)]
        inside = products.places["out"] + panel * products.steps["out"] + row * products.width + column
        assert changed[inside].all()
        assert changed.sum() == inside.size


@pytest.mark.parametrize(("kind", "finish"), FINISHES_OF_PANELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_panels_does_not_show_in_the_bits(dtype, kind, finish):
    products = PanelProducts(dtype)
    call, _ = TWINS_OF_PANELS[kind]
    _, floor, masked = FINISHES[finish]
    size = MOST_ROWS[VECTORS] - 1, VECTORS, products.width + 3, floor, masked
    together, apart = products.workspace.copy(), products.workspace.copy()
    call(together, *products.arguments(kind, *size, 0, PanelProducts.N_PANELS))
    for panel in range(PanelProducts.N_PANELS):
        call(apart, *products.arguments(kind, *size, panel, 1))
    np.testing.assert_array_equal(together, apart)


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
