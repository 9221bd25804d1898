"""What Python and NumPy hold, as tracemalloc counts it, without what they keep for themselves."""

import gc
import sys
import tracemalloc
from contextlib import contextmanager

# Python's cache of attributes keeps every name that C code looks up as a string of its own, up to 4096 of them.
_clear_attribute_cache = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


@contextmanager
def tracing():
    """Trace, without collections of garbage at times of their own; those asked for leave out what is there now."""
    gc.disable()
    gc.freeze()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        gc.unfreeze()
        gc.enable()


def held_bytes():
    """Return the bytes that are held now."""
    # This gives back the tuples that are free, too: Python keeps thousands of them and counts them as in use.
    gc.collect()
    _clear_attribute_cache()
    return tracemalloc.get_traced_memory()[0]
