"""``fastmlp train`` and ``fastmlp predict``: what they write and print, and what they refuse."""

import gzip
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from fastmlp.estimators.persistence import load_model
from tests.helpers.command_line import SECONDS, environment, refuse, run, run_without, succeed


def write_csv(path, columns):
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    """A folder with a table for a classifier and one for a regressor."""
    generator = np.random.RandomState(0)
    X = generator.standard_normal((200, 3))
    features = {"a": X[:, 0], "b": 1000 + 50 * X[:, 1], "c": (X[:, 2] > 0).astype(int)}
    kind = np.where(X[:, 0] + X[:, 1] > 0, "big, round", "small")
    write_csv(tmp_path / "classes.csv", features | {"kind": [f'"{k}"' for k in kind]})
    write_csv(tmp_path / "numbers.csv", features | {"price": 1e6 + 1e5 * (X[:, 0] - X[:, 1])})
    return tmp_path


def test_train_and_predict_classes(folder):
    output = succeed(folder, "train", "classes.csv", "--target", "kind", "--save", "model", "--epochs", 300, by=run)
    assert "200 rows, 3 feature columns" in output
    assert "target 'kind' holds text of 2 distinct values: classification" in output
    assert float(re.search(r"accuracy on 40 held-out rows: (\S+)", output)[1]) > 0.9
    assert "saved to model" in output
    lines = succeed(folder, "predict", "model", "classes.csv", by=run).splitlines()
    assert lines[0] == "prediction"
    assert len(lines) == 201
    assert set(lines[1:]) == {'"big, round"', "small"}

    succeed(folder, "predict", "model", "classes.csv", "--output", "out.csv", "--probabilities", by=run)
    header, *rows = (folder / "out.csv").read_text().splitlines()
    assert header == 'prediction,"probability of big, round",probability of small'
    for row, line in zip(rows, lines[1:], strict=True):
        prediction, first, second = row.rsplit(",", 2)
        assert float(first) + float(second) == pytest.approx(1, abs=1e-6)
        assert prediction == line == ('"big, round"' if float(first) > 0.5 else "small")


def test_train_and_predict_numbers(folder):
    output = succeed(folder, "train", "numbers.csv", "--target", "price", "--save", "model.npz", "--epochs", 300)
    assert "not all of them whole: regression" in output
    assert float(re.search(r"R² on 40 held-out rows: (\S+)", output)[1]) > 0.95
    succeed(folder, "predict", "model.npz", "numbers.csv", "--output", "out.npz")
    with np.load(folder / "out.npz") as archive:
        predicted = archive["prediction"]
    table = np.loadtxt(folder / "numbers.csv", delimiter=",", skiprows=1)
    # In the target's own units, though it was scaled while trained on.
    assert np.abs(predicted - table[:, 3]).mean() < 2e4
    model = load_model(folder / "model.npz")
    assert model.columns == ["a", "b", "c"]
    assert model.target == "price"


def test_train_says_what_it_found_and_can_be_told_otherwise(folder):
    generator = np.random.RandomState(1)
    np.savez(folder / "table.npz", X=generator.standard_normal((60, 4)), y=np.arange(60) % 3)
    assert ": classification" in succeed(folder, "train", "table.npz", "--target", "y", "--epochs", 2)
    told = succeed(folder, "train", "table.npz", "--target", "y", "--task", "regression", "--hidden", "none")
    assert ": regression" in told
    assert "trained 4-1 on 48 rows" in told


def test_parquet(folder):
    polars = pytest.importorskip("polars")
    polars.read_csv(folder / "classes.csv").write_parquet(folder / "classes.parquet")
    output = succeed(folder, "train", "classes.parquet", "--target", "kind", "--save", "model", "--epochs", 2)
    assert "2 distinct values: classification" in output
    from_csv = succeed(folder, "predict", "model", "classes.csv")
    assert succeed(folder, "predict", "model", "classes.parquet") == from_csv


def test_columns_may_come_in_any_order_and_number(folder):
    succeed(folder, "train", "numbers.csv", "--target", "price", "--save", "model", "--epochs", 2)
    expected = succeed(folder, "predict", "model", "numbers.csv")
    rows = [line.split(",") for line in (folder / "numbers.csv").read_text().splitlines()]
    (folder / "other.csv").write_text("".join(f"{c},x,{a},{b}\n" for a, b, c, _ in rows))
    assert succeed(folder, "predict", "model", "other.csv") == expected


