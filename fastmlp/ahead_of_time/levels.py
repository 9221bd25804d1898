"""Which processors and systems libraries are made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """What a tile's library is compiled for.

    Attributes
    ----------
    processor : str
        LLVM's name of the least processor that can run it.
    features : str
        What it has besides, in LLVM's words.
    machine : str
        The processor family.
    """

    processor: str
    features: str
    machine: str


LEVELS = {
    "avx512": Level("x86-64-v4", "", "x86_64"),
    "zen": Level("x86-64-v4", "", "x86_64"),
    "avx2": Level("x86-64-v3", "", "x86_64"),
    "neon": Level("generic", "", "aarch64"),
}
"""By tile. As vectors are explicit in the code, the very processor hardly matters."""


@dataclass(frozen=True)
class System:
    """An operating system on a processor family.

    Attributes
    ----------
    triple : str
        LLVM's name of it.
    python : str
        ``sys.platform`` there.
    suffix : str
        How the name of a library ends.
    zig : str
        What zig calls it, with the oldest C library that is needed.
    wheel : str
        What wheels call it.
    tiles : tuple of str
        Those that it may choose.
    """

    triple: str
    python: str
    suffix: str
    zig: str
    wheel: str
    tiles: tuple[str, ...]

    @property
    def machine(self) -> str:
        """The processor family."""
        return LEVELS[self.tiles[0]].machine


_X86 = ("avx2", "avx512", "zen")

SYSTEMS = {
    "linux-x86_64": System(
        "x86_64-unknown-linux-gnu", "linux", ".so", "x86_64-linux-gnu.2.28", "manylinux_2_28_x86_64", _X86
    ),
    "linux-aarch64": System(
        "aarch64-unknown-linux-gnu", "linux", ".so", "aarch64-linux-gnu.2.28", "manylinux_2_28_aarch64", ("neon",)
    ),
    "macos-arm64": System(
        "arm64-apple-macosx11.0.0", "darwin", ".dylib", "aarch64-macos.11.0", "macosx_11_0_arm64", ("neon",)
    ),
    "windows-x86_64": System("x86_64-pc-windows-gnu", "win32", ".dll", "x86_64-windows-gnu", "win_amd64", _X86),
}
"""Those that wheels are made for."""
