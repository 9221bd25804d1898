"""The measuring itself: workloads, contenders, ratios, and tables that nobody typed."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier as ScikitMLPClassifier
from threadpoolctl import threadpool_limits

from bench import pieces, report, rivals, sharing
from bench.contenders import FastMLP, NumPyReference, ScikitLearn
from bench.machine import quartiles
from bench.workloads import SEED, WORKLOADS
from fastmlp.drivers import team

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_blas_thread():
    """Small products on several BLAS threads crawl while anything else runs on the machine."""
    with threadpool_limits(1, "blas"):
        yield


def test_tables_fit_the_committed_baseline():
    assert report.differences() == []


def test_flops_count_the_three_products():
    # forward and weight gradient of every layer, backward data of all but the first
    weights = [784 * 300, 300 * 100, 100 * 10]
    assert WORKLOADS["mnist"].flops_per_step() == 2 * 200 * (2 * sum(weights) + sum(weights[1:]))


@pytest.mark.parametrize("name", ["planar", "regression", "digits"])
def test_rows_are_a_multiple_of_the_batch(name):
    workload = WORKLOADS[name]
    X, y = workload.data().X, workload.data().y
    assert len(X) == len(y) == workload.steps_per_epoch * workload.batch_size
    assert X.shape[1] == workload.layer_units[0]


def test_initial_parameters_are_scikit_learns():
    workload = WORKLOADS["digits"]
    model = ScikitMLPClassifier(
        workload.layer_units[1:-1], solver="sgd", learning_rate_init=1e-30, momentum=0.0, random_state=SEED
    )
    model.partial_fit(workload.data().X, workload.data().y, classes=range(10))
    for drawn, expected in zip(workload.initial_parameters("float64"), (model.coefs_, model.intercepts_), strict=True):
        for parameter, other in zip(drawn, expected, strict=True):
            np.testing.assert_array_equal(parameter, other)


@pytest.mark.parametrize("name", ["planar", "digits"])
def test_pieces_of_a_step_do_what_it_does(name):
    # All data are one minibatch, the same for both; at a rate of 0 weights stay; products follow each other directly.
    rows = len(WORKLOADS[name].data().X)
    workload = dataclasses.replace(WORKLOADS[name], activation="identity", batch_size=rows, learning_rate=0.0)
    taken_apart = pieces.Pieces(workload, "float32")
    network = taken_apart.network
    first, last = taken_apart.layers["inputs"][0], network.fields["losses"] + rows
    parameters = network.parameters()

    def matrices_after(scale, *works):
        network.set_parameters([scale * array for array in parameters])
        for work in works:
            work(1)
        return network._workspace[first:last].copy()

    works = taken_apart.works()
    assert list(works) == ["forward", "loss", "backward", "gradients", "updates", "step"]
    expected = matrices_after(1, works.pop("step"))
    assert (matrices_after(2, *works.values()) != expected).mean() > 0.1
    np.testing.assert_array_equal(matrices_after(1, *works.values()), expected)
    for kept, parameter in zip(network.parameters(), parameters, strict=True):
        np.testing.assert_array_equal(kept, parameter)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("hidden", [(100,), (144, 144)], ids=["narrow", "wide"])
def test_phases_in_turn_do_what_a_step_does(hidden, n_threads):
    # One minibatch, and a rate of 0, as above: what a step leaves depends on nothing but the weights and the moments.
    rows = len(WORKLOADS["digits"].data().X)
    workload = dataclasses.replace(
        WORKLOADS["digits"], layer_units=(64, *hidden, 10), batch_size=rows, learning_rate=0.0
    )
    phases = sharing.Phases(workload, "float32", n_threads)
    network = phases.network
    assert network.narrow == (hidden == (100,))
    parameters = network.parameters()
    zeros = [[np.zeros_like(a) for a in parameters]] * 2
    first = phases.pieces.layers["inputs"][0]
    last = network.fields["losses"] + rows

    def left_by(work):
        network.set_parameters(parameters)
        network.set_moments(*zeros)
        work(1)
        moments = [a.copy() for arrays in network.moments() for a in arrays]
        return [network._workspace[first:last].copy(), *moments]

    works = phases.works()
    expected = left_by(works["step"])
    for result, other in zip(left_by(works["both in turn"]), expected, strict=True):
        np.testing.assert_array_equal(result, other)
    assert all((moment != 0).any() for moment in expected[1:])
    # Phase 1 leaves the moments as they were, phase 2 the deltas.
    _, *moments = left_by(works["phase 1 alone"])
    assert not any(moment.any() for moment in moments)
    begin = phases.pieces.layers["deltas"][-1]
    deltas = network._workspace[begin : begin + rows]
    assert deltas.any()
    deltas[:] = 0
    left_by(works["phase 2 alone"])
    assert not deltas.any()


def test_phases_of_nothing_are_posted_one_by_one_and_all_their_blocks_ended():
    board = team.board_for(2)
    sharing.post_nothing(board, 0, 0, 0, 2, 5)
    assert board[team._PHASE] == team._OVER
    assert [board[team._BLOCKS + block * team._PART] for block in range(2)] == [10, 10]
    assert sharing.handover_seconds(2) > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["planar", "regression", "digits"])
@pytest.mark.parametrize("contender", [FastMLP, ScikitLearn, NumPyReference], ids=lambda c: c.name)
def test_contenders_reach_the_references_loss(contender, name, dtype):
    workload = WORKLOADS[name]
    expected = NumPyReference(workload, "float64", 1).fit(workload.check_epochs, shuffle=False)
    run = contender(workload, dtype, 1)
    loss = workload.data_loss(*run.fit(workload.check_epochs, shuffle=False))
    assert loss == pytest.approx(workload.data_loss(*expected), rel=run.tolerance[dtype])
    assert loss < workload.data_loss(*workload.initial_parameters("float64"))


@pytest.mark.parametrize("contender", [FastMLP, ScikitLearn, NumPyReference], ids=lambda c: c.name)
def test_contenders_learn_epoch_by_epoch(contender):
    run = contender(WORKLOADS["digits"], "float32", 1)
    accuracies = []
    for predict, _ in zip(run.epochs(), range(30), strict=False):
        accuracies.append(np.mean(predict(run.X) == run.y))
    assert accuracies[-1] > max(0.9, accuracies[0])


def made_up_results():
    """Two rounds in which the machine ran at two speeds, the second half as fast as the first."""

    def record(microseconds):
        return {"microseconds": microseconds, "versions": {"library": "1.0"}}

    workload = WORKLOADS["digits"]
    cell = {
        "workload": "digits",
        "dtype": "float32",
        "n_threads": 2,
        "layer_units": workload.layer_units,
        "batch_size": workload.batch_size,
        "solver": workload.solver,
        "flops_per_step": 6_320_000,
        "peak_gflops": [200.0, 100.0],
        "round_trip_nanoseconds": [60.0, 300.0],
        "commit": "0" * 12,
        "contenders": {
            "fastmlp": record([63.2, 126.4]),
            "scikit-learn": record([632.0, 1264.0]),
            "jax": {"error": "it is not there"},
        },
    }
    runs = [{"seconds": 3.0, "accuracies": [0.97, 0.981], "mebibytes": 512.0}]
    return {
        "machine": {
            "processor": "A",
            "llvm_name": "b",
            "cores": 2,
            "vector_bytes": 64,
            "system": "S",
            "python": "3",
        },
        "bandwidth": {"2": 30.0},
        "cells": {"digits/float32/2": cell},
        "accuracy": {"fastmlp": {"commit": "0", "runs": runs}},
    }


def test_ratios_are_paired_within_a_round():
    row = report.summarise(made_up_results())["rows"][0]
    assert row["share_of_peak"] == [0.5, 0.5, 0.5]
    assert row["speed_ups"] == {"scikit-learn": [10.0, 10.0, 10.0]}
    assert row["microseconds"] == [significant(q) for q in quartiles([63.2, 126.4])]


def test_each_figure_has_its_commit():
    results = made_up_results()
    results["accuracy"]["fastmlp"]["commit"] = "0123456789"
    text = report.machine_text(report.summarise(results))
    assert text.endswith("At commit `0000000` (`digits`) and `0123456` (time to accuracy).")


def test_more_rounds_are_added_to_those_of_the_same_commit_and_contenders():
    def cell(**changes):
        return made_up_results()["cells"]["digits/float32/2"] | changes

    twice = cell()
    rivals.add_rounds(twice, cell(peak_gflops=[150.0, 160.0]))
    assert twice["peak_gflops"] == [150.0, 160.0, 200.0, 100.0]
    assert twice["round_trip_nanoseconds"] == [60.0, 300.0, 60.0, 300.0]
    assert twice["contenders"]["fastmlp"]["microseconds"] == [63.2, 126.4, 63.2, 126.4]
    assert twice["contenders"]["jax"] == {"error": "it is not there"}
    for former in (None, cell(commit="1" * 12), cell(contenders={"fastmlp": cell()["contenders"]["fastmlp"]})):
        once = cell()
        rivals.add_rounds(once, former)
        assert once == cell()


def significant(value):
    return float(f"{value:.3g}")


def test_tables_hold_what_was_measured():
    baseline = json.loads(json.dumps(report.summarise(made_up_results())))
    block = report.readme_block(baseline)
    assert "| `digits` 64-100-10, batch 200, Adam | 2 | 94.8 µs | 50 % | 10 | – | – | – |" in block
    assert "| fastmlp | 3 s | 2 | 512 MiB |" in block
    assert "At commit `0` (time to accuracy) and `0000000` (`digits`)." in block
    assert "10 (10–10)" in report.full_report(baseline)
    # Ten times as long at half of the peak: a program at the peak would be twenty times as fast.
    assert "| – | – | 20 | 120 – 240 ns |" in report.full_report(baseline)


def test_figures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    report.write_report(made_up_results(), tmp_path)
    for name in ("speedups.png", "roofline.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_rivals_measures_in_turn_and_resumes(tmp_path):
    output = tmp_path / "rivals.json"
    command = [sys.executable, "-m", "bench.rivals", "--contenders", "fastmlp", "reference"]
    options = "--workloads regression --dtypes float32 --threads 1 --rounds 2 --seconds 0.01 --touch 0.1 --no-accuracy"
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    for _ in range(2):
        result = subprocess.run(
            [*command, *options.split(), "--output", str(output)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert "1 cells" in result.stdout
    # the second run found everything measured
    assert "us a step" not in result.stdout
    results = json.loads(output.read_text())
    (cell,) = results["cells"].values()
    assert len(cell["peak_gflops"]) == 2
    for record in cell["contenders"].values():
        assert len(record["microseconds"]) == 2
        assert record["loss"] == pytest.approx(cell["expected_loss"], rel=5e-3)


@pytest.mark.needs_jit
def test_the_round_trip_leaves_this_thread_where_it_may_run():
    from bench import peak

    if not hasattr(os, "sched_getaffinity"):
        assert peak.round_trip() is None
        return
    cores = os.sched_getaffinity(0)
    seconds = peak.round_trip()
    assert os.sched_getaffinity(0) == cores
    assert (seconds is None) == (len(cores) == 1)
    assert seconds is None or seconds > 0
