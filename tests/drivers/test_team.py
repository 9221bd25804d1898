"""A team of threads does every block of every phase once, however many come, and whenever they do."""

import threading

import numba
import numpy as np
import pytest

from fastmlp.drivers import team
from fastmlp.network.network import Network
from fastmlp.simd import atomics
from fastmlp.simd.clock import ticks
from fastmlp.simd.jit import JIT_DISABLED, as_records, inner, uncached
from tests.helpers.problems import advance, make_problem, parameters_of

# Where a thread writes down what it did: a number for each phase and block, and how often it read a phase wrongly.
DONE = np.dtype([("by", np.int64), ("times", np.int64), ("misread", np.int64)], align=True)


@inner
def do(log, board, number, block, kind, first, n_cuts, member, delay):
    """Write down a block of a phase that was posted with its own numbers; take a while."""
    if team.begin(board, number, block):
        entry = log[number - 1, block]
        entry.by = member
        entry.times += 1
        entry.misread = (kind != 1 + number % 2) + (first != 3 * number) + (n_cuts != 5 * number)
        started = ticks()
        while ticks() - started < delay:
            pass
        team.end(board, number, block)


@uncached
def lead(board, log, n_blocks, n_phases, delay):
    """Post phases and do what is left of them; return how many blocks were not done when they ought to have been."""
    missing = 0
    for _ in range(n_phases):
        number = board[team._PHASE] + 1
        team.post(board, 1 + number % 2, 3 * number, 5 * number)
        for block in range(n_blocks):
            do(log, board, number, block, 1 + number % 2, 3 * number, 5 * number, 0, delay)
        team.wait_for_blocks(board, number, n_blocks)
        for block in range(n_blocks):
            missing += log[number - 1, block].times != 1
    team.dismiss(board)
    return missing


@uncached
def follow(board, log, member, delay):
    """Do a follower's blocks; take a while before each, so that some are gone by then."""
    number, kind, first, n_cuts = team.next_phase(board, np.int64(0))
    while kind:
        started = ticks()
        while ticks() - started < delay * (number % 4):
            pass
        do(log, board, number, member, kind, first, n_cuts, member, delay)
        number, kind, first, n_cuts = team.next_phase(board, number)


def test_a_follower_that_is_held_up_leaves_its_block_to_the_primary_thread():
    """One thread plays both, so that each is held up where it hurts."""

    @uncached
    def play(board, begun):
        team.post(board, 1, 10, 100)
        number, kind, first, n_cuts = team.next_phase(board, np.int64(0))
        # The follower has read the first phase, and is held up. The primary thread does all and posts the second.
        for block in range(2):
            begun[0, block] = team.begin(board, np.int64(1), block)
            team.end(board, np.int64(1), block)
        team.wait_for_blocks(board, np.int64(1), 2)
        team.post(board, 2, 20, 200)
        begun[1, 1] = team.begin(board, number, np.int64(1))
        number, kind, first, n_cuts = team.next_phase(board, number)
        # Now it is the first to come.
        begun[2, 1] = team.begin(board, number, np.int64(1))
        for block in range(2):
            begun[3, block] = team.begin(board, np.int64(2), block)
        for block in range(2):
            team.end(board, np.int64(2), block)
        team.wait_for_blocks(board, np.int64(2), 2)
        team.dismiss(board)
        return number, kind, first, n_cuts, team.next_phase(board, number)[1]

    begun = np.zeros((4, 2), np.bool_)
    assert play(team.board_for(2), begun) == (2, 2, 20, 200, 0)
    assert begun.tolist() == [[True, True], [False, False], [False, True], [True, False]]


def new_log(n_phases, n_blocks):
    return as_records(np.zeros((n_phases, n_blocks), DONE))


def test_the_primary_thread_does_everything_if_nobody_else_comes():
    log = new_log(7, 3)
    board = team.board_for(3)
    assert lead(board, log, 3, 7, 0) == 0
    assert (log["times"] == 1).all()
    assert (log["by"] == 0).all()
    assert not log["misread"].any()
    # Who comes when all is over goes again.
    before = log.copy()
    follow(board, log, 1, 0)
    np.testing.assert_array_equal(log, before)


