"""When a checkpoint is saved and removed: intervals, Ctrl-C, callbacks, full disks, kill -9."""

import json
import os
import random
import re
import signal
import threading
import time
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

import fastmlp.network.epochs
import fastmlp.training.checkpoints
from fastmlp import MLPClassifier
from fastmlp.drivers.region import TRAIN
from fastmlp.network.network import Network
from fastmlp.network.sharing import experience_of
from tests.helpers.callbacks import Callback
from tests.helpers.estimators import fit_quietly
from tests.helpers.interrupted import IRIS, SPECIES, assert_same_fit, interrupted_fit, make
from tests.helpers.subprocesses import finish, start_python


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


# --- when it is saved ----------------------------------------------------------------------------


def count_saves(monkeypatch):
    saves = []
    take_apart = fastmlp.training.checkpoints.take_apart

    def counted(model, network, epochs, validation):
        saves.append((int(model.n_iter_), epochs.position))
        return take_apart(model, network, epochs, validation)

    monkeypatch.setattr(fastmlp.training.checkpoints, "take_apart", counted)
    return saves


def test_interval_zero_saves_after_every_call_mid_epoch_too(monkeypatch, path):
    saves = count_saves(monkeypatch)
    model = make(MLPClassifier, {"max_iter": 3}, checkpoint=path, checkpoint_interval=0)
    assert not interrupted_fit(monkeypatch, 1000, model, IRIS, SPECIES)
    assert saves == [(0, 0), (0, 60), (0, 120), (1, 20), (1, 80), (1, 140), (2, 40), (2, 100)]
    assert not path.exists()


def test_a_long_interval_saves_nothing(monkeypatch, path):
    saves = count_saves(monkeypatch)
    fit_quietly(make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=1e9), IRIS, SPECIES)
    assert saves == []
    assert not path.exists()


def test_the_interval_is_kept(monkeypatch, path):
    saves = count_saves(monkeypatch)
    now = iter(np.arange(0, 1000, 1.0))
    clock = types.SimpleNamespace(monotonic=lambda: float(next(now)))
    monkeypatch.setattr(fastmlp.training.checkpoints, "time", clock)
    model = make(MLPClassifier, {"max_iter": 5}, checkpoint=path, checkpoint_interval=4)
    assert not interrupted_fit(monkeypatch, 1000, model, IRIS, SPECIES)
    assert 2 <= len(saves) <= 4


def test_partial_fit_ignores_it(path):
    path.write_text("somebody else's")
    make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=0).partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    assert path.read_text() == "somebody else's"


def test_clones_that_are_fitted_one_after_the_other_may_share_a_file(path):
    model = make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=0)
    search = fit_quietly(GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2), IRIS, SPECIES)
    alone = make(MLPClassifier, search.best_params_)
    assert_same_fit(search.best_estimator_, fit_quietly(alone, IRIS, SPECIES))
    assert not path.exists()


def test_a_fit_that_ends_with_an_error_keeps_its_file(path):
    model = make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=0)
    with pytest.raises(ZeroDivisionError):
        fit_quietly(model.set_callbacks(Callback(lambda: 1 / 0)), IRIS, SPECIES)
    assert path.exists()
    del model._skl_callbacks
    assert_same_fit(fit_quietly(model, IRIS, SPECIES), fit_quietly(make(MLPClassifier, {}), IRIS, SPECIES))


def test_a_file_that_somebody_else_put_there_meanwhile_is_left(monkeypatch, path):
    model = make(MLPClassifier, {}, checkpoint=path, checkpoint_interval=1e9)
    model.set_callbacks(Callback(lambda: path.write_text("somebody else's")))
    fit_quietly(model, IRIS, SPECIES)
    assert path.read_text() == "somebody else's"


# --- Ctrl-C --------------------------------------------------------------------------------------


