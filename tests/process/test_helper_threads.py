"""Helpers of a prediction: what they do in time counts, and nobody waits for what they have not begun."""

import _thread
import threading

import numpy as np
import pytest

from fastmlp.drivers.inference import inference_block_rows
from fastmlp.network import threads
from fastmlp.process.helper_threads import Helper
from tests.helpers.problems import make_problem

PATIENCE = 30


@pytest.fixture
def helper():
    return Helper()


def test_a_helper_does_what_it_is_offered_one_thing_after_the_other(helper):
    done = [threading.Event() for _ in range(20)]
    for event in done:
        while not helper.offer(event.set):
            pass
        assert event.wait(PATIENCE)


def test_what_a_helper_has_not_begun_is_withdrawn_and_keeps_nothing_alive(helper):
    begun, release, refused = threading.Event(), threading.Event(), threading.Event()

    def hold():
        begun.set()
        release.wait(PATIENCE)

    assert helper.offer(hold)
    assert begun.wait(PATIENCE)
    assert not helper.offer(refused.set)  # it is busy, and nothing is kept for later
    helper.withdraw()
    release.set()
    done = threading.Event()
    while not helper.offer(done.set):
        pass
    assert done.wait(PATIENCE)
    assert not refused.is_set()
    assert helper._work is None


def test_a_helper_that_was_held_up_rests_longer_each_time(helper, monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    rests = []
    for _ in range(8):
        helper.rest(was_held_up=True)
        began = now
        while not helper.offer(int):
            now += 0.01
        rests.append(round(now - began, 1))
        deadline = threading.Event()
        while not helper._is_idle:
            deadline.wait(0.001)
    assert rests == [0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    now += 10
    helper.rest(was_held_up=False)
    helper.rest(was_held_up=True)
    now += 0.06
    assert helper.offer(int)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_helper_outlives_what_goes_wrong(helper):
    done = threading.Event()
    assert helper.offer(lambda: 1 / 0)
    while not helper.offer(done.set):
        pass
    assert done.wait(PATIENCE)


@pytest.mark.needs_jit
@pytest.mark.parametrize("error", [None, RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_a_helper_that_cannot_start_holds_nobody_up(helper, monkeypatch, error):
    def start(function, arguments):
        if error is not None:
            raise error

    monkeypatch.setattr(_thread, "start_new_thread", start)
    helper.offer(int)
    helper.withdraw()
    assert helper._work is None
    assert not helper.offer(int)


@pytest.mark.parametrize("holds_up", [False, True], ids=["helper comes", "helper never comes"])
def test_a_prediction_waits_for_no_helper_that_has_not_begun(holds_up, monkeypatch):
    problem = make_problem([40, 70, 9], "relu", "log_loss", n_samples=1500)
    monkeypatch.setattr("fastmlp.network.network.resolve_n_threads", lambda n_threads: n_threads)
    network = problem.network(solver=None, batch_size=256, n_threads=2)
    alone, helped = (np.full((problem.n_samples, 9), np.nan, problem.dtype) for _ in range(2))
    network.predict(problem.rows, alone, n_blocks=1)
    release = threading.Event()
    with threads.helped_call(2) as (helper,):
        pass
    if holds_up:
        while not helper.offer(lambda: release.wait(PATIENCE)):
            pass
    try:
        network.predict(problem.rows, helped, n_blocks=2)
        assert not release.is_set()
    finally:
        release.set()
    np.testing.assert_array_equal(alone, helped)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n_rows", [1, 31, 33, 600, 100_000])
@pytest.mark.parametrize("capacity", [64, 200, 1024])
def test_blocks_fit_the_workspace_and_are_enough_for_all(n_rows, capacity, n_threads):
    rows = inference_block_rows(n_rows, capacity, n_threads)
    assert 1 <= rows * n_threads <= capacity
    if n_rows >= 4 * 32 * n_threads:
        assert -(-n_rows // rows) >= min(4, n_threads) * n_threads or n_threads == 1
