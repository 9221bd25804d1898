"""Tiles over several panels of samples, against their naive twins."""

import itertools

import numpy as np
import pytest

from fastmlp.microkernels import naive as microkernel_naive
from fastmlp.microkernels.function_table import function_table
from fastmlp.microkernels.narrow_tiles import MOST_ROWS, batched_gemm_nn, batched_gemm_tn
from fastmlp.microkernels.tile import VECTORS
from fastmlp.simd.jit import uncached
from fastmlp.simd.tile_table import TILE
from tests.helpers.problems import DTYPES
from tests.helpers.tile_products import FINISHES, TWINS, Products, inner_sizes


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


TWINS_OF_PANELS = {
    "nn": (call_batched_nn, microkernel_naive.batched_gemm_nn),
    "tn": (call_batched_tn, microkernel_naive.batched_gemm_tn),
}


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
