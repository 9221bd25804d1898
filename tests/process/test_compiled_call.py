"""Ctrl-C in the moments around a compiled call."""

import sys

import numba
import pytest

from fastmlp.network import threads
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit


CALLS = {"region": threads.compiled_call, "helpers": threads.helped_call}


class _Interrupter:
    """Raise KeyboardInterrupt where one line of the context of a call begins, the first of them or a later one."""

    def __init__(self, line):
        self.remaining = line

    def __call__(self, frame, event, argument):
        if frame.f_code.co_name not in ("compiled_call", "helped_call", "_counted_call"):
            return None
        if event == "line":
            self.remaining -= 1
            if self.remaining == 0:
                raise KeyboardInterrupt
        return self


def interrupted_at(call, line):
    """Make a call that is interrupted at a line; return whether it has so many lines."""
    interrupter = _Interrupter(line)
    former = sys.gettrace()
    sys.settrace(interrupter)
    try:
        with call(2):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(former)
    return interrupter.remaining <= 0


def check_every_line(name):
    call = CALLS[name]
    with call(2) as may_share:
        assert may_share
    line = 1
    while interrupted_at(call, line):
        with call(2) as may_share:
            assert may_share, f"not alone any more, after an interrupt at line {line}"
        line += 1
    return line - 1


@pytest.mark.parametrize("name", CALLS)
def test_a_process_is_alone_again_wherever_it_is_interrupted(name):
    output, _ = run_python(
        f"""
        from fastmlp.network import threads
        from tests.process.test_compiled_call import check_every_line

        print(check_every_line({name!r}) if threads.threading_layer() in ("omp", "tbb") else "no layer")
        """,
        NUMBA_NUM_THREADS=2,
        timeout=60,
    )
    if output.strip() == "no layer":
        pytest.skip("no threading layer on which calls may be shared")
    assert int(output) > 8


def test_the_mask_of_threads_is_restored():
    before = numba.get_num_threads()
    for _ in range(3):
        try:
            with threads.compiled_call(max(1, before)):
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert numba.get_num_threads() == before
