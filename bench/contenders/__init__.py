"""The contenders of ``bench.rivals``, each written as its own users would at their best.

Every contender starts from the same weights, trains on the same arrays with the same batch,
precision and optimiser, and hands back its parameters, so that one judge can compare what they
reached. Libraries are imported where they are used: a process holds one of them.
"""

from bench.contenders.base import Contender
from bench.contenders.estimators import FastMLP, ScikitLearn
from bench.contenders.jax_scan import JAX
from bench.contenders.numpy_reference import NumPyReference
from bench.contenders.pytorch_eager import PyTorch

CONTENDERS: dict[str, type[Contender]] = {
    contender.name: contender for contender in (FastMLP, ScikitLearn, PyTorch, JAX, NumPyReference)
}

__all__ = ["CONTENDERS", "JAX", "Contender", "FastMLP", "NumPyReference", "PyTorch", "ScikitLearn"]
