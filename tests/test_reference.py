"""The plain NumPy reference: right by scikit-learn's estimators and by numerical derivatives."""

import doctest
import itertools
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network

import fastmlp.reference
from fastmlp.reference import LOSSES, ReferenceNetwork

ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]

SOLVERS = {
    "plain": {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False},
    "momentum": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True},
    "adam": {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6},
}

# loss of the reference: how scikit-learn's estimator is brought to use it.
PROBLEMS = {
    "squared_error": ("regressor", {}),
    "poisson": ("regressor", {"loss": "poisson"}),
    "binary_log_loss": ("classifier", {}),
    "multilabel": ("classifier", {}),
    "log_loss": ("classifier", {}),
}


def make_problem(problem, n_samples, random_state):
    """Features, the targets as scikit-learn takes them, and as the reference takes them."""
    X = random_state.standard_normal((n_samples, 5))
    if problem == "squared_error":
        y = random_state.standard_normal((n_samples, 3))
        return X, y, y
    if problem == "poisson":
        y = random_state.poisson(1.5, n_samples).astype(float)
        return X, y, y[:, np.newaxis]
    if problem == "binary_log_loss":
        y = random_state.randint(0, 2, n_samples)
        return X, y, y[:, np.newaxis].astype(float)
    if problem == "multilabel":
        y = random_state.randint(0, 2, (n_samples, 3))
        return X, y, y.astype(float)
    y = random_state.randint(0, 4, n_samples)
    y[:4] = range(4)  # every class occurs
    return X, y, y


