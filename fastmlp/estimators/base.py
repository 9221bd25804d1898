"""What classifier and regressor share: one fit, from the user's arrays to fitted attributes."""

import operator
from abc import ABC, abstractmethod
from contextlib import nullcontext
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import _check_sample_weight

from fastmlp.estimators.parameters import Parameters
from fastmlp.estimators.prediction import parameter_dtype, predict_outputs
from fastmlp.estimators.saving import ModelFileMixin
from fastmlp.estimators.sparse_input import well_formed
from fastmlp.estimators.validation import (
    check_X,
    put_back,
    require_finite,
    require_range,
    samples,
    trainable,
    unchanged_if_refused,
)
from fastmlp.network.parameter_blocks import ATTRIBUTES, BEST_ATTRIBUTES, parameter_shapes, parameters_of
from fastmlp.process.imports import import_at_once
from fastmlp.reference import LOSSES
from fastmlp.training.callbacks import fit_tasks
from fastmlp.training.early_stopping import Validation, split_indices
from fastmlp.training.optimizer_state import SOLVERS, StochasticOptimizer
from fastmlp.training.random_state import generator_of


class BaseMultilayerPerceptron(ModelFileMixin, CallbackSupportMixin, Parameters, ABC):
    """The common part of :class:`fastmlp.MLPClassifier` and :class:`fastmlp.MLPRegressor`."""

    _optimizer: StochasticOptimizer
    _random_state: Any
    loss_curve_: list[float]
    validation_scores_: list[float] | None

    # --- what classifier and regressor add -------------------------------------------------------

    @abstractmethod
    def _validate_input(self, X, y, incremental, reset, classes):
        """Check X and y and return them."""

    @abstractmethod
    def _encode_targets(self, y):
        """Return checked targets as numbers."""

    @abstractmethod
    def _count_outputs(self, targets):
        """Return the units of the last layer."""

    @abstractmethod
    def _choose_loss(self):
        """Return the loss's name in the core, which fixes the output activation too."""

    @abstractmethod
    def _strata(self, targets):
        """Return the labels whose proportions a validation split keeps, or None."""

    @abstractmethod
    def _score_outputs(self, targets, outputs, sample_weight):
        """Score outputs as ``score`` would score the predictions that follow from them."""

    # --- fit -------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight=None, incremental=False, classes=None):
        # Here and not above: a process that only ever loads a model needs none of it.
        import_at_once("fastmlp.network.network", "fastmlp.training.lbfgs")
        from fastmlp.network.epochs import WeightsCancelError
        from fastmlp.training.lbfgs import train_lbfgs
        from fastmlp.training.stochastic import require_finite_parameters, train_stochastic

        as_given = (X, y, sample_weight)
        with unchanged_if_refused(self) as before:
            checkpoint = None if incremental else self._open_checkpoint()
            is_warm = not self._begins_anew(incremental)
            X, targets, sample_weight = self._take_in(X, y, sample_weight, incremental, classes)
            if self.solver == "lbfgs":
                plan = self._plan_lbfgs(X, targets, sample_weight)
            else:
                if checkpoint is not None:
                    checkpoint.find(self, X, targets, sample_weight, parameter_dtype(self), is_warm)
                plan = self._plan_stochastic(X, targets, sample_weight, incremental, checkpoint)
        # Where no weights can cancel, an earlier fit need not be kept meanwhile.
        earlier = before if sample_weight is not None and sample_weight.min() < 0 else None
        del (
            before,
            X,
            targets,
            sample_weight,
        )  # the plan has what training needs of them; the rest is not kept meanwhile

        n_done = checkpoint.found.n_iter if checkpoint is not None and checkpoint.found is not None else 0
        tasks = fit_tasks(self, *as_given, max_tasks=1 if incremental else self.max_iter - n_done)
        try:
            with nullcontext() if checkpoint is None else checkpoint:
                if self.solver == "lbfgs":
                    train_lbfgs(self, **plan, tasks=tasks)
                else:
                    train_stochastic(self, **plan, tasks=tasks)
                require_finite_parameters(self)
                if tasks is not None:
                    tasks.end_fit()
        except WeightsCancelError:  # which only training can find out
            if earlier is not None:
                put_back(self, earlier)
            raise
        return self

    def _open_checkpoint(self):
        """Return the checkpoint of a fit that is about to begin, or None if it has none."""
        if self.checkpoint is None:
            return None
        from fastmlp.training.checkpoints import Checkpoint

        return Checkpoint(self)

    def _begins_anew(self, incremental):
        """Return whether training begins from parameters of its own, and not from those that are there."""
        return not hasattr(self, "coefs_") or (not self.warm_start and not incremental)

    def _take_in(self, X, y, sample_weight, incremental, classes):
        """Check the data and make the model ready to be trained on them."""
        hidden_layer_sizes = self.hidden_layer_sizes
        if not hasattr(hidden_layer_sizes, "__iter__"):
            hidden_layer_sizes = [hidden_layer_sizes]
        hidden_layer_sizes = list(hidden_layer_sizes)
        if np.any(np.array(hidden_layer_sizes) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden_layer_sizes}.")

        first_pass = self._begins_anew(incremental)
        X, y = samples(X), well_formed(y, "y")
        X, y = self._validate_input(X, y, incremental, first_pass, classes)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        targets = self._encode_targets(y)
        if self.early_stopping and incremental and self.solver in SOLVERS:
            raise ValueError("partial_fit does not support early_stopping=True")

        # A number seeds a new generator in every call, as in scikit-learn. That takes a tenth of a small partial_fit,
        # and waits until something is drawn.
        draws_later = incremental and not first_pass and isinstance(self.random_state, Integral)
        self._random_state = None if draws_later else generator_of(self.random_state)
        n_outputs = self._count_outputs(targets)
        if first_pass:
            units = [operator.index(size) for size in hidden_layer_sizes]
            self._initialize([X.shape[1], *units, n_outputs], self._choose_dtype(X))
        else:
            self._continue(X.shape[1], n_outputs)
        return X, targets, sample_weight

    def _choose_dtype(self, X):
        """Return the dtype of a new model's parameters."""
        if self.dtype is not None:
            return np.dtype(self.dtype)
        return np.dtype(np.float32 if X.dtype == np.float32 else np.float64)

    def _initialize(self, layer_units, dtype):
        """Forget an earlier fit and draw the initial parameters."""
        self._describe(layer_units)
        self.n_iter_ = 0
        self.t_ = 0
        self.coefs_ = []
        self.intercepts_ = []
        for fan_in, fan_out in pairwise(layer_units):
            coef, intercept = self._init_coef(fan_in, fan_out, dtype)
            self.coefs_.append(coef)
            self.intercepts_.append(intercept)
        for name in BEST_ATTRIBUTES:
            self.__dict__.pop(name, None)
        if self.solver in SOLVERS:
            self._reset_progress()

    def _describe(self, layer_units):
        self.n_layers_ = len(layer_units)
        self.n_outputs_ = layer_units[-1]
        self.out_activation_ = LOSSES[self._choose_loss()].output_activation

    def _init_coef(self, fan_in, fan_out, dtype):
        """Draw the weights, then the biases, of one layer: Glorot and Bengio's uniform bound."""
        factor = 2.0 if self.activation == "logistic" else 6.0
        bound = np.sqrt(factor / (fan_in + fan_out))
        coef = self._random_state.uniform(-bound, bound, (fan_in, fan_out))
        intercept = self._random_state.uniform(-bound, bound, fan_out)
        return coef.astype(dtype, copy=False), intercept.astype(dtype, copy=False)

    def _reset_progress(self):
        """Forget losses and scores."""
        self.loss_curve_ = []
        self._no_improvement_count = 0
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_ = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _continue(self, n_features, n_outputs):
        """Make ready to go on from the parameters that are there, whoever has set them."""
        dtype = parameter_dtype(self)
        self.coefs_ = [trainable(array, dtype) for array in self.coefs_]
        self.intercepts_ = [trainable(array, dtype) for array in self.intercepts_]
        layer_units = [n_features, *(array.shape[-1] for array in self.coefs_)]
        layer_units[-1] = n_outputs
        shapes = [array.shape for array in parameters_of(self)]
        if shapes != list(parameter_shapes(layer_units).values()):
            raise ValueError(
                f"coefs_ and intercepts_ of shapes {shapes} do not fit X with {n_features} features and y with "
                f"{n_outputs} outputs."
            )
        require_finite("coefs_", self.coefs_)
        require_finite("intercepts_", self.intercepts_)
        if not hasattr(self, "n_layers_"):  # parameters set before a first partial_fit
            self._describe(layer_units)
            self.n_iter_ = 0
            self.t_ = 0
        if self.solver in SOLVERS:
            if not hasattr(self, "loss_curve_"):  # fitted with lbfgs before
                self._reset_progress()
            # An earlier fit may have had the other setting of early_stopping.
            if self.early_stopping and self.validation_scores_ is None:
                self.validation_scores_ = []
                self.best_validation_score_ = -np.inf
            elif not self.early_stopping and self.best_loss_ is None:
                self.best_loss_ = np.inf

    def _plan_lbfgs(self, X, targets, sample_weight):
        """Return the arguments of ``train_lbfgs``."""
        dtype = np.dtype(np.float64)
        data = self._convert(X, targets, sample_weight, dtype)
        network = self._make_network(dtype, batch_size=X.shape[0], solver="lbfgs", rows=data.rows)
        return {"network": network, "data": data}

    def _plan_stochastic(self, X, targets, sample_weight, incremental, checkpoint):
        """Return the arguments of ``train_stochastic``; a checkpoint found settles which samples are for it."""
        from fastmlp.training.stochastic import choose_batch_size, is_shuffled

        dtype = parameter_dtype(self)
        self._prepare_optimizer(incremental)
        order = validation = None
        if checkpoint is not None and checkpoint.found is not None:
            order, held_out = checkpoint.found.order, checkpoint.found.held_out
        elif self.early_stopping:
            order, held_out = split_indices(
                X.shape[0], self.validation_fraction, self._strata(targets), self._random_state
            )
        if self.early_stopping:
            for name, best in zip(ATTRIBUTES, BEST_ATTRIBUTES, strict=True):
                setattr(self, best, [array.copy() for array in getattr(self, name)])
        data = self._convert(X, targets, sample_weight, dtype, order)
        if self.early_stopping:
            validation = Validation(data.rows, targets, sample_weight, held_out)
        batch_size = choose_batch_size(self.batch_size, data.n_samples)
        gathers = batch_size < data.n_samples or is_shuffled(self, batch_size, data.n_samples)
        options = self._optimizer.network_options()
        return {
            "network": self._make_network(dtype, batch_size=batch_size, gathers=gathers, rows=data.rows, **options),
            "data": data,
            "batch_size": batch_size,
            "validation": validation,
            "incremental": incremental,
            "checkpoint": checkpoint,
        }

    def _prepare_optimizer(self, incremental):
        """Make a new optimiser, unless this is a ``partial_fit`` that has one to go on with."""
        parameters = parameters_of(self)
        if incremental and hasattr(self, "_optimizer") and self._optimizer.fits(parameters):
            return
        self._optimizer = SOLVERS[self.solver].of_model(self, parameters)

    def _convert(self, X, targets, sample_weight, dtype, order=None):
        """Bring the data into the form that the core takes."""
        from fastmlp.network.rows import as_rows
        from fastmlp.training.stochastic import TrainingData

        require_range(X, dtype, "X")
        if LOSSES[self._choose_loss()].target != "codes":  # which are taken as they are
            require_range(targets, dtype, "y")
            targets = np.ascontiguousarray(targets.reshape(len(targets), -1), dtype)
        if sample_weight is not None:
            require_range(sample_weight, dtype, "sample_weight")
            sample_weight = np.ascontiguousarray(sample_weight, dtype)
        return TrainingData(as_rows(X, dtype), targets, sample_weight, order)

    def _make_network(self, dtype, **options):
        from fastmlp.network.network import Network

        for name in LOSSES[self._choose_loss()].parameters:
            options["loss_parameter"] = float(getattr(self, name))
        return Network(
            [self.coefs_[0].shape[0], *(array.shape[1] for array in self.coefs_)],
            activation=self.activation,
            loss=self._choose_loss(),
            dtype=dtype,
            alpha=float(self.alpha),
            n_threads=self.n_threads,
            **options,
        )

    # --- predict ---------------------------------------------------------------------------------

    def _predict_outputs(self, X):
        """Check X and return the outputs (n_samples, n_outputs)."""
        return predict_outputs(self, check_X(self, X))

    def _check_solver(self):
        if self.solver not in SOLVERS:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def __sklearn_tags__(self):
        """Say what the estimator can do."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
