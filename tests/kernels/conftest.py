"""Guard bands around every buffer of a network are checked after each test."""

import pytest

from tests.helpers.panels import guards_checked


@pytest.fixture(autouse=True)
def guard_bands():
    with guards_checked():
        yield