def loss_name(problem):
    return "binary_log_loss" if problem == "multilabel" else problem


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_trajectory_is_that_of_scikit_learn(problem, solver, weighted, dtype, tolerance):
    random_state = np.random.RandomState(7)
    n_samples, batch_size, n_epochs = 45, 10, 4  # a ragged last batch, 20 steps
    X, y, targets = make_problem(problem, n_samples, random_state)
    X = X.astype(dtype)
    if targets.dtype.kind == "f":
        targets = targets.astype(dtype)
        y = y.astype(dtype) if y.dtype.kind == "f" else y
    sample_weight = random_state.uniform(0.2, 2.0, n_samples).astype(dtype) if weighted else None
    kind, extra = PROBLEMS[problem]
    settings = SOLVERS[solver]

    estimator_class = neural_network.MLPRegressor if kind == "regressor" else neural_network.MLPClassifier
    theirs = estimator_class(
        hidden_layer_sizes=(8, 6),
        activation="tanh",
        alpha=0.01,
        batch_size=batch_size,
        learning_rate_init=0.02,
        max_iter=n_epochs,
        tol=0.0,
        random_state=3,
        **settings,
        **extra,
    )
    with pytest.warns(match="Maximum iterations"):
        theirs.fit(X, y, sample_weight=sample_weight)

    ours = ReferenceNetwork(
        [5, 8, 6, 1 if targets.ndim == 2 and targets.shape[1] == 1 else theirs.n_outputs_],
        activation="tanh",
        loss=loss_name(problem),
        dtype=dtype,
        alpha=0.01,
        **settings,
    )
    generator = np.random.RandomState(3)
    ours.initialize(generator)
    order = np.arange(n_samples)
    losses = []
    for _ in range(n_epochs):
        permutation = np.arange(n_samples)
        generator.shuffle(permutation)  # what sklearn.utils.shuffle does
        order = order[permutation]
        losses.append(ours.train_epoch(X, targets, order, batch_size, 0.02, sample_weight))

    np.testing.assert_allclose(losses, theirs.loss_curve_, rtol=tolerance)
    for our_parameter, their_parameter in zip(
        ours.coefs + ours.intercepts, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert our_parameter.dtype == dtype
        scale = np.abs(their_parameter).max()
        np.testing.assert_allclose(our_parameter, their_parameter, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_is_the_derivative_of_the_loss(activation, problem, depth, weighted):
    random_state = np.random.RandomState(100 * depth + len(problem))
    n_samples, alpha = 9, 0.3
    X, _, targets = make_problem(problem, n_samples, random_state)
    n_outputs = targets.shape[1] if targets.ndim == 2 else 4
    sample_weight = random_state.uniform(0.2, 2.0, n_samples) if weighted else None
    network = ReferenceNetwork(
        [*[5, 4, 6, 3][: depth + 1], n_outputs],
        activation=activation,
        loss=loss_name(problem),
        alpha=alpha,
    )
    network.initialize(random_state)

    def summed_loss():
        """The loss whose gradient is taken: the sum over the outputs, where it reports a mean."""
        loss = network.loss(network.forward(X), targets, sample_weight)
        if problem == "squared_error":
            outputs = network.predict(X)
            loss += (n_outputs - 1) * LOSSES["squared_error"].value(targets, outputs, sample_weight)
        return loss

    _, coef_grads, intercept_grads = network.gradient(X, targets, sample_weight)
    named = [
        *((f"coefs[{i}]", W, dW) for i, (W, dW) in enumerate(zip(network.coefs, coef_grads, strict=True))),
        *(
            (f"intercepts[{i}]", b, db)
            for i, (b, db) in enumerate(zip(network.intercepts, intercept_grads, strict=True))
        ),
    ]
    assert len(named) == 2 * (depth + 1)
    h = 1e-5
    for name, parameter, gradient in named:
        assert gradient.shape == parameter.shape
        numerical = np.empty_like(parameter)
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            parameter[index] = kept + h
            above = summed_loss()
            parameter[index] = kept - h
            below = summed_loss()
            parameter[index] = kept
            numerical[index] = (above - below) / (2 * h)
        np.testing.assert_allclose(gradient, numerical, rtol=1e-5, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_extreme_inputs_give_finite_outputs_and_no_warnings(activation, dtype):
    huge = np.array([[-1e4, 1e4], [1e4, -1e4], [0.0, 0.0]], dtype)
    for loss in ["binary_log_loss", "log_loss"]:
        network = ReferenceNetwork([2, 2], activation=activation, loss=loss, dtype=dtype)
        network.coefs = [np.eye(2)]
        targets = np.array([0, 0, 1]) if loss == "log_loss" else np.eye(3, 2, dtype=dtype)
        outputs = network.predict(huge)
        np.testing.assert_array_equal(outputs[:2], [[0, 1], [1, 0]])
        np.testing.assert_array_equal(outputs[2], [0.5, 0.5])
        assert np.isfinite(network.loss(network.forward(huge), targets))


def test_sparse_and_integer_input_train_as_dense_floats_do():
    random_state = np.random.RandomState(0)
    X = random_state.randint(0, 3, (30, 6)).astype(np.uint8)
    targets = random_state.randint(0, 3, 30)
    trained = []
    for inputs in [X.astype(np.float64), X, sparse.csr_matrix(X), sparse.csr_array(X)]:
        network = ReferenceNetwork([6, 5, 3], solver="adam")
        network.initialize(np.random.RandomState(1))
        order = np.random.RandomState(2).permutation(30)
        network.train_epoch(inputs, targets, order, 7, 0.01)
        trained.append(network.coefs)
    for coefs in trained[1:]:
        for ours, expected in zip(coefs, trained[0], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_minibatch_without_weight_changes_nothing(solver):
    X, _, targets = make_problem("log_loss", 10, np.random.RandomState(0))
    network = ReferenceNetwork([5, 4], solver=solver)
    network.initialize(np.random.RandomState(0))
    network.step(X, targets, 0.1)
    before = [parameter.copy() for parameter in network.coefs + network.intercepts]
    moments = [moment.copy() for moment in network.first_moments + network.second_moments]
    t = network.t

    assert network.step(X, targets, 0.1, np.zeros(10)) == 0.0

    assert network.t == t
    after = network.coefs + network.intercepts + network.first_moments + network.second_moments
    for ours, expected in zip(after, before + moments, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_order_none_means_the_rows_as_they_stand():
    X, _, targets = make_problem("squared_error", 23, np.random.RandomState(0))
    results = []
    for order in [None, np.arange(23)]:
        network = ReferenceNetwork([5, 4, 3], loss="squared_error")
        network.initialize(np.random.RandomState(0))
        loss = network.train_epoch(X, targets, order, 10, 0.1)
        results.append((loss, network.coefs))
    assert results[0][0] == results[1][0]
    for ours, expected in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_parameters_are_copied_in_and_kept_in_the_dtype_of_the_network():
    network = ReferenceNetwork([2, 3], dtype=np.float32)
    given = [np.ones((2, 3))]
    network.coefs = given
    given[0][:] = 5
    np.testing.assert_array_equal(network.coefs[0], np.ones((2, 3)))
    assert network.coefs[0].dtype == np.float32
    with pytest.raises(ValueError, match="shorter"):
        network.intercepts = []
    with pytest.raises(ValueError, match="broadcast"):
        network.coefs = [np.ones((3, 2))]


def test_gradient_and_update_leave_their_inputs_alone():
    X, _, targets = make_problem("squared_error", 12, np.random.RandomState(0))
    X_before, targets_before = X.copy(), targets.copy()
    for depth, solver in itertools.product([0, 2], ["sgd", "adam"]):
        network = ReferenceNetwork([5, *[4] * depth, 3], loss="squared_error", solver=solver)
        network.initialize(np.random.RandomState(0))
        _, coef_grads, intercept_grads = network.gradient(X, targets)
        kept = [gradient.copy() for gradient in coef_grads + intercept_grads]
        network.update(coef_grads, intercept_grads, 0.1)
        for ours, expected in zip(coef_grads + intercept_grads, kept, strict=True):
            np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(targets, targets_before)


def test_unknown_solver_is_refused():
    with pytest.raises(ValueError, match="solver must be"):
        ReferenceNetwork([2, 3], solver="lbfgs")


def test_example_in_the_docstring():
    assert doctest.testmod(fastmlp.reference).failed == 0


def test_reference_needs_nothing_but_numpy():
    program = f"""
import runpy, sys
before = set(sys.modules)
runpy.run_path({fastmlp.reference.__file__!r})
heavy = {{"numba", "scipy", "sklearn", "llvmlite"}} & (set(sys.modules) - before)
sys.exit(", ".join(sorted(heavy)) or 0)
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
