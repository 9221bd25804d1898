"""The system and the processor family that code is emitted for: those of this process, unless it is a build for others.

A build for another system names its LLVM triple in ``FASTMLP_TRIPLE``. Everything that differs between systems asks
here, so that no code for the machine at hand gets into a library for another.
"""

from __future__ import annotations

import os
import platform
import sys


def _own_triple() -> str:
    machine = {"AMD64": "x86_64", "ARM64": "aarch64"}.get(platform.machine(), platform.machine())
    if sys.platform == "darwin":
        return f"{machine}-apple-darwin"
    if sys.platform == "win32":
        return f"{machine}-pc-windows-msvc"
    return f"{machine}-unknown-{sys.platform}-gnu"


TRIPLE = os.environ.get("FASTMLP_TRIPLE") or _own_triple()
"""What LLVM calls the target, such as ``x86_64-unknown-linux-gnu``."""

IS_X86 = TRIPLE.startswith(("x86_64", "amd64"))
"""Whether it is an x86 processor with 64 bits."""

IS_ARM = TRIPLE.startswith(("aarch64", "arm64"))
"""Whether it is an ARM processor with 64 bits."""

IS_WINDOWS = "windows" in TRIPLE
"""Whether the system is Windows."""

IS_FOREIGN = bool(os.environ.get("FASTMLP_TRIPLE"))
"""Whether this process compiles for another system than its own, and cannot run what it compiles."""
