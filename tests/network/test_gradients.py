"""The gradient of every parameter against numerical derivatives: activation × loss × depth, by name."""

import numpy as np
import pytest

from tests.helpers.problems import ACTIVATIONS, LOSSES, make_problem

N_SAMPLES = 7
HIDDEN = [[], [4], [4, 3], [3, 5, 2]]
STEP = 1e-5


def parameter_names(problem):
    """Return a name for every number in the flat vector of parameters."""
    names = []
    for layer, W in enumerate(problem.coefs):
        names += [f"coefs[{layer}][{i}, {j}]" for i, j in np.ndindex(W.shape)]
    for layer, b in enumerate(problem.intercepts):
        names += [f"intercepts[{layer}][{i}]" for i in range(len(b))]
    return names


def loss_function(problem, alpha):
    """Return a function from a flat vector of parameters to the loss, and its gradient."""
    # Fewer rows in the workspace than there are samples: the sums run over chunks.
    network = problem.network(solver="lbfgs", alpha=alpha, batch_size=4)
    rows = problem.rows

    def evaluate(flat):
        gradient = np.full_like(flat, np.nan)
        loss = network.loss_and_gradient(rows, problem.targets, problem.sample_weight, flat, gradient)
        return loss, gradient

    return evaluate


@pytest.mark.parametrize(("weighted", "alpha"), [(False, 0.0), (True, 0.0), (True, 0.3)])
@pytest.mark.parametrize("hidden", HIDDEN, ids=len)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_parameter(activation, loss, hidden, weighted, alpha):
    problem = make_problem([3, *hidden, 2], activation, loss, n_samples=N_SAMPLES, weighted=weighted, seed=3)
    evaluate = loss_function(problem, alpha)
    flat = problem.flat_parameters()
    _, gradient = evaluate(flat)
    names = parameter_names(problem)
    assert len(names) == len(flat) == len(gradient)
    for index, name in enumerate(names):
        moved = []
        for step in (STEP, -STEP):
            there = flat.copy()
            there[index] += step
            moved.append(evaluate(there)[0])
        derivative = (moved[0] - moved[1]) / (2 * STEP)
        assert gradient[index] == pytest.approx(derivative, rel=1e-6, abs=1e-8), name


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_that_the_fused_update_uses_is_the_same(loss, alpha):
    """A step of plain gradient descent at rate 1 takes the gradient off the parameters."""
    for weighted in (False, True):
        problem = make_problem([3, 4, 2], "tanh", loss, n_samples=N_SAMPLES, weighted=weighted, seed=3)
        _, gradient = loss_function(problem, alpha)(problem.flat_parameters())
        network = problem.network(solver="sgd", momentum=0.0, alpha=alpha)
        problem.epochs(network).advance(np.ones(1))
        coefs, intercepts = [np.empty_like(W) for W in problem.coefs], [np.empty_like(b) for b in problem.intercepts]
        network.get_parameters(coefs, intercepts)
        moved = np.concatenate([np.ravel(array) for array in coefs + intercepts])
        np.testing.assert_allclose(problem.flat_parameters() - moved, gradient, rtol=1e-10, atol=1e-13)


def test_parameters_are_those_given_and_are_left_alone():
    problem = make_problem([3, 4, 2], "tanh", "log_loss", n_samples=N_SAMPLES)
    evaluate = loss_function(problem, 0.1)
    flat = problem.flat_parameters()
    first, gradient = evaluate(flat)
    evaluate(2 * flat)
    again, gradient_again = evaluate(flat)
    assert again == first
    np.testing.assert_array_equal(gradient, gradient_again)
    np.testing.assert_array_equal(flat, problem.flat_parameters())
