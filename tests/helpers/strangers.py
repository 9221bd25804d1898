"""What a stranger's file may hold: parts of a good one, changed."""

import io
import json

import numpy as np
from hypothesis import strategies as st

from fastmlp.files.archive import write_archive
from fastmlp.files.header import LARGEST_INTEGER


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


def spoil(header, data):
    """Return a header in which one field is missing or junk."""
    header = json.loads(json.dumps(header))
    *steps, last = data.draw(st.sampled_from(list(leaves(header))[1:]))
    target = header
    for step in steps:
        target = target[step]
    if data.draw(st.booleans()) and isinstance(target, dict):
        del target[last]
    else:
        target[last] = data.draw(JUNK)
    return header


def accepted(action):
    """Do something with a stranger's file; return what came of it, or None if it was refused in one sentence."""
    try:
        return action()
    except ValueError as error:
        sentence = str(error)
    assert "\n" not in sentence
    return None
