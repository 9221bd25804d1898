"""Numba generates code for whatever system is asked for, and nothing of this process gets into it."""

import struct

import pytest

from fastmlp.ahead_of_time.levels import SYSTEMS
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

# What an object file begins with. ELF has the processor at byte 18.
BEGINNINGS = {
    "linux-x86_64": (b"\x7fELF", 18, struct.pack("<H", 62)),
    "linux-aarch64": (b"\x7fELF", 18, struct.pack("<H", 183)),
    "macos-arm64": (struct.pack("<I", 0xFEEDFACF), 4, struct.pack("<I", 0x0100000C)),
    "windows-x86_64": (b"", 0, struct.pack("<H", 0x8664)),
}

COMPILE_ONE_KERNEL = """
    from pathlib import Path
    from fastmlp.ahead_of_time import objects
    objects._prepare_environment({tile!r})
    one = next(kernel for kernel in objects.all_kernels() if kernel.name == "write_sample_lists")
    objects.all_kernels = lambda: [one]
    objects.write_object({tile!r}, "float32", Path({path!r}))
"""


@pytest.mark.parametrize("name", SYSTEMS)
def test_code_is_for_the_system_that_is_asked_for(name, tmp_path):
    system, path = SYSTEMS[name], tmp_path / "kernel.o"
    run_python(COMPILE_ONE_KERNEL.format(tile=system.tiles[0], path=str(path)), FASTMLP_TRIPLE=system.triple)
    content = path.read_bytes()
    magic, place, machine = BEGINNINGS[name]
    assert content.startswith(magic)
    assert content[place:].startswith(machine)
    assert b"fastmlp_write_sample_lists_float32" in content
    assert b"Py" not in content


def test_functions_that_are_arguments_have_no_address():
    run_python("""
        from llvmlite import ir
        from fastmlp.ahead_of_time.code_generation import _no_address
        assert str(_no_address(None, 0x7f0000000000, "Deferred")) == "i8* null"
        try:
            _no_address(None, 0x7f0000000000, "ndarray")
        except TypeError as error:
            assert "ndarray" in str(error)
        else:
            raise AssertionError("an array's address was taken")
    """)
