"""Importing many modules at once, when they are first needed."""

import gc
import importlib


def import_at_once(*names: str) -> None:
    """Import modules, without the garbage collector going over all objects of the process in the midst of it.

    Functions and tables by the thousand have it look for garbage, of which imports make none; among the objects of
    scikit-learn that takes twice as long as the imports. It is as it was afterwards.

    Parameters
    ----------
    *names : str
        Modules.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        if was_enabled:
            gc.enable()
