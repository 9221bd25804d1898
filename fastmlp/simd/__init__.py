"""Vectors in Numba: its options, the compile cache, the table of register tiles, and vector intrinsics."""
