"""Where the compile cache is, and that nobody else's folder is trusted."""

import os
from pathlib import Path

import pytest

from fastmlp.simd import cache as _cache

pytestmark = pytest.mark.needs_jit


def test_where_the_folder_is(monkeypatch, tmp_path):
    for variable in ("FASTMLP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(_cache.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _cache.cache_root() == tmp_path / ".cache" / "fastmlp"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert _cache.cache_root() == tmp_path / "xdg" / "fastmlp"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert _cache.cache_root() == tmp_path / "numba" / "fastmlp"
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path / "own"))
    assert _cache.cache_root() == tmp_path / "own" / "fastmlp"
    assert Path(_cache.cache_directory()).parent == tmp_path / "own" / "fastmlp"


def test_where_the_folder_is_on_other_systems(monkeypatch, tmp_path):
    for variable in ("FASTMLP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(_cache.sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _cache.cache_root() == tmp_path / "Library" / "Caches" / "fastmlp"
    monkeypatch.setattr(_cache.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert _cache.cache_root() == tmp_path / "local" / "fastmlp"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners of folders are a matter of POSIX")
def test_a_planted_temporary_folder_is_not_trusted(monkeypatch, tmp_path):
    monkeypatch.setattr(_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(_cache.tempfile, "tempdir", str(tmp_path))
    own = tmp_path / f"fastmlp-{os.getuid()}"
    _cache._temporary_root.cache_clear()
    assert _cache._temporary_root() == own
    assert own.stat().st_mode & 0o077 == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for plant in (lambda: own.symlink_to(elsewhere), lambda: (own.mkdir(), own.chmod(0o777))):
        own.rmdir() if own.is_dir() and not own.is_symlink() else own.unlink()
        plant()
        _cache._temporary_root.cache_clear()
        with pytest.raises(PermissionError, match="another user"):
            _cache._temporary_root()
    _cache._temporary_root.cache_clear()


def test_without_any_home_it_is_a_folder_of_the_users_own(monkeypatch):
    for variable in ("FASTMLP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(_cache.sys, "platform", "linux")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where the user has no entry and no HOME
    root = _cache.cache_root()
    assert root.is_absolute()
    assert "~" not in str(root)
