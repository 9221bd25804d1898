"""Optional dependencies: their absence is one sentence that names the extra which brings them."""

import importlib


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def import_extra(modules, extra, purpose):
    """Import the first of some modules that is installed.

    Parameters
    ----------
    modules : sequence of str
        Names of modules, the preferred one first.
    extra : str
        The extra of fastmlp that brings the preferred one.
    purpose : str
        What needs it, the subject of the sentence: ``"Figures need matplotlib"``.

    Returns
    -------
    module

    Raises
    ------
    MissingExtraError
        If none of them is installed.
    """
    for name in modules:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtraError(f"{purpose}; pip install 'fastmlp[{extra}]' brings it.")
