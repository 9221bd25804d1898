"""Everything that measures fastmlp: pytest-benchmark suites, and the rivals side by side."""
