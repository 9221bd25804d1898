"""The tables of losses, activations and optimisers: one row each, and everybody means the same by it."""

import numpy as np
import pytest

from fastmlp import reference
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.losses import LOSSES, OUTPUT_ACTIVATIONS
from fastmlp.kernels.optimizers import OPTIMIZERS, optimizer_of
from fastmlp.network.network import Network
from fastmlp.training.optimizer_state import SOLVERS


@pytest.mark.parametrize("table", [LOSSES, OPTIMIZERS], ids=["losses", "optimisers"])
def test_each_row_has_a_code_of_its_own(table):
    codes = [row.code for row in table.values()]
    assert len(set(codes)) == len(codes) > 2


def test_losses_are_those_of_the_reference():
    assert set(OUTPUT_ACTIVATIONS) == set(reference.OUTPUT_ACTIVATIONS)
    assert {name: (row.output_activation, row.has_labels, row.is_mean) for name, row in LOSSES.items()} == {
        name: (row.output_activation, row.target == "codes", row.is_mean) for name, row in reference.LOSSES.items()
    }


def test_activations_are_those_of_the_reference():
    assert set(ACTIVATIONS) == set(reference.HIDDEN_ACTIVATIONS)
    assert {name for name, row in ACTIVATIONS.items() if row.value_and_slope is not None} == set(reference.SLOPES)
    assert set(reference.DERIVATIVES) == set(ACTIVATIONS) - set(reference.SLOPES)


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_a_solver_remembers_is_what_its_row_keeps(solver):
    assert len(SOLVERS[solver].moment_names) == optimizer_of(solver, 0.9).n_moments == reference.SOLVERS[solver]
    assert set(SOLVERS) == set(reference.SOLVERS)
    network = Network([3, 40, 2], solver=solver, batch_size=5)
    assert len(network.moments()) == optimizer_of(solver, 0.9).n_moments


def test_a_network_that_only_predicts_needs_no_loss():
    network = Network([3, 2], loss=None, output_activation="exp", solver=None, dtype=np.float64)
    assert network.fields["output_activation"] == OUTPUT_ACTIVATIONS["exp"]
    assert network.fields["n_moments"] == 0
