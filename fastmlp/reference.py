r"""A multilayer perceptron in plain NumPy, written to be read.

Everything that fastmlp compiles is here once more, in the order in which one would write it on a
blackboard. The tests hold the compiled trainer to this file, and the benchmarks measure against it.
To learn how a network is trained, read it from top to bottom: nothing else is needed.

The network
-----------
A network with layers 0, 1, ..., L has ``layer_units = [u_0, u_1, ..., u_L]``: u_0 features come in,
u_L outputs leave, and the layers between are hidden. From layer l to layer l + 1 leads a matrix of
weights W_l, of shape (u_l, u_{l+1}), and a vector of biases b_l, of shape (u_{l+1},). scikit-learn
calls them ``coefs`` and ``intercepts``, and so does this file.

One *step* of training takes a minibatch of n samples, one a row, and does four things::

    forward     a_0 = X,   z_{l+1} = a_l W_l + b_l,   a_{l+1} = activation(z_{l+1})
    loss        how far a_L, the outputs, are from the targets: one number
    backward    delta_L = a_L - targets,   delta_l = (delta_{l+1} W_l^T) * activation'(z_l)
    update      dW_l = a_l^T delta_{l+1} / n,   db_l = mean of delta_{l+1} over the samples,
                and every parameter moves a little against its gradient

``delta_l`` is the derivative of every sample's loss with respect to z_l. That it is simply
"outputs minus targets" at the last layer is no accident: each loss here is paired with the one
output activation (its canonical link) for which everything else cancels.

==================  =================  ============================================================
loss                output activation  loss of one sample, with outputs p and targets y
==================  =================  ============================================================
squared_error       identity           1/2 (p - y)^2 (the mean over several outputs is reported)
huber               identity           1/2 d^2 where \|d\| <= delta, else delta (\|d\| - delta / 2), d = p - y
poisson             exp                y log(y / p) - y + p, half the Poisson deviance; y >= 0
binary_log_loss     logistic           -y log p - (1 - y) log(1 - p), summed over the outputs
log_loss            softmax            -log p[c], with c the code of the right class
==================  =================  ============================================================

Conventions, all of them scikit-learn's
---------------------------------------
- The loss of a minibatch is the (weighted) mean over its samples, plus the L2 penalty
  1/2 alpha sum(W^2) / n. With sample weights, n is the sum of the weights. Biases go unpenalised.
- The gradient is that of the *sum* over the outputs. For ``squared_error`` with k > 1 outputs it is
  therefore k times the gradient of the data term that is reported.
- Log-losses clip probabilities to [eps, 1 - eps], where eps is the machine epsilon of the dtype;
  the gradient doesn't.

Sources: backpropagation, Rumelhart, Hinton and Williams, "Learning representations by
back-propagating errors", Nature 323 (1986); initial weights, Glorot and Bengio, "Understanding the
difficulty of training deep feedforward neural networks", AISTATS 2010; Nesterov's momentum,
Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013;
GELU, Hendrycks and Gimpel, "Gaussian error linear units", arXiv:1606.08415 (2016);
Adam, Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015; AdamW, Loshchilov and
Hutter, "Decoupled weight decay regularization", ICLR 2019.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# --- activations: from z to a, in place ----------------------------------------------------------


def identity(z):
    """Leave z as it is: a = z."""


def logistic(z):
    """Squash z into (0, 1), in place: a = 1 / (1 + exp(-z))."""
    with np.errstate(over="ignore"):  # exp(-z) = inf is no accident: 1 / inf = 0 is the right answer
        np.negative(z, out=z)
        np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)


def tanh(z):
    """Squash z into (-1, 1), in place: a = tanh(z)."""
    np.tanh(z, out=z)


def relu(z):
    """Cut z off below zero, in place: a = max(z, 0)."""
    np.maximum(z, 0, out=z)


# Phi, the share of the standard normal distribution below z.
normal_share = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)), otypes=[float])


def gelu(z):
    """Weigh z by the share of the normal distribution below it, in place: a = z Phi(z)."""
    # That is max(z, 0) - |z| Phi(-|z|), where Phi is 0 from 40 on: infinity times 0 would be NaN.
    size = np.minimum(np.abs(z), 40)
    np.maximum(z, 0, out=z)
    z -= size * normal_share(-size)


def exponential(z):
    """Make z positive, in place: a = exp(z)."""
    np.exp(z, out=z)


def softmax(z):
    """Turn every row of z into probabilities, in place: a_j = exp(z_j) / sum_k exp(z_k)."""
    z -= z.max(axis=1, keepdims=True)  # changes no quotient, and keeps exp from overflowing
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)


HIDDEN_ACTIVATIONS = {"identity": identity, "logistic": logistic, "tanh": tanh, "relu": relu, "gelu": gelu}

OUTPUT_ACTIVATIONS = {"identity": identity, "exp": exponential, "logistic": logistic, "softmax": softmax}


# --- their derivatives: delta *= activation'(z), in place ----------------------------------------
# Most can be written in terms of a = activation(z), so that z need not be kept. Where that can't be
# done, SLOPES has a function of z, whose values are kept instead.


def identity_derivative(a, delta):
    """Multiply delta by da/dz = 1."""


def logistic_derivative(a, delta):
    """Multiply delta by da/dz = a (1 - a)."""
    delta *= a
    delta *= 1 - a


def tanh_derivative(a, delta):
    """Multiply delta by da/dz = 1 - a^2."""
    delta *= 1 - a * a


def relu_derivative(a, delta):
    """Multiply delta by da/dz = 1 where a > 0, else 0."""
    np.copyto(delta, 0, where=a == 0)


def gelu_slope(z):
    """Return da/dz = Phi(z) + z phi(z)."""
    density = np.exp(-0.5 * z * z) * (1 / math.sqrt(2 * math.pi))
    return (normal_share(z) + z * density).astype(z.dtype)


DERIVATIVES = {
    "identity": identity_derivative,
    "logistic": logistic_derivative,
    "tanh": tanh_derivative,
    "relu": relu_derivative,
}

SLOPES = {"gelu": gelu_slope}


# --- losses: from targets and outputs to one number ----------------------------------------------


def squared_error(targets, outputs, sample_weight=None):
    """Half the squared error; the mean over the outputs, though the gradient takes their sum."""
    # targets, outputs: (n, k)
    return 0.5 * np.average((targets - outputs) ** 2, weights=sample_weight, axis=0).mean()


def huber(targets, outputs, sample_weight=None, huber_delta=1.0):
    """Half the squared error up to huber_delta, and a straight line from there on; the mean over the outputs."""
    # targets, outputs: (n, k)
    sizes = np.abs(targets - outputs)
    errors = np.where(sizes <= huber_delta, 0.5 * sizes**2, huber_delta * (sizes - 0.5 * huber_delta))
    return np.average(errors, weights=sample_weight, axis=0).mean()


def poisson(targets, outputs, sample_weight=None):
    """Half the Poisson deviance: y log(y / p) - y + p, where 0 log 0 = 0."""
    # targets, outputs: (n, k)
    logarithms = np.zeros_like(outputs)
    np.log(targets / outputs, out=logarithms, where=targets != 0)
    deviance = targets * logarithms - targets + outputs
    return np.average(deviance, weights=sample_weight, axis=0).sum()


def binary_log_loss(targets, outputs, sample_weight=None):
    """Binary cross-entropy, summed over the outputs (more than one: multilabel)."""
    # targets, outputs: (n, k)
    epsilon = np.finfo(outputs.dtype).eps
    p = np.clip(outputs, epsilon, 1 - epsilon)
    log_likelihood = targets * np.log(p) + (1 - targets) * np.log(1 - p)
    return -np.average(log_likelihood, weights=sample_weight, axis=0).sum()


def log_loss(targets, outputs, sample_weight=None):
    """Cross-entropy: minus the logarithm of the probability given to the right class."""
    # targets: (n,) class codes 0 ... k-1; outputs: (n, k)
    epsilon = np.finfo(outputs.dtype).eps
    p = outputs[np.arange(len(targets)), targets]
    return -np.average(np.log(np.clip(p, epsilon, 1 - epsilon)), weights=sample_weight)


# --- and the first deltas: the derivative of the loss by z, in the place of the outputs -----------


def output_minus_target(targets, outputs):
    """Turn outputs into deltas: p - y, for each loss whose output activation is its canonical link."""
    outputs -= targets


def cut_off_difference(targets, outputs, huber_delta=1.0):
    """Turn outputs into deltas: p - y, but no more than huber_delta, nor less than minus it."""
    outputs -= targets
    np.clip(outputs, -huber_delta, huber_delta, out=outputs)


def probability_minus_one_hot(targets, outputs):
    """Turn probabilities into deltas, where class code c means a 1 in column c."""
    outputs[np.arange(len(targets)), targets] -= 1


class Loss(NamedTuple):
    """A loss and what belongs to it."""

    value: Callable
    """From targets, outputs and weights to a number."""
    to_deltas: Callable
    output_activation: str
    target: str
    """What the targets are: numbers, indicators (0 or 1, one for each output) or codes of classes."""
    smallest_target: float = -math.inf
    is_mean: bool = False
    """Whether the number is the mean over the outputs, and the gradient that of their sum."""
    parameters: tuple[str, ...] = ()
    """Keywords that both functions take besides: options of the network, and parameters of the estimators."""


LOSSES = {
    "squared_error": Loss(squared_error, output_minus_target, "identity", "numbers", is_mean=True),
    "huber": Loss(huber, cut_off_difference, "identity", "numbers", is_mean=True, parameters=("huber_delta",)),
    "poisson": Loss(poisson, output_minus_target, "exp", "numbers", smallest_target=0.0),
    "binary_log_loss": Loss(binary_log_loss, output_minus_target, "logistic", "indicators"),
    "log_loss": Loss(log_loss, probability_minus_one_hot, "softmax", "codes"),
}


# The optimisers, and the numbers that each keeps for a parameter.
SOLVERS = {"sgd": 1, "adam": 2, "adamw": 2}


# --- the network ---------------------------------------------------------------------------------


class ReferenceNetwork:
    """A multilayer perceptron and its optimiser, in plain NumPy.

    Parameters
    ----------
    layer_units : sequence of int
        Units of every layer: ``[n_features, *hidden, n_outputs]``. No hidden layer is allowed.
    activation : {"identity", "logistic", "tanh", "relu", "gelu"}, default="relu"
        Activation of the hidden layers.
    loss : {"squared_error", "huber", "poisson", "binary_log_loss", "log_loss"}, default="log_loss"
        Loss, and with it the activation of the output layer.
    dtype : float32 or float64, default=float64
        Precision of the parameters and of all the arithmetic.
    solver : {"sgd", "adam", "adamw"}, default="sgd"
        The optimiser.
    alpha : float, default=1e-4
        Strength of the L2 penalty on the weights.
    momentum : float, default=0.9
        How much of its velocity a parameter keeps from step to step. 0 is plain gradient descent.
    nesterovs_momentum : bool, default=True
        Whether momentum looks one step ahead.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Adam's decay rates, and the number that keeps it from dividing by zero.
    weight_decay : float, default=0.01
        By how much, times the learning rate, AdamW shrinks the weights in each step.
    **loss_options
        The parameters that the loss has, if it has any.

    Attributes
    ----------
    coefs : list of ndarray of shape (fan_in, fan_out)
        Weights, one matrix for each pair of neighbouring layers; zero until set or drawn.
    intercepts : list of ndarray of shape (fan_out,)
        Biases; zero until set or drawn.
    first_moments, second_moments : list of ndarray
        Memory of the optimiser, in the order ``coefs + intercepts``: velocities for ``sgd`` (which
        has no second moments), running means of the gradient and of its square for ``adam``.
    t : int
        Adam's steps so far.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.reference import ReferenceNetwork
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> y = np.array([[0.0], [1.0], [1.0], [0.0]])  # exclusive or
    >>> network = ReferenceNetwork([2, 8, 1], activation="tanh", loss="binary_log_loss", alpha=0, solver="adam")
    >>> network.initialize(np.random.RandomState(0))
    >>> for _ in range(200):
    ...     loss = network.step(X, y, learning_rate=0.1)
    >>> network.predict(X).round().ravel()
    array([0., 1., 1., 0.])
    """

    def __init__(
        self,
        layer_units,
        *,
        activation="relu",
        loss="log_loss",
        dtype=np.float64,
        solver="sgd",
        alpha=1e-4,
        momentum=0.9,
        nesterovs_momentum=True,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        weight_decay=0.01,
        **loss_options,
    ):
        if solver not in SOLVERS:
            raise ValueError(f"solver must be one of {list(SOLVERS)}, got {solver!r}.")
        self.layer_units = [int(units) for units in layer_units]
        self.activation = activation
        self.dtype = np.dtype(dtype)
        self.solver = solver
        self.alpha = float(alpha)
        self.momentum = float(momentum)
        self.nesterovs_momentum = bool(nesterovs_momentum)
        self.beta_1 = float(beta_1)
        self.beta_2 = float(beta_2)
        self.epsilon = float(epsilon)
        self.weight_decay = float(weight_decay)

        self._activate_hidden = HIDDEN_ACTIVATIONS[activation]
        self._slope_of = SLOPES.get(activation)
        self._loss = LOSSES[loss]
        unknown = set(loss_options) - set(self._loss.parameters)
        if unknown:
            raise TypeError(f"The loss {loss!r} has no parameter {min(unknown)!r}.")
        self._loss_options = loss_options
        self._activate_outputs = OUTPUT_ACTIVATIONS[self._loss.output_activation]

        pairs = list(zip(self.layer_units[:-1], self.layer_units[1:], strict=True))
        self._coefs = [np.zeros((fan_in, fan_out), self.dtype) for fan_in, fan_out in pairs]
        self._intercepts = [np.zeros(fan_out, self.dtype) for _, fan_out in pairs]
        parameters = self._coefs + self._intercepts
        self.t = 0
        self.first_moments = [np.zeros_like(parameter) for parameter in parameters]
        self.second_moments = [np.zeros_like(p) for p in parameters] if SOLVERS[solver] == 2 else []
        # Room for intermediate results of the update, so that a step allocates less.
        self._scratch = [np.empty_like(parameter) for parameter in parameters]

    # The network owns its parameters: what is set is copied into its own arrays, in its own dtype.

    @property
    def coefs(self):
        """Weights: a list of arrays of shape (fan_in, fan_out)."""
        return self._coefs

    @coefs.setter
    def coefs(self, values):
        for W, value in zip(self._coefs, values, strict=True):
            W[...] = value

    @property
    def intercepts(self):
        """Biases: a list of arrays of shape (fan_out,)."""
        return self._intercepts

    @intercepts.setter
    def intercepts(self, values):
        for b, value in zip(self._intercepts, values, strict=True):
            b[...] = value

    def initialize(self, random_state):
        """Draw weights and biases from Glorot and Bengio's uniform distribution.

        The bound sqrt(6 / (fan_in + fan_out)) keeps the variance of activations and of deltas about
        the same from layer to layer. scikit-learn draws biases too, in this order, and takes 2 for
        6 with the logistic function: so does this method, and a RandomState of equal seed gives
        equal weights.
        """
        factor = 2.0 if self.activation == "logistic" else 6.0
        for W, b in zip(self._coefs, self._intercepts, strict=True):
            fan_in, fan_out = W.shape
            bound = math.sqrt(factor / (fan_in + fan_out))
            W[...] = random_state.uniform(-bound, bound, (fan_in, fan_out))
            b[...] = random_state.uniform(-bound, bound, fan_out)

    def forward(self, X):
        """Compute the activations ``[a_0, a_1, ..., a_L]``: a_0 is X, a_L are the outputs.

        X is an array or sparse matrix of shape (n, n_features), one sample a row.
        """
        a = X.astype(self.dtype, copy=False)  # (n, u_0)
        activations = [a]
        self._slopes = []
        last = len(self._coefs) - 1
        for layer, (W, b) in enumerate(zip(self._coefs, self._intercepts, strict=True)):
            z = a @ W  # (n, u_l) (u_l, u_{l+1}) -> (n, u_{l+1})
            z += b
            if layer < last and self._slope_of is not None:
                self._slopes.append(self._slope_of(z))
            activate = self._activate_outputs if layer == last else self._activate_hidden
            activate(z)  # in place: from here on z holds a_{l+1}
            a = z
            activations.append(a)
        return activations

    def predict(self, X):
        """Compute the outputs, of shape (n, n_outputs): probabilities or predicted values."""
        return self.forward(X)[-1]

    def loss(self, activations, targets, sample_weight=None):
        """Compute the loss of a minibatch as scikit-learn reports it, L2 penalty included.

        ``targets`` have shape (n, n_outputs), or (n,) for ``log_loss``: class codes. The optional
        ``sample_weight``, of shape (n,), says how much each sample counts.
        """
        data_term = self._loss.value(targets, activations[-1], sample_weight, **self._loss_options)
        n = len(targets) if sample_weight is None else sample_weight.sum()
        squares = sum(np.vdot(W, W) for W in self._coefs)
        return float(data_term + 0.5 * self.alpha * squares / n)

    def backward(self, activations, targets, sample_weight=None):
        """Compute the deltas ``[delta_1, ..., delta_L]`` that belong to what `forward` has just returned.

        Overwrites the outputs: they have served.
        """
        delta = activations[-1]  # (n, u_L)
        self._loss.to_deltas(targets, delta, **self._loss_options)
        if sample_weight is not None:
            delta *= sample_weight[:, np.newaxis]
        deltas = [delta]
        # The inputs need no delta: nothing below them is to be learnt.
        for layer in reversed(range(1, len(self._coefs))):
            delta = delta @ self._coefs[layer].T  # (n, u_{l+1}) (u_{l+1}, u_l) -> (n, u_l)
            if self._slope_of is None:
                DERIVATIVES[self.activation](activations[layer], delta)
            else:
                delta *= self._slopes[layer - 1]
            deltas.insert(0, delta)
        return deltas

    def gradient(self, X, targets, sample_weight=None):
        """Compute the loss of a minibatch, and its gradient by backpropagation.

        Returns the number that is reported, then two lists: the derivatives of the loss (of the
        *sum* over the outputs) by the weights and by the biases, in the shapes that those have.
        """
        activations = self.forward(X)
        loss = self.loss(activations, targets, sample_weight)
        deltas = self.backward(activations, targets, sample_weight)
        n = len(targets) if sample_weight is None else sample_weight.sum()
        coef_grads, intercept_grads = [], []
        for a, W, delta in zip(activations[:-1], self._coefs, deltas, strict=True):
            dW = a.T @ delta  # (u_l, n) (n, u_{l+1}) -> (u_l, u_{l+1})
            if self.alpha != 0:
                dW += self.alpha * W
            dW /= n
            db = delta.sum(axis=0)  # (u_{l+1},)
            db /= n
            coef_grads.append(dW)
            intercept_grads.append(db)
        return loss, coef_grads, intercept_grads

    def update(self, coef_grads, intercept_grads, learning_rate):
        """Move every parameter against its gradient, by the rule of the solver.

        The gradients are left as they are. Adam's rate is the one before bias correction.
        """
        update = getattr(self, f"_update_{self.solver}")
        update([*coef_grads, *intercept_grads], float(learning_rate))

    def _update_sgd(self, gradients, learning_rate):
        """Gradient descent with momentum mu and rate eta.

        ::

            velocity = mu velocity - eta gradient
            parameter += velocity                          (classical momentum)
            parameter += mu velocity - eta gradient        (Nesterov: the next velocity, foreseen)
        """
        parameters = self._coefs + self._intercepts
        for parameter, gradient, velocity, scratch in zip(
            parameters, gradients, self.first_moments, self._scratch, strict=True
        ):
            np.multiply(gradient, learning_rate, out=scratch)
            velocity *= self.momentum
            velocity -= scratch
            if self.nesterovs_momentum:
                parameter -= scratch
                np.multiply(velocity, self.momentum, out=scratch)
                parameter += scratch
            else:
                parameter += velocity

    def _update_adam(self, gradients, learning_rate):
        """Adam, with the bias correction folded into the rate and epsilon outside the root.

        ::

            t += 1
            m = beta_1 m + (1 - beta_1) gradient
            v = beta_2 v + (1 - beta_2) gradient^2
            rate = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t)
            parameter -= rate m / (sqrt(v) + epsilon)

        m and v begin at zero, so at first they are too small, by the factors 1 - beta^t: that is
        the bias which the rate corrects.
        """
        self.t += 1
        rate = learning_rate * math.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        parameters = self._coefs + self._intercepts
        for parameter, gradient, m, v, scratch in zip(
            parameters, gradients, self.first_moments, self.second_moments, self._scratch, strict=True
        ):
            np.multiply(gradient, 1 - self.beta_1, out=scratch)
            m *= self.beta_1
            m += scratch

            np.multiply(gradient, gradient, out=scratch)
            scratch *= 1 - self.beta_2
            v *= self.beta_2
            v += scratch

            np.sqrt(v, out=scratch)
            scratch += self.epsilon
            np.divide(m, scratch, out=scratch)
            scratch *= rate
            parameter -= scratch

    def _update_adamw(self, gradients, learning_rate):
        """Adam, whose weights first shrink a little, whatever their gradient is; biases don't."""
        for W in self._coefs:
            W *= 1 - learning_rate * self.weight_decay
        self._update_adam(gradients, learning_rate)

    def step(self, X, targets, learning_rate, sample_weight=None):
        """Train on one minibatch: forward, loss, backward, update. Returns the loss before the update.

        A minibatch whose weights are all zero teaches nothing: no update, no loss, and Adam's step
        doesn't advance.
        """
        if sample_weight is not None and not np.any(sample_weight):
            return 0.0
        loss, coef_grads, intercept_grads = self.gradient(X, targets, sample_weight)
        self.update(coef_grads, intercept_grads, learning_rate)
        return loss

    def train_epoch(self, X, targets, order, batch_size, learning_rate, sample_weight=None):
        """Train on every sample once, minibatch by minibatch; the last one takes what is left over.

        ``order`` are the rows in the order in which to visit them; None is that in which they stand.
        Returns the mean loss of the samples, each taken before the update of its own minibatch.
        """
        n_samples = X.shape[0] if order is None else len(order)
        total = 0.0
        for start in range(0, n_samples, batch_size):
            stop = min(start + batch_size, n_samples)
            batch = slice(start, stop) if order is None else order[start:stop]
            weights = None if sample_weight is None else sample_weight[batch]
            loss = self.step(X[batch], targets[batch], learning_rate, weights)
            total += loss * (stop - start)
        return total / n_samples
