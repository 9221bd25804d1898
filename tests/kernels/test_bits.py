"""Where blocks are cut, and which of two ways a number is computed, does not show in the bits."""

from unittest import mock

import numpy as np
import pytest

from fastmlp.kernels.epilogues import _apply
from fastmlp.kernels.vector_maths import (
    exp_of_size,
    half_exp_minus_one,
    logistic,
    logistic_of,
    tanh_from_exp,
    tanh_of,
)
from fastmlp.network.layout import Layout
from fastmlp.simd.jit import uncached
from fastmlp.simd.tile_table import TILE
from tests.helpers.layers import LEARNING_RATE, MR, POOL
from tests.helpers.panels import ORIENTATIONS, GuardedLayout, GuardedNetwork
from tests.helpers.phases import cut_into_halves, propagate_blocks, update_blocks
from tests.helpers.problems import (
    DTYPES,
    make_problem,
    parameters_of,
)


@pytest.mark.parametrize("narrow", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("in_halves", [False, True], ids=["whole", "in halves"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_where_blocks_are_cut_does_not_show_in_the_bits(dtype, in_halves, narrow):
    width = TILE.columns(dtype)
    n_samples = 3 * width + 5
    problem = make_problem([width + 5, 2 * width + 1, 2 * MR + 3, 4], "tanh", "log_loss", dtype, n_samples=n_samples)
    if narrow:
        ways = [[0, n_samples], [0, width, n_samples], [0, width, 2 * width, 3 * width, n_samples]]
    else:
        ways = [[0, n_samples], [0, 1, n_samples], [0, MR, 2 * MR + 1, n_samples], range(n_samples + 1)]
    bits = set()
    options = {"narrow": narrow, "in_halves": in_halves, "solver": "adam", "n_threads": POOL}
    if in_halves:
        ways.append(cut_into_halves(problem.network(GuardedNetwork, **options), n_samples))
    for sample_cuts in ways:
        network = problem.network(GuardedNetwork, **options)
        n_tiles = network.record[0].n_tiles
        for tile_cuts in (np.array([0, n_tiles]), network.tile_bounds(POOL)):
            network.t = 0
            network.record[0].on_several_threads = len(tile_cuts) > 2
            network.set_parameters(problem.coefs, problem.intercepts)
            network.set_moments(*(2 * [[np.zeros_like(a) for a in problem.coefs + problem.intercepts]]))
            propagate_blocks(network, problem, sample_cuts)
            update_blocks(network, problem, tile_cuts, LEARNING_RATE)
            bits.add(b"".join(array.tobytes() for array in parameters_of(network)))
    assert len(bits) == 1


class NoRemainders(GuardedLayout):
    """A layout in which no gradient is computed the other way round."""

    remainder_fill = 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("in_halves", [False, True], ids=["whole", "in halves"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_which_way_round_a_gradient_is_computed_does_not_show_in_the_bits(solver, in_halves, dtype):
    width, lanes = TILE.columns(dtype), TILE.lanes(dtype)
    most = int(Layout.remainder_fill * lanes)
    for n_units in [*range(1, lanes + 1), *range(width + 1, width + lanes + 1)]:
        problem = make_problem([2 * width + 5, n_units, width - 1, 1], "relu", dtype=dtype, n_samples=width + 3)
        ways = []
        for layout in (GuardedLayout, NoRemainders):
            # Halves are those of the layout's own class, whatever the sizes.
            kind = type("Tried", (layout,), {"halves_below": 0} if in_halves else {})
            with (
                mock.patch("tests.helpers.panels.GuardedLayout", kind),
                mock.patch("tests.helpers.panels.HalvedLayout", kind),
            ):
                network = problem.network(GuardedNetwork, narrow=False, in_halves=in_halves, solver=solver)
            remainders = network.layers.remainder_units.tolist()
            remainder_units = n_units % width
            assert remainders == (
                [0, 0, 0] if layout is NoRemainders else [remainder_units * (remainder_units <= most), 0, 1]
            )
            if solver == "lbfgs":
                result = np.empty_like(problem.flat_parameters())
                network.loss_and_gradient(problem.rows, problem.targets, None, problem.flat_parameters(), result)
            else:
                n_samples = problem.n_samples
                cut = cut_into_halves(network, n_samples) if in_halves else [0, n_samples]
                propagate_blocks(network, problem, cut)
                update_blocks(network, problem, network.tile_bounds(1), LEARNING_RATE)
                result = np.concatenate([array.ravel() for array in parameters_of(network)])
            network.assert_guards_untouched()
            ways.append(result)
        np.testing.assert_array_equal(*ways)


@uncached
def activate_both_ways(in_two_passes, in_one, out, stride, rows, columns, is_tanh):
    if is_tanh:
        _apply(half_exp_minus_one, in_two_passes, out, stride, rows, columns)
        _apply(tanh_of, in_two_passes, out, stride, rows, columns)
        _apply(tanh_from_exp, in_one, out, stride, rows, columns)
    else:
        _apply(exp_of_size, in_two_passes, out, stride, rows, columns)
        _apply(logistic_of, in_two_passes, out, stride, rows, columns)
        _apply(logistic, in_one, out, stride, rows, columns)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tanh", "logistic"])
def test_activations_in_two_passes_and_in_one_have_the_same_bits(dtype, name):
    width, out = TILE.columns(dtype), 3
    rows, columns = MR - 1, TILE.lanes(dtype) * (TILE.vectors - 1)
    z = np.random.RandomState(0).standard_normal(2 * out + MR * width).astype(dtype) * 8
    in_two_passes, in_one = z.copy(), z.copy()
    activate_both_ways(in_two_passes, in_one, out, width, rows, columns, name == "tanh")
    np.testing.assert_array_equal(in_two_passes, in_one)
    tile = np.s_[out : out + MR * width]
    expected = z.copy()
    inputs = expected[tile].reshape(MR, width)[:rows, :columns]
    inputs[:] = np.tanh(inputs) if name == "tanh" else 1 / (1 + np.exp(-inputs))
    np.testing.assert_allclose(in_one, expected, rtol=4 * np.finfo(dtype).eps)
    # What isn't of these rows and columns has not been written.
    is_outside = np.ones(len(z), bool)
    is_outside[tile].reshape(MR, width)[:rows, :columns] = False
    np.testing.assert_array_equal(in_one[is_outside], z[is_outside])
