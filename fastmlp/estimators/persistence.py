"""Saving and loading fitted models without pickle; ``docs/files.md`` describes the files.

A model file is an ordinary ``.npz`` archive, uncompressed, whose members are numeric arrays only;
``numpy.load(path)`` reads it with its default ``allow_pickle=False``. Its members:

``header``
    uint8 vector: UTF-8 text, one JSON object. It says which estimator this is, with which
    parameters and fitted attributes, and thereby which other members there are.
``coefs_0``, ``intercepts_0``, ``coefs_1``, ...
    Weights (fan_in, fan_out) and biases (fan_out,) of every layer, all float32 or all float64.
``first_moments_0``, ... and ``second_moments_0``, ...
    What the optimiser remembers, in the order weights, then biases; ``partial_fit`` goes on from
    it. Adam has both, SGD the first (its velocities), L-BFGS none.
``classes``
    A classifier's labels if they are numbers or booleans; text is in the header.
``random_state_key``
    uint32 vector of 624 numbers, if the parameter ``random_state`` is a generator.
``scaler_mean``, ``scaler_scale``, ``scaler_var``
    float64 vectors of a StandardScaler saved with the model.
``target_scaler_mean``, ``target_scaler_scale``, ``target_scaler_var``
    The same of its target, float64 vectors of one number.

A file is read as if it came from a stranger. Nothing in it is executed or unpickled. No member is
compressed, so that none can be larger than the file, and no path in it is used. Every member and
every header field is checked for type, shape and finite values before an estimator is made of it.
A file that doesn't pass is refused with a :class:`ValueError` of one sentence.
"""

from typing import Any, NamedTuple

import numpy as np

from fastmlp.files.archive import read_archive, require_few_members, write_archive
from fastmlp.files.atomic import replaced_file
from fastmlp.files.header import (
    decode_parameters,
    encode_number,
    encode_parameters,
    read_header,
    require,
    write_header,
)
from fastmlp.network.parameter_blocks import as_attributes, layer_units_of, parameter_shapes, parameters_of
from fastmlp.reference import LOSSES

FORMAT = "fastmlp model"
FORMAT_VERSION = 2  # 2 has the scaler of the target

# Fitted attributes that are numbers; None is allowed for those that scikit-learn sets to None.
INTEGER_ATTRIBUTES = ("n_iter_", "t_", "_no_improvement_count")
NUMBER_ATTRIBUTES = ("loss_", "best_loss_", "best_validation_score_")
VECTOR_ATTRIBUTES = ("loss_curve_", "validation_scores_")
# Where and how often fits save themselves. A file from a stranger must not choose what a fit will write and remove.
NOT_SAVED = ("checkpoint", "checkpoint_interval")
# The names under which a file keeps the moments of an optimiser, which has one or two of each parameter.
MOMENTS = ("first_moments", "second_moments")


class SavedModel(NamedTuple):
    """What a model file holds.

    ``scaler`` is a fitted ``StandardScaler`` or None; ``columns`` are the names of the columns of
    the table that the model was trained on, in the order of its features, and ``target`` is the
    name of the column that it predicts, or None. ``target_scaler`` is the ``StandardScaler`` whose
    inverse brings predictions to the target's own units, or None if they are in these already.
    """

    estimator: Any
    scaler: Any = None
    columns: list[str] | None = None
    target: str | None = None
    target_scaler: Any = None


# --- saving --------------------------------------------------------------------------------------


