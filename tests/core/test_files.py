"""Files are written whole or not at all, and only in the place of files."""

import os

import pytest

from funcnet.core.files import write_atomically


def test_what_is_no_file_stays_what_it_is(tmp_path, monkeypatch):
    """The rename that ends a file's writing would put a file in the place of ``/dev/null``."""
    pipe = tmp_path / "pipe"
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
        (tmp_path / "link").symlink_to(pipe)
        for path in (pipe, tmp_path / "link"):
            with pytest.raises(FileExistsError, match="device, pipe or socket"):
                write_atomically(path, b"")
        assert pipe.is_fifo()
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for path in (folder, ""):
        with pytest.raises(IsADirectoryError, match="is a folder: give the path of a file in it"):
            write_atomically(path, b"")
    assert not {*tmp_path.iterdir()} - {pipe, folder, tmp_path / "link"}
    assert write_atomically("new", b"1").read_bytes() == b"1"
