"""The demos from inside: what they train, and that both trainers agree on it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits as load_bundled_digits

from fastmlp import MLPClassifier
from fastmlp.cli import comparison as race
from fastmlp.cli import demos, figures
from fastmlp.cli.display import PlainDisplay


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(10))
def test_regression_falls_two_hundred_fold_for_every_seed(seed, dtype):
    problem = demos.regression(seed=seed, dtype=dtype)
    for train in (race.train_compiled, race.train_reference):
        losses = train(problem).losses
        assert len(losses) == 2000
        assert losses[0] > 200 * losses[-1]


def test_sum_of_squares_is_what_the_regression_demo_prints():
    problem = demos.regression(epochs=1)
    network = race.train_reference(demos.regression(epochs=1))
    hidden = np.maximum(problem.X @ problem.coefs[0] + problem.intercepts[0], 0)
    errors = hidden @ problem.coefs[1] + problem.intercepts[1] - problem.targets
    assert problem.printed_loss(network.losses[0]) == pytest.approx((errors**2).sum())
    # One step of 1e-4 along the gradient of the sum of squares.
    np.testing.assert_allclose(network.coefs[1], problem.coefs[1] - 1e-4 * 2 * hidden.T @ errors, rtol=1e-10)


def test_planar_tells_apart_what_a_line_cannot():
    problem = demos.planar()
    trained = race.train_compiled(problem)
    assert trained.score >= 0.88
    assert problem.facts == {"accuracy of logistic regression": "47.00%"}
    assert [W.shape for W in problem.coefs] == [(2, 4), (4, 1)]
    assert not any(b.any() for b in problem.intercepts)


def test_planar_costs_are_those_of_the_lesson():
    """The same formulas once more, in the order in which the lesson writes them."""
    problem = demos.planar(epochs=50)
    X, Y = problem.X.T, problem.targets.T
    W1, b1 = problem.coefs[0].T, np.zeros((4, 1))
    W2, b2 = problem.coefs[1].T, np.zeros((1, 1))
    costs = []
    for _ in range(50):
        A1 = np.tanh(W1 @ X + b1)
        A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))
        costs.append(-np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / 400)
        dZ2 = A2 - Y
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        W2, b2 = W2 - 1.2 * dZ2 @ A1.T / 400, b2 - 1.2 * dZ2.sum(axis=1, keepdims=True) / 400
        W1, b1 = W1 - 1.2 * dZ1 @ X.T / 400, b1 - 1.2 * dZ1.sum(axis=1, keepdims=True) / 400
    for train in (race.train_compiled, race.train_reference):
        trained = train(problem)
        np.testing.assert_allclose(trained.losses, costs, rtol=1e-10)
        np.testing.assert_allclose(trained.coefs[0], W1.T, rtol=1e-8)


def test_digits_is_what_the_classifier_does():
    problem = demos.digits(epochs=5, dtype="float64", seed=7)
    assert len(problem.X) + len(problem.X_score) == len(load_bundled_digits().target)
    trained = race.train_compiled(problem)
    with pytest.warns(match="Maximum iterations"):
        classifier = MLPClassifier((100,), max_iter=5, random_state=7).fit(problem.X, problem.targets)
    np.testing.assert_array_equal(trained.losses, classifier.loss_curve_)
    for ours, theirs in zip(trained.coefs, classifier.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("name", "epochs"), [("digits", 5), ("planar", 200), ("regression", 100)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-3)])
def test_both_trainers_end_with_the_same_weights(name, epochs, dtype, tolerance):
    problem = demos.DEMOS[name](epochs=epochs, dtype=dtype, seed=1)
    compiled, reference = race.train_compiled(problem), race.train_reference(problem)
    comparison = race.compare(compiled, reference)
    assert comparison.largest_difference < tolerance * comparison.largest_weight
    assert comparison.ratio == reference.seconds / compiled.seconds
    np.testing.assert_allclose(compiled.losses, reference.losses, rtol=tolerance)


def test_demo_ends_with_lines_and_a_table(capsys):
    race.run(demos.planar(epochs=2001), PlainDisplay(), n_threads=1)
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("planar: 2-4-1")
    assert output[1] == "float64, 1 thread"
    assert [line.split()[:2] for line in output if line.startswith("iteration")] == [
        ["iteration", "0"],
        ["iteration", "1000"],
        ["iteration", "2000"],
    ]
    assert output[-1].startswith("times as fast as plain NumPy")


@pytest.mark.parametrize("name", ["digits", "planar", "regression"])
def test_figure_shows_result_losses_and_seconds(name, tmp_path):
    pytest.importorskip("matplotlib")
    problem = demos.DEMOS[name](epochs=20)
    compiled, reference = race.train_compiled(problem), race.train_reference(problem)
    figures.check_figure_path(tmp_path / "figure.png")
    figure = figures.draw_demo(problem, compiled, reference)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert f"{problem.loss_name} of both" in titles
    assert any(title.endswith("times as fast") for title in titles)
    figures.save_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


@pytest.mark.slow
@pytest.mark.needs_jit
def test_tuned_mnist_reaches_its_accuracy_within_twenty_epochs(mnist_folder):
    scores = []
    for seed in range(3):
        problem = demos.mnist(seed=seed, data_home=mnist_folder)
        assert problem.n_epochs == 20
        assert len(problem.X_score) == 10_000
        scores.append(race.train_compiled(problem).score)
    assert np.mean(scores) >= 0.982, scores


def test_mnist_presets_differ_as_documented(mnist_folder):
    tuned = demos.mnist(data_home=mnist_folder)
    lesson = demos.mnist(data_home=mnist_folder, preset="seed")
    assert tuned.X.max() == 1
    assert lesson.X.max() == 255
    assert set(lesson.learning_rates) == {1e-3}
    assert lesson.n_epochs == tuned.n_epochs == 20
    assert lesson.batch_size == tuned.batch_size == 200
    assert lesson.solver_settings["alpha"] == tuned.solver_settings["alpha"] == 1e-4
    bound = np.sqrt(6 / (784 + 300))
    for values in (tuned.coefs[0], tuned.intercepts[0]):
        assert 0.98 * bound < np.abs(values).max() <= bound
