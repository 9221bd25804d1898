"""Kernels of networks whose samples fill the vectors."""
