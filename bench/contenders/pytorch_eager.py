"""PyTorch, eager: tensors made beforehand, the fastest of the optimiser's own forms."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from bench.contenders.base import Contender, Parameters
from bench.workloads import Array


class PyTorch(Contender):
    """A module, a loss on logits, an optimiser and the usual loop.

    PyTorch's Adam adds epsilon after the bias correction, scikit-learn's before it. Where a weight
    decay of 1e-7 is all the gradient there is (a pixel that is always blank) that can be seen.
    """

    name = "pytorch"
    tolerance: ClassVar[dict[str, float]] = {"float32": 2e-2, "float64": 2e-2}

    @staticmethod
    def versions() -> dict[str, str]:
        """Return the version of PyTorch."""
        import torch

        return {"torch": torch.__version__}

    def prepare(self) -> None:
        """Make the tensors, and find the form of the optimiser that suits the network best."""
        import torch

        torch.set_num_threads(self.n_threads)
        self.torch = torch
        self.X_tensor = torch.from_numpy(self.X)
        self.target_tensor = torch.from_numpy(self.targets)
        self.initial = self.workload.initial_parameters(self.dtype, self.seed)
        self.form: dict[str, bool] = {"fused": True}
        forms = [self.form, {"foreach": True}, {"foreach": False}]
        # A step of `wide` takes long enough for one epoch, one of `planar` wants many.
        epochs = max(1, 50 // self.n_steps)
        self.choices = {"optimiser": self.fastest(forms, self.select, epochs)}

    def select(self, form: dict[str, bool]) -> None:
        """Use one form of the optimiser from now on."""
        self.form = form

    def model(self) -> Any:
        """Build the module with the common initial weights."""
        torch = self.torch
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[self.workload.activation]
        modules: list[Any] = []
        for W, b in zip(*self.initial, strict=True):
            linear = torch.nn.Linear(*W.shape, dtype=getattr(torch, self.dtype))
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(W.T.copy()))
                linear.bias.copy_(torch.from_numpy(b))
            modules += [linear, activation()]
        return torch.nn.Sequential(*modules[:-1])

    def optimizer(self, model: Any) -> Any:
        """Build the optimiser; L2 on weights only, divided by the batch as scikit-learn does."""
        workload, optim = self.workload, self.torch.optim
        linears = [module for module in model if hasattr(module, "weight")]
        groups = [
            {
                "params": [linear.weight for linear in linears],
                "weight_decay": workload.alpha / workload.batch_size,
            },
            {"params": [linear.bias for linear in linears], "weight_decay": 0.0},
        ]
        if workload.solver == "adam":
            return optim.Adam(groups, lr=workload.learning_rate, **self.form)
        return optim.SGD(
            groups,
            lr=workload.learning_rate,
            momentum=workload.momentum,
            nesterov=workload.nesterovs_momentum and workload.momentum > 0,
            **self.form,
        )

    def loss_function(self) -> Callable[[Any, Any], Any]:
        """Return the loss on logits: fused and stable, as users are advised to take it."""
        functional = self.torch.nn.functional
        if self.workload.loss == "log_loss":
            return functional.cross_entropy
        if self.workload.loss == "binary_log_loss":
            return functional.binary_cross_entropy_with_logits
        # the gradient is that of the sum over the outputs
        half_n_outputs = 0.5 * self.workload.layer_units[-1]
        return lambda z, targets: functional.mse_loss(z, targets) * half_n_outputs

    def minibatches(self, generator: Any, shuffle: bool) -> Iterator[tuple[Any, Any]]:
        """Return the minibatches of one epoch."""
        X, targets, batch_size = self.X_tensor, self.target_tensor, self.workload.batch_size
        if not shuffle:
            return zip(X.split(batch_size), targets.split(batch_size), strict=True)
        order = self.torch.randperm(len(X), generator=generator)
        return ((X[rows], targets[rows]) for rows in order.split(batch_size))

    def train_epoch(self, model: Any, optimizer: Any, loss_function: Any, minibatches: Any) -> list[Any]:
        """Train one epoch; return the losses as tensors, so that nothing waits for them."""
        losses = []
        for X, targets in minibatches:
            optimizer.zero_grad()
            loss = loss_function(model(X), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses

    def fit(self, epochs: int, shuffle: bool) -> Parameters:
        """Train, and return the parameters and, as every contender does, the loss curve."""
        model = self.model()
        optimizer, loss_function = self.optimizer(model), self.loss_function()
        generator = self.torch.Generator().manual_seed(self.seed)
        losses = []
        for _ in range(epochs):
            minibatches = self.minibatches(generator, shuffle)
            losses += self.train_epoch(model, optimizer, loss_function, minibatches)
        self.torch.stack(losses).numpy().reshape(epochs, -1).mean(axis=1)
        linears = [module for module in model if hasattr(module, "weight")]
        coefs = [linear.weight.detach().numpy().T for linear in linears]
        return coefs, [linear.bias.detach().numpy() for linear in linears]

    def epochs(self) -> Iterator[Callable[[Array], Array]]:
        """Train epoch by epoch."""
        torch, model = self.torch, self.model()
        optimizer, loss_function = self.optimizer(model), self.loss_function()
        generator = torch.Generator().manual_seed(self.seed)

        def predict(X: Array) -> Array:
            with torch.no_grad():
                return np.asarray(model(torch.from_numpy(X)).argmax(dim=1).numpy())

        while True:
            minibatches = self.minibatches(generator, shuffle=True)
            self.train_epoch(model, optimizer, loss_function, minibatches)
            yield predict
