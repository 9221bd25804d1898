"""The header of a file: one JSON object, whose fields are checked as they are read."""

import json
import math
import operator
import reprlib
import sys

import numpy as np

# What compiled code counts with, and adds one to, fits into 64 bits.
LARGEST_INTEGER = 2**62
# A parameter may be any number that float() takes: people write max_iter=sys.maxsize.
LARGEST_PARAMETER = int(sys.float_info.max)
_INFINITIES = {"inf": math.inf, "-inf": -math.inf}


def require(condition, reason):
    """Raise ValueError with a reason unless the condition holds."""
    if not condition:
        raise ValueError(reason)


def write_header(header):
    """Turn a JSON object into the member ``header``.

    Parameters
    ----------
    header : dict
        Its fields.

    Returns
    -------
    ndarray of uint8
    """
    return np.frombuffer(json.dumps(header, allow_nan=False).encode(), np.uint8)


def read_header(arrays, file_format, latest_version):
    """Take the member ``header`` out of a file's arrays and check which format it announces.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Members of the file.
    file_format : str
        What it has to be.
    latest_version : int
        The latest version of the format that can be read.

    Returns
    -------
    Fields
    """
    text = arrays.pop("header", None)
    require(text is not None and text.dtype == np.uint8 and text.ndim == 1, "it has no header")
    try:
        header = json.loads(text.tobytes().decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError("its header can't be read") from error
    fields = Fields(header, "header")
    require(fields.text("format") == file_format, "it is of another format")
    version = fields.integer("format_version", 1)
    require(version <= latest_version, "it was saved by a later version of fastmlp")
    return fields


def encode_number(value):
    """Turn a number into what JSON has: infinities, which it lacks, become text.

    Parameters
    ----------
    value : int, float, NumPy scalar, or None
        The number.

    Returns
    -------
    int, float, str or None

    Raises
    ------
    ValueError
        If it is NaN, or a long double that is no double.
    """
    if isinstance(value, np.longdouble) and float(value) == value:
        value = float(value)
    if isinstance(value, np.generic):
        value = value.item()
    require(value is None or isinstance(value, bool | int | float | str), f"{value!r} is no number of 64 bits")
    require(value == value, "one of its numbers is NaN")
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


class Fields:
    """A JSON object whose fields are checked as they are read.

    Every method raises ValueError if a field is missing or isn't what it should be.

    Parameters
    ----------
    content : object
        What was read, of any type.
    name : str
        What to call it in the error.
    """

    def __init__(self, content, name):
        require(isinstance(content, dict), f"its {name} is not an object")
        self._content = content
        self._name = name

    def __iter__(self):
        """Go through the names."""
        return iter(self._content)

    def __contains__(self, name):
        """Return whether there is a field of this name."""
        return name in self._content

    def __getitem__(self, name):
        """Read a field of any type."""
        require(name in self._content, f"its {self._name} has no field {name!r}")
        return self._content[name]

    def _require(self, condition, name):
        require(condition, f"the field {name!r} of its {self._name} is wrong, {reprlib.repr(self._content.get(name))}")

    def fields(self, name):
        """Read an object."""
        return Fields(self[name], name)

    def text(self, name, optional=False):
        """Read a text, or None if it is optional."""
        value = self[name]
        self._require((optional and value is None) or _is_text(value), name)
        return value

    def texts(self, name, optional=False):
        """Read a list of texts, or None if it is optional."""
        values = self[name]
        if optional and values is None:
            return None
        self._require(isinstance(values, list) and all(map(_is_text, values)), name)
        return values

    def choice(self, name, choices):
        """Read a text that is one of the choices."""
        value = self[name]
        self._require(isinstance(value, str) and value in choices, name)
        return value

    def boolean(self, name):
        """Read true or false."""
        value = self[name]
        self._require(isinstance(value, bool), name)
        return value

    def integer(self, name, lowest):
        """Read an integer, no lower than this."""
        value = self[name]
        self._require(_is_integer(value) and value >= lowest, name)
        return value

    def integers(self, name, lowest, largest=LARGEST_INTEGER):
        """Read a list of integers, none lower or larger than these."""
        values = self[name]
        self._require(isinstance(values, list) and all(_is_integer(v, largest) and v >= lowest for v in values), name)
        return values

    def number(self, name, optional=False, largest=LARGEST_INTEGER):
        """Read a number, or None if it is optional; an integer may be no larger in size than that."""
        value = self[name]
        if optional and value is None:
            return None
        return self._decode_number(value, name, largest)

    def numbers(self, name, optional=False):
        """Read a list of numbers, or None if it is optional."""
        values = self[name]
        if optional and values is None:
            return None
        self._require(isinstance(values, list), name)
        return [self._decode_number(value, name) for value in values]

    def _decode_number(self, value, name, largest=LARGEST_INTEGER):
        if isinstance(value, str):
            self._require(value in _INFINITIES, name)
            return _INFINITIES[value]
        self._require(_is_integer(value, largest) or (isinstance(value, float) and math.isfinite(value)), name)
        return value


def _is_integer(value, largest=LARGEST_INTEGER):
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= largest


def _is_text(value):
    if not isinstance(value, str):
        return False
    try:
        value.encode()  # half a surrogate pair can be written in JSON, but never printed
    except UnicodeEncodeError:
        return False
    return True


def is_mersenne_twister(generator):
    """Return whether a generator is the one that NumPy's RandomState has unless it is given another."""
    return generator.get_state(legacy=False)["bit_generator"] == "MT19937"


def encode_generator(generator):
    """Turn a generator's state into what JSON has, and its key.

    Parameters
    ----------
    generator : numpy.random.RandomState
        A Mersenne Twister.

    Returns
    -------
    state : list
        Position, whether a Gaussian number is kept, and that number.
    key : ndarray of uint32
    """
    _, key, position, has_gauss, cached_gaussian = generator.get_state()
    return [int(position), int(has_gauss), float(cached_gaussian)], np.asarray(key, np.uint32)


def decode_generator(fields, arrays):
    """Make a generator of the field ``generator`` and the member ``random_state_key``, which is taken out.

    Parameters
    ----------
    fields : Fields
        What was read.
    arrays : dict of str to ndarray
        Members of the file.

    Returns
    -------
    numpy.random.RandomState
    """
    key = arrays.pop("random_state_key", None)
    position, has_gauss, cached_gaussian = (*fields.numbers("generator"), None, None, None)[:3]
    require(
        key is not None
        and key.shape == (624,)
        and key.dtype == np.uint32
        and isinstance(position, int)
        and 0 <= position <= 624
        and has_gauss in (0, 1)
        and isinstance(cached_gaussian, float)
        and math.isfinite(cached_gaussian),
        "its generator is wrong",
    )
    generator = np.random.RandomState()
    generator.set_state(("MT19937", key, position, has_gauss, cached_gaussian))
    return generator


def encode_parameters(parameters):
    """Turn constructor parameters into what JSON has.

    Sequences of integers become ``{"tuple": [...]}`` or ``{"list": [...]}``, a generator becomes
    ``{"generator": ...}`` with its key apart. Which values are valid, the reader will say.

    Parameters
    ----------
    parameters : dict
        What ``get_params`` returned.

    Returns
    -------
    encoded : dict
        For the header.
    random_state_key : ndarray or None
        The key of the generator, if there is one.
    """
    encoded, random_state_key = {}, None
    for name, value in parameters.items():
        if isinstance(value, np.ndarray | list | tuple):
            kind = "tuple" if isinstance(value, tuple) else "list"
            encoded[name] = {kind: [_encode_size(item, name) for item in value]}
        elif isinstance(value, np.random.RandomState):
            require(is_mersenne_twister(value), f"its {name} is not a generator of the kind MT19937")
            state, random_state_key = encode_generator(value)
            encoded[name] = {"generator": state}
        elif value is None or isinstance(value, bool | int | float | str | np.generic):
            # Beyond a few thousand digits Python writes no integer at all.
            is_writable = not isinstance(value, int) or abs(value) <= LARGEST_PARAMETER
            require(is_writable, f"its parameter {name!r} is an integer beyond 1e308")
            try:
                encoded[name] = encode_number(value)
            except ValueError as error:
                raise ValueError(f"its parameter {name!r} is {value!r}: {error}") from error
        else:
            raise ValueError(f"its parameter {name!r} is of the type {type(value).__name__!r}")
    return encoded, random_state_key


def _encode_size(size, name):
    """Turn a layer's size into an integer, as a fit does: True is 1."""
    try:
        return operator.index(size)
    except TypeError as error:
        raise ValueError(f"its parameter {name!r} holds {size!r}, which is no integer") from error


def decode_parameters(fields, allowed, arrays):
    """Turn the header's parameters into those of a constructor; which are valid, it will say.

    Parameters
    ----------
    fields : Fields
        What was read.
    allowed : set of str
        Parameters that the constructor has.
    arrays : dict of str to ndarray
        Members of the file; that of the generator is taken out.

    Returns
    -------
    dict
    """
    parameters = {}
    for name in fields:
        require(name in allowed, f"it has a foreign parameter {name!r}")
        value = fields[name]
        if isinstance(value, dict) and list(value) == ["generator"] and name == "random_state":
            parameters[name] = decode_generator(fields.fields(name), arrays)
        elif isinstance(value, dict):
            require(list(value) in (["tuple"], ["list"]), f"its parameter {name!r} is wrong")
            kind = next(iter(value))
            items = fields.fields(name).integers(kind, 0, LARGEST_PARAMETER)
            parameters[name] = tuple(items) if kind == "tuple" else items
        elif isinstance(value, str) and value in _INFINITIES:
            parameters[name] = _INFINITIES[value]
        elif value is None or isinstance(value, bool | str):
            parameters[name] = value
        else:
            parameters[name] = fields.number(name, largest=LARGEST_PARAMETER)
    return parameters