@pytest.mark.needs_jit
@pytest.mark.parametrize("n_blocks", [2, 4, 6])
@pytest.mark.parametrize("delay", [0, 200, 20_000])
def test_every_block_is_done_once_whoever_comes_first(n_blocks, delay):
    """Three followers, on more threads than many machines have processors; of six blocks two are nobody's."""
    n_phases, n_followers = 20_000 if delay == 0 else 2_000 if delay == 200 else 200, min(3, n_blocks - 1)
    log, board = new_log(n_phases, n_blocks), team.board_for(n_blocks)
    lead(team.board_for(1), new_log(1, 1), 1, 1, 0)  # compiled before the clocks run
    followers = [threading.Thread(target=follow, args=(board, log, 1 + number, delay)) for number in range(n_followers)]
    for follower in followers:
        follower.start()
    missing = lead(board, log, n_blocks, n_phases, delay)
    for follower in followers:
        follower.join()
    assert missing == 0
    assert (log["times"] == 1).all()
    assert not log["misread"].any()
    for block in range(n_blocks):
        assert set(np.unique(log["by"][:, block])) <= ({0, block} if 0 < block <= n_followers else {0})


@pytest.mark.needs_jit
def test_nothing_is_added_in_vain():
    @uncached
    def add_often(words, count):
        for _ in range(count):
            atomics.fetch_and_add(words, 1, 3)

    words = np.zeros(3, np.int64)
    add_often(words, 0)
    threads = [threading.Thread(target=add_often, args=(words, 100_000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(words, [0, 3 * 400_000, 0])


def test_atomics_alone_do_what_they_say():
    @uncached
    def one_of_each(words):
        atomics.pause()
        atomics.give_way()
        first = atomics.fetch_and_add(words, 1, -5)
        atomics.store_release(words, 0, np.int64(11))
        swapped = atomics.compare_and_exchange(words, 2, np.int64(7), np.int64(8))
        kept = atomics.compare_and_exchange(words, 3, np.int64(7), np.int64(8))
        return first, swapped, kept, atomics.load_acquire(words, 0)

    words = np.array([1, 2, 7, 4])
    assert one_of_each(words) == (2, True, False, 11)
    np.testing.assert_array_equal(words, [11, -3, 8, 4])


def test_what_a_thread_writes_lies_in_cache_lines_of_its_own():
    board = team.board_for(5)
    assert board.ctypes.data % 64 == 0
    assert not board.any()
    places = [team._MEMBERS, team._PHASE, *(team._BLOCKS + block * team._PART for block in range(5))]
    assert (np.diff(places) * board.itemsize >= 128).all()
    assert max(places) + team._PART <= len(board)
    assert {place // 8 for place in (team._KIND, team._FIRST, team._CUTS)} == {team._PHASE // 8}


@pytest.fixture
def one_thread():
    """Let Numba's threading layer have one thread. Interpreted, a region's turns come one after the other anyway."""
    if JIT_DISABLED:
        yield
        return
    former = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(former)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("n_blocks", [2, 3])
def test_a_region_that_one_thread_goes_through_alone_does_the_same(n_blocks, monkeypatch):
    # However few processors this machine has.
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", max(n_blocks, numba.config.NUMBA_NUM_THREADS))
    problem = make_problem([5, 70, 9], "relu", "log_loss", n_samples=23)

    def results(is_region):
        class Forced(Network):
            def run(self, _, driver, phases, *arguments):
                super().run(1, lambda n_threads, *rest: driver(n_blocks if is_region else 1, *rest), phases, *arguments)

        network = problem.network(Forced, solver="adam", batch_size=10, n_threads=n_blocks)
        assert not network.narrow  # else another network predicts
        assert network.n_threads == n_blocks
        losses = advance(problem.epochs(network, batch_size=10, n_blocks=n_blocks), 2, 0.01)
        outputs = np.empty((problem.n_samples, 9), problem.dtype)
        network.predict(problem.rows, outputs, n_blocks=n_blocks)
        evaluated = problem.network(Forced, solver="lbfgs", n_threads=n_blocks)
        evaluated.n_blocks = lambda rows: n_blocks
        gradient = problem.flat_parameters()
        loss = evaluated.loss_and_gradient(
            problem.rows, problem.targets, problem.sample_weight, problem.flat_parameters(), gradient
        )
        return [losses, outputs, np.array(loss), gradient, *parameters_of(network)]

    for alone, in_region in zip(results(False), results(True), strict=True):
        np.testing.assert_array_equal(alone, in_region)
