"""Opening files: what is no regular file is refused at once, pipes of the shell are read."""

import os

import pytest

from glualign.errors import GlualignError, ImageError
from glualign.files import open_regular, read_bytes


def refused(path, words, **options):
    with pytest.raises(GlualignError, match=words) as caught:
        open_regular(path, **options)
    assert str(path) in str(caught.value)


def test_a_regular_file_is_opened_and_read_up_to_a_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with open_regular(tmp_path / "a") as stream:
        assert stream.read() == b"12345"
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ImageError, match="holds more than"):
        read_bytes(tmp_path / "a", 4, error=ImageError)


def test_missing_folder_fifo_device_and_a_name_with_nul(tmp_path):
    refused(tmp_path / "none", "no such file")
    refused(tmp_path, "is a folder")
    refused(str(tmp_path / "a\0b"), "cannot be read")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(tmp_path / "pipe", "named pipe or a device")
        refused("/dev/zero", "named pipe or a device")


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no /dev/fd")
def test_a_pipe_of_the_shell_is_read_up_to_a_limit():
    for limit, content in ((10, b"1234"), (3, None)):
        end, start = os.pipe()
        os.write(start, b"1234")
        os.close(start)
        if content is None:
            refused(f"/dev/fd/{end}", "holds more than", limit=limit)
        else:
            with open_regular(f"/dev/fd/{end}", limit=limit) as stream:
                assert stream.read() == content
        os.close(end)
