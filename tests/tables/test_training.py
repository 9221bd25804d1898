"""What the columns of a table are good for, and models of tables."""

import datetime
import time
from pathlib import Path

import numpy as np
import pytest
from numba.core import event

from fastmlp import MLPRegressor
from fastmlp.estimators.persistence import SavedModel, load_model, save_model
from fastmlp.tables.reading import Table, read_table
from fastmlp.tables.roles import find_identifiers, read_features, read_target
from fastmlp.tables.training import predict_table, train_on_table
from tests.helpers.subprocesses import run_python

FILES = Path(__file__).parent / "examples"
QUICK = {"solver": "lbfgs", "hidden_layer_sizes": (5,), "max_iter": 100}


def saved(trained):
    return SavedModel(trained.estimator, trained.scaler, trained.columns, trained.target, trained.target_scaler)


# --- features ------------------------------------------------------------------------------------


def test_one_message_names_all_columns_that_cannot_be_used():
    table = Table(
        "t",
        {
            "fine": np.arange(3),
            "city": np.array(["1", "Wien", "Linz"], dtype=object),
            "gap": np.array([1.5, 2.5, np.nan]),
            "hole": np.array([True, None, False], dtype=object),
            "large": np.array([1.0, -np.inf, 2.0]),
            "a day": np.array([datetime.date(2024, 1, 2)] * 3, dtype=object),
        },
        texts={"gap": np.array(["1.5", "2.5", "NA"])},
    )
    with pytest.raises(ValueError, match="columns can't be used") as caught:
        read_features(table, list(table.columns), droppable=True)
    assert str(caught.value) == (
        "These 5 columns can't be used: 'city' is not numeric (row 2 holds 'Wien'), 'gap' has gaps (row 3 holds 'NA'), "
        "'hole' has gaps (row 2 holds nothing), 'large' holds infinity (row 2 holds -inf), "
        "'a day' is not numeric (row 1 holds 2024-01-02); leave them out with --drop city gap hole large 'a day'."
    )
    with pytest.raises(ValueError, match=r"^Column 'gap' can't be used: it has gaps \(row 3 holds 'NA'\)\.$"):
        read_features(table, ["fine", "gap"])
    np.testing.assert_array_equal(read_features(table, ["fine", "gap"], rows=np.array([0, 1])), [[0, 1.5], [1, 2.5]])


@pytest.mark.parametrize(
    ("name", "column", "found"),
    [
        ("column 1", np.arange(5), True),
        ("column 1", np.arange(1, 6), True),
        ("column 1", np.array(list("abcde"), dtype=object), True),
        ("column 1", np.arange(5) * 2, False),
        ("column 1", np.arange(5) / 2, False),
        ("customer_id", np.array([7, 3, 9, 1, 5]), True),
        ("ID", np.arange(5), True),
        ("PassengerId", np.arange(5), True),
        ("Row No", np.arange(5), True),
        ("uuid", np.array(list("abcde"), dtype=object), True),
        ("city_id", np.array([1, 1, 2, 2, 3]), False),
        ("customer_id", np.arange(5) / 2, False),
        ("humid", np.arange(5), False),
        ("paid", np.arange(5), False),
        ("year", np.arange(5), False),
    ],
)
def test_identifiers(name, column, found):
    table = Table("t", {name: column}, unnamed={"column 1"})
    assert list(find_identifiers(table, [name])) == [name] * found


@pytest.mark.parametrize(
    ("name", "left_out"),
    [("index_unnamed.csv", "column 1"), ("R_write_table.csv", "column 1"), ("id_column.csv", "customer_id")],
)
def test_identifiers_are_left_out_with_a_note_and_not_asked_for_at_prediction(name, left_out):
    table = read_table(FILES / name)
    trained = train_on_table(table, "price", **QUICK)
    assert trained.columns == ["age", "area", "rooms"]
    assert [note for note in trained.notes if "--keep-all" in note and repr(left_out) in note]
    without = read_table(FILES / "semicolon_decimal_comma.csv")
    expected = predict_table(saved(trained), without)["prediction"]
    np.testing.assert_array_equal(predict_table(saved(trained), table)["prediction"], expected)
    assert train_on_table(table, "price", keep_all=True, **QUICK).columns == [left_out, "age", "area", "rooms"]
    assert train_on_table(table, "price", drop=["age", left_out], **QUICK).columns == ["area", "rooms"]


