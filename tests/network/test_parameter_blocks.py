"""The list of parameter blocks: all parameters once, in scikit-learn's order, and how each of them is updated."""

import itertools
import math

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._multilayer_perceptron import _pack

from fastmlp import MLPRegressor
from fastmlp.network.layout import Layout, LayoutOptions
from fastmlp.network.packing import PackedParameters
from fastmlp.network.parameter_blocks import (
    ATTRIBUTES,
    as_attributes,
    layer_units_of,
    parameter_shapes,
    parameters_of,
    replace_parameters,
    split,
)
from fastmlp.simd.tile_table import TILE
from tests.helpers.panels import ORIENTATIONS, GuardedNetwork, guards_checked
from tests.helpers.problems import DTYPES, advance, make_problem

WIDTH = TILE.columns(np.float32)
UNITS = [[1, 1], [3, WIDTH, 2], [WIDTH + 1, 2 * WIDTH + 5, WIDTH - 1, 4]]
KINDS = {"wide": {}, "narrow": {"narrow": True}, "entries": {"n_entries": 50}}
LEARNING_RATE, ALPHA = 0.1, 0.3


def layout_of(layer_units, dtype, n_copies, kind):
    return Layout(layer_units, 20, dtype, LayoutOptions(n_copies, True, 1, **KINDS[kind]))


