"""The compiled kernels: what happens to a block of samples or of weights."""
