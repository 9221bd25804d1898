"""What the cells of a column are: numbers as people write them, true and false, gaps, or text.

Most columns are plain numbers, which NumPy reads at once. Of any other column each distinct text is looked at
once.
"""

import re
from dataclasses import dataclass

import numpy as np

# What stands for a missing value, as pandas has it, and the question mark of the UCI repository.
GAPS = frozenset([
    "", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "#N/A N/A", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None",
    "NaT", "?", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
])  # fmt: skip
# Among numbers these stand for a missing value as well; among texts they may be a text.
GAPS_AMONG_NUMBERS = frozenset(["-", "--", ".", "..", "...", "–", "—", "na", "n.a.", "#DIV/0!", "#VALUE!", "#REF!"])
DECIMALS = (".", ",")
_CURRENCIES = "[$€£¥₩₹₽₺₴₪₫฿₦₱]|EUR|USD|GBP|CHF|JPY|[A-Z]{1,2}\\$"
_SIGN = r"[-+−]?"
_AFFIXED = re.compile(
    rf"(?P<sign>{_SIGN})\s*(?P<before>{_CURRENCIES})?\s*(?P<inner>{_SIGN})(?P<body>[\d.,'’\s]*\d[.,]?(?:[eE][-+]?\d+)?)"
    rf"\s*(?P<after>%|{_CURRENCIES})?"
)
_IN_PARENTHESES = re.compile(r"\((.*)\)")  # accountants' minus
_BODIES = {
    decimal: re.compile(
        rf"(?:\d+|[1-9]\d{{0,2}}(?P<group>[{group}'’  ])\d{{3}}(?:(?P=group)\d{{3}})*)?"
        rf"(?:{re.escape(decimal)}\d*)?(?:[eE][-+]?\d+)?"
    )
    for decimal, group in ((".", ","), (",", "."))
}
_NOT_DIGITS = {decimal: re.compile(f"[^\\d{re.escape(decimal)}eE+-]") for decimal in DECIMALS}
_BOOLEANS = {"true": True, "false": False}
# Integers beyond this are not all distinct as float64.
_EXACT = 2**53


@dataclass
class Column:
    """A column and what was found about it.

    ``values`` are float64, int64, bool, or objects: text, true and false, None where there is a gap. ``texts`` are
    kept where they say more: what stands in gaps, and the digits of a code, which has leading zeros or is an integer
    beyond those that float64 has. ``reading`` is an example of a number that isn't written plainly, and its value.
    """

    values: np.ndarray
    texts: np.ndarray | None = None
    is_code: bool = False
    reading: tuple[str, float] | None = None


def find_columns(cells, decimal=None, separator=","):
    """Find out what columns are.

    Parameters
    ----------
    cells : list of ndarray of StringDType
        Their texts.
    decimal : {".", ","}, optional
        The decimal sign; by default it is found out.
    separator : str
        That of the table: where it is a semicolon, the comma may be the decimal sign.

    Returns
    -------
    columns : list of Column
    decimal : str
    """
    columns = [_plain(texts) for texts in cells]
    others = {index: _Texts(cells[index]) for index, column in enumerate(columns) if column is None}
    if decimal is None:
        allowed = [texts.decimals for texts in others.values() if texts.has_numbers]
        decimal = "."
        if [","] in allowed and ["."] not in allowed:
            # The plain numbers may tell otherwise.
            plain = [index for index, column in enumerate(columns) if column is not None]
            if all("," in _Texts(cells[index]).decimals for index in plain):
                decimal = ","
        elif separator == ";" and list(DECIMALS) in allowed and ["."] not in allowed:
            if any(texts.has_comma for texts in others.values() if texts.decimals == list(DECIMALS)):
                decimal = ","
        told = False
    else:
        told = True
    if decimal == ",":
        others |= {index: _Texts(cells[index]) for index, column in enumerate(columns) if column is not None}
    for index, texts in others.items():
        columns[index] = texts.as_column(decimal, told)
    return columns, decimal


def _plain(texts):
    """Read a column of plain numbers and plain gaps; None if it isn't that."""
    try:
        values = texts.astype(np.float64)
    except ValueError:
        missing = texts == ""
        for gap in ("NA", "?"):
            missing |= texts == gap
        if not missing.any() or missing.all():
            return None
        try:
            filled = texts[~missing].astype(np.float64)
        except ValueError:
            return None
        values = np.full(len(texts), np.nan)
        values[~missing] = filled
    if (np.strings.find(texts, "_") >= 0).any():  # Python's 1_000
        return None
    return _as_numbers(values, texts)


