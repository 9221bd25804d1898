"""What a checkpoint holds: the state of a fit between two compiled calls, as a header and arrays.

The file is an archive like that of a model (:mod:`fastmlp.files.archive`), described member by member in
``docs/files.md``. It is read as if it came from a stranger: whatever reaches compiled code is checked
for shape, dtype and range.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastmlp.files.header import Fields, decode_generator, encode_generator, encode_number, require
from fastmlp.kernels.optimizers import optimizer_of
from fastmlp.network.parameter_blocks import layer_units_of, parameter_shapes, parameters_of

FORMAT = "fastmlp checkpoint"
FORMAT_VERSION = 1
MOMENTS = ("first_moments", "second_moments")


class State(NamedTuple):
    """What a fit has come to between two compiled calls.

    Attributes
    ----------
    parameters : list of ndarray
        One for each block, in the network's dtype.
    moments : list of list of ndarray
        The optimiser's, as ``Network.moments`` returned them.
    best : list of ndarray, or None
        The parameters of the best validation score.
    order : ndarray of int64
        Training rows in the order of the current epoch.
    held_out : ndarray of int64
        Validation rows, possibly none.
    position : int
        Samples of the current epoch that are done.
    accumulated_loss : float
        The sum of their losses.
    steps : int
        Adam's.
    learning_rate : float
        The optimiser's.
    n_iter : int
        Epochs of this fit that have ended.
    attributes : dict
        Fitted attributes by name.
    generator : numpy.random.RandomState
        A generator in the state of the model's.
    """

    parameters: list[np.ndarray]
    moments: list[list[np.ndarray]]
    best: list[np.ndarray] | None
    order: np.ndarray
    held_out: np.ndarray
    position: int
    accumulated_loss: float
    steps: int
    learning_rate: float
    n_iter: int
    attributes: dict[str, Any]
    generator: np.random.RandomState


def _n_moments(model: Any) -> int:
    return optimizer_of(model.solver, model.momentum).n_moments


def _moment_names(kind: str, blocks: Iterable[str]) -> list[str]:
    return [f"{kind}_{index}" for index, _ in enumerate(blocks)]


def most_members(model: Any) -> int:
    """Return how many members a file will have at most.

    Parameters
    ----------
    model : estimator
        With its initial parameters.
    """
    n_lists = 1 + _n_moments(model) + bool(model.early_stopping)
    return 7 + n_lists * len(parameters_of(model))


def take_apart(model: Any, network: Any, epochs: Any, validation: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Turn the state of a fit into the fields of a header and arrays.

    Parameters
    ----------
    model : estimator
        In training.
    network : fastmlp.network.network.Network
        Likewise.
    epochs : fastmlp.network.epochs.Epochs
        The run.
    validation : fastmlp.training.early_stopping.Validation, or None
        Which rows are held out.
    """
    from fastmlp import __version__

    generator, key = encode_generator(model._random_state)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fastmlp_version": __version__,
        "position": epochs.position,
        "n_iter": int(model.n_iter_),
        "t": int(model.t_),
        "steps": int(network.t),
        "learning_rate": encode_number(float(model._optimizer.learning_rate)),
        "no_improvement_count": int(model._no_improvement_count),
        "best_loss": encode_number(model.best_loss_),
        "best_validation_score": encode_number(model.best_validation_score_),
        "generator": generator,
    }
    names = [block.name for block in network.blocks]
    lists = [(names, network.parameters())]
    lists += [(_moment_names(kind, names), moments) for kind, moments in zip(MOMENTS, network.moments(), strict=False)]
    arrays = {
        "random_state_key": key,
        "order": epochs.order,
        "accumulated_loss": np.array([epochs.accumulated_loss]),
        "loss_curve": np.array(model.loss_curve_, np.float64),
    }
    if model.validation_scores_ is not None:
        arrays["validation_scores"] = np.array(model.validation_scores_, np.float64)
    if validation is not None:
        arrays["validation_rows"] = validation.held_out
        lists.append(([f"best_{name}" for name in names], parameters_of(model, best=True)))
    for members, values in lists:
        for member, array in zip(members, values, strict=True):
            arrays[member] = np.asarray(array, network.dtype)
    return header, arrays


