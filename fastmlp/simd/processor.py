"""What this machine's processor can do, told without a compiler."""

from __future__ import annotations

import functools
import importlib
import platform
import sys


@functools.cache
def features() -> frozenset[str]:
    """Return the names of the instruction sets that processor and system have, as NumPy calls them.

    Among them are ``X86_V3`` and ``X86_V4``, the levels of the x86-64 specification; AVX-512 counts only where the
    system saves its registers. Empty where NumPy does not tell: its table is not public.
    """
    try:
        module = importlib.import_module("numpy._core._multiarray_umath")
        present = module.__cpu_features__
    except (ImportError, AttributeError):
        return frozenset()
    names = {name for name, is_there in present.items() if is_there}
    # Before it knew the levels, NumPy had names for the instructions of which they consist.
    if {"AVX2", "FMA3", "F16C"} <= names:
        names.add("X86_V3")
    if {"X86_V3", "AVX512F", "AVX512CD", "AVX512BW", "AVX512DQ", "AVX512VL"} <= names:
        names.add("X86_V4")
    return frozenset(names)


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """Return what Linux tells of its first processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            first = file.read().partition("\n\n")[0]
    except OSError:
        return {}  # another system
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}


def name() -> str:
    """Return what the processor is called, for people to read."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def is_amd() -> bool:
    """Return whether AMD makes the processor."""
    return "AuthenticAMD" in (platform.processor() if sys.platform == "win32" else _cpuinfo().get("vendor_id", ""))
