"""What kernels take: the kinds of their arguments, as Numba's types and as words of a frame.

A kernel is declared with the kinds of its arguments, once. From these follow its signature for either data type, and
how Python hands the arguments to the kernel of a library (see ``native.entries``): as the words of one array of int64,
an address and the lengths for each array, and a number for each integer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp.simd.numba_modules import numba, types


class Argument(ABC):
    """A kind of argument."""

    @property
    def n_words(self) -> int:
        """Words that it takes in a frame."""
        return 1

    @abstractmethod
    def numba_type(self, dtype: np.dtype) -> Any:
        """Return Numba's type, where the network's numbers are of `dtype`."""

    @abstractmethod
    def words(self, value: Any) -> list[int]:
        """Return a value as words of a frame."""


class Integer(Argument):
    """An int64."""

    def numba_type(self, dtype: np.dtype) -> Any:
        """Return Numba's type."""
        return types.int64

    def words(self, value: Any) -> list[int]:
        """Return the number."""
        return [int(value)]


class Truth(Argument):
    """A truth value, which only a kernel's result is."""

    def numba_type(self, dtype: np.dtype) -> Any:
        """Return Numba's type."""
        return types.boolean

    def words(self, value: Any) -> list[int]:
        """Return 0 or 1."""
        return [int(value)]


@dataclass(frozen=True)
class Array(Argument):
    """A contiguous array.

    Attributes
    ----------
    dtype : dtype or None
        Of its numbers or records; None for the network's own, float32 or float64.
    ndim : int
        Dimensions.
    """

    dtype: np.dtype | None = None
    ndim: int = 1

    @property
    def n_words(self) -> int:
        """Words that it takes in a frame: its address and its shape."""
        return 1 + self.ndim

    def numba_type(self, dtype: np.dtype) -> Any:
        """Return Numba's type."""
        return types.Array(numba.from_dtype(self.dtype or dtype), self.ndim, "C")

    def words(self, value: np.ndarray) -> list[int]:
        """Return the address and the shape."""
        return [value.ctypes.data, *value.shape]


@dataclass(frozen=True)
class Record(Argument):
    """One record of an array, which only other kernels hand over.

    Attributes
    ----------
    dtype : dtype
        The record's.
    """

    dtype: np.dtype

    def numba_type(self, dtype: np.dtype) -> Any:
        """Return Numba's type."""
        return numba.from_dtype(self.dtype)

    def words(self, value: Any) -> list[int]:
        """Refuse: a record is handed over by its address, from kernel to kernel."""
        raise TypeError("Python hands over arrays of records, not one of them")


@dataclass(frozen=True)
class Together(Argument):
    """Arguments that travel together, as a named tuple.

    Attributes
    ----------
    kind : type
        The class of the named tuple.
    members : sequence of Argument
        The kinds of what it holds.
    """

    kind: type
    members: Sequence[Argument]

    @property
    def n_words(self) -> int:
        """Words that all of them take in a frame."""
        return sum(member.n_words for member in self.members)

    def numba_type(self, dtype: np.dtype) -> Any:
        """Return Numba's type."""
        return types.NamedTuple([member.numba_type(dtype) for member in self.members], self.kind)

    def words(self, value: Any) -> list[int]:
        """Return the words of all members."""
        return [word for member, own in zip(self.members, value, strict=True) for word in member.words(own)]


INTEGER = Integer()
TRUTH = Truth()
NUMBERS = Array()
"""The network's own numbers."""

INTEGERS = Array(np.dtype(np.int64))
