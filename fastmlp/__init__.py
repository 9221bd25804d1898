"""Multilayer perceptrons trained at the speed of the CPU, behind scikit-learn's interface."""

from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
__version__ = "0.1.0"
