"""Building the libraries of a wheel: a process for each object file, as many at a time as there are processors.

    python -m fastmlp.ahead_of_time FOLDER

The folder takes a library for each tile, a description of it, and where there is none, the reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastmlp.ahead_of_time.levels import LEVELS, SYSTEMS, System
from fastmlp.ahead_of_time.linking import LinkError, link

DTYPES = ("float32", "float64")

# Seconds that one object file may take. A machine ten times as slow as two cores of 2023 still gets there.
_LONGEST = 600

WHY_NOT = "none.txt"
"""The file that tells why there is no library."""


def own_system() -> System | None:
    """Return the system of this machine, if libraries can be made for it."""
    from fastmlp.simd.library import machine

    found = [system for system in SYSTEMS.values() if (system.python, system.machine) == (sys.platform, machine())]
    return found[0] if found else None


def own_tiles(system: System) -> list[str]:
    """Return the tiles that this machine's processor can use."""
    from fastmlp.simd import library, processor

    return [
        tile for tile in system.tiles if not library.LEVELS[tile] or library.LEVELS[tile] in processor.features()
    ]  # fmt: skip


def _compile(tile: str, dtype: str, path: Path, triple: str | None) -> None:
    package = Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "FASTMLP_"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    if triple is not None:
        environment["FASTMLP_TRIPLE"] = triple
    command = [sys.executable, "-m", "fastmlp.ahead_of_time.objects", tile, dtype, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_LONGEST, check=False)
    if done.returncode != 0:
        raise LinkError(f"compiling {tile} for {dtype} failed: {done.stderr.strip()[-500:]}")


def _describe(path: Path, tile: str, system: System) -> dict[str, str]:
    """Return the description of a library that was made by this process."""
    import llvmlite
    import numba
    import numpy as np

    from fastmlp.simd.loaded_code import LOADED

    digest = LOADED.digest()
    if digest is None:
        raise LinkError("it cannot be told which version of fastmlp this is")
    return {
        "sources": digest,
        "system": system.python,
        "machine": system.machine,
        "tile": tile,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "processor": f"{LEVELS[tile].processor} {LEVELS[tile].features}".strip(),
        "versions": f"Numba {numba.__version__}, llvmlite {llvmlite.__version__}, NumPy {np.__version__}",
    }


def build(folder: Path, system: System, tiles: Sequence[str], *, is_foreign: bool = False) -> list[Path]:
    """Build libraries into a folder, which is made if it isn't there.

    Parameters
    ----------
    folder : Path
        Where they go, each with its description.
    system : System
        What they are for.
    tiles : sequence of str
        One library for each.
    is_foreign : bool
        Whether that is another system than this one, or one with an older C library.

    Returns
    -------
    list of Path
        The libraries.

    Raises
    ------
    LinkError
        If one cannot be compiled or linked; then there is none in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_processes = max(1, min(len(tiles) * len(DTYPES), os.cpu_count() or 1))
    with tempfile.TemporaryDirectory(prefix="fastmlp-") as temporary, ThreadPoolExecutor(n_processes) as pool:
        jobs = {
            (tile, dtype): Path(temporary) / f"{tile}-{dtype}.o" for tile in tiles for dtype in DTYPES
        }  # fmt: skip
        triple = system.triple if is_foreign else None
        for done in [pool.submit(_compile, *job, path, triple) for job, path in jobs.items()]:
            done.result()
        libraries = []
        for tile in tiles:
            linked = Path(temporary) / f"{tile}{system.suffix}"
            link([jobs[tile, dtype] for dtype in DTYPES], linked, system, is_foreign=is_foreign)
            libraries.append(linked)
        results = []
        for tile, linked in zip(tiles, libraries, strict=True):
            library = folder / linked.name
            library.write_bytes(linked.read_bytes())
            description = json.dumps(_describe(library, tile, system), indent=1)
            library.with_suffix(".json").write_text(description + "\n", encoding="utf-8")
            results.append(library)
    return results


def build_for_this_machine(folder: Path) -> list[Path]:
    """Build what this machine can use, and note in the folder why there is nothing, if there isn't."""
    folder.mkdir(parents=True, exist_ok=True)
    reason = ""
    system = own_system()
    if os.environ.get("FASTMLP_NATIVE") == "0":
        reason = "FASTMLP_NATIVE was 0 when fastmlp was built"
    elif system is None:
        reason = f"fastmlp makes no libraries for {sys.platform} on this processor"
    elif not own_tiles(system):
        reason = "the processor has none of the instruction sets that libraries are made for"
    else:
        try:
            return build(folder, system, own_tiles(system))
        except (LinkError, OSError, subprocess.TimeoutExpired) as error:
            reason = f"none could be built: {error}"
    (folder / WHY_NOT).write_text(reason + "\n", encoding="utf-8")
    return []
