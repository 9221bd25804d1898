"""The solvers: epochs, early stopping, callbacks, checkpoints, L-BFGS."""
