"""What a stranger's file may hold: parts of a good one, changed."""

import io
import json

import numpy as np
from hypothesis import strategies as st

from fastmlp.archive import write_archive
from fastmlp.model_header import LARGEST_INTEGER


def archive_bytes(header, arrays):
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    write_archive(file, {"header": text, **arrays})
    return file.getvalue()


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([LARGEST_INTEGER + 1, -(10**30), 1e308, -1.5, "inf", "nan", "", "\ud800", "x"]),
    st.lists(st.integers(-1, 9), max_size=4),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def leaves(value, place=()):
    """Every place in nested objects and lists."""
    yield place
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*place, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*place, index))
