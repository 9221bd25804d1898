"""Operands of a tile's product, and the compiled and the naive twin to call with them."""

import numpy as np

from fastmlp.microkernels import naive as microkernel_naive
from fastmlp.microkernels.function_table import function_table
from fastmlp.microkernels.narrow_tiles import MOST_ROWS
from fastmlp.microkernels.tile import MR, N_COPIES, NO_PREFETCH
from fastmlp.microkernels.tile_calls import gemm_nn, gemm_tn
from fastmlp.simd.jit import uncached
from fastmlp.simd.tile_table import TILE

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


TWINS = {
    "nn": (call_nn, microkernel_naive.gemm_nn),
    "tn": (call_tn, microkernel_naive.gemm_tn),
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
