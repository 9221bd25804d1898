"""A fit that is stopped and goes on from its checkpoint ends as one that was never stopped, bit for bit."""

import os
import re
import signal
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris

import fastmlp.checkpoints
import fastmlp.epochs
from fastmlp import MLPClassifier, MLPRegressor
from tests.interrupted import assert_same_fit, assert_same_generator, interrupted_fit, quietly_fit
from tests.subprocesses import finish, start_python

IRIS, SPECIES = load_iris(return_X_y=True)
PETALS = IRIS[:, 2:] @ np.array([[1.0, 0.5], [-0.3, 2.0]])
WEIGHTS = np.random.RandomState(5).uniform(0, 2, len(IRIS))

CASES = {
    "adam": (MLPClassifier, {}, SPECIES),
    "momentum": (MLPClassifier, {"solver": "sgd", "nesterovs_momentum": False}, SPECIES),
    "nesterov": (MLPClassifier, {"solver": "sgd"}, SPECIES),
    "plain sgd": (MLPClassifier, {"solver": "sgd", "momentum": 0}, SPECIES),
    "invscaling": (MLPClassifier, {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3}, SPECIES),
    "adaptive": (
        MLPClassifier,
        {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 9.0},
        SPECIES,
    ),
    "stopped by the rule": (MLPClassifier, {"n_iter_no_change": 3, "tol": 9.0}, SPECIES),
    "no shuffle": (MLPClassifier, {"shuffle": False}, SPECIES),
    "full batch": (MLPRegressor, {"batch_size": 150, "max_iter": 40}, PETALS),
    "early stopping": (MLPClassifier, {"early_stopping": True}, SPECIES),
    "early stopping of a regression": (MLPRegressor, {"early_stopping": True, "validation_fraction": 0.3}, PETALS),
    "early stopping of two classes": (MLPClassifier, {"early_stopping": True, "n_iter_no_change": 2}, SPECIES == 1),
    "regression": (MLPRegressor, {"solver": "sgd", "learning_rate_init": 0.01}, PETALS),
    "poisson": (MLPRegressor, {"loss": "poisson"}, PETALS[:, 1] ** 2),
    "narrow": (MLPClassifier, {"hidden_layer_sizes": 4, "batch_size": 64, "max_iter": 20}, SPECIES == 1),
    "no hidden layer": (MLPClassifier, {"hidden_layer_sizes": ()}, SPECIES),
    "float32": (MLPClassifier, {"dtype": "float32"}, SPECIES),
    "float32 and sgd": (MLPRegressor, {"dtype": "float32", "solver": "sgd", "early_stopping": True}, PETALS),
    "two threads": (MLPClassifier, {"n_threads": 2, "hidden_layer_sizes": (60, 70)}, SPECIES),
}


def make(cls, settings, **more):
    return cls(**{"hidden_layer_sizes": (9, 5), "random_state": 3, "batch_size": 20, "max_iter": 9} | settings | more)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_fit_ends_as_one_that_was_never_stopped(monkeypatch, path, name):
    cls, settings, y = CASES[name]
    expected = quietly_fit(make(cls, settings), IRIS, y)
    for calls in (1, 2, 4, 3):
        model = make(cls, settings, checkpoint=path)
        assert interrupted_fit(monkeypatch, calls, model, IRIS, y)
        assert path.exists()
    resumed = quietly_fit(make(cls, settings, checkpoint=path), IRIS, y)
    assert_same_fit(resumed, expected)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("X", [sparse.csr_array(IRIS), sparse.csc_array(IRIS), IRIS.astype(np.float32)], ids=type)
