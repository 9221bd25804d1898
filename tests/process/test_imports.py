"""Importing without the garbage collector: it is as it was afterwards."""

import gc
import sys

import pytest

from fastmlp.process.imports import import_at_once


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_as_it_was(is_enabled, tmp_path, monkeypatch):
    (tmp_path / "sees_the_collector.py").write_text("import gc\nwas_enabled = gc.isenabled()\n")
    (tmp_path / "is_broken.py").write_text("raise ValueError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    (gc.enable if is_enabled else gc.disable)()
    try:
        import_at_once("sees_the_collector")
        assert gc.isenabled() == is_enabled
        assert not sys.modules["sees_the_collector"].was_enabled
        with pytest.raises(ValueError, match="broken"):
            import_at_once("is_broken")
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()
        sys.modules.pop("sees_the_collector", None)
