"""``predict`` of one row and of many."""

import numpy as np

from . import WORKLOADS, estimator, reference_network, rows_and_targets


class Predict:
    params = (["digits", "mnist"], [1, 1_000, 100_000])
    param_names = ("workload", "rows")

    def setup(self, name, n_rows):
        workload = WORKLOADS[name]
        X, y = rows_and_targets(workload)
        self.model = estimator(workload).partial_fit(X[:1000], y[:1000], classes=range(10))
        self.rows = np.resize(X, (n_rows, X.shape[1]))
        reference = reference_network(workload)
        reference.coefs, reference.intercepts = self.model.coefs_, self.model.intercepts_
        few = self.rows[:1000]
        np.testing.assert_allclose(self.model.predict_proba(few), reference.predict(few), atol=1e-4)

    def time_predict(self, name, n_rows):
        self.model.predict(self.rows)

    def peakmem_predict(self, name, n_rows):
        self.model.predict(self.rows)