def save_model(path, estimator, scaler=None, columns=None, target=None, target_scaler=None):
    """Save a fitted estimator; an earlier file of that name is replaced whole or not at all.

    Parameters
    ----------
    path : path
        The file.
    estimator : MLPClassifier or MLPRegressor
        Fitted.
    scaler : sklearn.preprocessing.StandardScaler, optional
        Fitted; what its features have to go through before the estimator sees them.
    columns : sequence of str, optional
        Names of the columns that are its features.
    target : str, optional
        Name of the column that it predicts.
    target_scaler : sklearn.preprocessing.StandardScaler, optional
        Fitted to the target; its inverse is what predictions of a regressor have to go through.

    Raises
    ------
    ValueError
        If the estimator isn't fitted, or holds what the format has no place for: whatever :func:`load_model` would
        refuse is refused here, and an earlier file is left as it is.
    OSError
        If the file can't be written.
    """
    from fastmlp import MLPClassifier, MLPRegressor

    if type(estimator) not in (MLPClassifier, MLPRegressor):
        raise ValueError(f"Only fastmlp's own estimators can be saved, not {estimator!r}.")
    try:
        header, arrays = _take_apart(estimator)
        for kind, fitted in (("scaler", scaler), ("target_scaler", target_scaler)):
            header[kind] = None if fitted is None else {"n_samples_seen": int(fitted.n_samples_seen_)}
            for name in ("mean", "scale", "var") if fitted is not None else ():
                arrays[f"{kind}_{name}"] = np.asarray(getattr(fitted, f"{name}_"), np.float64)
        header["columns"] = None if columns is None else [str(name) for name in columns]
        header["target"] = None if target is None else str(target)
        arrays = {"header": write_header(header), **arrays}
        # The reader's own checks, on what it would be given: there are no others to be kept in step with them.
        members = dict(arrays)
        require_few_members(len(members))
        _put_together(read_header(members, FORMAT, FORMAT_VERSION), members)
    except ValueError as error:
        raise ValueError(f"The model can't be saved: {_sentence(error)}.") from error
    with replaced_file(path) as file:
        write_archive(file, arrays)


def _sentence(error):
    """Return what an error says, on one line and without a full stop."""
    return " ".join(str(error).split()).rstrip(".")


def _take_apart(estimator):
    """Turn an estimator into a header and arrays."""
    from fastmlp import MLPClassifier, __version__

    require(hasattr(estimator, "coefs_") and hasattr(estimator, "n_layers_"), "it has not been fitted")
    layer_units = layer_units_of(estimator)
    trained = [np.asarray(array) for array in parameters_of(estimator)]
    dtype = np.result_type(np.float32, *trained)
    members = zip(parameter_shapes(layer_units), trained, strict=False)  # what is missing, the reader says
    arrays = {name: array.astype(dtype, copy=False) for name, array in members}

    parameters = estimator.get_params(deep=False)
    for name in NOT_SAVED:
        del parameters[name]
    parameters, random_state_key = encode_parameters(parameters)
    if random_state_key is not None:
        arrays["random_state_key"] = random_state_key
    attributes = {}
    for name in (*INTEGER_ATTRIBUTES, *NUMBER_ATTRIBUTES):
        if hasattr(estimator, name):
            attributes[name] = encode_number(getattr(estimator, name))
    for name in VECTOR_ATTRIBUTES:
        if hasattr(estimator, name):
            values = getattr(estimator, name)
            attributes[name] = None if values is None else [encode_number(v) for v in values]
    names = getattr(estimator, "feature_names_in_", None)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fastmlp_version": __version__,
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "layer_units": layer_units,
        "dtype": dtype.name,
        "out_activation": estimator.out_activation_,
        "attributes": attributes,
        "feature_names": None if names is None else [str(name) for name in names],
        "labels": None,
        "optimizer": None,
    }
    if isinstance(estimator, MLPClassifier):
        header["labels"] = _take_apart_labels(estimator, arrays)
    if hasattr(estimator, "_optimizer"):
        header["optimizer"] = _take_apart_optimizer(estimator._optimizer, dtype, arrays)
    return header, arrays


def _take_apart_labels(estimator, arrays):
    binarizer = estimator._label_binarizer
    classes = np.asarray(estimator.classes_)
    labels = {"type": binarizer.y_type_, "sparse": bool(binarizer.sparse_input_), "text": None}
    if classes.dtype.kind in "biuf" and classes.dtype.itemsize <= 8:
        arrays["classes"] = classes
    elif all(isinstance(label, str) for label in classes):
        labels["text"] = [str(label) for label in classes]
    else:
        raise ValueError("its class labels are neither numbers nor text")
    return labels | {"object": classes.dtype.kind == "O"}


