"""A callback of scikit-learn's protocol, for tests that look at a fit from outside."""


class Callback:
    """Does something at the end of every epoch."""

    def __init__(self, action):
        self.action = action

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.parent is not None:
            self.action()