def test_weights_and_other_kinds_of_X(monkeypatch, path, X, early_stopping):
    settings = {"early_stopping": early_stopping}
    expected = quietly_fit(make(MLPClassifier, settings), X, SPECIES, WEIGHTS)
    for calls in (3, 5):
        model = make(MLPClassifier, settings, checkpoint=path)
        assert interrupted_fit(monkeypatch, calls, model, X, SPECIES, sample_weight=WEIGHTS)
    assert_same_fit(quietly_fit(make(MLPClassifier, settings, checkpoint=path), X, SPECIES, WEIGHTS), expected)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_generator_that_was_given_ends_where_it_would_have(monkeypatch, path, early_stopping):
    settings = {"early_stopping": early_stopping}

    def generator(seed):
        generator = np.random.RandomState(seed)
        generator.standard_normal()  # so that it keeps a second Gaussian number
        return generator

    expected_generator = generator(1)
    expected = quietly_fit(make(MLPClassifier, settings, random_state=expected_generator), IRIS, SPECIES)
    model = make(MLPClassifier, settings, random_state=generator(1), checkpoint=path)
    assert interrupted_fit(monkeypatch, 5, model, IRIS, SPECIES)
    ours = generator(99)  # in a later process nobody knows where the first one was
    resumed = quietly_fit(make(MLPClassifier, settings, random_state=ours, checkpoint=path), IRIS, SPECIES)
    assert_same_fit(resumed, expected)
    assert_same_generator(ours, expected_generator)


def test_numpys_global_generator(monkeypatch, path):
    kept = np.random.get_state()
    try:
        np.random.seed(4)
        settings = {"random_state": None, "early_stopping": True}
        expected = quietly_fit(make(MLPClassifier, settings), IRIS, SPECIES)
        next_number = np.random.random_sample()
        np.random.seed(4)
        assert interrupted_fit(monkeypatch, 6, make(MLPClassifier, settings, checkpoint=path), IRIS, SPECIES)
        np.random.seed(77)
        resumed = quietly_fit(make(MLPClassifier, settings, checkpoint=path), IRIS, SPECIES)
        assert np.random.random_sample() == next_number
        assert_same_fit(resumed, expected)
    finally:
        np.random.set_state(kept)


def test_the_same_estimator_fitted_again_goes_on(monkeypatch, path):
    expected = quietly_fit(make(MLPClassifier, {"early_stopping": True}), IRIS, SPECIES)
    for warm_start in (False, True):
        model = make(MLPClassifier, {"early_stopping": True}, checkpoint=path, warm_start=warm_start)
        assert interrupted_fit(monkeypatch, 5, model, IRIS, SPECIES)
        assert 0 < model.n_iter_ < expected.n_iter_
        assert_same_fit(quietly_fit(model, IRIS, SPECIES), expected)
        assert not path.exists()


def test_warm_start_goes_on_from_the_weights_that_it_began_with_only(monkeypatch, path):
    def warm(**more):
        model = quietly_fit(make(MLPClassifier, {"max_iter": 3}), IRIS, SPECIES)
        return model.set_params(warm_start=True, max_iter=9, **more)

    expected = quietly_fit(warm(), IRIS, SPECIES)
    assert interrupted_fit(monkeypatch, 6, warm(checkpoint=path), IRIS, SPECIES)
    other = warm(checkpoint=path)
    other.coefs_[0][1, 1] += 1
    for model in (other, make(MLPClassifier, {}, checkpoint=path)):
        with pytest.raises(ValueError, match=r"the initial parameters have other values\. Delete the file"):
            model.fit(IRIS, SPECIES)
    assert_same_fit(quietly_fit(warm(checkpoint=path), IRIS, SPECIES), expected)


def test_another_max_iter_may_be_given_but_none_that_lies_behind(monkeypatch, path):
    expected = quietly_fit(make(MLPClassifier, {"max_iter": 12}), IRIS, SPECIES)
    assert interrupted_fit(monkeypatch, 14, make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES)
    with pytest.raises(ValueError, match=r"it holds 5 epochs, and max_iter is 5\. Raise max_iter"):
        make(MLPClassifier, {"max_iter": 5}, checkpoint=path).fit(IRIS, SPECIES)
    assert_same_fit(quietly_fit(make(MLPClassifier, {"max_iter": 12}, checkpoint=path), IRIS, SPECIES), expected)


