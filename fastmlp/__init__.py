"""Multilayer perceptrons trained at the speed of the CPU, behind scikit-learn's interface."""

__version__ = "0.1.0"
