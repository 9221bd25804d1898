"""What is prefetched: all that comes next and nothing else, and no bit shows it."""

import pytest

from fastmlp.microkernels.tile import PREFETCHING_TILES
from fastmlp.simd.tile_table import TILE
from tests.helpers.layers import LEARNING_RATE, MR
from tests.helpers.panels import GuardedNetwork
from tests.helpers.phases import propagate_blocks, update_blocks
from tests.helpers.problems import (
    DTYPES,
    make_problem,
    parameters_of,
)
from tests.helpers.subprocesses import run_python


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prefetching_parameters_does_not_show_in_the_bits(dtype, optimizer):
    width = TILE.columns(dtype)
    problem = make_problem([width + MR + 3, 2 * width + 1, 4], dtype=dtype, n_samples=2 * width + 3)
    options = {"adam": {"solver": "adam"}, "momentum": {"solver": "sgd"}, "sgd": {"solver": "sgd", "momentum": 0}}
    bits = set()
    for prefetch_parameters in (0, 1):
        network = problem.network(GuardedNetwork, narrow=False, **options[optimizer])
        assert network.record[0].prefetch_parameters == 0  # so small a network stays in cache
        network.record[0].prefetch_parameters = prefetch_parameters
        before = parameters_of(network)
        propagate_blocks(network, problem, [0, problem.n_samples])
        update_blocks(network, problem, [0, network.record[0].n_tiles], LEARNING_RATE)
        network.assert_guards_untouched()
        assert all((array != old).any() for array, old in zip(parameters_of(network), before, strict=True))
        bits.add(b"".join(array.tobytes() for array in parameters_of(network)))
    assert len(bits) == 1


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prefetching_panels_does_not_show_in_the_bits(dtype, activation):
    width = TILE.columns(dtype)
    layer_units = [width + MR + 3, 3 * width + 1, 2 * width, 4]
    problem = make_problem(layer_units, activation, dtype=dtype, n_samples=PREFETCHING_TILES * MR + MR + 3)
    bits = set()
    for prefetch in (0, 1):
        network = problem.network(GuardedNetwork, narrow=False, solver="adam")
        assert not network.layers.prefetch_panels.any()  # so small a matrix stays in cache
        network.layers.prefetch_panels = prefetch
        propagate_blocks(network, problem, [0, problem.n_samples])
        update_blocks(network, problem, [0, network.record[0].n_tiles], LEARNING_RATE)
        network.assert_guards_untouched()
        bits.add(b"".join(array.tobytes() for array in parameters_of(network)))
    assert len(bits) == 1


def test_each_line_of_a_large_matrix_is_prefetched_once_while_the_panel_before_is_multiplied():
    """Machine code that prefetches the wrong lines computes the same; so here Python looks at what it would be told."""
    code = """
        import numpy as np
        from fastmlp.kernels.wide import products
        from fastmlp.microkernels.tile import PREFETCHING_TILES, MR
        from fastmlp.simd.tile_table import ALIGNMENT, TILE
        from tests.helpers.panels import GuardedNetwork
        from tests.helpers.phases import propagate_blocks
        from tests.helpers.problems import make_problem

        for dtype in (np.float32, np.float64):
            width, line = TILE.columns(dtype), ALIGNMENT // np.dtype(dtype).itemsize
            fan_in, n_panels, n_samples = 4 * width + 8, 3, PREFETCHING_TILES * MR + 3
            problem = make_problem([fan_in, n_panels * width], "relu", "squared_error", dtype, n_samples=n_samples)
            network = problem.network(GuardedNetwork, narrow=False)
            (layer,) = network.layers
            layer.prefetch_panels = 1
            multiply, prefetched = products.gemm_nn, {}

            def watched(*arguments):
                right, inner_size, rows, prefetch = arguments[7], arguments[8], arguments[9], arguments[13]
                if prefetch >= 0 and rows == MR:
                    lines = [(prefetch + k * width) // line for k in range(0, inner_size // 4 * 4, 4)]
                    prefetched.setdefault((right - layer.parameters) // ((fan_in + 1) * width), []).extend(lines)
                return multiply(*arguments)

            products.gemm_nn = watched
            propagate_blocks(network, problem, [0, n_samples])
            products.gemm_nn = multiply
            assert sorted(prefetched) == list(range(n_panels - 1))
            for panel, lines in prefetched.items():
                first = layer.parameters + (panel + 1) * (fan_in + 1) * width
                assert sorted(lines) == list(range(first // line, (first + fan_in * width) // line))
            print(len(prefetched))
    """
    out, _ = run_python(code, NUMBA_DISABLE_JIT=1, FASTMLP_TILE="avx512")
    assert out.split() == ["2", "2"]


@pytest.mark.parametrize("tile", ["avx512", "avx2"])
@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_which_lines_of_the_weights_are_prefetched_where_other_cores_have_them(narrow, tile):
    """In phase 1 all of a narrow network's, to read; in phase 2 those that this block of tiles will write."""
    code = f"""
        import numpy as np
        from fastmlp.kernels import tiles
        from fastmlp.kernels.narrow import phases as narrow_phases
        from fastmlp.simd.tile_table import ALIGNMENT, TILE
        from tests.helpers.panels import GuardedNetwork
        from tests.helpers.phases import propagate_blocks, update_blocks
        from tests.helpers.problems import make_problem

        narrow = {narrow}
        read, written = set(), set()
        tiles.prefetch_to_write = lambda array, place: written.add(place // line)
        narrow_phases.prefetch_to_read = lambda array, place: read.add(place // line)

        for dtype in (np.float32, np.float64):
            width, line = TILE.columns(dtype), ALIGNMENT // np.dtype(dtype).itemsize
            units = [width + 5, 2 * width, width, 3]
            problem = make_problem(units, "identity", "squared_error", dtype, n_samples=2)
            network = problem.network(GuardedNetwork, narrow=narrow, solver="adam")
            record = network.record[0]
            bounds = network.tile_bounds(2)
            for record.on_several_threads, record.prefetch_parameters in ((0, 0), (1, 1), (1, 0)):
                read.clear()
                written.clear()
                propagate_blocks(network, problem, [0, 2])
                weights = [network.parameter_matrix(i, 0, fan_out) for i, fan_out in enumerate(units[1:])]
                if not narrow:  # there no biases, which are prefetched with the rows of W at most
                    weights = [m[:-1] for m in weights] + [network.transposed_matrix(i) for i in (1, 2)]
                places = np.concatenate([m.ravel() for m in weights])
                assert not written
                assert set((places // line).tolist()) <= read if narrow and record.on_several_threads else not read
                n_read = len(read)
                prefetched_by = []
                for block in (0, 1):
                    written.clear()
                    before = network.workspace.copy()
                    update_blocks(network, problem, bounds[block : block + 2], 0.01)
                    changed = places[network.workspace[places] != before[places]]
                    own = set((changed // line).tolist())
                    assert len(own) > 40
                    prefetched_by.append(written.copy())
                    if not record.on_several_threads:
                        assert not written
                    elif narrow or not record.prefetch_parameters:
                        assert own <= written
                    else:  # those that are not of whole tiles: the last rows of W, and a remainder panel
                        assert 0 < len(own & written) < len(own) / 2
                assert len(read) == n_read
                # One line, at most, where a block ends within one: of W, and of each row of W transposed.
                assert len(prefetched_by[0] & prefetched_by[1]) <= 1 + max(units)
            print(len(own))
    """
    out, _ = run_python(code, NUMBA_DISABLE_JIT=1, FASTMLP_TILE=tile)
    assert len(out.split()) == 2
