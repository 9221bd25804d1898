"""A library's kernels compute what those compute that are compiled when they are needed, to the last bit."""

import json

import pytest

from tests.helpers.installed import Way
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

PREAMBLE = """
    import json, sys
    from pathlib import Path
    from fastmlp.simd.library import LIBRARY
    from tests.helpers import bit_cases

    def end_with(results):
        assert (LIBRARY is not None) == ("numba" not in sys.modules)
        print(json.dumps([LIBRARY is not None, results]))
"""


def results_of(way, code):
    is_library, results = json.loads(run_python(PREAMBLE + code, **way.options)[0])
    assert is_library == way.is_library
    return results


def test_every_kind_of_fit_and_prediction_has_the_same_bits(library_way):
    code = "    end_with(bit_cases.digests())"
    compiled, found = (results_of(way, code) for way in (Way("jit"), library_way))
    assert len(compiled) > 900
    assert not {name: digest for name, digest in compiled.items() if found.get(name) != digest}
    assert found.keys() == compiled.keys()


def test_a_fit_that_one_of_them_has_begun_is_ended_by_the_other(library_way, tmp_path):
    for folder in ("jit", "library", "nothing"):
        (tmp_path / folder).mkdir()
    folder = f"Path({str(tmp_path)!r})"
    unstopped = results_of(
        Way("jit"),
        f"""
    bit_cases.make_checkpoints({folder} / "jit")
    end_with(bit_cases.digests_of_unstopped({folder}))
        """,
    )
    resumed = results_of(
        library_way,
        f"""
    bit_cases.make_checkpoints({folder} / "library")
    end_with(bit_cases.digests_of_resumed({folder} / "jit"))
        """,
    )
    assert resumed == unstopped
    code = f'    end_with(bit_cases.digests_of_resumed({folder} / "library"))'
    assert results_of(Way("jit"), code) == unstopped
