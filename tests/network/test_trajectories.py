"""Ten steps of training against the plain NumPy reference: the same weights, moments and losses at every step."""

import numpy as np
import pytest

from tests.helpers.problems import (
    ACTIVATIONS,
    DTYPES,
    LOSSES,
    SOLVERS,
    advance,
    make_problem,
    parameters_of,
    relative_difference,
)

N_STEPS = 10
TOLERANCES = {np.float64: 1e-10, np.float32: 1e-4}
# One whose units fill the lanes, and one whose samples do.
SHAPES = {"wide": [70, 130, 90, 10], "narrow": [5, 4, 3]}


def moments_of(network, solver):
    zeros = [np.zeros_like(array) for array in parameters_of(network)]
    first, second = zeros, [array.copy() for array in zeros]
    network.get_moments(first, second if solver == "adam" else None)
    return first, second


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_ten_steps(shape, solver, loss, dtype):
    # Every activation with every solver, loss and shape would say no more than each of them somewhere.
    activation = ACTIVATIONS[(list(SOLVERS).index(solver) + LOSSES.index(loss)) % 4]
    options = {**SOLVERS[solver], "alpha": 0.01}
    problem = make_problem(SHAPES[shape], activation, loss, dtype, n_samples=40, weighted=solver == "momentum")
    network = problem.network(**options)
    assert network.narrow == (shape == "narrow")
    reference = problem.reference(**options)
    epochs = problem.epochs(network)
    for step in range(N_STEPS):
        losses = advance(epochs, 1, 0.01)
        expected = reference.step(problem.X, problem.targets, 0.01, problem.sample_weight)
        assert losses[0] == pytest.approx(expected, rel=TOLERANCES[dtype]), step
        difference = relative_difference(parameters_of(network), reference.coefs + reference.intercepts)
        assert difference <= TOLERANCES[dtype], step
    if solver == "adam":
        assert network.t == reference.t == N_STEPS
    if solver != "plain":
        first, second = moments_of(network, solver)
        assert relative_difference(first, reference.first_moments) <= 10 * TOLERANCES[dtype]
        if solver == "adam":
            assert relative_difference(second, reference.second_moments) <= 10 * TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_ten_steps_in_shuffled_minibatches_of_a_part_of_the_samples(shape, solver, dtype):
    problem = make_problem(SHAPES[shape], "tanh", "log_loss", dtype, n_samples=60, weighted=True)
    problem.sample_weight[:3] = 0
    network = problem.network(batch_size=20, **SOLVERS[solver])
    reference = problem.reference(**SOLVERS[solver])
    order = np.random.RandomState(0).permutation(60)[:47]  # 20 + 20 + 7 samples an epoch
    generator = np.random.RandomState(4)
    epochs = problem.epochs(network, batch_size=20, order=order.copy(), random_state=np.random.RandomState(4))
    losses = advance(epochs, 4, 0.01)
    expected = []
    for _ in range(4):
        generator.shuffle(order)
        expected.append(reference.train_epoch(problem.X, problem.targets, order, 20, 0.01, problem.sample_weight))
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCES[dtype])
    difference = relative_difference(parameters_of(network), reference.coefs + reference.intercepts)
    assert difference <= TOLERANCES[dtype]


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_and_steps_can_be_handed_to_another_network(shape):
    problem = make_problem(SHAPES[shape], "tanh", "log_loss", n_samples=40)
    whole = problem.network(solver="adam")
    advance(problem.epochs(whole), 10, 0.01)
    first_half = problem.network(solver="adam")
    advance(problem.epochs(first_half), 5, 0.01)
    second_half = problem.network(solver="adam")
    parameters = parameters_of(first_half)
    n_layers = len(problem.coefs)
    second_half.set_parameters(parameters[:n_layers], parameters[n_layers:])
    second_half.set_moments(*moments_of(first_half, "adam"))
    second_half.t = first_half.t
    advance(problem.epochs(second_half), 5, 0.01)
    for expected, result in zip(parameters_of(whole), parameters_of(second_half), strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_rate_for_each_epoch(shape):
    problem = make_problem(SHAPES[shape], n_samples=40)
    network, reference = problem.network(solver="sgd"), problem.reference()
    epochs = problem.epochs(network)
    rates = np.array([0.01, 0.001, 0.02])
    while len(rates):
        rates = rates[len(epochs.advance(rates)) :]
    for rate in (0.01, 0.001, 0.02):
        reference.step(problem.X, problem.targets, rate)
    assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) <= 1e-10


