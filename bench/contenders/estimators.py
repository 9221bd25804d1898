"""fastmlp and scikit-learn, through the interface that they share."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.contenders.base import Contender, Parameters
from bench.workloads import Array


class Estimator(Contender):
    """An estimator and its ``fit``."""

    @abstractmethod
    def module(self) -> Any:
        """Return the module that holds ``MLPClassifier`` and ``MLPRegressor``."""

    def own_parameters(self) -> dict[str, Any]:
        """Return what the constructor takes beyond scikit-learn's parameters."""
        return {}

    def prepare(self) -> None:
        """Bring the targets into the precision of the inputs."""
        if self.workload.loss == "squared_error":
            self.y = self.y.astype(self.dtype)

    def estimator(self, epochs: int, shuffle: bool, random_state: Any = None) -> Any:
        """Return an unfitted estimator which stops for no reason but its number of epochs."""
        workload = self.workload
        is_regression = workload.loss == "squared_error"
        cls = self.module().MLPRegressor if is_regression else self.module().MLPClassifier
        return cls(
            hidden_layer_sizes=workload.layer_units[1:-1],
            activation=workload.activation,
            solver=workload.solver,
            alpha=workload.alpha,
            batch_size=workload.batch_size,
            learning_rate_init=workload.learning_rate,
            momentum=workload.momentum,
            nesterovs_momentum=workload.nesterovs_momentum,
            max_iter=epochs,
            n_iter_no_change=epochs + 1,
            tol=0.0,
            shuffle=shuffle,
            random_state=self.seed if random_state is None else random_state,
            **self.own_parameters(),
        )

    def fit(self, epochs: int, shuffle: bool) -> Parameters:
        """Fit; that the last epoch is reached without convergence is on purpose."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = self.estimator(epochs, shuffle).fit(self.X, self.y)
        return model.coefs_, model.intercepts_

    def epochs(self) -> Iterator[Callable[[Array], Array]]:
        """One ``partial_fit`` an epoch, its generator shared so that every order is new."""
        model = self.estimator(1, shuffle=True, random_state=np.random.RandomState(self.seed))
        classes = np.unique(self.y)
        while True:
            model.partial_fit(self.X, self.y, classes=classes)
            yield model.predict


class FastMLP(Estimator):
    """fastmlp."""

    name = "fastmlp"

    @staticmethod
    def versions() -> dict[str, str]:
        """Return the versions of fastmlp and of its compiler."""
        import numba

        import fastmlp

        return {"fastmlp": fastmlp.__version__, "numba": numba.__version__}

    def module(self) -> Any:
        """Return fastmlp."""
        import fastmlp

        return fastmlp

    def own_parameters(self) -> dict[str, Any]:
        """Return the two parameters that scikit-learn does not have."""
        return {"n_threads": self.n_threads, "dtype": self.dtype}


class ScikitLearn(Estimator):
    """scikit-learn."""

    name = "scikit-learn"

    @staticmethod
    def versions() -> dict[str, str]:
        """Return the versions of scikit-learn and of NumPy, which brings its BLAS."""
        import sklearn

        return {"scikit-learn": sklearn.__version__, "numpy": np.__version__}

    def module(self) -> Any:
        """Return scikit-learn's module."""
        import sklearn.neural_network

        return sklearn.neural_network
