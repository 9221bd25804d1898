"""Ctrl-C in the moments around a compiled call."""

import sys

import pytest

from fastmlp.network import threads
from fastmlp.simd.library import LIBRARY
from fastmlp.simd.numba_modules import numba
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit


CALLS = {"region": threads.compiled_call, "helpers": threads.helped_call}
IS_SHARED = {"region": lambda given: given[0] == 2, "helpers": lambda given: len(given) == 1}


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
    call, is_shared = CALLS[name], IS_SHARED[name]
    with call(2) as given:
        assert is_shared(given)
    line = 1
    while interrupted_at(call, line):
        with call(2) as given:
            assert is_shared(given), f"not alone any more, after an interrupt at line {line}"
        line += 1
    return line - 1


@pytest.mark.parametrize("name", CALLS)
def test_a_process_is_alone_again_wherever_it_is_interrupted(name, way):
    output, _ = run_python(
        f"""
        from fastmlp.network import threads
        from tests.process.test_compiled_call import check_every_line

        print("no layer" if threads.threading_layer() in ("workqueue", "none") else check_every_line({name!r}))
        """,
        NUMBA_NUM_THREADS=2,
        timeout=60,
        **way.options,
    )
    if output.strip() == "no layer":
        pytest.skip("no threading layer on which calls may be shared")
    assert int(output) >= 8


@pytest.mark.skipif(LIBRARY is not None, reason="a library needs no mask")
def test_the_mask_of_threads_is_restored():
    before = numba.get_num_threads()
    for _ in range(3):
        try:
            with threads.compiled_call(max(1, before)):
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert numba.get_num_threads() == before
