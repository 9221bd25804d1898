"""What the factors of a layer's update do."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from fastmlp.simd.tile_table import TILE
from tests.panels import ORIENTATIONS, GuardedNetwork, guards_checked
from tests.problems import DTYPES, advance, make_problem, parameters_of

WIDTH = TILE.columns(np.float32)
LEARNING_RATE, ALPHA = 0.1, 0.3


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
    rates, decays = [0.5, 2.0, 3.0, 0.0], [2.0, 0.0, 0.25, 1.5]
    with guards_checked():
        for field, values in (("rate_factor", rates), ("decay_factor", decays)):
            network.layers[field][:], network.layers[f"bias_{field}"][:] = values[:2], values[2:]
        (reported,) = advance(problem.epochs(network), 1, LEARNING_RATE)
    given = problem.coefs + problem.intercepts
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    squares = sum(decay * np.vdot(array, array) for decay, array in zip(decays, given, strict=True))
    assert reported == pytest.approx(loss + 0.5 * ALPHA * squares / problem.n_samples, rel=tolerance)
    for array, before, gradient, rate, decay in zip(
        parameters_of(network), given, gradients, rates, decays, strict=True
    ):
        expected = before - LEARNING_RATE * rate * (gradient + ALPHA * decay * before / problem.n_samples)
        np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)


def test_biases_beyond_the_root_of_the_largest_number_do_not_spoil_the_loss():
    """They have no decay; zero times an infinite sum of squares would be NaN."""
    problem = make_problem([5, 4, 2], "relu", "squared_error", np.float32)
    problem.intercepts[0][:] = -1e20  # no unit is ever active
    for kind in ORIENTATIONS:
        network = network_of(problem, kind, solver="sgd", alpha=ALPHA)
        assert np.isfinite(advance(problem.epochs(network), 1, LEARNING_RATE)).all()
