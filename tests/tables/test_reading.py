"""Tables as people have them: each file is read as what it is."""

from pathlib import Path

import numpy as np
import pytest

from fastmlp.tables.columns import find_columns
from fastmlp.tables.dialect import CHUNK_LINES, TEXT
from fastmlp.tables.reading import read_table
from tests.helpers.tables import columns_of, write

FILES = Path(__file__).parent / "examples"

# One table, written in many ways.
AGES, AREAS, PRICES = [62, 65, 71], [109.9, 158.04, 127.1], [237701.75, 238416.66, 225301.63]

NAMES = ["age", "area", "rooms", "price"]

AS_THEY_ARE = {
    # file: names, what is found about the text, the beginnings of notes
    "semicolon.csv": (NAMES, ["separator ';'"], []),
    "semicolon_decimal_comma.csv": (NAMES, ["separator ';'", "decimal ','"], []),
    "comma_quoted_decimal_comma.csv": (NAMES, ["decimal ','"], []),
    "tab.tsv": (NAMES, ["separator tab"], []),
    "R_write_table.csv": (["column 1", *NAMES], [], []),
    "index_unnamed.csv": (["column 1", *NAMES], [], []),
    "id_column.csv": (["customer_id", *NAMES], [], []),
    "comment_lines.csv": (NAMES, [], ["the first 2 lines are above the header"]),
    "sep_line.csv": (NAMES, [], []),
    "cr_only.csv": (NAMES, [], []),
    "padded.csv": (NAMES, [], []),
    "empty_last_lines.csv": (NAMES, [], []),
    "thousands.csv": (NAMES, [], ["column 'price' is read as numbers: '237,701.75' is 237701.75"]),
    "currency_percent.csv": (NAMES, [], ["column 'price' is read as numbers: '€ 237702' is 237702"]),
    "utf16.csv": (NAMES, ["encoding utf-16"], []),
    "latin1.csv": (["größe", *NAMES[1:]], ["encoding latin-1"], []),
    "duplicate_names.csv": (["age", "area", "area.1", "rooms", "price"], [], []),
}


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_a_table_is_read_as_what_it_is(name):
    names, found, notes = AS_THEY_ARE[name]
    table = read_table(FILES / name)
    assert list(table.columns) == names
    assert table.n_rows == 240
    assert table.found == found
    assert [note for note, begin in zip(table.notes, notes, strict=True) if note.startswith(begin)] == table.notes
    columns = list(table.columns.values())
    first = names.index("area") - 1
    assert columns[first][:3].tolist() == AGES
    assert table.columns["area"][:3].tolist() == AREAS
    assert table.columns.get("area.1", table.columns["area"])[:3].tolist() == AREAS
    assert columns[-1][:3].tolist() == ([237702, 238417, 225302] if "currency" in name else PRICES)
    assert columns[-1][-1] == pytest.approx(166039.76, abs=1)


@pytest.mark.parametrize("gap", ["empty", "NA", "question"])
def test_gaps_are_the_same_however_they_are_written(gap):
    table = read_table(FILES / f"missing_{gap}.csv")
    complete = read_table(FILES / "semicolon.csv")
    missing = np.isnan(table.columns["age"])
    assert missing.sum() > 1
    assert missing[0]
    np.testing.assert_array_equal(table.columns["age"][~missing], complete.columns["age"][~missing])