def test_threads_verbosity_and_interval_may_change(monkeypatch, path, capsys):
    expected = quietly_fit(make(MLPClassifier, {}), IRIS, SPECIES)
    assert interrupted_fit(monkeypatch, 5, make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES)
    other = {"n_threads": 1, "verbose": True, "checkpoint_interval": 3, "hidden_layer_sizes": np.array([9, 5])}
    resumed = quietly_fit(make(MLPClassifier, other, checkpoint=str(path)), IRIS, SPECIES)
    assert capsys.readouterr().out.startswith("Going on after 1 epochs, from the checkpoint")
    resumed.hidden_layer_sizes = expected.hidden_layer_sizes
    assert_same_fit(resumed, expected)


def test_a_narrow_and_a_wide_network_are_both_tested():
    """The cases above are worth less if none of them runs in the orientation of narrow networks."""
    narrow = {}
    for name in ("narrow", "adam"):
        cls, settings, y = CASES[name]
        model = quietly_fit(make(cls, settings), IRIS, y)
        narrow[name] = model._make_network(np.dtype(float), batch_size=model.batch_size, solver="adam").narrow
    assert narrow == {"narrow": True, "adam": False}


# --- when it is saved ----------------------------------------------------------------------------


def count_saves(monkeypatch):
    saves = []
    take_apart = fastmlp.checkpoints.take_apart

    def counted(model, network, epochs, validation):
        saves.append((int(model.n_iter_), epochs.position))
        return take_apart(model, network, epochs, validation)

    monkeypatch.setattr(fastmlp.checkpoints, "take_apart", counted)
    return saves


def test_interval_zero_saves_after_every_call_mid_epoch_too(monkeypatch, path):
    saves = count_saves(monkeypatch)
    model = make(MLPClassifier, {"max_iter": 3}, checkpoint=path, checkpoint_interval=0)
    assert not interrupted_fit(monkeypatch, 1000, model, IRIS, SPECIES)
    assert saves == [(0, 0), (0, 60), (0, 120), (1, 20), (1, 80), (1, 140), (2, 40), (2, 100)]
    assert not path.exists()


def test_a_long_interval_saves_nothing(monkeypatch, path):
    saves = count_saves(monkeypatch)
    quietly_fit(make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=1e9), IRIS, SPECIES)
    assert saves == []
    assert not path.exists()


def test_the_interval_is_kept(monkeypatch, path):
    saves = count_saves(monkeypatch)
    now = iter(np.arange(0, 1000, 1.0))
    monkeypatch.setattr(fastmlp.checkpoints.time, "monotonic", lambda: float(next(now)))
    model = make(MLPClassifier, {"max_iter": 5}, checkpoint=path, checkpoint_interval=4)
    assert not interrupted_fit(monkeypatch, 1000, model, IRIS, SPECIES)
    assert 2 <= len(saves) <= 4


def test_partial_fit_ignores_it(path):
    path.write_text("somebody else's")
    make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=0).partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    assert path.read_text() == "somebody else's"


def test_a_file_that_somebody_else_put_there_meanwhile_is_left(monkeypatch, path):
    model = make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=1e9)
    model.set_callbacks(Callback(lambda: path.write_text("somebody else's")))
    quietly_fit(model, IRIS, SPECIES)
    assert path.read_text() == "somebody else's"


# --- Ctrl-C --------------------------------------------------------------------------------------


