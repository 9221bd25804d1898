"""Which way round a network is kept is decided by shapes alone, in one place."""

import pytest

from fastmlp.orientation import is_narrow

LANES = (4, 8, 16)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(
    ("layer_units", "batch_size"),
    [([2, 4, 1], 400), ([2, 4, 1], 32), ([3, 3, 2], 100), ([8, 8, 8, 1], 400), ([13, 5, 1], 1000)],
)
def test_samples_fill_the_lanes_of_narrow_networks(layer_units, batch_size, lanes):
    assert is_narrow(layer_units, batch_size, lanes)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(
    ("layer_units", "batch_size"),
    [([784, 300, 100, 10], 200), ([64, 100, 10], 200), ([54, 128, 128, 7], 256), ([64, 64, 64], 32)],
)
def test_units_fill_the_lanes_of_other_networks(layer_units, batch_size, lanes):
    assert not is_narrow(layer_units, batch_size, lanes)


@pytest.mark.parametrize("lanes", LANES)
def test_a_single_sample_leaves_the_lanes_to_the_units(lanes):
    assert not is_narrow([8, 4 * lanes, lanes], 1, lanes)