def numbered(blocks, dtype, first=1):
    """Return an array for each block; no two of all their numbers are equal, and none is 0."""
    shapes = [block.shape for block in blocks]
    return split(np.arange(first, first + sum(map(math.prod, shapes))).astype(dtype), shapes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer_units", UNITS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_is_that_of_one_block_or_padding(dtype, layer_units, kind):
    layout = layout_of(layer_units, dtype, 0, kind)
    workspace = np.full(layout.size, np.nan, dtype)
    arrays = numbered(layout.blocks, dtype)
    PackedParameters(layout.blocks, workspace, layout.n_parameters, 0).write(arrays)
    area = workspace[: layout.n_parameters]
    expected = np.arange(1, 1 + sum(array.size for array in arrays))
    np.testing.assert_array_equal(np.sort(area[area > 0]), expected)
    # The rest are zeros beyond the columns, and what fills the last cache line of a layer's panels.
    panels = np.zeros(layout.n_parameters, bool)
    for layer, (fan_in, fan_out) in zip(layout.places, itertools.pairwise(layer_units), strict=True):
        width = layer.row_size or layout.panel_width
        size = -(-fan_out // width) * (fan_in + 1) * width
        assert not panels[layer.parameters : layer.parameters + size].any()
        panels[layer.parameters : layer.parameters + size] = True
    assert (area[panels] >= 0).all()
    assert np.isnan(area[~panels]).all()
    # Behind the parameters, nothing but transposed copies is written.
    transposed = [array.size for block, array in zip(layout.blocks, arrays, strict=True) if block.transposed]
    assert (workspace[layout.n_parameters :] > 0).sum() == sum(transposed)
    assert len(transposed) == (0 if kind == "narrow" else len(layer_units) - 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer_units", UNITS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_come_back_as_they_went_in(dtype, layer_units, kind):
    layout = layout_of(layer_units, dtype, 2, kind)
    packed = PackedParameters(layout.blocks, np.zeros(layout.size, dtype), layout.n_parameters, 2)
    given = [numbered(layout.blocks, dtype, 1 + copy) for copy in range(3)]
    for copy in (2, 0, 1):
        packed.write(given[copy], copy)
    for copy in range(3):
        for array, expected in zip(packed.copied(np.dtype(dtype), copy), given[copy], strict=True):
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == dtype


def test_numbers_that_diverged_do_not_stay_in_the_padding():
    layout = layout_of([3, WIDTH + 1, 2], np.float32, 0, "wide")
    workspace = np.zeros(layout.size, np.float32)
    packed = PackedParameters(layout.blocks, workspace, layout.n_parameters, 0)
    workspace[:] = np.nan
    arrays = numbered(layout.blocks, np.float32)
    packed.write(arrays)
    panels = workspace[: 2 * 4 * layout.panel_width]  # those of the first layer: two of four rows
    assert np.isfinite(panels).all()


def test_the_flat_vector_is_scikit_learns():
    problem = make_problem([4, 7, 5, 3])
    blocks = problem.network().blocks
    flat = _pack(problem.coefs, problem.intercepts)
    np.testing.assert_array_equal(flat, problem.flat_parameters())
    arrays = split(flat, [block.shape for block in blocks])
    for array, expected in zip(arrays, problem.coefs + problem.intercepts, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert np.shares_memory(array, flat)


def test_blocks_are_the_estimators_attributes():
    X = np.random.RandomState(0).standard_normal((30, 4))
    model = MLPRegressor(hidden_layer_sizes=(6, 5), max_iter=2, solver="lbfgs", random_state=0)
    with pytest.warns(ConvergenceWarning, match="failed to converge"):
        model.fit(X, X[:, 0])
    assert layer_units_of(model) == [4, 6, 5, 1]
    shapes = parameter_shapes([4, 6, 5, 1])
    assert list(shapes) == ["coefs_0", "coefs_1", "coefs_2", "intercepts_0", "intercepts_1", "intercepts_2"]
    arrays = parameters_of(model)
    assert [array.shape for array in arrays] == list(shapes.values())
    layout = layout_of([4, 6, 5, 1], np.float32, 0, "wide")
    assert {block.name: block.shape for block in layout.blocks} == shapes
    others = [array + 1 for array in arrays]
    attributes = as_attributes(others, [4, 6, 5, 1])
    assert list(attributes) == list(ATTRIBUTES)
    replace_parameters(model, others)
    for name, array in zip(shapes, others, strict=True):
        attribute, number = name[:-1], int(name[-1])
        assert getattr(model, attribute)[number] is attributes[attribute][number] is array


def network_of(problem, kind, **options):
    if kind != "entries":
        return problem.network(GuardedNetwork, narrow=ORIENTATIONS[kind], **options)
    problem.X = sparse.csr_array(problem.X)
    return problem.network(GuardedNetwork, narrow=False, keeps_entries_of=problem.rows, **options)


@pytest.mark.parametrize("kind", [*ORIENTATIONS, "entries"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_of_rate_and_decay_are_those_of_each_block(dtype, kind):
    problem = make_problem([WIDTH + 3, WIDTH + 1, 3], "tanh", "log_loss", dtype, n_samples=20)
    loss, *gradients = problem.reference(alpha=0).gradient(problem.X, problem.targets)
    gradients = list(itertools.chain(*gradients))
    network = network_of(problem, kind, solver="sgd", momentum=0.0, alpha=ALPHA)
    assert [block.rate_factor for block in network.blocks] == [1, 1, 1, 1]
    assert [block.decay_factor for block in network.blocks] == [1, 1, 0, 0]
    rates, decays = [0.5, 2.0, 3.0, 0.0], [2.0, 0.0, 0.25, 1.5]
    with guards_checked():
        for field, values in (("rate_factor", rates), ("decay_factor", decays)):
            network.layers[field][:], network.layers[f"bias_{field}"][:] = values[:2], values[2:]
        (reported,) = advance(problem.epochs(network), 1, LEARNING_RATE)
    given = problem.coefs + problem.intercepts
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    squares = sum(decay * np.vdot(array, array) for decay, array in zip(decays, given, strict=True))
    assert reported == pytest.approx(loss + 0.5 * ALPHA * squares / problem.n_samples, rel=tolerance)
    for array, before, gradient, rate, decay in zip(network.parameters(), given, gradients, rates, decays, strict=True):
        expected = before - LEARNING_RATE * rate * (gradient + ALPHA * decay * before / problem.n_samples)
        np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)


def test_biases_beyond_the_root_of_the_largest_number_do_not_spoil_the_loss():
    """They have no decay; zero times an infinite sum of squares would be NaN."""
    problem = make_problem([5, 4, 2], "relu", "squared_error", np.float32)
    problem.intercepts[0][:] = -1e20  # no unit is ever active
    for kind in ORIENTATIONS:
        network = network_of(problem, kind, solver="sgd", alpha=ALPHA)
        assert np.isfinite(advance(problem.epochs(network), 1, LEARNING_RATE)).all()
