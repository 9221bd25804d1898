"""Warnings that point at the user's own line, however many frames of libraries lie between it and the cause."""

import sys
import warnings

# Packages whose frames are passed over: ours, and those through which a pipeline or a grid search calls `fit`.
_PASSED_OVER = frozenset({"fastmlp", "joblib", "sklearn"})


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line that called into fastmlp, directly or through scikit-learn.

    Parameters
    ----------
    message : str
        What to say.
    category : type of Warning, default=UserWarning
        Its class.
    """
    # `skip_file_prefixes` of `warnings.warn` would do the same, from Python 3.12 on.
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_passed_over(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_passed_over(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _PASSED_OVER