def test_interrupt_warns_and_leaves_a_usable_model(monkeypatch, path):
    advance = fastmlp.epochs.Epochs.advance

    def interrupting(self, rates):
        losses = advance(self, rates[:1])
        if self._network.t == 16:
            signal.raise_signal(signal.SIGINT)
        return losses

    monkeypatch.setattr(fastmlp.epochs.Epochs, "advance", interrupting)
    model = make(MLPClassifier, {}, checkpoint=path)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$") as caught:
        model.fit(IRIS, SPECIES)
    assert len(caught) == 1
    assert (model.n_iter_, len(model.loss_curve_)) == (2, 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_interrupt_is_raised_at_once(monkeypatch, path):
    """Then the state may be half a state, which is not saved."""

    def interrupting(self, rates):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("unreachable")

    saves = count_saves(monkeypatch)
    monkeypatch.setattr(fastmlp.epochs.Epochs, "advance", interrupting)
    with pytest.warns(UserWarning, match="interrupted by user"):
        make(MLPClassifier, {}, checkpoint=path).fit(IRIS, SPECIES)
    assert saves == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_comes_too_late_is_raised_when_all_is_done(monkeypatch, path):
    expected = quietly_fit(make(MLPClassifier, {}), IRIS, SPECIES)
    model = make(MLPClassifier, {}, checkpoint=path)
    n_ended = []

    def interrupt_the_last():
        n_ended.append(1)
        if len(n_ended) == 9:
            signal.raise_signal(signal.SIGINT)

    model.set_callbacks(Callback(interrupt_the_last))
    with pytest.raises(KeyboardInterrupt):
        quietly_fit(model, IRIS, SPECIES)
    assert not path.exists()
    del model._skl_callbacks
    assert_same_fit(model, expected)


def test_handlers_of_others_and_other_threads_are_left_alone(path):
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    handler = signal.getsignal(signal.SIGINT)
    try:
        model = make(MLPClassifier, {"max_iter": 2}, checkpoint=path)
        model.set_callbacks(Callback(lambda: seen.append(signal.getsignal(signal.SIGINT) is handler)))
        quietly_fit(model, IRIS, SPECIES)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [True, True]
    thread = threading.Thread(target=quietly_fit, args=(make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("shuffle", [True, False])
def test_interrupts_between_the_pieces_of_long_steps(monkeypatch, path, shuffle):
    """Also in the first step of an epoch, whose shuffle is taken back."""
    monkeypatch.setattr(fastmlp.epochs, "_LONGEST_STEP", 0)
    monkeypatch.setattr(fastmlp.epochs, "SECONDS_PER_CALL", 1e-7)
    settings = {"max_iter": 2, "batch_size": 64, "shuffle": shuffle}
    expected = quietly_fit(make(MLPClassifier, settings), IRIS, SPECIES)
    run = fastmlp.epochs.Epochs._step_in_pieces
    for after in (1, 2, 3, 1, 4):
        pieces = []

        def interrupting(self, n_threads, arguments, after=after, pieces=pieces):
            raise_if_pending = self.between_pieces

            def between_pieces():
                pieces.append(1)
                if len(pieces) == 2 + 2 * after:
                    signal.raise_signal(signal.SIGINT)
                raise_if_pending()

            self.between_pieces = between_pieces
            try:
                return run(self, n_threads, arguments)
            finally:
                self.between_pieces = raise_if_pending

        with monkeypatch.context() as patch:
            patch.setattr(fastmlp.epochs.Epochs, "_step_in_pieces", interrupting)
            quietly_fit(make(MLPClassifier, settings, checkpoint=path), IRIS, SPECIES)
        assert path.exists()
    assert_same_fit(quietly_fit(make(MLPClassifier, settings, checkpoint=path), IRIS, SPECIES), expected)


# --- callbacks -----------------------------------------------------------------------------------


class Callback:
    """Does something at the end of every epoch."""

    def __init__(self, action):
        self.action = action

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.parent is not None:
            self.action()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_callbacks_hear_of_the_epochs_that_are_left(monkeypatch, path, early_stopping):
    settings = {"early_stopping": early_stopping}
    expected = quietly_fit(make(MLPClassifier, settings), IRIS, SPECIES)
    interrupted = make(MLPClassifier, settings, checkpoint=path)
    assert interrupted_fit(monkeypatch, 8, interrupted, IRIS, SPECIES)
    model = make(MLPClassifier, settings, checkpoint=path)
    epochs = []
    model.set_callbacks(Callback(lambda: epochs.append(model.n_iter_)))
    quietly_fit(model, IRIS, SPECIES)
    assert interrupted.n_iter_ >= 2
    assert epochs == list(range(interrupted.n_iter_ + 1, 10))
    del model._skl_callbacks
    assert_same_fit(model, expected)


# --- files that can't be written -----------------------------------------------------------------


def test_what_cannot_be_written_is_found_out_before_training(path, monkeypatch):
    monkeypatch.setattr(fastmlp.epochs.Epochs, "advance", lambda self, rates: 1 / 0)
    places = {path.parent: "is a folder", path / "run.npz": "its folder doesn't exist", "": "is a folder"}
    if os.name == "posix":
        places |= {"/proc/run.npz": "No such file", "/dev/null": "is not a regular file"}
    for place, reason in places.items():
        with pytest.raises(OSError, match=rf"^checkpoint: .*{reason}.*\. Name a file in a folder that can be written"):
            make(MLPClassifier, {}, checkpoint=place).fit(IRIS, SPECIES)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_does_not_end_the_training(monkeypatch, path):
    expected = quietly_fit(make(MLPClassifier, {}), IRIS, SPECIES)
    assert interrupted_fit(monkeypatch, 5, make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES)
    content = path.read_bytes()

    def full(file, arrays):
        assert path.read_bytes() == content
        with open("/dev/full", "wb", buffering=0) as disk:
            disk.write(b"x")

    monkeypatch.setattr(fastmlp.checkpoints, "write_archive", full)
    model = make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(IRIS, SPECIES)
    messages = [str(warning.message) for warning in caught if "checkpoint" in str(warning.message)]
    assert len(messages) == 1
    assert re.search(r"No space left on device.*training goes on, and what was saved before is kept", messages[0])
    assert_same_fit(model, expected)
    assert list(path.parent.iterdir()) == []


def test_a_file_that_cannot_be_removed_is_warned_of(monkeypatch, path):
    assert interrupted_fit(monkeypatch, 5, make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES)

    def refused(self, missing_ok=False):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refused)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(MLPClassifier, {}, checkpoint=path).fit(IRIS, SPECIES)
    messages = [str(warning.message) for warning in caught]
    assert any("could not be removed (Operation not permitted)" in message for message in messages)
    assert path.exists()


# --- kill -9 -------------------------------------------------------------------------------------

TRAINING = """
import hashlib, sys, warnings
import numpy as np
from sklearn.datasets import load_digits
from fastmlp import MLPClassifier
warnings.simplefilter("ignore")
X, y = load_digits(return_X_y=True)
model = MLPClassifier((100, 100), random_state=0, max_iter=60, early_stopping=True, n_iter_no_change=1000, {more})
model.fit(X, y)
digest = hashlib.sha256()
for array in model.coefs_ + model.intercepts_ + model._optimizer.ms + [np.array(model.loss_curve_)]:
    digest.update(array.tobytes())
print(digest.hexdigest(), model.n_iter_)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_at_any_moment(path):
    import random
    import time

    expected, _ = finish(start_python(TRAINING.format(more="")))
    assert expected.endswith(" 60\n")
    code = TRAINING.format(more=f"checkpoint={str(path)!r}, checkpoint_interval=0")
    moments = random.Random(1)
    n_killed = 0
    for _ in range(6):
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = start_python(code)
        while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.2))
        n_killed += process.poll() is None
        process.kill()
        output, errors = process.communicate()
        assert not errors
        if output:
            break
    else:
        output, _ = finish(start_python(code))
    assert n_killed >= 3
    assert output == expected
    assert list(path.parent.iterdir()) == []
