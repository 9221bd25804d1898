"""One thread or several: what a run does when shared steps turn out fast, slow at first, or slow."""

import pytest

from fastmlp.network.sharing import Experience, Sharing, experience_of


def sharing_of(n_threads, expected, known=None):
    return Sharing(n_threads, expected, known or Experience())


TRIAL_OF_ONE, TRIAL_OF_TWO = [(1, True)] * 2, [(2, True)] * 2


def calls(sharing, seconds_of, count):
    """Make calls whose steps take what `seconds_of` says for a number of threads; return what was chosen."""
    chosen = []
    for _ in range(count):
        n_threads, is_trial = sharing.choose()
        sharing.record(n_threads, seconds_of(n_threads))
        chosen.append((n_threads, is_trial))
    return chosen


@pytest.mark.parametrize("faster", [1, 2])
def test_short_steps_are_compared_with_one_thread_however_fast_they_are(faster):
    # The processor may be several times as fast as the model has it.
    chosen = calls(sharing_of(2, 1e-4), {faster: 2e-5, 3 - faster: 3e-5}.get, 6)
    assert chosen == [*TRIAL_OF_TWO, *TRIAL_OF_ONE, (faster, False), (3 - faster, True)]


def test_a_later_run_of_the_same_shape_knows_what_the_earlier_has_found_out():
    seconds_of, shape = {1: 3e-5, 2: 2e-5}.get, object()
    assert experience_of(shape) is experience_of(shape)
    assert calls(sharing_of(2, 1e-4, experience_of(shape)), seconds_of, 5)[-1] == (2, False)
    assert calls(sharing_of(2, 1e-4, experience_of(shape)), seconds_of, 2) == TRIAL_OF_ONE
    assert calls(sharing_of(2, 1e-4, experience_of(shape)), seconds_of, 3) == [(2, False)] * 3
    assert calls(sharing_of(2, 1e-4, experience_of(object())), seconds_of, 1) == [(2, True)]


def test_runs_of_one_shape_at_once_have_trials_of_their_own():
    known = Experience()
    first, second = sharing_of(2, 1e-4, known), sharing_of(2, 1e-4, known)
    assert first.choose() == second.choose() == (2, True)
    for _ in range(2):  # the second ends its trial while the first is in its own
        second.record(2, 2e-5)
    assert first.choose() == (2, True)
    assert second.choose() == (1, True)


def test_how_long_a_step_takes_is_told_as_far_as_it_is_known():
    sharing = sharing_of(2, 1e-4)
    assert sharing.seconds == 1e-4
    calls(sharing, {1: 3e-5, 2: 2e-5}.get, 2)
    assert sharing.seconds == 2e-5


def test_fast_shared_steps_stay_shared():
    chosen = calls(sharing_of(2, 1.0), {1: 0.9, 2: 0.5}.get, 40)
    assert chosen == TRIAL_OF_TWO + [(2, False)] * 38


def test_shared_steps_that_are_not_clearly_fast_are_compared_with_one_thread():
    # One thread may be faster than the model has it.
    chosen = calls(sharing_of(2, 1.0), {1: 0.65, 2: 0.9}.get, 10)
    assert chosen == TRIAL_OF_TWO * 2 + TRIAL_OF_ONE + [(1, False)] + TRIAL_OF_TWO + [(1, False)]
    chosen = calls(sharing_of(2, 1.0), {1: 0.95, 2: 0.9}.get, 10)
    assert chosen == TRIAL_OF_TWO * 2 + TRIAL_OF_ONE + [(2, False)] + TRIAL_OF_ONE + [(2, False)]


def test_the_first_call_of_a_trial_counts_for_nothing():
    seconds = iter([100.0] + [0.5] * 40)
    chosen = calls(sharing_of(2, 1.0), lambda n_threads: next(seconds), 40)
    assert chosen == TRIAL_OF_TWO + [(2, False)] * 38


def test_the_first_shared_steps_may_be_slow():
    seconds = iter([7.0, 7.0] + [0.5] * 40)
    chosen = calls(sharing_of(2, 1.0), lambda n_threads: next(seconds), 40)
    assert chosen == TRIAL_OF_TWO * 2 + [(2, False)] * 36


def test_slow_shared_steps_are_given_up_and_tried_again_soon_then_now_and_then():
    sharing = sharing_of(4, 1.0)
    chosen = calls(sharing, {1: 0.9, 4: 30.0}.get, 45)
    assert chosen[:7] == [(4, True)] * 4 + TRIAL_OF_ONE + [(1, False)]
    trials = [place for place, (n_threads, _) in enumerate(chosen) if n_threads == 4]
    assert trials == [0, 1, 2, 3, 7, 8, 12, 13, 21, 22, 38, 39]
    assert all(is_trial for n_threads, is_trial in chosen if n_threads == 4)
    # The others have left: the next trial finds out.
    later = calls(sharing, {1: 0.9, 4: 0.3}.get, 40)[-20:]
    assert {call for call in later if call != (4, False)} <= {(1, True)}
    assert later.count((4, False)) >= 17


def test_shared_steps_that_become_slow_are_noticed():
    sharing = sharing_of(2, 1.0)
    calls(sharing, {1: 0.9, 2: 0.5}.get, 10)
    chosen = calls(sharing, {1: 0.9, 2: 5.0}.get, 8)
    assert chosen == [(2, False)] * 2 + [*TRIAL_OF_ONE, (1, False), *TRIAL_OF_TWO, (1, False)]


def test_what_has_just_become_slower_is_tried_again_soon():
    sharing = sharing_of(2, 1e-4)
    rare = calls(sharing, {1: 9e-5, 2: 5e-5}.get, 100)
    assert rare.count((1, True)) == 2 * 8  # the first of all, and after 2, 4, 8, 16, 16, 16 and 16 calls
    disturbed = calls(sharing, {1: 9e-5, 2: 2e-4}.get, 60)
    first = disturbed.index((1, False))
    trials = [place for place, call in enumerate(disturbed[first:]) if call == (2, True)]
    assert trials[:6] == [1, 2, 6, 7, 15, 16]
    # And back to both threads as soon as nobody disturbs them.
    assert (2, False) in calls(sharing, {1: 9e-5, 2: 5e-5}.get, 20)


def test_a_single_slow_call_changes_nothing():
    sharing = sharing_of(2, 1.0)
    for _ in range(5):
        assert calls(sharing, {1: 0.9, 2: 0.5}.get, 10)[-1] == (2, False)
        assert calls(sharing, {1: 0.9, 2: 5.0}.get, 1) == [(2, False)]


def test_the_first_call_of_a_fit_may_be_slow():
    known = Experience(serial=0.9, shared=0.85, shared_calls=5)
    assert calls(sharing_of(2, 1.0, known), {1: 0.9, 2: 7.0}.get, 1) == [(2, False)]
    assert calls(sharing_of(2, 1.0, known), {1: 0.9, 2: 0.85}.get, 3) == [*TRIAL_OF_ONE, (2, False)]


def test_long_steps_that_are_clearly_faster_shared_are_not_tried_on_one_thread_again():
    # The processor is slower than the model has it.
    chosen = calls(sharing_of(2, 1.0), {1: 1.5, 2: 0.8}.get, 60)
    assert chosen == TRIAL_OF_TWO * 2 + TRIAL_OF_ONE + [(2, False)] * 54


def test_one_thread_needs_no_trial():
    assert calls(sharing_of(1, 1.0), {1: 5.0}.get, 3) == [(1, False)] * 3
