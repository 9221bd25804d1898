"""Multilayer perceptrons trained at the speed of the CPU, behind scikit-learn's interface."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmlp.estimators.classifier import MLPClassifier
    from fastmlp.estimators.regressor import MLPRegressor
    from fastmlp.network.warmup import warmup

__all__ = ["MLPClassifier", "MLPRegressor", "warmup"]
__version__ = "0.1.0"

_MODULES = {
    "MLPClassifier": "fastmlp.estimators.classifier",
    "MLPRegressor": "fastmlp.estimators.regressor",
    "warmup": "fastmlp.network.warmup",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: scikit-learn takes a second, and building the kernels does without it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
