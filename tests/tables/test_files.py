"""Whatever its name and however it is packed, a table is read, or refused in one sentence that says what it is."""

import bz2
import gzip
import io
import lzma
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastmlp.process import extras
from fastmlp.tables import reading
from fastmlp.tables.reading import read_table
from tests.helpers.tables import columns_of

FILES = Path(__file__).parent / "examples"


def zipped(*members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


CSV = b"a,b\n1,2.5\n3,4.5\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", CSV),
        ("t.CSV", CSV),
        ("t.txt", CSV),
        ("t.tsv", CSV.replace(b",", b"\t")),
        ("table", CSV),
        ("t.csv.gz", gzip.compress(CSV)),
        ("t.csv", gzip.compress(CSV)),
        ("t.csv.bz2", bz2.compress(CSV)),
        ("t.csv.xz", lzma.compress(CSV)),
        ("t.zip", zipped(("t.csv", CSV), ("__MACOSX/._t.csv", b"\0"), ("folder/", b""))),
        ("t.csv", zipped(("t.csv", CSV))),
        ("t.zip", zipped(("t.csv.gz", gzip.compress(CSV)))),
    ],
)
def test_the_content_decides_not_the_name(tmp_path, monkeypatch, name, content):
    (tmp_path / name).write_bytes(content)
    assert columns_of(tmp_path / name) == {"a": [1, 3], "b": [2.5, 4.5]}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert columns_of("-") == {"a": [1, 3], "b": [2.5, 4.5]}


NO_TABLES = {
    "empty.csv": (b"", "is empty"),
    "newlines.csv": (b"\n\r\n \n", "is empty"),
    "comments.csv": (b"# a\n# b\n", "is empty"),
    "names.csv": (b"a,b\n", "is empty"),
    "page.csv": (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "web page"),
    "pointer.csv": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS"),
    "json.csv": (b'[{"a": 1}]', "JSON"),
    "paper.csv": (b"%PDF-1.7\n", "PDF"),
    "bytes.csv": (bytes(range(256)) * 4, "binary data"),
    "book.xlsx": (zipped(("[Content_Types].xml", b""), ("xl/workbook.xml", b"")), "workbook"),
    "two.zip": (zipped(("a.csv", CSV), ("b.csv", CSV)), "holds 2 files: 'a.csv', 'b.csv'"),
    "none.zip": (zipped(), "can't be unpacked|holds 0 files|binary data"),
    "cut.csv.gz": (gzip.compress(CSV)[:-9], "can't be unpacked"),
    "nested.gz": (gzip.compress(gzip.compress(gzip.compress(CSV))), "archives within archives"),
    "long row.csv": (b"a,b\n1,2\n1,2,3,4\n", "Row 2 of .* has 4 cells, not 2"),
    "short row.csv": (b"a,b,c\n1,2,3\n1,2,3\n1,2\n", "Row 3 of .* has 2 cells, not 3"),
    "names too many.csv": (b"a,b,c,d\n1,2\n3,4\n5,6\n", "4 names of columns, but 2 cells"),
    "text.parquet": (CSV, "can't be read as parquet"),
    "text.npz": (CSV, "can't be read as npz"),
    "long cell.csv": (b'a,b\n"' + b"x" * 200_000 + b'",1\n', "perhaps a quotation mark is not closed"),
    "unclosed.csv": (b'a,b\n"x,1\n2,3\n', "Row 1 of .* has 1 cell, not 2"),
    "cut.parquet": (b"PAR1....", "can't be read as parquet"),
    "cut.npz": (b"PK\x03\x04", "can't be unpacked"),
}


