"""Try an installed wheel: that its library is used, Numba is not imported, and bits are those of the JIT.

    python .ci/try_wheel.py [EVERY]

Every 12th case of ``bench.bits`` is run, or as many as EVERY says, once with the library and once compiled by Numba.
The package must be the installed one, so this is not for an editable install.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Last, so that fastmlp is not taken from the clone.
sys.path.append(str(ROOT))


def digests(every: int) -> dict[str, str]:
    """Run the cases in this process; return their digests."""
    from bench.bits import cases, run_case

    warnings.simplefilter("ignore")
    return {name: run_case(case) for name, case in list(cases())[::every]}


def digests_of_jit(every: int) -> dict[str, str]:
    """Return the digests of the same cases with everything compiled by Numba."""
    environment = os.environ | {"FASTMLP_NATIVE": "0"}
    command = [sys.executable, __file__, str(every), "digests"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def main() -> int:
    """Try it, and say what was found."""
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    if len(sys.argv) > 2:
        print(json.dumps(digests(every)))
        return 0
    import numpy as np

    start = time.perf_counter()
    import fastmlp
    from fastmlp.simd.library import FOUND, LIBRARY

    print(f"fastmlp {fastmlp.__version__} from {Path(fastmlp.__file__).parent}, library: {FOUND}")
    if LIBRARY is None or Path(fastmlp.__file__).is_relative_to(ROOT):
        print("FAILED: no library of an installed wheel is in use")
        return 1
    imported = time.perf_counter()
    X = np.random.RandomState(0).standard_normal((500, 64))
    y = X[:, :3].argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that three epochs are few
        model = fastmlp.MLPClassifier(max_iter=3, random_state=0).fit(X, y)
    fitted = time.perf_counter()
    model.predict(X)
    predicted = time.perf_counter()
    print(f"import {imported - start:.2f} s, first fit {fitted - imported:.3f} s, predict {predicted - fitted:.4f} s")
    found = digests(every)
    if "numba" in sys.modules:
        print("FAILED: Numba was imported")
        return 1
    print("Numba was not imported")
    expected = digests_of_jit(every)
    different = [name for name in found if found[name] != expected[name]]
    for name in different:
        print(f"DIFFERENT  {name}")
    print(f"{len(found)} fits with the library and with the JIT, {len(different)} of them different")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
