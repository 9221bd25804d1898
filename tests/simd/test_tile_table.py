"""The table of register tiles: every row of it trains right, whichever this processor would choose."""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from fastmlp.simd import processor, tile_table
from fastmlp.simd.tile_table import TILE, TILES
from tests.helpers.problems import DTYPES
from tests.helpers.subprocesses import finish, run_python, start_python

# What narrower processors would run, and a processor without AVX or FMA altogether.
PROCESSORS = {
    "avx2": {"FASTMLP_TILE": "avx2"},
    "neon": {"FASTMLP_TILE": "neon"},
    "no AVX, no FMA": {"NUMBA_CPU_NAME": "generic"},
}

COMPARISON = """
    import numpy as np
    from fastmlp.simd.tile_table import TILE
    from tests.helpers.panels import GuardedNetwork
    from tests.helpers.problems import advance, make_problem, parameters_of, relative_difference

    for dtype, tolerance in ((np.float32, 1e-4), (np.float64, 1e-10)):
        width = TILE.columns(dtype)
        shapes = [
            [3, 1], [1, width, 1], [width + 1, width - 1, 2], [5, 2 * width + 3, width + 2, 4], [2, 4, 1],
            [TILE.rows + 1, 3],
        ]
        for number, layer_units in enumerate(shapes):
            activation = ("relu", "tanh", "logistic", "identity")[number % 4]
            for loss in ("squared_error", "poisson", "binary_log_loss", "log_loss"):
                for solver, leaves_zeros_out in (("sgd", False), ("adam", False), ("adam", True)):
                    problem = make_problem(
                        layer_units, activation, loss, dtype, n_samples=2 * width + 3, weighted=True,
                        density=0.2 if leaves_zeros_out else 1,
                    )
                    batch_size = width + 1
                    network = problem.network(
                        GuardedNetwork, narrow=False if leaves_zeros_out else None, leaves_zeros_out=leaves_zeros_out,
                        solver=solver, batch_size=batch_size, alpha=0.01,
                    )
                    assert network.leaves_zeros_out == leaves_zeros_out
                    reference = problem.reference(solver=solver, alpha=0.01)
                    losses = advance(problem.epochs(network, batch_size=batch_size), 2, 0.001)
                    data = (problem.X, problem.targets, None, batch_size, 0.001, problem.sample_weight)
                    expected = [reference.train_epoch(*data) for _ in range(2)]
                    np.testing.assert_allclose(losses, expected, rtol=tolerance)
                    difference = relative_difference(parameters_of(network), reference.coefs + reference.intercepts)
                    assert difference < tolerance, (dtype, layer_units, loss, solver, difference)
                    outputs = np.empty((problem.n_samples, layer_units[-1]), dtype)
                    network.predict(problem.rows, outputs)
                    np.testing.assert_allclose(outputs, reference.predict(problem.X), rtol=tolerance, atol=tolerance)
                    network.assert_guards_untouched()
    print(TILE.name)
"""