def test_interrupt_warns_and_leaves_a_usable_model(monkeypatch, path):
    advance = fastmlp.network.epochs.Epochs.advance

    def interrupting(self, rates):
        losses = advance(self, rates[:1])
        if self._network.t == 16:
            signal.raise_signal(signal.SIGINT)
        return losses

    monkeypatch.setattr(fastmlp.network.epochs.Epochs, "advance", interrupting)
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
    monkeypatch.setattr(fastmlp.network.epochs.Epochs, "advance", interrupting)
    with pytest.warns(UserWarning, match="interrupted by user"):
        make(MLPClassifier, {}, checkpoint=path).fit(IRIS, SPECIES)
    assert saves == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_comes_too_late_is_raised_when_all_is_done(monkeypatch, path):
    expected = fit_quietly(make(MLPClassifier, {}), IRIS, SPECIES)
    model = make(MLPClassifier, {}, checkpoint=path)
    n_ended = []

    def interrupt_the_last():
        n_ended.append(1)
        if len(n_ended) == 9:
            signal.raise_signal(signal.SIGINT)

    model.set_callbacks(Callback(interrupt_the_last))
    with pytest.raises(KeyboardInterrupt):
        fit_quietly(model, IRIS, SPECIES)
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
        fit_quietly(model, IRIS, SPECIES)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [True, True]
    thread = threading.Thread(target=fit_quietly, args=(make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


LONG_STEPS = {
    # n_pieces: (whole steps of a fit before its Ctrl-C, phase in which it comes, and what the file then holds)
    6: [(0, 0, (0, 0, 0)), (0, 1, (0, 0, 0)), (1, 0, (0, 64, 1)), (2, 1, (1, 0, 3)), (1, 1, (1, 64, 4))],
    # So short a phase 2 is ended first, here once with an epoch.
    3: [(0, 0, (0, 0, 0)), (0, 1, (0, 64, 1)), (1, 0, (0, 128, 2)), (0, 1, (1, 0, 3)), (1, 1, (1, 128, 5))],
}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n_pieces", LONG_STEPS)
def test_interrupts_between_the_pieces_of_long_steps(monkeypatch, path, shuffle, n_pieces):
    """Also in the first step of an epoch, whose shuffle is taken back, and while numbers of threads are tried."""
    monkeypatch.setattr(fastmlp.network.epochs, "pieces_of_step", lambda seconds: n_pieces)
    settings = {"max_iter": 2, "batch_size": 64, "shuffle": shuffle}
    expected = fit_quietly(make(MLPClassifier, settings), IRIS, SPECIES)
    run = Network.run

    def interrupt(steps, phase):
        """Fit until so many steps and half a phase of the next are done."""
        pieces = []

        def run_and_press(self, n_threads, driver, *arguments):
            result = run(self, n_threads, driver, *arguments)
            if driver is TRAIN and arguments[2].record["most_steps"] > 0:  # without a step it compiles, before a trial
                pieces.append(n_threads)
                if len(pieces) == (2 * steps + phase) * n_pieces + 1:
                    signal.raise_signal(signal.SIGINT)
            return result

        with monkeypatch.context() as patch:
            experience_of.cache_clear()  # so that each fit begins with trials
            patch.setattr(Network, "run", run_and_press)
            fit_quietly(make(MLPClassifier, settings, checkpoint=path), IRIS, SPECIES)
        with np.load(path) as archive:
            header = json.loads(archive["header"].tobytes())
        return header["n_iter"], header["position"], header["steps"]

    for steps, phase, reached in LONG_STEPS[n_pieces]:
        assert interrupt(steps, phase) == reached
    assert_same_fit(fit_quietly(make(MLPClassifier, settings, checkpoint=path), IRIS, SPECIES), expected)


# --- callbacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_callbacks_hear_of_the_epochs_that_are_left(monkeypatch, path, early_stopping):
    settings = {"early_stopping": early_stopping}
    expected = fit_quietly(make(MLPClassifier, settings), IRIS, SPECIES)
    interrupted = make(MLPClassifier, settings, checkpoint=path)
    assert interrupted_fit(monkeypatch, 8, interrupted, IRIS, SPECIES)
    model = make(MLPClassifier, settings, checkpoint=path)
    epochs = []
    model.set_callbacks(Callback(lambda: epochs.append(model.n_iter_)))
    fit_quietly(model, IRIS, SPECIES)
    assert interrupted.n_iter_ >= 2
    assert epochs == list(range(interrupted.n_iter_ + 1, 10))
    del model._skl_callbacks
    assert_same_fit(model, expected)


# --- files that can't be written -----------------------------------------------------------------


def test_what_cannot_be_written_is_found_out_before_training(path, monkeypatch):
    monkeypatch.setattr(fastmlp.network.epochs.Epochs, "advance", lambda self, rates: 1 / 0)
    places = {path.parent: "is a folder", path / "run.npz": "its folder doesn't exist", "": "is a folder"}
    if os.name == "posix":
        places |= {"/proc/run.npz": "No such file", "/dev/null": "is not a regular file"}
    for place, reason in places.items():
        with pytest.raises(OSError, match=rf"^checkpoint: .*{reason}.*\. Name a file in a folder that can be written"):
            make(MLPClassifier, {}, checkpoint=place).fit(IRIS, SPECIES)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"hidden_layer_sizes": (1,) * 1250, "early_stopping": True}, "a file holds 10000 arrays at most"),
        ({"n_iter_no_change": 10**5000}, "Exceeds the limit"),
    ],
    ids=["too many layers", "an integer that Python won't write"],
)
def test_a_fit_that_no_file_can_hold_is_refused_before_training(path, monkeypatch, settings, reason):
    monkeypatch.setattr(fastmlp.network.epochs.Epochs, "advance", lambda self, rates: 1 / 0)
    generator = np.random.RandomState(0)
    state = generator.get_state()[1].copy()
    model = make(MLPClassifier, {**settings, "random_state": generator}, checkpoint=path)
    with pytest.raises(
        ValueError, match=rf"^checkpoint=.* can't be used for this fit \({reason}.*\): leave checkpoint=None"
    ):
        model.fit(IRIS, SPECIES)
    assert not hasattr(model, "coefs_")
    assert not path.exists()
    np.testing.assert_array_equal(generator.get_state()[1], state)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_does_not_end_the_training(monkeypatch, path):
    expected = fit_quietly(make(MLPClassifier, {}), IRIS, SPECIES)
    assert interrupted_fit(monkeypatch, 5, make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES)
    content = path.read_bytes()

    def full(file, arrays):
        assert path.read_bytes() == content
        with open("/dev/full", "wb", buffering=0) as disk:
            disk.write(b"x")

    monkeypatch.setattr(fastmlp.training.checkpoints, "write_archive", full)
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
        warnings.filterwarnings("error", message="checkpoint")
        with pytest.raises(UserWarning, match="could not be removed"):
            make(MLPClassifier, {}, checkpoint=path).fit(IRIS, SPECIES)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
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
    expected, _ = finish(start_python(TRAINING.format(more="")))
    assert expected.endswith(" 60\n")
    code = TRAINING.format(more=f"checkpoint={str(path)!r}, checkpoint_interval=0")
    moments = random.Random(1)
    n_killed = 0
    for _ in range(5):
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