@pytest.mark.parametrize("shape", SHAPES)
def test_predictions_in_the_midst_of_training_change_nothing(shape):
    problem = make_problem(SHAPES[shape], "tanh", "log_loss", n_samples=40)
    other = make_problem(SHAPES[shape], n_samples=40, seed=1)
    outputs = np.empty((40, SHAPES[shape][-1]))
    results = []
    for predicts in (False, True):
        network = problem.network(solver="adam")
        epochs = problem.epochs(network)
        for _ in range(3):
            advance(epochs, 1, 0.01)
            if predicts:
                network.predict(other.rows, outputs)
        results.append(parameters_of(network))
    for expected, result in zip(*results, strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_two_runs_over_different_samples_in_turn(shape):
    problems = [make_problem(SHAPES[shape], "tanh", "squared_error", n_samples=40, seed=seed) for seed in (0, 1)]
    network, reference = problems[0].network(solver="sgd"), problems[0].reference()
    runs = [problem.epochs(network) for problem in problems]
    for _ in range(2):
        for problem, run in zip(problems, runs, strict=True):
            advance(run, 1, 0.01)
            reference.step(problem.X, problem.targets, 0.01)
    assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) <= 1e-10


@pytest.mark.parametrize("shape", SHAPES)
def test_a_network_that_diverged_can_be_set_anew(shape):
    problem = make_problem(SHAPES[shape], "relu", "squared_error", n_samples=40)
    network, reference = problem.network(solver="adam"), problem.reference(solver="adam")
    poisoned = make_problem(SHAPES[shape], "relu", "squared_error", n_samples=40)
    poisoned.X[...] = np.inf
    advance(poisoned.epochs(network), 2, 0.01)
    assert not all(np.isfinite(array).all() for array in parameters_of(network))
    network.set_parameters(problem.coefs, problem.intercepts)
    zeros = [np.zeros_like(array) for array in problem.coefs + problem.intercepts]
    network.set_moments(zeros, zeros)
    network.t = 0
    losses = advance(problem.epochs(network), 2, 0.01)
    expected = [reference.step(problem.X, problem.targets, 0.01) for _ in range(2)]
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) <= 1e-10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_samples_are_trained_on_like_dense_ones(shape, dtype):
    from scipy import sparse

    from fastmlp.network.rows import as_rows

    problem = make_problem(SHAPES[shape], "tanh", "log_loss", dtype, n_samples=40)
    problem.X[np.random.RandomState(0).uniform(size=problem.X.shape) < 0.5] = 0
    results = []
    for X in (problem.X, sparse.csr_matrix(problem.X), sparse.csc_array(problem.X), np.asfortranarray(problem.X)):
        network = problem.network(solver="sgd", batch_size=16)
        epochs = network.epochs(as_rows(X, dtype), problem.targets, batch_size=16)
        advance(epochs, 3, 0.01)
        results.append(parameters_of(network))
    for result in results[1:]:
        for expected, array in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_interrupt_that_is_noticed_after_the_call_loses_no_step(shape, monkeypatch):
    """Weights, Adam's steps and the generator stay together, so that training can go on from there."""
    problem = make_problem(SHAPES[shape], "tanh", "log_loss", n_samples=40)
    network, random_state = problem.network(solver="adam"), np.random.RandomState(0)
    run = network.run

    def interrupted(*arguments):
        run(*arguments)
        raise KeyboardInterrupt

    epochs = problem.epochs(network, random_state=random_state)
    monkeypatch.setattr(network, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        epochs.advance(np.array([0.01]))
    assert network.t == 1
    whole, generator = problem.network(solver="adam"), np.random.RandomState(0)
    advance(problem.epochs(whole, random_state=generator), 1, 0.01)
    for array, expected in zip(parameters_of(network), parameters_of(whole), strict=True):
        np.testing.assert_array_equal(array, expected)
    assert random_state.randint(2**31) == generator.randint(2**31)
