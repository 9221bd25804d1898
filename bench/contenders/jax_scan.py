"""JAX: the whole fit, all its epochs, as one jitted ``lax.scan`` over donated state."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.contenders.base import Contender, Parameters
from bench.workloads import Array

# Networks whose step costs less than this gain from unrolling the loop over steps, at times.
SMALL_FLOPS = 20e6


class JAX(Contender):
    """Pure functions, compiled ahead of the clock; full batches are not gathered."""

    name = "jax"

    @staticmethod
    def versions() -> dict[str, str]:
        """Return the version of JAX."""
        import jax

        return {"jax": jax.__version__}

    def prepare(self) -> None:
        """Put the data on the device, and find out whether unrolling helps."""
        import jax

        if self.dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        self.jax = jax
        self.X_device = jax.device_put(self.X)
        codes = self.targets.astype(np.int32) if self.targets.ndim == 1 else self.targets
        self.target_device = jax.device_put(codes)
        self.initial = self.workload.initial_parameters(self.dtype, self.seed)
        self.compiled: dict[tuple[int, bool, int], Any] = {}
        self.unroll = 1
        if self.workload.flops_per_step() < SMALL_FLOPS:
            epochs = max(1, self.workload.epochs // 4)
            self.choices = {"unroll": self.fastest([1, 4], self.select, epochs)}

    def select(self, unroll: int) -> None:
        """Unroll the loop over steps this often from now on."""
        self.unroll = unroll

    def outputs(self, parameters: Any, X: Any) -> Any:
        """Compute the network's outputs before the output activation."""
        jax = self.jax
        activation = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh}[self.workload.activation]
        a = X
        for W, b in parameters[:-1]:
            a = activation(a @ W + b)
        W, b = parameters[-1]
        return a @ W + b

    def loss(self, parameters: Any, X: Any, targets: Any) -> Any:
        """Compute the loss of a minibatch, the L2 term left to the update."""
        jax = self.jax
        z = self.outputs(parameters, X)
        if self.workload.loss == "log_loss":
            # a product with one-hot rows, since a gather's gradient is a slow scatter here
            one_hot = jax.nn.one_hot(targets, z.shape[1], dtype=z.dtype)
            return -(jax.nn.log_softmax(z) * one_hot).sum() / len(X)
        if self.workload.loss == "binary_log_loss":
            return (jax.nn.softplus(z) - targets * z).sum() / len(X)
        return 0.5 * ((z - targets) ** 2).sum() / len(X)

    def update(self, parameters: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        """Return new parameters and state after one step of the optimiser."""
        workload, tree = self.workload, self.jax.tree
        decay = workload.alpha / workload.batch_size
        pairs = zip(parameters, gradients, strict=True)
        gradients = [(dW + decay * W, db) for (W, _), (dW, db) in pairs]
        if workload.solver == "adam":
            return self.adam(parameters, state, gradients)
        rate, mu = workload.learning_rate, workload.momentum
        if mu == 0:
            return tree.map(lambda p, g: p - rate * g, parameters, gradients), state
        state = tree.map(lambda v, g: mu * v - rate * g, state, gradients)
        if not workload.nesterovs_momentum:
            return tree.map(lambda p, v: p + v, parameters, state), state
        return tree.map(lambda p, v, g: p + (mu * v - rate * g), parameters, state, gradients), state

    def adam(self, parameters: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        """Return new parameters and state after one step of Adam."""
        jnp, workload, tree = self.jax.numpy, self.workload, self.jax.tree
        t, m, v = state
        t = t + 1
        b1, b2 = workload.beta_1, workload.beta_2
        m = tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, gradients)
        v = tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, gradients)
        rate = workload.learning_rate * jnp.sqrt(1 - b2**t) / (1 - b1**t)
        parameters = tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + workload.epsilon), parameters, m, v)
        return parameters, (t, m, v)

    def step(self, carry: Any, X: Any, targets: Any) -> tuple[Any, Any]:
        """Train on one minibatch."""
        parameters, state = carry
        loss, gradients = self.jax.value_and_grad(self.loss)(parameters, X, targets)
        return self.update(parameters, state, gradients), loss

    def whole_fit(self, epochs: int, shuffle: bool) -> Any:
        """Return the jitted function of a whole fit; the state passed to it is given away."""
        scan, unroll = self.jax.lax.scan, self.unroll
        batch_size, n_steps = self.workload.batch_size, self.n_steps

        def full_batch(carry: Any, X: Any, targets: Any, orders: Any) -> Any:
            def step(carry: Any, _: Any) -> Any:
                return self.step(carry, X, targets)

            return scan(step, carry, None, length=epochs, unroll=unroll)

        def shuffled(carry: Any, X: Any, targets: Any, orders: Any) -> Any:
            def step(carry: Any, rows: Any) -> Any:
                return self.step(carry, X[rows], targets[rows])

            return scan(step, carry, orders.reshape(-1, batch_size), unroll=unroll)

        def ordered(carry: Any, X: Any, targets: Any, orders: Any) -> Any:
            batches = (
                X.reshape(n_steps, batch_size, *X.shape[1:]),
                targets.reshape(n_steps, batch_size, *targets.shape[1:]),
            )

            def epoch(carry: Any, _: Any) -> Any:
                return scan(lambda carry, batch: self.step(carry, *batch), carry, batches)

            return scan(epoch, carry, None, length=epochs)

        if self.is_full_batch:
            function = full_batch
        else:
            function = shuffled if shuffle else ordered
        return self.jax.jit(function, donate_argnums=0)

    def initial_carry(self) -> Any:
        """Return parameters and optimiser state, on the device."""
        jax = self.jax
        pairs = zip(*self.initial, strict=True)
        parameters = [(jax.device_put(W), jax.device_put(b)) for W, b in pairs]
        if self.workload.solver == "sgd":
            has_velocity = self.workload.momentum != 0
            return parameters, jax.tree.map(jax.numpy.zeros_like, parameters) if has_velocity else ()
        moments = [jax.tree.map(jax.numpy.zeros_like, parameters) for _ in range(2)]
        return parameters, (jax.numpy.zeros((), self.dtype), *moments)

    def orders(self, random_state: np.random.RandomState, epochs: int, shuffle: bool) -> Any:
        """Draw the order of rows of every epoch: NumPy's permutation beats JAX's sort."""
        if not shuffle:
            return None
        n_rows = len(self.X)
        return np.stack([random_state.permutation(n_rows) for _ in range(epochs)]).astype(np.int32)

    def compile(self, epochs: int, shuffle: bool) -> None:
        """Compile the whole fit for this number of epochs."""
        key = (epochs, shuffle, self.unroll)
        if key not in self.compiled:
            orders = self.orders(np.random.RandomState(self.seed), epochs, shuffle)
            function = self.whole_fit(epochs, shuffle)
            arguments = (self.initial_carry(), self.X_device, self.target_device, orders)
            self.compiled[key] = function.lower(*arguments).compile()

    def run(self, carry: Any, orders: Any, epochs: int, shuffle: bool) -> tuple[Any, Any]:
        """Run a compiled fit; return the carry and the losses when they are there."""
        compiled = self.compiled[epochs, shuffle, self.unroll]
        return self.jax.block_until_ready(compiled(carry, self.X_device, self.target_device, orders))

    def fit(self, epochs: int, shuffle: bool) -> Parameters:
        """Train, and return the parameters and, as every contender does, the loss curve."""
        self.compile(epochs, shuffle)
        orders = self.orders(np.random.RandomState(self.seed), epochs, shuffle)
        (parameters, _), losses = self.run(self.initial_carry(), orders, epochs, shuffle)
        np.asarray(losses).reshape(epochs, -1).mean(axis=1)
        return [np.asarray(W) for W, _ in parameters], [np.asarray(b) for _, b in parameters]

    def epochs(self) -> Iterator[Callable[[Array], Array]]:
        """Train epoch by epoch, each one jitted scan."""
        jax, random_state = self.jax, np.random.RandomState(self.seed)
        outputs = jax.jit(self.outputs)
        carry = self.initial_carry()
        self.compile(1, shuffle=True)

        def predict(X: Array) -> Array:
            return np.asarray(outputs(carry[0], X)).argmax(axis=1)

        while True:
            orders = self.orders(random_state, 1, shuffle=True)
            carry, _ = self.run(carry, orders, 1, shuffle=True)
            yield predict