WAYS_TO_WRITE = {
    "title": "Sales of 2024\n\na,b,c\n1,2,x\n3,4,y\n",
    "title in a cell": "Sales of 2024,,\na,b,c\n1,2,x\n3,4,y\n",
    "title of two cells": "Sales,of 2024\na,b,c\n1,2,x\n3,4,y\n",
    "title and comments": "Sales\n# exported\na,b,c\n1,2,x\n3,4,y\n",
    "comment below": "a,b,c\n1,2,x\n# here it breaks\n3,4,y\n",
    "header after #": "# a,b,c\n1,2,x\n3,4,y\n",
    "comment and header after #": "# made, by me\n#a,b,c\n1,2,x\n3,4,y\n",
    "blank lines": "\n\na,b,c\n\n1,2,x\n\n3,4,y\n\n",
    "lines of separators": "a,b,c\n1,2,x\n3,4,y\n,,\n,,\n",
    "separator at the end of lines": "a,b,c,\n1,2,x,\n3,4,y,\n",
    "separator at the end of rows": "a,b,c\n1,2,x,\n3,4,y,\n",
    "separator at the end of the header": "a,b,c,\n1,2,x\n3,4,y\n",
    "no newline at the end": "a,b,c\n1,2,x\n3,4,y",
    "DOS": "a,b,c\r\n1,2,x\r\n3,4,y\r\n\x1a",
    "quotes": '"a","b","c"\n"1","2","x"\n"3","4","y"\n',
    "space": "a b c\n1 2 x\n3 4 y\n",
    "columns of spaces": "a   b  c\n1   2  x\n3   4  y \n",
    "pipes": "a|b|c\n1|2|x\n3|4|y\n",
    "byte-order mark": "\ufeffa,b,c\n1,2,x\n3,4,y\n",
    "sep line and semicolons": '"sep=;"\na;b;c\n1;2;x\n3;4;y\n',
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32"])
def test_ways_to_write_one_table(tmp_path, way, encoding):
    if encoding == "utf-16-be" or (encoding == "utf-32" and "mark" in way):
        encoding, text = "utf-16-be", "\ufeff" + WAYS_TO_WRITE[way].removeprefix("\ufeff")
    else:
        text = WAYS_TO_WRITE[way]
    path = write(tmp_path / "table.csv", text, encoding)
    assert columns_of(path) == {"a": [1, 3], "b": [2, 4], "c": ["x", "y"]}


@pytest.mark.parametrize(
    ("cells", "values", "decimal"),
    [
        (["1", "-2"], [1, -2], "."),
        (["1.5", " 2 "], [1.5, 2.0], "."),
        (["1e3", "2.5E-1"], [1000, 0.25], "."),
        (["1,5", "2"], [1.5, 2.0], ","),
        (["1.234,5", "2"], [1234.5, 2.0], ","),
        (["1,234", "2"], [1234, 2], "."),
        (["1,234,567.5", "2"], [1234567.5, 2.0], "."),
        (["1 234", "1'234"], [1234, 1234], "."),
        (["€ 5", "€1,000"], [5, 1000], "."),
        (["5 %", "-6%"], [5, -6], "."),
        (["(1,200.50)", "-$3.00", "−4"], [-1200.5, -3, -4], "."),
        (["USD 5", "7 USD"], [5, 7], "."),
        (["1", "-", "n.a."], [1, None, None], "."),
        (["1.5", "", "NA", "?", "NULL", "nan"], [1.5, None, None, None, None, None], "."),
        (["1", "inf"], [1, np.inf], "."),
        (["True", "FALSE", "true"], [True, False, True], "."),
        (["true", ""], [True, None], "."),
        (["x", "NA", "", "-"], ["x", None, None, "-"], "."),
        (["1,5", "2.5"], ["1,5", "2.5"], "."),  # not both
        (["€ 5", "$ 5"], ["€ 5", "$ 5"], "."),
        (["5 %", "0.05"], ["5 %", "0.05"], "."),
        (["1_000", "2"], ["1_000", "2"], "."),
        (["12,34", "1,2,3"], ["12,34", "1,2,3"], "."),
        (["2024-01-02", "01.02.2024"], ["2024-01-02", "01.02.2024"], "."),
    ],
)
def test_what_cells_are(cells, values, decimal):
    (column,), found = find_columns([np.array(cells, TEXT)])
    shown = [None if value is None or value != value else value for value in column.values.tolist()]
    assert shown == values
    assert found == decimal


def test_the_decimal_sign_is_one_for_the_table():
    cells = [np.array(texts, TEXT) for texts in (["1,5", "2,25"], ["1.234", "5.678"], ["7", "8"])]
    columns, decimal = find_columns(cells)
    assert decimal == ","
    assert [column.values.tolist() for column in columns] == [[1.5, 2.25], [1234, 5678], [7, 8]]
    columns, _ = find_columns(cells, decimal=".")
    assert columns[0].values.tolist() == ["1,5", "2,25"]
    # Between semicolons it is the comma, where nothing says otherwise.
    assert find_columns([np.array(["1,234", "2,345"], TEXT)], separator=";")[1] == ","


def test_what_was_found_can_be_overruled(tmp_path):
    path = write(tmp_path / "t.txt", "1;2,5\n3;4,5\n")
    assert columns_of(path, header=False) == {"column 1": [1, 3], "column 2": [2.5, 4.5]}
    assert columns_of(path, header=True) == {"1": [3], "2,5": [4.5]}
    assert columns_of(path, header=False, separator=",") == {"column 1": ["1;2", "3;4"], "column 2": [5, 5]}
    assert columns_of(path, header=False, decimal=".") == {"column 1": [1, 3], "column 2": ["2,5", "4,5"]}
    path = write(tmp_path / "t.csv", "a,b\nж,1\n", "koi8-r")
    assert columns_of(path, encoding="koi8-r") == {"a": ["ж"], "b": [1]}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0,1,2\n1.5,2.5,x\n2.5,3.5,y\n", ["0", "1", "2"]),  # a frame without names
        ("year,2019,2020\na,1,2\nb,3,4\n", None),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n4.7,3.2,virginica\n", None),
        ("7,2\n3,4\n", None),
        ("a,b\n3,4\n", ["a", "b"]),
        ("a,b\nx,y\n", ["a", "b"]),
        (",a,,a\n7,1,2,3\n", ["column 1", "a", "column 3", "a.1"]),
    ],
)
def test_a_first_line_of_data_is_no_header(tmp_path, text, names):
    path = write(tmp_path / "t.csv", text)
    if names is None:
        with pytest.raises(ValueError, match=r"looks like data.*--no-header"):
            read_table(path)
        expected = text.split("\n")[0].split(",")
        assert list(read_table(path, expected=expected[:1]).columns) == expected
    else:
        assert list(read_table(path).columns) == names


