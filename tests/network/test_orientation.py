"""Which way round a network is kept is decided by shapes alone, in one place."""

import pytest

from fastmlp.network.orientation import gains_by_rows, is_narrow
from fastmlp.simd.tile_table import TILES

LANES = (4, 8, 16)


@pytest.fixture
def use_tile(monkeypatch):
    """Return a function that lets the estimates be those of another tile."""

    def use(name):
        monkeypatch.setattr("fastmlp.network.orientation.TILE", TILES[name])
        forget()

    def forget():
        is_narrow.cache_clear()
        gains_by_rows.cache_clear()

    yield use
    forget()


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(
    ("layer_units", "batch_size"),
    [
        ([2, 4, 1], 400),
        ([2, 4, 1], 32),
        ([3, 3, 2], 100),
        ([8, 8, 8, 1], 400),
        ([13, 5, 1], 1000),
        ([100, 5, 3], 32),
        ([16, 16, 16], 100),
        ([27, 30, 3], 100),
    ],
)
def test_samples_fill_the_lanes_of_narrow_networks(layer_units, batch_size, lanes):
    assert is_narrow(tuple(layer_units), batch_size, lanes)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(
    ("layer_units", "batch_size"),
    [([784, 300, 100, 10], 200), ([784, 100, 10], 200), ([512, 512, 10], 256), ([100, 100, 100], 1)],
)
def test_units_fill_the_lanes_of_other_networks(layer_units, batch_size, lanes):
    assert not is_narrow(tuple(layer_units), batch_size, lanes)


def test_samples_that_fill_half_a_register_leave_it_to_the_units(use_tile):
    use_tile("avx512")
    assert is_narrow((30, 30, 30, 5), 8, 8)
    assert not is_narrow((30, 30, 30, 5), 8, 16)


@pytest.mark.parametrize("lanes", LANES)
def test_a_single_sample_leaves_the_lanes_to_the_units(lanes):
    assert not is_narrow((8, 4 * lanes, lanes), 1, lanes)


@pytest.mark.parametrize("lanes", LANES)
def test_rows_of_x_are_used_where_features_fill_the_lanes_and_many_units_share_them(lanes):
    assert gains_by_rows((64, 100), 32, lanes, True)
    assert not gains_by_rows((64, 1), 32, lanes, True)
    assert not gains_by_rows((1, 100), 32, lanes, True)


@pytest.mark.parametrize("lanes", [8, 16])
def test_a_full_batch_that_stays_gains_by_rows_sooner(lanes, use_tile):
    use_tile("avx512")
    assert gains_by_rows((30, 9), 100, lanes, False)
    assert not gains_by_rows((30, 9), 100, lanes, True)
    assert not gains_by_rows((1, 9), 100, lanes, False)