def _take_apart_optimizer(optimizer, dtype, arrays):
    for kind, vectors in zip(MOMENTS, optimizer.moments(), strict=False):
        for index, vector in enumerate(vectors):
            arrays[f"{kind}_{index}"] = np.asarray(vector).astype(dtype, copy=False)
    encode: dict[str, Any] = {"number": encode_number, "integer": int, "boolean": bool}
    header = {"solver": optimizer.solver}
    for name, holds in optimizer.saved_fields.items():
        header[name] = (
            encode[holds](getattr(optimizer, name)) if isinstance(holds, str) else str(getattr(optimizer, name))
        )
    return header


# --- loading -------------------------------------------------------------------------------------


def load_model(path):
    """Load what :func:`save_model` saved.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    SavedModel
        The estimator, fitted, with scaler and column names if there are any.

    Raises
    ------
    ValueError
        If the file isn't such a model, or is damaged: one sentence.
    OSError
        If there is no such file, or it can't be read.
    """
    try:
        arrays = read_archive(path)
        return _put_together(read_header(arrays, FORMAT, FORMAT_VERSION), arrays)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not a model of fastmlp: {_sentence(error)}.") from error


def _put_together(fields, arrays):
    """Make an estimator of header and arrays; every array has to be used up."""
    from fastmlp import MLPClassifier, MLPRegressor

    classes = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
    estimator_class = classes[fields.choice("estimator", classes)]
    allowed = set(estimator_class().get_params(deep=False)) - set(NOT_SAVED)
    parameters = decode_parameters(fields.fields("parameters"), allowed, arrays)
    estimator = estimator_class(**parameters)
    estimator._validate_params()

    layer_units = fields.integers("layer_units", 1)
    require(len(layer_units) >= 2, "it has fewer than two layers")
    dtype = np.dtype(fields.choice("dtype", ("float32", "float64")))
    trained = [_take(arrays, name, shape, dtype) for name, shape in parameter_shapes(layer_units).items()]
    vars(estimator).update(as_attributes(trained, layer_units))
    estimator.n_features_in_ = layer_units[0]
    estimator.n_layers_ = len(layer_units)
    estimator.n_outputs_ = layer_units[-1]
    losses = [row for row in LOSSES.values() if (row.target == "numbers") == (estimator_class is MLPRegressor)]
    estimator.out_activation_ = fields.choice("out_activation", [row.output_activation for row in losses])
    _put_attributes(estimator, fields.fields("attributes"))
    names = fields.texts("feature_names", optional=True)
    if names is not None:
        require(len(names) == layer_units[0], "its feature names are not one a feature")
        estimator.feature_names_in_ = np.array(names, dtype=object)
    if estimator_class is MLPClassifier:
        _put_labels(estimator, fields.fields("labels"), arrays)
    else:
        require(fields["labels"] is None, "a regressor has no labels")
    if fields["optimizer"] is not None:
        _put_optimizer(estimator, fields.fields("optimizer"), arrays, dtype)
    scaler = _put_scaler(fields, "scaler", arrays, layer_units[0])
    target_scaler = None
    if fields.integer("format_version", 1) > 1:
        target_scaler = _put_scaler(fields, "target_scaler", arrays, layer_units[-1])
    require(target_scaler is None or estimator_class is MLPRegressor, "a classifier's target has no scale")
    columns = fields.texts("columns", optional=True)
    require(columns is None or len(columns) == layer_units[0], "its columns are not its features")
    target = fields.text("target", optional=True)
    require(not arrays, f"it has members of no use: {', '.join(sorted(arrays)[:3])}")
    return SavedModel(estimator, scaler, columns, target, target_scaler)


