"""Tables: every reader makes the same columns, and a target is taken for what it is."""

import numpy as np
import pytest

from fastmlp import tables
from fastmlp.tables import Table, read_features, read_table, read_target

CSV = """whole,number,flag,name,gap
1,0.5,true,x,1.5
2,-1e3,false,"y, z",
3,2.25,true,ü,2.5
"""


@pytest.fixture(params=["polars", "pandas"])
def reader(request, monkeypatch):
    """Read with one of the two libraries, whichever else is installed."""
    library = pytest.importorskip(request.param)
    monkeypatch.setattr(tables, "import_extra", lambda *arguments: library)
    return library


def write_parquet(library, path):
    columns = {
        "whole": [1, 2, 3],
        "number": [0.5, -1e3, 2.25],
        "flag": [True, False, True],
        "name": ["x", "y, z", "ü"],
        "gap": [1.5, None, 2.5],
    }
    frame = library.DataFrame(columns)
    if library.__name__ == "polars":
        frame.write_parquet(path)
    else:
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".CSV"])
def test_both_libraries_make_the_same_columns(tmp_path, reader, suffix):
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        write_parquet(reader, path)
    else:
        path.write_text(CSV, encoding="utf-8")
    table = read_table(path)
    assert list(table.columns) == ["whole", "number", "flag", "name", "gap"]
    assert table.n_rows == 3
    kinds = {name: column.dtype.kind for name, column in table.columns.items()}
    assert kinds == {"whole": "i", "number": "f", "flag": "b", "name": "O", "gap": "f"}
    assert table.columns["name"].tolist() == ["x", "y, z", "ü"]
    np.testing.assert_array_equal(table.columns["gap"], [1.5, np.nan, 2.5])
    X = read_features(table, ["number", "whole", "flag"])
    np.testing.assert_array_equal(X, [[0.5, 1, 1], [-1e3, 2, 0], [2.25, 3, 1]])


@pytest.mark.parametrize("name", ["sales[1]", "q?", "all*", "run[2024]/sales", "{a,b}"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_file_that_is_named_is_read_whatever_its_name(tmp_path, reader, name, suffix):
    if suffix == ".parquet" and reader.__name__ == "pandas":
        pytest.importorskip("pyarrow")
    for index, stem in enumerate([name, "sales1", "q1", "all", "run2/sales", "a", "b"]):
        path = tmp_path / f"{stem}{suffix}"
        path.parent.mkdir(exist_ok=True)
        frame = reader.DataFrame({"number": [float(index), index + 0.5]})
        if suffix == ".parquet":
            getattr(frame, "write_parquet", getattr(frame, "to_parquet", None))(path)
        else:
            path.write_text(f"number\n{index}\n{index + 0.5}\n")
    assert read_table(tmp_path / f"{name}{suffix}").columns["number"].tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"a,b\n", "is empty"),
        (b"a,b\n1,2\n1,2,3,4\n", "can't be read as csv"),
        (b"a,b\n\xff\xfe,2\n", "can't be read as csv"),
    ],
)
def test_bad_csv_is_one_sentence(tmp_path, reader, content, match):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_text_and_gaps_name_column_and_row(tmp_path, reader):
    path = tmp_path / "table.csv"
    path.write_text("a,b,c,d\n1,x,,1\n2,y,3,\n3,z,,\n")
    table = read_table(path)
    with pytest.raises(ValueError, match="Column 'b' isn't numeric: row 1 holds 'x'"):
        read_features(table, ["a", "b"])
    with pytest.raises(ValueError, match=r"Column 'c' has gaps \(NaN\): 2 values are missing, the first in row 1"):
        read_features(table, ["c"])
    with pytest.raises(ValueError, match=r"Column 'd' .* in row 2"):
        read_features(table, ["d"])


def test_arrays_of_an_npz_become_columns(tmp_path):
    X = np.arange(12.0).reshape(3, 2, 2)
    np.savez(tmp_path / "t.npz", X=X, y=np.array(["a", "b", "a"]), flag=np.array([True, False, True]))
    table = read_table(tmp_path / "t.npz")
    assert list(table.columns) == ["X[0]", "X[1]", "X[2]", "X[3]", "y", "flag"]
    np.testing.assert_array_equal(read_features(table, ["X[0]", "X[3]"]), [[0, 3], [4, 7], [8, 11]])
    assert read_target(table, "y").task == "classification"


def test_npz_that_is_no_table(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, a=np.zeros(3), b=np.zeros(4))
    with pytest.raises(ValueError, match="same number of rows"):
        read_table(path)
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="can't be read"):
        read_table(path)
    np.savez(path, a=np.array(3.0))
    with pytest.raises(ValueError, match="is empty"):
        read_table(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="can't be read"):
        read_table(path)


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
    table = Table("t", {"y": np.arange(20) % 3, "z": np.arange(20) + 0.5})
    assert read_target(table, "y", "regression").y.dtype == np.float64
    assert read_target(table, "z", "classification").task == "classification"


def test_whole_floats_become_integer_classes():
    found = read_target(Table("t", {"y": np.array([1.0, 2.0] * 5)}), "y")
    assert found.y.dtype == np.int64


def test_dates_are_neither_numbers_nor_text(tmp_path, reader):
    if reader.__name__ == "pandas":
        pytest.importorskip("pyarrow")
        frame = reader.DataFrame({"d": reader.to_datetime(["2020-01-01", "2020-01-02"]), "y": [1.5, 2.5]})
        frame.to_parquet(tmp_path / "t.parquet")
    else:
        import datetime

        reader.DataFrame({"d": [datetime.date(2020, 1, 1)] * 2, "y": [1.5, 2.5]}).write_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="Column 'd' isn't numeric"):
        read_features(table, ["d"])
    with pytest.raises(ValueError, match="Column 'd' holds neither numbers nor text"):
        read_target(table, "d")
