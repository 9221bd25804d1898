"""The classifier, with scikit-learn's interface."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.base import BaseMultilayerPerceptron
from fastmlp.estimators.validation import check_X_y, class_targets, fit_context


class MLPClassifier(ClassifierMixin, BaseMultilayerPerceptron):
    """A multilayer perceptron that tells classes apart.

    It does what :class:`sklearn.neural_network.MLPClassifier` does, with the same parameters,
    attributes and numbers, and trains on compiled code. The output layer is a softmax for three
    classes or more, and logistic for two classes and for several labels at once (multilabel); the
    loss is cross-entropy.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Units of each hidden layer; an empty sequence means that there is none.
    activation : {'identity', 'logistic', 'tanh', 'relu', 'gelu'}, default='relu'
        Activation of the hidden layers.
    solver : {'lbfgs', 'sgd', 'adam', 'adamw'}, default='adam'
        How the loss is minimised: stochastic gradient descent, Adam (which suits data sets of
        thousands of samples), or L-BFGS on all samples at once (which suits small ones).
    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights. It is divided by the samples of a minibatch.
    batch_size : int or 'auto', default='auto'
        Samples of a minibatch; 'auto' is ``min(200, n_samples)``. Not used by 'lbfgs'.
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        Schedule of the rate, only for 'sgd'. 'invscaling' divides the initial rate by
        ``t_ ** power_t`` after every epoch. 'adaptive' keeps the rate while training improves by at
        least ``tol`` and divides it by 5 when it has stopped to.
    learning_rate_init : float, default=0.001
        The initial rate, for 'sgd' and 'adam'.
    power_t : float, default=0.5
        Exponent of 'invscaling'.
    max_iter : int, default=200
        Largest number of epochs, or of iterations with 'lbfgs'.
    shuffle : bool, default=True
        Whether samples come in a new order in every epoch. Not used by 'lbfgs'.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, validation split and order of samples.
    tol : float, default=1e-4
        By how much the loss (or validation score) has to improve to count as an improvement.
        'lbfgs' takes it for the gradient at which it stops.
    verbose : bool or int, default=False
        Whether to print the loss of every epoch.
    warm_start : bool, default=False
        Whether ``fit`` starts from the solution of the last ``fit``.
    momentum : float, default=0.9
        How much of its velocity a parameter keeps, for 'sgd'.
    nesterovs_momentum : bool, default=True
        Whether momentum looks one step ahead, for 'sgd'.
    early_stopping : bool, default=False
        Whether to hold out ``validation_fraction`` of the samples (of two classes: in their
        proportions), to stop when the score on them no longer improves, and to keep the parameters
        which scored best. Not used by 'lbfgs'.
    validation_fraction : float, default=0.1
        Share of the samples to hold out.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of Adam's first and second moment.
    epsilon : float, default=1e-8
        What keeps Adam from dividing by zero.
    n_iter_no_change : int, default=10
        Training stops after more than this many epochs in a row without an improvement.
    max_fun : int, default=15000
        Largest number of evaluations of the loss, for 'lbfgs'.
    n_threads : int or None, default=None
        Largest number of threads; None leaves it to the limits of the process. The result does not
        depend on it, bit for bit.
    dtype : {'float32', 'float64'} or None, default=None
        What to compute in. None is scikit-learn's rule: float32 if X is float32, else float64.
    checkpoint : path or None, default=None
        A file to which ``fit`` saves its state while it trains, so that the same call, made again
        after an interrupt or a crash, goes on from there to the very weights that it would have
        come to; it is removed when the fit ends. See ``docs/files.md``. Not for 'lbfgs', and not
        used by ``partial_fit``.
    checkpoint_interval : float, default=60.0
        Seconds from one save to the next; 0 saves as often as training comes back from compiled
        code, which is about every tenth of a second.
    weight_decay : float, default=0.01
        For ``solver='adamw'``: by how much, times the learning rate, weights shrink in each step
        (Loshchilov and Hutter, 2019). `alpha` is a term of the loss with every solver; set it to 0
        to have this decay alone.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    loss_ : float
        The loss of the last epoch.
    best_loss_ : float or None
        The lowest loss of all epochs; None with early stopping. Not set by 'lbfgs'.
    loss_curve_ : list of float
        The loss of every epoch. Not set by 'lbfgs'.
    validation_scores_ : list of float or None
        Accuracy on the held-out samples after every epoch, with early stopping.
    best_validation_score_ : float or None
        The best of them.
    t_ : int
        Samples that the solver has been shown, counted again in every epoch.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights. They are the user's: what is written into them counts in the next call.
    intercepts_ : list of ndarray of shape (fan_out,)
        Biases.
    n_features_in_ : int
        Features of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X had any that are strings.
    n_iter_ : int
        Epochs or iterations of the last fit.
    n_layers_ : int
        Layers, input and output included.
    n_outputs_ : int
        Units of the output layer.
    out_activation_ : str
        Its activation.

    See Also
    --------
    MLPRegressor : The same for numbers instead of classes.
    sklearn.neural_network.MLPClassifier : The estimator that this one stands in for.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from fastmlp import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    >>> classifier = MLPClassifier(learning_rate_init=0.01, random_state=0)
    >>> classifier.fit(X_train, y_train)
    MLPClassifier(learning_rate_init=0.01, random_state=0)
    >>> classifier.predict(X_test[:4])
    array([2, 8, 2, 6])
    >>> bool(classifier.score(X_test, y_test) > 0.95)
    True
    """

    loss = "log_loss"  # an attribute, as in scikit-learn, and no parameter

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        n_threads=None,
        dtype=None,
        checkpoint=None,
        checkpoint_interval=60.0,
        weight_decay=0.01,
    ):
        self._set_parameters(locals())

    @fit_context
    def fit(self, X, y, sample_weight=None):
        """Train on samples and their labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, or an indicator matrix of ones and zeros for several labels at once.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each sample counts.

        Returns
        -------
        self : MLPClassifier
            The estimator.
        """
        return self._fit(X, y, sample_weight=sample_weight)

    @available_if(lambda estimator: estimator._check_solver())
    @fit_context
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch, from where the last call left off.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each sample counts.
        classes : array-like of shape (n_classes,), default=None
            All the labels that will ever occur. Required in the first call, and only there.

        Returns
        -------
        self : MLPClassifier
            The estimator.
        """
        return self._fit(X, y, sample_weight=sample_weight, incremental=True, classes=classes)

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The label of each sample, or its indicator row.
        """
        check_is_fitted(self)
        outputs = self._predict_outputs(X)
        if self.n_outputs_ == 1:
            outputs = outputs.ravel()
        return self._label_binarizer.inverse_transform(outputs)

    def predict_proba(self, X):
        """Predict the probability of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        check_is_fitted(self)
        outputs = self._predict_outputs(X)
        if self.n_outputs_ == 1:
            outputs = outputs.ravel()
            return np.vstack([1 - outputs, outputs]).T
        return outputs

    def predict_log_proba(self, X):
        """Predict the logarithm of the probability of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``np.log(predict_proba(X))``.
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def _validate_input(self, X, y, incremental, reset, classes):
        if incremental and _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        X, y = check_X_y(self, X, y, reset=reset, y_numeric=False)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            present = unique_labels(y)
            if self.warm_start:
                if set(present) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same "
                        "classes as in the previous call to fit. Previously "
                        f"got {self.classes_}, `y` has {present}"
                    )
            elif len(np.setdiff1d(present, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {present}."
                )
        return X, y

    def _encode_targets(self, y):
        return class_targets(self._label_binarizer, y)

    def _count_outputs(self, targets):
        if targets.ndim == 2:
            return targets.shape[1]
        return 1 if len(self.classes_) <= 2 else len(self.classes_)

    def _choose_loss(self):
        return "log_loss" if self._label_binarizer.y_type_ == "multiclass" else "binary_log_loss"

    def _strata(self, targets):
        # Two classes are stratified, three are not, nor are several labels: so does scikit-learn,
        # and under these names it complains of classes that are too small.
        return np.array(["False", "True"])[targets] if self.n_outputs_ == 1 else None

    def _score_outputs(self, targets, outputs, sample_weight):
        if targets.ndim == 1 and outputs.shape[1] > 1:
            predicted = outputs.argmax(axis=1)
        elif len(self.classes_) == 1:
            predicted = np.zeros_like(targets)
        else:
            predicted = (outputs > 0.5).reshape(targets.shape)
        return float(accuracy_score(targets, predicted, sample_weight=sample_weight))

    def __sklearn_tags__(self):
        """Say what the estimator can do."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