def test_what_is_dropped_must_be_there_and_not_the_target():
    table = read_table(FILES / "categories.csv")
    assert train_on_table(table, "sold", drop=["city"], **QUICK).columns == ["age", "area", "rooms"]
    with pytest.raises(ValueError, match="has no column 'town'"):
        train_on_table(table, "sold", drop=["town"])
    with pytest.raises(ValueError, match="'sold' is the target"):
        train_on_table(table, "sold", drop=["city", "sold"])


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "task"),
    [
        (np.array(["x", "y"] * 10, dtype=object), "classification"),
        (np.array([True, False] * 10), "classification"),
        (np.arange(20) % 3, "classification"),
        (np.arange(20) % 3 * 1.0, "classification"),
        (np.arange(20), "regression"),
        (np.arange(200) % 21, "regression"),
        (np.arange(20) % 3 + 0.5, "regression"),
    ],
)
def test_task_is_found_from_the_target(column, task):
    found = read_target(Table("t", {"y": column}), "y")
    assert found.task == task
    assert "distinct value" in found.reason or found.reason == "true or false"


def test_task_may_be_told():
    table = Table("t", {"y": np.arange(20) % 3, "z": np.arange(20) + 0.5, "t": np.array(["1", "x"] * 10, dtype=object)})
    assert read_target(table, "y", "regression").y.dtype == np.float64
    assert read_target(table, "z", "classification").task == "classification"
    with pytest.raises(ValueError, match=r"Column 't' holds text.* row 2 holds 'x'"):
        read_target(table, "t", "regression")


def test_whole_floats_become_integer_classes():
    assert read_target(Table("t", {"y": np.array([1.0, 2.0] * 5)}), "y").y.dtype == np.int64


@pytest.mark.parametrize(
    ("column", "rows"),
    [
        (np.array([1.5, np.nan, 2.5]), [0, 2]),
        (np.array(["x", "y", None], dtype=object), [0, 1]),
        (np.array([None, True, False], dtype=object), [1, 2]),
    ],
)
def test_rows_without_a_target_are_left_out(column, rows):
    found = read_target(Table("t", {"y": column}), "y")
    assert found.rows.tolist() == rows
    assert len(found.y) == 2


def test_targets_that_are_none():
    table = Table("t", {"d": np.array([datetime.date(2020, 1, 1)] * 2, dtype=object), "n": np.array([np.nan] * 2)})
    with pytest.raises(ValueError, match="Column 'd' holds neither numbers nor text, but date"):
        read_target(table, "d")
    with pytest.raises(ValueError, match="Column 'n' holds no value at all"):
        read_target(table, "n")


def test_NA_is_no_class():
    trained = train_on_table(read_table(FILES / "target_NA_class.csv"), "sold", **QUICK)
    assert trained.estimator.classes_.tolist() == ["no", "yes"]
    assert "48 rows are left out, as the target is missing there" in trained.notes
    assert trained.n_train + trained.n_test == 192


