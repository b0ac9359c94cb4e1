"""Opening files without waiting, and writing that leaves the old file or the new one."""

import errno
import json
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from glualign.errors import GlualignError, ImageError, MissingExtraError, OutputError
from glualign.files import (
    atomic_path,
    flush_to_disk,
    json_values,
    read_bytes,
    reading,
    write_bytes,
    write_text,
)

posix = pytest.mark.skipif(os.name == "nt", reason="links and permissions of POSIX")


def refused(path, words, **options):
    with pytest.raises(GlualignError, match=words) as caught, reading(path, **options):
        pass
    assert str(path) in str(caught.value)


def test_a_regular_file_is_opened_and_read_up_to_a_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with reading(tmp_path / "a") as stream:
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
            with reading(f"/dev/fd/{end}", limit=limit) as stream:
                assert stream.read() == content
        os.close(end)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def write() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_writers_in_threads_never_mix(tmp_path):
    """Sixteen threads write one name and their own names; each file is one of them, whole."""
    failures = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                write_bytes(tmp_path / "same", bytes([number]) * 10_000)
                write_bytes(tmp_path / f"own-{number}", bytes([number]) * 100)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set((tmp_path / "same").read_bytes())) == 1
    assert (tmp_path / "same").stat().st_size == 10_000
    assert {path.name for path in tmp_path.iterdir()} == {"same", *(f"own-{n}" for n in range(16))}


@posix
def test_new_files_get_the_permissions_of_the_umask_without_touching_it(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to the whole process"))
        monkeypatch.setattr(os, "chmod", lambda *_: pytest.fail("file systems may refuse chmod"))
        write_text(tmp_path / "a", "x")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    finally:
        monkeypatch.undo()
        os.umask(before)


@posix
def test_a_planted_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "thesis").write_text("years")
    (tmp_path / "out").symlink_to(tmp_path / "thesis")
    write_text(tmp_path / "out", "new")
    assert (tmp_path / "thesis").read_text() == "years"
    assert not (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000 + "b", "nul\0"])
def test_a_name_that_cannot_be_is_one_error(tmp_path, name):
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / name, "x")


def test_the_longest_name_is_written(tmp_path):
    write_text(tmp_path / ("x" * 251 + ".txt"), "x")
    assert len(list(tmp_path.iterdir())) == 1


@posix
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_flushed_mean_no_harm(tmp_path, monkeypatch, code):
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "fsync", refuse)
    flush_to_disk(tmp_path)
    with pytest.raises(OSError, match=os.strerror(code)):
        flush_to_disk(tmp_path / "file")


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (ImageError("is a thumbnail"), ImageError, "{path}: is a thumbnail"),
        (MissingExtraError("needs h5py"), MissingExtraError, "{path}: needs h5py"),
        (IndexError("beyond"), ImageError, "{path}: is truncated or damaged; .*beyond"),
        (OSError(errno.EIO, "Input/output error"), ImageError, "{path}: cannot be read"),
        (MemoryError(), ImageError, "{path}: there is not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left"),
    ],
)
def test_what_a_decoder_raises_names_the_file_once(tmp_path, raised, kind, words):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with (
        pytest.raises(kind, match=words.format(path=path)) as caught,
        reading(path, ImageError),
        reading(path, ImageError),
    ):
        raise raised
    assert str(caught.value).count(str(path)) <= 1


@dataclass(frozen=True)
class Record:
    path: Path
    values: tuple[float, ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Record(Path("a/b"), (1.0, float("inf"))), {"path": str(Path("a/b")), "values": [1.0, None]}),
        (np.array([[1, 2]], np.uint8), [[1, 2]]),
        (np.array([np.nan, 0.5], np.float32), [None, 0.5]),
        (np.bool_(True), True),
        ({1: {"x": None}}, {"1": {"x": None}}),
        ("text", "text"),
    ],
)
def test_records_become_what_json_holds(value, expected):
    assert json_values(value) == expected
    assert json.loads(json.dumps(json_values(value), allow_nan=False)) == expected
