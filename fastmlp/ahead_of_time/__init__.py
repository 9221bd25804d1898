"""Building the library of kernels: machine code before anybody waits for it.

``objects`` has Numba compile all kernels for one tile and one data type, and writes an object file; ``linking`` makes
one library of a tile's; ``building`` does both for the tiles that are wanted, a process for each object.
"""
