"""The text of a table: which encoding its bytes are in, and whether it is text at all."""

import codecs
import re

# Longer ones first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\ufffe\uffff]")
# Printable in Windows' code page, control characters in ISO 8859-1.
_WINDOWS = re.compile(rb"[\x80-\x9f]")
_SAMPLE = 1 << 16


def decode(name, data, encoding=None):
    """Turn the bytes of a file into text, with a newline at the end of every line.

    Parameters
    ----------
    name : str
        What to call the file in messages.
    data : bytes
        Its content.
    encoding : str, optional
        By default it is found out: from a byte-order mark or the zeros of UTF-16; else it is UTF-8, and what isn't
        that is Windows' code page 1252 or ISO 8859-1.

    Returns
    -------
    text : str
    encoding : str
        Its name; plain "utf-8" with a mark and without.

    Raises
    ------
    ValueError
        If it is not text, or not in this encoding.
    """
    if not data:
        raise ValueError(f"{name} is empty.")
    if encoding is None:
        text, encoding = _decode_unknown(data)
    else:
        text = _decode_as(name, data, encoding)
    text = text.removeprefix("\ufeff").rstrip("\x1a")  # DOS ended a text with Control-Z
    if _CONTROL.search(text[:_SAMPLE]) or _CONTROL.search(text[-_SAMPLE:]):
        raise ValueError(f"{name} is not a table: it holds binary data, or text whose --encoding must be told.")
    if not text.strip():
        raise ValueError(f"{name} is empty: it holds nothing but white space.")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, "utf-8" if encoding == "utf-8-sig" else encoding


def _decode_unknown(data):
    marked = [encoding for mark, encoding in _MARKS if data.startswith(mark)]
    # The code page leaves five bytes undefined, ISO 8859-1 none.
    guesses = [*(marked or _wide(data)), "utf-8", *(["cp1252"] if _WINDOWS.search(data) else [])]
    for encoding in guesses:
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "latin-1"


def _wide(data):
    """Tell UTF-16 without a mark from where its zeros are."""
    sample = data[:4096]
    half = len(sample) // 2
    if sample[1::2].count(0) > 0.4 * half and sample[::2].count(0) < 0.1 * half:
        return ["utf-16-le"]
    if sample[::2].count(0) > 0.4 * half and sample[1::2].count(0) < 0.1 * half:
        return ["utf-16-be"]
    return []


def _decode_as(name, data, encoding):
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except LookupError as error:
        raise ValueError(f"There is no encoding {encoding!r}; try utf-8, utf-16, cp1252 or latin-1.") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        shown = data[max(0, error.start - 10) : error.start + 10].decode("latin-1").strip()
        raise ValueError(
            f"{name} is not in {encoding.removesuffix('-sig')}: line {line} has the byte "
            f"0x{data[error.start]:02x} in {shown!r}; --encoding tells another."
        ) from error
