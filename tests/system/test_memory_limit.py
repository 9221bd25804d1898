"""A memory-mapped X larger than all the memory that its process may have trains and predicts."""

from pathlib import Path

import pytest

from tests.helpers.subprocesses import run_python

pytestmark = [
    pytest.mark.needs_jit,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is Linux's, and read from /proc"),
]


def test_samples_beyond_the_memory_limit(tmp_path):
    output, _ = run_python(
        f"""
        import resource, warnings
        from pathlib import Path
        import numpy as np
        from fastmlp import MLPClassifier
        from tests.helpers.memory_formula import fit_bytes, workspace_bytes

        warnings.simplefilter("ignore")
        n_features, hidden, n_classes = 1000, 16, 10

        def data_bytes():
            line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
            return 1024 * int(line.split()[1])

        def models():
            for n_threads in (1, 2):
                for early_stopping in (False, True):
                    yield MLPClassifier(
                        (hidden,), max_iter=1, random_state=0, n_threads=n_threads, early_stopping=early_stopping
                    )

        # Imports, compiled code and the threads' stacks are there before the limit is set.
        few = np.random.RandomState(0).standard_normal((2000, n_features)).astype(np.float32)
        few_classes = np.argmax(few[:, :n_classes], axis=1)
        for model in models():
            model.fit(few, few_classes).score(few, few_classes)

        # Twice as large as the limit will be. The file has holes: it takes no room on the disk.
        n_samples = 2 * (data_bytes() + 100_000_000) // (4 * n_features)
        shape = (n_samples, n_features)
        with open({str(tmp_path / "samples")!r}, "wb") as file:
            file.truncate(4 * n_samples * n_features)
        written = np.memmap({str(tmp_path / "samples")!r}, np.float32, "r+", shape=shape)
        written[:: n_samples // 1000][:1000] = few[:1000]
        written.flush()
        del written
        X = np.memmap({str(tmp_path / "samples")!r}, np.float32, "r", shape=shape)
        y = np.zeros(n_samples, np.int64)
        y[:: n_samples // 1000][:1000] = few_classes[:1000]

        needed = fit_bytes(
            [n_features, hidden, n_classes], n_samples=n_samples, dtype=np.float32, targets=8, checks=8,
            splitting=32, held_out=n_samples // 10, scoring=4 * n_classes + 36,
        )
        # A prediction: outputs, and what scikit-learn makes labels of.
        needed = max(needed, workspace_bytes([n_features, hidden, n_classes], 1024, np.float32, 1) + 100 * n_samples)
        # What the allocator may waste of it; a tenth of X is more.
        limit = data_bytes() + needed + 16_000_000
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        for part in (X, X[: n_samples // 10]):
            try:
                part.copy()
            except MemoryError:
                continue
            raise SystemExit("the limit does not bite")

        assert X.nbytes > limit
        for model in models():
            model.fit(X, y)
            assert np.isfinite(model.loss_)
            assert model.predict(X).shape == (n_samples,)
        model.set_params(early_stopping=False).partial_fit(X, y)
        print("trained on", X.nbytes // 10**6, "MB with a limit of", limit // 10**6)
        """,
        timeout=300,
    )
    assert "trained on" in output