def _as_numbers(values, texts):
    finite = values[np.isfinite(values)]
    whole = bool(len(finite)) and bool((finite == np.rint(finite)).all())
    is_code = whole and (bool(np.abs(finite).max() >= _EXACT) or _has_leading_zero(texts))
    if whole and not is_code and len(finite) == len(values):
        return Column(values.astype(np.int64))
    return Column(values, texts if is_code or np.isnan(values).any() else None, is_code)


def _has_leading_zero(texts):
    zero = np.strings.startswith(np.strings.strip(texts), "0") & (np.strings.str_len(texts) > 1)
    return any(text.strip().isdigit() and len(text.strip()) > 1 for text in texts[zero].tolist())


class _Texts:
    """The distinct texts of a column, each looked at once."""

    def __init__(self, texts):
        self.texts = texts
        self.all = texts.tolist()
        stripped = {text: text.strip() for text in dict.fromkeys(self.all)}
        self.stripped = stripped
        filled = [text for text in stripped.values() if text not in GAPS]
        numbers = [text for text in filled if text not in GAPS_AMONG_NUMBERS]
        self.has_numbers = bool(numbers)
        self.has_comma = False
        affixes = set()
        self.decimals = list(DECIMALS)
        for text in numbers:
            taken = _take_apart(text)
            if taken is None:
                self.decimals = []
                break
            _, affix, body = taken
            affixes.add(affix)
            self.has_comma = self.has_comma or "," in body
            self.decimals = [decimal for decimal in self.decimals if _BODIES[decimal].fullmatch(body)]
            if not self.decimals:
                break
        # Amounts of two currencies, or percent beside plain numbers, are not numbers of one kind.
        if len(affixes - {""}) > 1 or ("%" in affixes and len(affixes) > 1):
            self.decimals = []

    def as_column(self, decimal, told):
        """Read the texts as numbers if all can be, as true and false, or leave them as they are."""
        decimals = [sign for sign in self.decimals if sign == decimal] or ([] if told else self.decimals)
        if decimals and self.has_numbers:
            return self._as_numbers(decimals[0])
        meaning = {text: None if stripped in GAPS else stripped for text, stripped in self.stripped.items()}
        filled = [text for text in meaning.values() if text is not None]
        if filled and all(text.lower() in _BOOLEANS for text in filled):
            meaning = {text: None if value is None else _BOOLEANS[value.lower()] for text, value in meaning.items()}
        values = np.array([meaning[text] for text in self.all], dtype=object)
        has_gaps = None in meaning.values()
        if not has_gaps and all(isinstance(value, bool) for value in meaning.values()):
            values = values.astype(bool)
        return Column(values, self.texts if has_gaps else None)

    def _as_numbers(self, decimal):
        meaning, reading = {}, None
        for text, stripped in self.stripped.items():
            if stripped in GAPS or stripped in GAPS_AMONG_NUMBERS:
                meaning[text] = np.nan
                continue
            sign, affix, body = _take_apart(stripped)
            plain = _NOT_DIGITS[decimal].sub("", body)
            meaning[text] = sign * float(plain.replace(decimal, "."))
            if reading is None and (affix or plain != body or "(" in stripped):
                reading = (stripped, meaning[text])
        column = _as_numbers(np.array([meaning[text] for text in self.all]), self.texts)
        column.reading = reading
        return column


def _take_apart(text):
    """Return sign, currency or percent sign, and digits of a number; None if it can't be one."""
    enclosed = _IN_PARENTHESES.fullmatch(text)
    match = _AFFIXED.fullmatch(enclosed[1].strip() if enclosed else text)
    if match is None:
        return _infinity(text)
    signs = match["sign"] + match["inner"] + ("-" if enclosed else "")
    if len(signs) > 1 or (match["before"] and match["after"]):
        return None
    return -1 if signs in ("-", "−") else 1, match["before"] or match["after"] or "", match["body"].strip()


def _infinity(text):
    sign = -1 if text.startswith("-") else 1
    return (sign, "", "1e999") if text.lower().lstrip("+-") in ("inf", "infinity") else None
