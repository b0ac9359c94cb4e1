"""``glualign weights fetch`` as a user runs it, against the server that plays Google Drive."""

import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "glualign", "weights", "fetch", "glunet-static"]


def test_fetch_then_use(drive, cache):
    drive.page = "form"
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "glunet-static" in done.stdout
    assert (cache / "GLUNet_static.pth").read_bytes() == drive.payload
    assert done.stderr == ""


def test_a_refusal_is_one_line(drive, cache):
    drive.page = "quota"
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "glualign weights import FILE --name glunet-static" in done.stderr


def listen_to_interrupts():
    """Undo what a shell does to commands in its background: they, and their children, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupted_fetch_leaves_nothing(drive, cache):
    drive.faults = [("stall", 16384)]
    process = subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listen_to_interrupts
    )
    deadline = time.monotonic() + 60
    while drive.sent < 16384:
        assert time.monotonic() < deadline, process.communicate(timeout=5)
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert list(cache.iterdir()) == []
