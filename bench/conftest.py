"""What the pytest-benchmark suites share: parameters, and what is written beside a time."""

import platform
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
import sklearn

import fastmlp
from bench.machine import available_cores
from bench.peak import fma_peak, round_trip
from fastmlp.simd.tile_table import TILE

VERSIONS = {
    "fastmlp": fastmlp.__version__,
    "numba": numba.__version__,
    "numpy": np.__version__,
    "scikit-learn": sklearn.__version__,
    "python": platform.python_version(),
}


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Precision."""
    return str(request.param)


@pytest.fixture(params=sorted({1, available_cores()}), ids=lambda n: f"threads{n}")
def n_threads(request: pytest.FixtureRequest) -> int:
    """One thread, and all."""
    return int(request.param)


@pytest.fixture
def peaks() -> list[float]:
    """GFLOP/s of nothing but multiply-adds, as they are measured in this test."""
    return []


@pytest.fixture
def measure_peak(peaks: list[float], dtype: str) -> Callable[[int], Callable[[], None]]:
    """Return a function that makes the set-up of a round: it measures the peak of so many threads.

    A processor's clock changes from one second to the next, and with it the peak and all that is timed.
    """

    def set_up_for(n_threads: int) -> Callable[[], None]:
        return lambda: peaks.append(fma_peak(dtype, n_threads))

    return set_up_for


@pytest.fixture
def note(benchmark: Any, peaks: list[float]) -> Callable[..., None]:
    """Return a function that writes work, share of peak and versions beside the time.

    The share is that of the median time in the median peak. Where none was measured in turn with the rounds, it is now.
    """

    def write(dtype: str, n_threads: int, flops: float | None = None, **more: Any) -> None:
        benchmark.extra_info.update(dtype=dtype, n_threads=n_threads, tile=TILE.name, versions=VERSIONS, **more)
        if flops is not None and benchmark.stats is not None:  # None with --benchmark-disable
            gflops = flops / benchmark.stats.stats.median / 1e9
            peak = np.median(peaks or [fma_peak(dtype, n_threads) for _ in range(15)])
            benchmark.extra_info.update(
                gflops=round(gflops, 2),
                peak_gflops=round(peak, 1),
                percent_of_peak=round(100 * gflops / peak, 1),
            )
            if n_threads > 1 and (seconds := round_trip()) is not None:
                benchmark.extra_info.update(round_trip_nanoseconds=round(1e9 * seconds))

    return write


RATIOS = pytest.StashKey[dict[str, list[tuple[float, str]]]]()
SHOWN_RATIOS = 8


@pytest.fixture
def worst_ratios(request: pytest.FixtureRequest) -> Callable[[str, float, str], None]:
    """Return a function that takes the name of a comparison, a ratio, and what it is of; the worst are printed."""
    ratios = request.config.stash.setdefault(RATIOS, {})

    def note(name: str, ratio: float, what: str) -> None:
        ratios.setdefault(name, []).append((ratio, what))

    return note


def _print_worst_ratios(terminalreporter: Any, config: pytest.Config) -> None:
    for name, ratios in config.stash.get(RATIOS, {}).items():
        median = np.median([ratio for ratio, _ in ratios])
        terminalreporter.section(f"{name}: the worst of {len(ratios)}; the median is {median:.2f}")
        for ratio, what in sorted(ratios, reverse=True)[:SHOWN_RATIOS]:
            terminalreporter.write_line(f"{ratio:6.2f}  {what}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print time, GFLOP/s, share of peak and ratio to plain NumPy, a line for each benchmark; and the worst ratios."""
    _print_worst_ratios(terminalreporter, config)
    session = getattr(config, "_benchmarksession", None)
    benchmarks = [b for b in getattr(session, "benchmarks", []) if "dtype" in b.extra_info]
    if not benchmarks:
        return
    baselines = {b.group: b.stats.median for b in benchmarks if b.extra_info.get("engine") == "reference"}
    terminalreporter.section("shares of peak, and ratios to plain NumPy")
    for b in benchmarks:
        median, info = b.stats.median, b.extra_info
        line = f"{b.name:62} {1e6 * median / info.get('steps', 1):12,.1f} us"
        if "gflops" in info:
            line += f" {info['gflops']:8.1f} GFLOP/s {info['percent_of_peak']:6.1f} %"
        if "round_trip_nanoseconds" in info:
            line += f", cores {info['round_trip_nanoseconds']} ns apart"
        if b.group in baselines:
            line += f" {baselines[b.group] / median:7.2f} x NumPy's speed"
        terminalreporter.write_line(line)