def test_digits_are_kept_where_they_say_more_than_the_number(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c,d\n010,12345678901234567890,1.0,0\n9,1,0.0,10\n")
    table = read_table(path)
    assert table.codes == {"a", "b"}
    assert table.texts["a"].tolist() == ["010", "9"]
    assert table.columns["a"].tolist() == [10, 9]


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_long_table_is_read_like_a_short_one(tmp_path, quote):
    n_rows = 2 * CHUNK_LINES + 5
    rows = [f"{index},{quote}{index / 2}{quote},x{index % 3}" for index in range(n_rows)]
    rows.insert(CHUNK_LINES + 7, "# a comment in the second part")
    path = write(tmp_path / "t.csv", "\n".join(["a,b,c", *rows]))
    columns = read_table(path).columns
    np.testing.assert_array_equal(columns["a"], np.arange(n_rows))
    np.testing.assert_array_equal(columns["b"], np.arange(n_rows) / 2)
    assert columns["c"].tolist() == [f"x{index % 3}" for index in range(n_rows)]
    path.write_text(path.read_text() + "\n1,2\n")
    with pytest.raises(ValueError, match=f"Row {n_rows + 1} of .* has 2 cells, not 3"):
        read_table(path)


def test_a_separator_within_texts_separates_nothing(tmp_path):
    path = write(tmp_path / "t.csv", "name;note\nx;a, b\ny;c, d\n")
    assert columns_of(path) == {"name": ["x", "y"], "note": ["a, b", "c, d"]}


def test_quoted_cells_hold_separators_quotes_and_lines(tmp_path):
    path = write(tmp_path / "t.csv", 'a,b\n"x, y",1\n"he said ""no""",2\n"two\nlines",3\n5" pipe,4\n')
    assert columns_of(path) == {"a": ["x, y", 'he said "no"', "two\nlines", '5" pipe'], "b": [1, 2, 3, 4]}