def test_labels_keep_their_leading_zeros():
    table = read_table(FILES / "leading_zeros_target.csv")
    trained = train_on_table(table, "code", **QUICK)
    assert trained.estimator.classes_.tolist() == ["010", "020", "030"]
    assert set(predict_table(saved(trained), table)["prediction"]) <= {"010", "020", "030"}
    assert train_on_table(table, "code", task="regression", **QUICK).task == "regression"


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "scale"), [(0, 1), (1.7e9, 60), (1e6, 0.1), (-1e12, 3), (0, 1e-12), (1e100, 1e98)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_target_of_a_regression_may_lie_anywhere(tmp_path, mean, scale, dtype):
    X = np.random.RandomState(0).standard_normal((300, 2))
    y = mean + scale * (X[:, 0] - X[:, 1])
    table = Table("t", {"a": X[:, 0], "b": X[:, 1], "y": y})
    trained = train_on_table(table, "y", solver="adam", hidden_layer_sizes=(30,), learning_rate_init=0.01, dtype=dtype)
    assert trained.score > 0.995
    save_model(tmp_path / "model", *saved(trained))
    predicted = predict_table(load_model(tmp_path / "model"), table)["prediction"]
    assert predicted.dtype == np.float64
    assert np.mean((predicted - y) ** 2) < 0.005 * y.var()
    np.testing.assert_array_equal(predicted, predict_table(saved(trained), table)["prediction"])


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ([0.0, 1e39], "Column 'b' holds 1e.39 in row 2, which is too large for a model in float32"),
        ([3e38, -3e38], "Row 2 can't be predicted in float32: its value in column"),
    ],
)
@pytest.mark.parametrize("n_rows", [3, 700])
@pytest.mark.parametrize("probabilities", [False, True])
def test_what_overflows_in_float32_is_named(row, match, n_rows, probabilities):
    X = np.random.RandomState(0).standard_normal((60, 2))
    y = X[:, 0] > 0 if probabilities else X[:, 0]
    trained = train_on_table(Table("t", {"a": X[:, 0], "b": X[:, 1], "y": y}), "y", dtype="float32", max_iter=3)
    for W in trained.estimator.coefs_:
        W *= 10
    rows = np.zeros((n_rows, 2))
    rows[1] = row
    with pytest.raises(ValueError, match=match):
        predict_table(saved(trained), Table("t", {"a": rows[:, 0], "b": rows[:, 1]}), probabilities)
    if row[1] == 1e39:
        X[7] = row
        with pytest.raises(ValueError, match=r"Column 'b' holds 1e.39 in row 8, which is too large"):
            train_on_table(Table("t", {"a": X[:, 0], "b": X[:, 1], "y": y}), "y", test_fraction=0.9, dtype="float32")


@pytest.mark.parametrize(("scaler", "match"), [("target_scaler_scale", "no scaler"), ("target_scaler_mean", "finite")])
def test_a_damaged_scaler_of_the_target_is_refused(tmp_path, scaler, match):
    table = read_table(FILES / "semicolon.csv")
    save_model(tmp_path / "model", *saved(train_on_table(table, "price", **QUICK)))
    with np.load(tmp_path / "model") as archive:
        arrays = dict(archive)
    arrays[scaler] = np.array([-1.0 if "scale" in match else np.nan])
    with (tmp_path / "model").open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match=match):
        load_model(tmp_path / "model")


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.needs_jit
@pytest.mark.slow
def test_what_is_compiled_does_not_count_as_training(tmp_path):
    output, _ = run_python(
        """
        import time
        import numpy as np
        from fastmlp import MLPRegressor
        from fastmlp.tables.training import train_on_table
        from fastmlp.tables.reading import Table

        X = np.random.RandomState(0).standard_normal((100, 2))
        table = Table("t", {"a": X[:, 0], "b": X[:, 1], "y": X[:, 0]})
        for _ in range(2):
            start = time.perf_counter()
            trained = train_on_table(table, "y", max_iter=1)
            print(time.perf_counter() - start, trained.seconds, trained.seconds_compiling)
        """,
        FASTMLP_CACHE_DIR=str(tmp_path),
    )
    (whole, seconds, compiling), (_, again, nothing) = (map(float, line.split()) for line in output.splitlines())
    assert 0 < seconds < compiling < whole
    assert seconds + compiling <= whole
    assert nothing == 0 < again


@pytest.mark.needs_jit
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_what_the_fit_itself_compiles_is_taken_off(monkeypatch, solver):
    fit, pause, lasted = MLPRegressor.fit, 0.25, []

    def fit_slowly(self, X, y):
        """Compile something that the rehearsal has missed; a kernel within a kernel counts once."""
        if self.max_iter > 1:
            began = time.perf_counter()
            with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):
                time.sleep(pause)
            lasted.append(time.perf_counter() - began)
        return fit(self, X, y)

    table = read_table(FILES / "semicolon.csv")
    train_on_table(table, "price", **QUICK | {"solver": solver})
    monkeypatch.setattr(MLPRegressor, "fit", fit_slowly)
    trained = train_on_table(table, "price", **QUICK | {"solver": solver})
    # However long a busy machine sleeps: counted twice, it would be more than all of it.
    assert pause <= trained.seconds_compiling <= sum(lasted)
