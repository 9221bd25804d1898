"""The methods with which an estimator is saved to a file and loaded from one."""


class ModelFileMixin:
    """``save`` and ``load``, over :mod:`fastmlp.estimators.persistence`, imported when one is called."""

    def save(self, path):
        """Save the fitted estimator to a file that holds no pickled code.

        The parameters ``checkpoint`` and ``checkpoint_interval`` are not saved.

        Parameters
        ----------
        path : path
            The file; an earlier one of that name is replaced whole or not at all.

        Raises
        ------
        ValueError
            If the estimator isn't fitted, or holds what the format has no place for.
        OSError
            If the file can't be written.

        See Also
        --------
        load : Load what was saved.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from sklearn.datasets import load_iris
        >>> from fastmlp import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = MLPClassifier(solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     classifier.save(Path(folder) / "iris.npz")
        ...     loaded = MLPClassifier.load(Path(folder) / "iris.npz")
        >>> bool((loaded.predict(X) == classifier.predict(X)).all())
        True
        """
        from fastmlp.estimators.persistence import save_model

        save_model(path, self)

    @classmethod
    def load(cls, path):
        """Load an estimator that was saved; the file may come from a stranger.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        estimator
            Fitted, of this class.

        Raises
        ------
        ValueError
            If the file isn't such a model, or is damaged; if it holds an estimator of another class; and if it
            holds a scaler or names of columns too, as ``fastmlp train --save`` writes them: the estimator alone
            would predict nonsense from columns that aren't scaled.
        OSError
            If there is no such file, or it can't be read.

        See Also
        --------
        save : Save a fitted estimator, with an example.
        fastmlp.estimators.persistence.load_model : Load a model with its scaler and its columns.
        """
        from fastmlp.estimators.persistence import load_model

        model = load_model(path)
        name = type(model.estimator).__name__
        if type(model.estimator) is not cls:
            raise ValueError(f"{str(path)!r} holds an {name}, not an {cls.__name__}: load it with {name}.load.")
        if any(part is not None for part in model[1:]):
            raise ValueError(
                f"{str(path)!r} holds a scaler or columns of a table beside its {name}, which {name}.load can't "
                "return: predict with `fastmlp predict`, or load it with fastmlp.estimators.persistence.load_model."
            )
        return model.estimator