@pytest.fixture(scope="module")
def comparisons():
    """Start the comparison on every processor, two at a time: each compiles all kernels, on one thread."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            processor: pool.submit(run_python, COMPARISON, timeout=600, **variables)
            for processor, variables in PROCESSORS.items()
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.needs_jit
@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_training_and_predicting_on_narrower_tiles(processor, comparisons):
    name, _ = comparisons[processor].result()
    assert name.strip() == PROCESSORS[processor].get("FASTMLP_TILE", "generic")


@pytest.mark.needs_jit
def test_nontemporal_stores_of_the_weights_change_no_bit():
    """The tile `zen` writes weights past the caches when threads share the work; `avx512` computes the same."""
    code = """
        import numpy as np
        from tests.helpers.panels import GuardedNetwork
        from tests.helpers.problems import advance, make_problem, parameters_of

        zeros = {"leaves_zeros_out": True, "narrow": False}
        for dtype in (np.float32, np.float64):
            for layer_units in ([30, 100, 10], [70, 65, 50, 60], [3, 1]):
                for options in (
                    {"solver": "adam"}, {"solver": "sgd"}, {"solver": "sgd", "momentum": 0},
                    {"solver": "adam", **zeros},
                ):
                    problem = make_problem(layer_units, "relu", "squared_error", dtype, n_samples=99, density=0.5)
                    network = problem.network(GuardedNetwork, n_threads=2, alpha=0.1, **options)
                    advance(problem.epochs(network, batch_size=50, n_blocks=2), 3, 0.001)
                    assert network.fields["on_several_threads"]
                    print(*(array.tobytes().hex() for array in parameters_of(network)))
    """
    processes = [start_python(code, FASTMLP_TILE=name, NUMBA_NUM_THREADS=2) for name in ("avx512", "zen")]
    bits = [finish(process)[0] for process in processes]  # both compile at the same time
    assert bits[0].count("\n") == 24
    assert bits[0] == bits[1]


@pytest.mark.parametrize(
    ("features", "cpu", "name"),
    [
        ("+avx512f,+avx2,+fma", "sapphirerapids", "avx512"),
        ("+avx512f,+avx2,+fma", "znver4", "zen"),
        ("+avx2,+fma,-avx512f", "znver3", "avx2"),
        ("+avx2,-fma", "generic", "generic"),  # there is such a processor (VIA)
        ("+sse2,+avx", "sandybridge", "generic"),
        ("+neon", "apple-m1", "neon"),
    ],
)
def test_the_choice_of_a_tile(features, cpu, name, monkeypatch):
    monkeypatch.delenv("FASTMLP_TILE", raising=False)
    monkeypatch.setattr(numba.config, "CPU_NAME", cpu)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
    monkeypatch.setattr(tile_table, "IS_ARM", cpu == "apple-m1")
    assert tile_table._choose().name == name


@pytest.mark.parametrize(
    ("features", "is_amd", "name"),
    [
        ({"X86_V3", "X86_V4"}, False, "avx512"),
        ({"X86_V3", "X86_V4"}, True, "zen"),
        ({"X86_V3", "AVX512F"}, False, "avx2"),  # the first processors with AVX-512 lack what the others have
        ({"AVX2"}, False, "generic"),
    ],
)
def test_the_choice_of_a_tile_where_numba_has_not_been_told_which(features, is_amd, name, monkeypatch):
    monkeypatch.delenv("FASTMLP_TILE", raising=False)
    monkeypatch.setattr(numba.config, "CPU_NAME", None)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
    monkeypatch.setattr(processor, "features", lambda: frozenset(features))
    monkeypatch.setattr(processor, "is_amd", lambda: is_amd)
    monkeypatch.setattr(tile_table, "IS_ARM", False)
    assert tile_table._choose().name == name


def test_a_processor_that_numba_is_told_to_know_nothing_of(monkeypatch):
    monkeypatch.delenv("FASTMLP_TILE", raising=False)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
    monkeypatch.setattr(numba.config, "CPU_NAME", "generic")
    for is_arm, name in ((False, "generic"), (True, "neon")):
        monkeypatch.setattr(tile_table, "IS_ARM", is_arm)
        assert tile_table._choose().name == name


def test_a_name_that_is_not_in_the_table_is_refused(monkeypatch):
    monkeypatch.setenv("FASTMLP_TILE", "avx3")
    with pytest.raises(ValueError, match="FASTMLP_TILE is 'avx3'; it must be one of avx512, zen, avx2, neon, generic"):
        tile_table._choose()
    monkeypatch.setenv("FASTMLP_TILE", "")  # as good as unset
    assert tile_table._choose().name in TILES


@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
def test_what_the_kernels_rely_on(tile):
    registers = {"avx512": 32, "zen": 32, "avx2": 16, "neon": 32, "generic": 16}[tile.name]
    assert tile.rows * tile.vectors + tile.vectors + 1 <= registers
    assert tile.dot_rows * tile.dot_columns + min(tile.dot_rows, tile.dot_columns) + 1 <= registers
    assert not tile.stores_nontemporal or tile.vector_bytes == tile_table.ALIGNMENT
    # Rows of inner products are cut into powers of two, and vectors are transposed by halves.
    for number in (tile.rows, tile.dot_rows):
        assert number & (number - 1) == 0
    for dtype in DTYPES:
        assert tile.columns(dtype) % tile.rows == 0
        assert tile.columns(dtype) == tile.vectors * tile.lanes(dtype)
        assert tile.lanes(dtype) * np.dtype(dtype).itemsize == tile.vector_bytes


def test_this_process_has_a_tile_of_the_table():
    assert TILES[TILE.name] is TILE