BAD_TABLES = {
    "empty.csv": ("", "is empty"),
    "names only.csv": ("a,b,y\n", "is empty"),
    "text.csv": (
        "a,b,c,y\n" + "1,2,,3.5\n" * 5 + "1,two,3,4.5\n",
        "These 2 columns .*'b' is not numeric .row 6 holds 'two'.*--drop b c",
    ),
    "gap.csv": ("a,b,y\n1,,1.5\n" + "1,2,3.5\n" * 5, "Column 'b' .* has gaps .row 1 holds nothing"),
    "nan.csv": ("a,b,y\n" + "1,2,1.5\n" * 5 + "1,NaN,3.5\n", "Column 'b' .* has gaps .row 6 holds 'NaN'"),
    "infinity.csv": ("a,b,y\n" + "1,2,1.5\n" * 5 + "1,-inf,3.5\n", "Column 'b' .* holds infinity .row 6 holds -inf"),
    "gap in target.csv": ("a,b,y\n1,2,1.5\n1,2,\n", "There is 1 row with a target"),
    "no target.csv": ("a,b\n1,2\n", "has no column 'y'; it has 'a', 'b'"),
    "only target.csv": ("y\n1\n", "no column but the target"),
    "two rows.csv": ("a,y\n1,2.5\n2,3.5\n", "There are 2 rows"),
    "constant.csv": ("a,y\n" + "1,2.5\n" * 9, "only one distinct value"),
    "ragged.csv": ("a,b,y\n1,2,3\n1,2,3,4\n", "Row 2 of .* has 4 cells, not 3"),
    "table.parquet": ("a,b,y\n", "can't be read as parquet"),
    "table.npz": ("a,b,y\n", "can't be read as npz"),
    "page.csv": ("<!doctype html>\n<title>Sales</title>\n", "holds a web page"),
    "no header.csv": ("1.5,2,3\n2.5,3,4\n", "looks like data.*--no-header"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_refused_and_nothing_is_destroyed(tmp_path, name):
    content, match = BAD_TABLES[name]
    (tmp_path / name).write_text(content)
    (tmp_path / "model").write_text("precious")
    refuse(tmp_path, "train", name, "--target", "y", "--save", "model", match=match)
    assert (tmp_path / "model").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "model"])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["train", "nowhere.csv", "--target", "y"], "no file 'nowhere.csv'"),
        (["train", ".", "--target", "y"], "is a folder"),
        (["train", "classes.csv"], "--target"),
        (["train", "classes.csv", "--target", "colour"], "has no column 'colour'"),
        (["train", "classes.csv", "--target", "kind", "--task", "regression"], "holds text"),
        (["train", "classes.csv", "--target", "kind", "--save", "nowhere/model"], "folder doesn't exist"),
        (["train", "classes.csv", "--target", "kind", "--save", "."], "is a folder"),
        (["train", "classes.csv", "--target", "kind", "--hidden", "10,0"], "--hidden"),
        (["train", "classes.csv", "--target", "kind", "--learning-rate", "nan"], "--learning-rate"),
        (["train", "classes.csv", "--target", "kind", "--test-fraction", "1"], "--test-fraction"),
        (["predict", "nowhere", "classes.csv"], "'nowhere': No such file"),
        (["predict", "classes.csv", "classes.csv"], "is not a model of fastmlp"),
        (["predict", "model", "nowhere.csv"], "no file 'nowhere.csv'"),
        (["predict", "model", "narrow.csv"], "has no columns 'b', 'c'; it has 'a'"),
        (["predict", "model", "classes.csv", "--output", "nowhere/out.csv"], "folder doesn't exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_of_train_and_predict(folder, trained_model, arguments, match):
    (folder / "model").write_bytes(trained_model)
    (folder / "narrow.csv").write_text("a\n1\n")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    refuse(folder, *arguments, match=match)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.fixture(scope="module")
def trained_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    X = np.random.RandomState(0).standard_normal((20, 3))
    write_csv(folder / "table.csv", dict(zip("abc", X.T, strict=True)) | {"kind": ["x", "y"] * 10})
    succeed(folder, "train", "table.csv", "--target", "kind", "--save", "model", "--epochs", 2)
    return (folder / "model").read_bytes()


def test_existing_output_is_kept_when_the_table_is_bad(folder, trained_model):
    (folder / "model").write_bytes(trained_model)
    (folder / "bad.csv").write_text("a,b,c\n1,2,three\n")
    (folder / "out.csv").write_text("precious")
    refuse(
        folder,
        "predict",
        "model",
        "bad.csv",
        "--output",
        "out.csv",
        match="Column 'c' can't be used: it is not numeric .row 1 holds 'three'.[.]",
        by=run,
    )
    assert (folder / "out.csv").read_text() == "precious"


def test_csv_needs_neither_polars_nor_pandas(folder):
    finished = run_without(["polars", "pandas", "pyarrow"], folder, "train", "classes.csv", "--target", "kind")
    assert finished.returncode == 0, finished.stderr
    assert score_of(finished.stdout) == score_of(succeed(folder, "train", "classes.csv", "--target", "kind"))


def score_of(output):
    return re.search(r"^(accuracy|R²) on .*", output, re.MULTILINE)[0]


def test_parquet_without_polars_names_the_extra_before_any_work(folder, trained_model):
    (folder / "model").write_bytes(trained_model)
    for arguments in (
        ["train", "t.parquet", "--target", "y"],
        ["predict", "model", "nowhere", "--output", "o.parquet"],
    ):
        (folder / "t.parquet").write_bytes(b"PAR1")
        finished = run_without(["polars"], folder, *arguments)
        assert finished.returncode == 2
        assert finished.stderr.count("\n") == 1
        assert "pip install 'fastmlp[table]'" in finished.stderr


def test_what_was_found_is_stated_and_can_be_overruled(folder):
    lines = (folder / "numbers.csv").read_text().splitlines()
    german = "\n".join(line.replace(",", ";").replace(".", ",") for line in lines)
    (folder / "german[1].csv").write_text("Preise 2024\n" + german.replace("price", "größe"), encoding="utf-16")
    plain = succeed(folder, "train", "numbers.csv", "--target", "price", "--save", "plain")
    output = succeed(folder, "train", "german[1].csv", "--target", "größe", "--save", "model")
    assert output.startswith(
        "german[1].csv: 200 rows, 3 feature columns (separator ';', decimal ',', encoding utf-16)\n"
    )
    assert "\nnote: the first line is above the header, and no part of the table\n" in output
    assert score_of(output) == score_of(plain)
    told = ["--separator", ";", "--decimal", ",", "--encoding", "utf-16", "--header"]
    expected = succeed(folder, "predict", "plain", "numbers.csv")
    assert succeed(folder, "predict", "model", "german[1].csv") == expected
    assert succeed(folder, "predict", "model", "german[1].csv", *told) == expected
    refuse(folder, "predict", "model", "german[1].csv", "--separator", ",", match="looks like data, not like names")
    (folder / "bare.csv").write_text("\n".join(lines[1:]))
    succeed(folder, "train", "bare.csv", "--no-header", "--target", "column 4", "--save", "bare")
    assert succeed(folder, "predict", "bare", "bare.csv", "--no-header") == expected


def test_columns_are_dropped_and_kept(folder):
    lines = (folder / "numbers.csv").read_text().splitlines()
    rows = [f",city,{lines[0]}", *(f"{index},Wien,{line}" for index, line in enumerate(lines[1:]))]
    (folder / "t.csv").write_text("\n".join(rows))
    refuse(folder, "train", "t.csv", "--target", "price", match="Column 'city' can't be used.*--drop city")
    short = ["train", "t.csv", "--target", "price", "--epochs", 2, "--drop", "city"]
    output = succeed(folder, *short)
    assert "200 rows, 3 feature columns" in output
    assert "note: column 'column 1' is left out: it numbers or names the rows; --keep-all keeps it" in output
    assert "200 rows, 4 feature columns" in succeed(folder, *short, "--keep-all")
    assert "200 rows, 1 feature columns" in succeed(folder, *short, "b", "--drop", "c")


def test_predictions_are_written_as_the_name_says(folder, trained_model):
    polars = pytest.importorskip("polars")
    (folder / "model").write_bytes(trained_model)
    on_terminal = succeed(folder, "predict", "model", "classes.csv")
    for name in ["o.csv", "o.csv.gz", "o.tsv", "o.parquet", "o.npz"]:
        succeed(folder, "predict", "model", "classes.csv", "--output", name)
    assert (folder / "o.csv").read_text() == on_terminal == (folder / "o.tsv").read_text()
    assert gzip.decompress((folder / "o.csv.gz").read_bytes()).decode() == on_terminal
    predictions = on_terminal.split()[1:]
    assert polars.read_parquet(folder / "o.parquet")["prediction"].to_list() == predictions
    with np.load(folder / "o.npz") as archive:
        assert archive["prediction"].tolist() == predictions


def test_a_table_comes_from_standard_input(folder, trained_model):
    (folder / "model").write_bytes(trained_model)
    finished = subprocess.run(
        [sys.executable, "-m", "fastmlp", "predict", "model", "-"],
        cwd=folder,
        env=environment(),
        input=gzip.compress((folder / "classes.csv").read_bytes()),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.decode() == succeed(folder, "predict", "model", "classes.csv")


def test_a_value_too_large_for_the_model_is_named(folder, trained_model):
    (folder / "model").write_bytes(trained_model)
    (folder / "large.csv").write_text("a,b,c\n1,2,3\n1,2,1e39\n")
    refuse(folder, "predict", "model", "large.csv", match="Column 'c' holds 1e.39 in row 2, .* too large .* float32")


@pytest.mark.skipif(os.name == "nt", reason="needs a pipe that the reader closes")
def test_reader_that_closes_the_pipe_early(folder, trained_model):
    (folder / "model").write_bytes(trained_model)
    (folder / "long.csv").write_text("a,b,c\n" + "1,2,3\n" * 50_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "fastmlp", "predict", "model", "long.csv"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"prediction\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