def version_difference(fields: Fields) -> list[str]:
    """Say in a list whether a header is of another version of fastmlp."""
    from fastmlp import __version__

    saved = fields.text("fastmlp_version")
    return [] if saved == __version__ else [f"fastmlp's version was {saved[:20]!r} and is {__version__!r}"]


def put_together(fields: Fields, arrays: dict[str, np.ndarray], model: Any, n_samples: int, dtype: np.dtype) -> State:
    """Make a state of header and arrays, everything checked; every array has to be used up.

    Parameters
    ----------
    fields : Fields
        The header.
    arrays : dict of str to ndarray
        The other members.
    model : estimator
        The one that the state is for.
    n_samples : int
        Of its data.
    dtype : dtype
        The network's.
    """
    shapes = parameter_shapes(layer_units_of(model))

    def take(name: str, shape: tuple[int, ...] | None, of: Any) -> np.ndarray:
        array = arrays.pop(name, None)
        require(
            array is not None and array.dtype == of and (array.ndim == 1 if shape is None else array.shape == shape),
            f"its member {name} is missing, or of wrong shape or dtype",
        )
        assert array is not None
        return array

    def take_list(members: Iterable[str]) -> list[np.ndarray]:
        return [take(member, shape, dtype) for member, shape in zip(members, shapes.values(), strict=True)]

    early_stopping = bool(model.early_stopping)
    order = take("order", None, np.int64)
    held_out = take("validation_rows", None, np.int64) if early_stopping else np.empty(0, np.int64)
    # Compiled code reads X at these places.
    require(
        len(order) + len(held_out) == n_samples
        and np.array_equal(np.sort(np.concatenate([order, held_out])), np.arange(n_samples)),
        "its order of samples is not an order of all samples",
    )
    require(len(order) > 0 and (len(held_out) > 1 or not early_stopping), "its validation samples are none or all")
    position = fields.integer("position", 0)
    require(position < len(order), "its position is beyond the end of an epoch")
    loss_curve = take("loss_curve", None, np.float64).tolist()
    n_iter = fields.integer("n_iter", 0)
    require(n_iter <= len(loss_curve), "its epochs have no losses")
    scores = take("validation_scores", None, np.float64).tolist() if "validation_scores" in arrays else None
    attributes = {
        "t_": fields.integer("t", 0),
        "_no_improvement_count": fields.integer("no_improvement_count", 0),
        "best_loss_": fields.number("best_loss", optional=True),
        "best_validation_score_": fields.number("best_validation_score", optional=True),
        "loss_curve_": loss_curve,
        "validation_scores_": scores,
    }
    needed = ("best_validation_score_", "validation_scores_") if early_stopping else ("best_loss_",)
    require(all(attributes[name] is not None for name in needed), "it lacks its best loss or score")
    learning_rate = fields.number("learning_rate")
    require(np.isfinite(learning_rate), "its learning rate is infinite")
    state = State(
        parameters=take_list(shapes),
        moments=[take_list(_moment_names(kind, shapes)) for kind in MOMENTS[: _n_moments(model)]],
        best=take_list(f"best_{name}" for name in shapes) if early_stopping else None,
        order=order,
        held_out=held_out,
        position=position,
        accumulated_loss=float(take("accumulated_loss", (1,), np.float64)[0]),
        steps=fields.integer("steps", 0),
        learning_rate=float(learning_rate),
        n_iter=n_iter,
        attributes=attributes,
        generator=decode_generator(fields, arrays),
    )
    require(not arrays, f"it has members of no use: {', '.join(sorted(arrays)[:3])}")
    return state


def stands_at(model: Any, state: State) -> bool:
    """Return whether the model's parameters are those of the state, as after a Ctrl-C in this very model."""
    ours = parameters_of(model)
    return any(
        all(np.array_equal(a, np.asarray(b, a.dtype), equal_nan=True) for a, b in zip(ours, theirs, strict=True))
        for theirs in (state.parameters, state.best)
        if theirs is not None
    )