def _take(arrays, name, shape, dtype):
    """Take an array out, of just this shape and dtype, all its values finite."""
    array = arrays.pop(name, None)
    require(
        array is not None and array.shape == shape and array.dtype == dtype,
        f"its member {name} is missing, or of wrong shape or dtype",
    )
    require(bool(np.isfinite(array).all()), f"its {name} are not all finite")
    return array


def _put_attributes(estimator, fields):
    for name in INTEGER_ATTRIBUTES:
        if name in fields:
            setattr(estimator, name, fields.integer(name, 0))
    for name in NUMBER_ATTRIBUTES:
        if name in fields:
            setattr(estimator, name, fields.number(name, optional=True))
    for name in VECTOR_ATTRIBUTES:
        if name in fields:
            setattr(estimator, name, fields.numbers(name, optional=True))
    known = {*INTEGER_ATTRIBUTES, *NUMBER_ATTRIBUTES, *VECTOR_ATTRIBUTES}
    require(set(fields) <= known, "it has attributes of no use")
    require({"n_iter_", "t_"} <= set(fields), "it lacks attributes")


def _put_labels(estimator, fields, arrays):
    from sklearn.preprocessing import LabelBinarizer

    kind = fields.choice("type", ("binary", "multiclass", "multilabel-indicator"))
    text = fields.texts("text", optional=True)
    if text is not None:
        classes = np.array(text, dtype=object if fields.boolean("object") else np.str_)
    else:
        classes = arrays.pop("classes", None)
        require(classes is not None and classes.ndim == 1, "it has no class labels")
        require(bool(np.isfinite(classes).all()), "its class labels are not all finite")
    require(len(np.unique(classes)) == len(classes) > 0, "its class labels are not distinct")
    n_outputs, out_activation = {
        "binary": (1, "logistic"),
        "multiclass": (len(classes), "softmax"),
        "multilabel-indicator": (len(classes), "logistic"),
    }[kind]
    require(
        (estimator.n_outputs_, estimator.out_activation_) == (n_outputs, out_activation)
        and (kind != "binary" or len(classes) <= 2),
        "its class labels and its outputs don't belong together",
    )
    binarizer = LabelBinarizer()
    binarizer.y_type_ = kind
    binarizer.sparse_input_ = fields.boolean("sparse")
    require(
        kind == "multilabel-indicator" or not binarizer.sparse_input_, "only labels of a multilabel model may be sparse"
    )
    binarizer.classes_ = estimator.classes_ = classes
    estimator._label_binarizer = binarizer


def _put_optimizer(estimator, fields, arrays, dtype):
    from fastmlp.training.optimizer_state import SOLVERS

    shapes = [parameter.shape for parameter in parameters_of(estimator)]
    kind = SOLVERS[fields.choice("solver", tuple(SOLVERS))]
    read = {"number": fields.number, "integer": lambda name: fields.integer(name, 0), "boolean": fields.boolean}
    optimizer = kind.__new__(kind)  # all that it holds comes from the file
    for name, holds in kind.saved_fields.items():
        setattr(optimizer, name, read[holds](name) if isinstance(holds, str) else fields.choice(name, holds))
    for member, name in zip(MOMENTS, kind.moment_names, strict=False):
        moments = [_take(arrays, f"{member}_{index}", shape, dtype) for index, shape in enumerate(shapes)]
        setattr(optimizer, name, moments)
    estimator._optimizer = optimizer


def _put_scaler(fields, kind, arrays, n_columns):
    """Make a scaler of so many columns of the field and the members of this name; None if there is none."""
    from sklearn.preprocessing import StandardScaler

    if fields[kind] is None:
        return None
    scaler = StandardScaler()
    for name in ("mean", "scale", "var"):
        setattr(scaler, f"{name}_", _take(arrays, f"{kind}_{name}", (n_columns,), np.float64))
    require(bool((scaler.scale_ > 0).all() and (scaler.var_ >= 0).all()), f"its {kind} is no scaler")
    scaler.n_features_in_ = n_columns
    scaler.n_samples_seen_ = fields.fields(kind).integer("n_samples_seen", 1)
    return scaler
