"""Checkpoints: the file of one fit with a stochastic solver, from its beginning to its end.

It is found or not when the fit begins, written while the fit runs, and removed when the fit has come to its end. What
it holds is in :mod:`fastmlp.training.checkpoint_state`.
"""

from __future__ import annotations

import glob
import os
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from fastmlp.files.archive import read_archive, require_few_members, write_archive
from fastmlp.files.atomic import check_writable, replaced_file
from fastmlp.files.header import Fields, is_mersenne_twister, read_header, write_header
from fastmlp.network.parameter_blocks import layer_units_of, parameters_of
from fastmlp.process.interrupts import DeferredInterrupt
from fastmlp.process.user_warnings import warn_user
from fastmlp.training.checkpoint_state import (
    FORMAT,
    FORMAT_VERSION,
    State,
    most_members,
    put_together,
    stands_at,
    take_apart,
    version_difference,
)
from fastmlp.training.fingerprints import data_fingerprint, differences, digest, parameters_fingerprint
from fastmlp.training.random_state import generator_of


class Checkpoint:
    """The file of one fit: found or not at its beginning, written while it runs, removed at its end.

    As a context, it lets Ctrl-C wait until a state is whole, so that it can be saved.

    Parameters
    ----------
    model : estimator
        Its parameters ``checkpoint`` (not None) and ``checkpoint_interval`` count.

    Attributes
    ----------
    found : State, or None
        What an earlier fit has left; None again when training goes on from it.
    """

    def __init__(self, model: Any):
        self.found: State | None = None
        if model.solver == "lbfgs":
            raise ValueError(
                f"checkpoint={os.fspath(model.checkpoint)!r} can't be used with solver='lbfgs', whose state can't be "
                "saved and restored: choose solver='adam' or 'sgd', or leave checkpoint=None."
            )
        generator = generator_of(model.random_state)
        if not is_mersenne_twister(generator):
            raise ValueError(
                f"checkpoint={os.fspath(model.checkpoint)!r} can't be used with random_state={generator!r}, whose "
                "state the file has no place for: give an integer or a RandomState of the generator MT19937."
            )
        self._path = Path(os.path.realpath(model.checkpoint))
        self._interval = float(model.checkpoint_interval)
        # Drawing initial weights advances a generator that isn't ours: were the file refused, it would be for nothing.
        self._generator, self._state_before = generator, generator.get_state()
        self._fingerprint: dict[str, Any] = {}
        self._interrupt = DeferredInterrupt()
        self._was_interrupted = False
        self._has_warned = False
        self._is_ours = False
        self._last_save = time.monotonic()
        self._check_writable()

    def _check_writable(self) -> None:
        """Find out now, and not after hours of training, that the file can't be written."""
        try:
            check_writable(self._path)
            if self._path.exists() and not self._path.is_file():
                raise OSError(f"{str(self._path)!r} is not a regular file.")
            with tempfile.TemporaryFile(dir=self._path.parent):
                # A folder may let nobody create files whatever its permissions say.
                pass
        except OSError as error:
            raise OSError(
                f"checkpoint: {str(error).rstrip('.')}. Name a file in a folder that can be written, or pass None."
            ) from error

    # --- the beginning of a fit ---------------------------------------------------------------------

    def find(
        self, model: Any, X: Any, targets: np.ndarray, sample_weight: np.ndarray | None, dtype: np.dtype, warm: bool
    ) -> None:
        """Read the file if there is one, check that it belongs to this fit, and keep what it holds as ``found``.

        Parameters
        ----------
        model : estimator
            With its initial parameters.
        X, targets, sample_weight
            The checked data.
        dtype : dtype
            The network's.
        warm : bool
            Whether the initial parameters are those of an earlier fit.

        Raises
        ------
        ValueError
            If the file is damaged, foreign, or of another fit; it says of which. Or if no file can hold this fit.
        OSError
            If it can't be read.
        """
        self._fingerprint = {
            "estimator": type(model).__name__,
            "parameters": parameters_fingerprint(model.get_params(deep=False)),
            "data": data_fingerprint(X, targets, sample_weight, getattr(model, "classes_", None)),
            "dtype": dtype.name,
            "layer_units": layer_units_of(model),
            "initial_parameters": digest(parameters_of(model)) if warm else None,
        }
        try:
            self._check_that_it_can_be_written(model)
            if self._path.exists():
                self.found = self._read(model, X.shape[0], dtype)
                self._is_ours = True
        except BaseException:
            self._generator.set_state(self._state_before)
            raise

    def _check_that_it_can_be_written(self, model: Any) -> None:
        """Refuse now, and not in the midst of training, what a file has no place for."""
        try:
            write_header(self._fingerprint)
            require_few_members(most_members(model))
        except ValueError as error:
            raise ValueError(
                f"checkpoint={os.fspath(model.checkpoint)!r} can't be used for this fit ({error}): "
                "leave checkpoint=None."
            ) from error

    def _read(self, model: Any, n_samples: int, dtype: np.dtype) -> State:
        try:
            arrays = read_archive(self._path)
            fields = read_header(arrays, FORMAT, FORMAT_VERSION)
            state, differs = None, version_difference(fields) or self._differences(fields)
            if not differs:
                state = put_together(fields, arrays, model, n_samples, dtype)
                initial = fields.text("initial_parameters", optional=True)
                if initial != self._fingerprint["initial_parameters"] and not stands_at(model, state):
                    differs = ["the initial parameters have other values"]
        except OSError as error:
            raise OSError(
                f"checkpoint {str(self._path)!r} can't be read ({error}): make it readable, delete it or name another "
                "file."
            ) from error
        except ValueError as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ValueError(
                f"checkpoint {str(self._path)!r} is not a checkpoint of fastmlp: {reason}; "
                "delete it or name another file."
            ) from error
        if state is None or differs:
            raise ValueError(
                f"checkpoint {str(self._path)!r} belongs to another fit: {'; '.join(differs[:5])}. "
                "Delete the file to train anew, or name another one."
            )
        if state.n_iter >= model.max_iter:
            raise ValueError(
                f"checkpoint {str(self._path)!r} is further than this fit may go: it holds {state.n_iter} epochs, and "
                f"max_iter is {model.max_iter}. Raise max_iter, delete the file, or name another one."
            )
        return state

    def _differences(self, fields: Fields) -> list[str]:
        ours = self._fingerprint
        if fields.text("estimator") != ours["estimator"]:
            return [f"the estimator was {fields.text('estimator')[:60]!r} and is {ours['estimator']!r}"]
        found = differences(fields["parameters"], ours["parameters"]) + differences(fields["data"], ours["data"])
        for name in ("dtype", "layer_units"):
            found += differences({name: fields[name]}, {name: ours[name]})
        return found

    def restore(self, model: Any, network: Any) -> None:
        """Put what was found into model and network, both made for this fit and not trained yet.

        Parameters
        ----------
        model : estimator
            Its attributes and its generator are changed.
        network : fastmlp.network.network.Network
            Its parameters and moments are.
        """
        self._last_save = time.monotonic()
        state = self.found
        if state is None:
            return
        network.set_parameters(state.parameters)
        if state.moments:
            network.set_moments(*state.moments)
        network.t = state.steps
        model._optimizer.learning_rate = state.learning_rate
        model._random_state.set_state(state.generator.get_state())
        for name, value in state.attributes.items():
            setattr(model, name, value)
        model.n_iter_ = state.n_iter
        if model.verbose:
            print(f"Going on after {state.n_iter} epochs, from the checkpoint {str(self._path)!r}")
        if model.loss_curve_:
            model.loss_ = model.loss_curve_[-1]
        if state.best is not None:
            for array, best in zip(parameters_of(model, best=True), state.best, strict=True):
                array[...] = best

    def restore_epochs(self, epochs: Any) -> None:
        """Put the run over epochs, begun in the order found, to where it stood; let Ctrl-C into its long steps."""
        epochs.between_pieces = self._interrupt.raise_if_pending
        if self.found is not None:
            epochs.resume(self.found.position, self.found.accumulated_loss)
            self.found = None  # as large as the network, and of no more use

    # --- while it runs ------------------------------------------------------------------------------

    def __enter__(self) -> Checkpoint:
        """Let Ctrl-C wait."""
        self._interrupt.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the file if the fit has come to its end; let Ctrl-C in again."""
        try:
            if error is None and self._is_ours and not self._was_interrupted:
                self._remove()
        finally:
            self._interrupt.__exit__(kind, error, traceback)

    def between_calls(self, model: Any, network: Any, epochs: Any, validation: Any) -> None:
        """Save if it is time to, or raise a Ctrl-C that waits; everything is whole, and another epoch follows.

        The parameters are those of `take_apart`.
        """
        self._interrupt.raise_if_pending()
        if time.monotonic() - self._last_save >= self._interval:
            self._save(model, network, epochs, validation)

    def interrupted(self, model: Any, network: Any, epochs: Any, validation: Any) -> None:
        """Save after a KeyboardInterrupt, if it came when everything was whole; else the last file has to do."""
        self._was_interrupted = True
        if self._interrupt.was_raised:
            self._save(model, network, epochs, validation)

    def _save(self, model: Any, network: Any, epochs: Any, validation: Any) -> None:
        try:
            header, arrays = take_apart(model, network, epochs, validation)
            with replaced_file(self._path) as file:
                write_archive(file, {"header": write_header({**header, **self._fingerprint}), **arrays})
            self._is_ours = True
        except (OSError, MemoryError) as error:
            # A full disk is no reason to throw away the work of days.
            if not self._has_warned:
                self._has_warned = True
                warn_user(
                    f"checkpoint {str(self._path)!r} could not be written ({error}): training goes on, and what was "
                    "saved before is kept. Make room, or let the fit come to its end."
                )
        self._last_save = time.monotonic()

    def _remove(self) -> None:
        """Remove the file, and what a process that was killed while it wrote may have left beside it."""
        try:
            self._path.unlink(missing_ok=True)
            for leftover in self._path.parent.glob(f".{glob.escape(self._path.name)}.{'[0-9a-f]' * 8}.tmp"):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            warn_user(
                f"checkpoint {str(self._path)!r} could not be removed ({error}), although the fit has ended: "
                "delete it, or the same fit, made again, will go on from it."
            )