@pytest.mark.parametrize("name", NO_TABLES)
def test_what_is_no_table_gets_one_sentence(tmp_path, name):
    content, match = NO_TABLES[name]
    (tmp_path / name).write_bytes(content)
    if name.endswith("parquet"):
        pytest.importorskip("polars")
    with pytest.raises(ValueError, match=match) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_what_cannot_be_decoded_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"is not in utf-8: line 1 has the byte 0xf6 in 'größe"):
        read_table(FILES / "latin1.csv", encoding="utf-8")
    with pytest.raises(ValueError, match="no encoding 'klingon'"):
        read_table(FILES / "latin1.csv", encoding="klingon")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"separator": "ab"}, "A separator is one character"),
        ({"decimal": "'"}, "A decimal sign is"),
        ({"separator": ",", "decimal": ","}, "both the separator and the decimal sign"),
    ],
)
def test_wrong_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        read_table(FILES / "semicolon.csv", **options)


@pytest.mark.parametrize("name", ["sales[1]", "q?", "all*", "run[2024]/sales", "{a,b}"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_the_file_that_is_named_is_read_whatever_its_name(tmp_path, name, suffix):
    for index, stem in enumerate([name, "sales1", "q1", "all", "run2/sales", "a", "b"]):
        path = tmp_path / f"{stem}{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == ".parquet":
            pytest.importorskip("polars").DataFrame({"number": [float(index), index + 0.5]}).write_parquet(path)
        elif suffix == ".npz":
            np.savez(path, number=np.array([float(index), index + 0.5]))
        else:
            path.write_text(f"number\n{index}\n{index + 0.5}\n")
    assert columns_of(tmp_path / f"{name}{suffix}") == {"number": [0, 0.5]}


def test_arrays_of_an_npz_become_columns(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(
        path,
        X=np.arange(12.0).reshape(3, 2, 2),
        y=np.array([["a"], ["b"], ["a"]]),
        label=np.array([b"x", "ü".encode(), b"\xfc"]),
        flag=np.array([True, False, True]),
        version=np.array(3),
    )
    table = read_table(path)
    assert list(table.columns) == ["X[0]", "X[1]", "X[2]", "X[3]", "y", "label", "flag"]
    assert table.columns["X[3]"].tolist() == [3, 7, 11]
    assert table.columns["y"].tolist() == ["a", "b", "a"]
    assert table.columns["label"].tolist() == ["x", "ü", "ü"]
    assert table.notes == ["'version' is a single value, not a column, and left out"]
    with pytest.raises(ValueError, match="belong to text"):
        read_table(path, separator=";")


def test_npz_that_is_no_table(tmp_path):
    path = tmp_path / "t.npz"
    for arrays, match in [
        ({"a": np.zeros(3), "b": np.zeros(4)}, "same number of rows"),
        ({"a": np.array([{}], dtype=object)}, "can't be read"),
        ({"a": np.array(3.0)}, "is empty"),
        ({"a": np.zeros((0, 3))}, "is empty"),
    ]:
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=match):
            read_table(path)


@pytest.mark.parametrize("writer", ["polars", "pandas"])
def test_parquet(tmp_path, writer):
    pytest.importorskip("polars")
    library = pytest.importorskip(writer)
    frame = library.DataFrame(
        {
            "whole": [1, 2, 3],
            "flag": [True, False, True],
            "name": ["x", "y, z", None],
            "gap": [1.5, None, 2.5],
        }
    )
    path = tmp_path / "t.parquet"
    if writer == "pandas":
        pytest.importorskip("pyarrow")
        frame.index = [5, 6, 7]
        frame.to_parquet(path)
    else:
        frame.write_parquet(path)
    table = read_table(path)
    kinds = {name: column.dtype.kind for name, column in table.columns.items()}
    index = {"__index_level_0__": "i"} if writer == "pandas" else {}
    assert kinds == {"whole": "i", "flag": "b", "name": "O", "gap": "f"} | index
    assert table.unnamed == set(index)
    assert table.columns["name"].tolist() == ["x", "y, z", None]
    np.testing.assert_array_equal(table.columns["gap"], [1.5, np.nan, 2.5])


def test_text_needs_no_other_library_and_parquet_names_the_extra(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    assert read_table(FILES / "tab.tsv").n_rows == 240
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(extras.MissingExtraError, match=r"pip install 'fastmlp\[table\]'"):
        reading.read_table(tmp_path / "t.parquet")
