"""What a new process pays: the import, and the first fit with and without compiled code on disk."""

import subprocess
import sys

IMPORTS = "import sklearn.neural_network, numba"

FIRST_FIT = """
model = MLPClassifier(hidden_layer_sizes=(512, 256), random_state=0)
model.partial_fit(X, y, classes=np.arange(3))
assert np.isfinite(model.loss_) and model.predict(X).shape == (400,)
"""

DATA = """
import os, tempfile
{cache}
import numpy as np
from fastmlp import MLPClassifier
random_state = np.random.RandomState(0)
X, y = random_state.standard_normal((400, 20)).astype("float32"), np.arange(400) % 3
"""

EMPTY_CACHE = """
empty = tempfile.TemporaryDirectory()
os.environ["FASTMLP_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"] = empty.name
"""


class Start:
    number = 1
    repeat = (2, 5, 30.0)
    timeout = 300

    def setup_cache(self):
        """Fill the cache on disk, in a process of its own."""
        code = DATA.format(cache="") + FIRST_FIT
        subprocess.run([sys.executable, "-c", code], check=True)

    def timeraw_import(self):
        """What fastmlp adds to importing scikit-learn and Numba."""
        return "import fastmlp", IMPORTS

    def timeraw_first_fit(self):
        """The first fit of a process that finds compiled code on disk."""
        return FIRST_FIT, DATA.format(cache="")

    def timeraw_first_fit_nothing_compiled(self):
        """The first fit on a machine where nothing was ever compiled."""
        return FIRST_FIT, DATA.format(cache=EMPTY_CACHE)
