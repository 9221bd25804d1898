"""Kernels of networks whose units fill the vectors."""
