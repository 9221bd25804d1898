"""Files are written whole or not at all."""

import os
import subprocess
import sys

import pytest

from fastmlp.files.atomic import check_writable, replaced_file

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs what Windows lacks")


def test_new_file_is_written(tmp_path):
    with replaced_file(tmp_path / "file") as file:
        file.write(b"new")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_earlier_file_is_kept_until_all_is_well(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"earlier")

    def write_half():
        with replaced_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"earlier"
    with replaced_file(path) as file:
        file.write(b"later")
        assert path.read_bytes() == b"earlier"
    assert path.read_bytes() == b"later"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_is_known_before(tmp_path):
    with pytest.raises(OSError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(OSError, match="its folder doesn't exist"):
        check_writable(tmp_path / "nowhere" / "file")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="its folder doesn't exist"):
        check_writable(tmp_path / "file" / "file")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new")


@posix_only
def test_read_only_files_and_folders(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anything")
    (tmp_path / "file").touch(mode=0o400)
    with pytest.raises(OSError, match="permission denied"):
        check_writable(tmp_path / "file")
    (tmp_path / "folder").mkdir(mode=0o500)
    with pytest.raises(OSError, match="permission denied"):
        check_writable(tmp_path / "folder" / "file")


@posix_only
def test_devices_and_pipes_are_written_directly(tmp_path):
    with replaced_file("/dev/null") as file:
        file.write(b"gone")
    assert not os.path.isfile("/dev/null")
    program = "from fastmlp.files.atomic import replaced_file\nwith replaced_file('/dev/stdout') as f: f.write(b'out')"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=120)
    assert finished.stdout == b"out"


@posix_only
def test_link_is_kept(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with replaced_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
