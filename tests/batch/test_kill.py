"""A batch in a process of its own that is killed, interrupted or run twice at once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch_fakes import contents, fake_settings, picture_folders

from glualign.batch import align_batch, match_folders, read_records

PROGRAM = Path(__file__).with_name("batch_fakes.py")
PAIRS = 30

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is for POSIX")


def start(sources: Path, targets: Path, out: Path, seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PROGRAM), str(sources), str(targets), str(out), str(seconds)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])})


def wait_for_lines(out: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if (out / "manifest.jsonl").read_bytes().count(b"\n") >= count:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.005)
    raise AssertionError(f"no {count} lines in the manifest after 30 s")


def test_five_kills_leave_what_an_undisturbed_run_makes(tmp_path) -> None:
    sources, targets = picture_folders(tmp_path, PAIRS)
    align_batch(match_folders(sources, targets), tmp_path / "undisturbed", fake_settings())
    out = tmp_path / "out"
    chance = random.Random(7)
    progress = []
    for kill in range(5):
        process = start(sources, targets, out, 0.02)
        wait_for_lines(out, 5 * kill + 1)
        time.sleep(chance.uniform(0, 0.06))
        process.kill()
        assert process.wait(timeout=30) == -signal.SIGKILL
        records = list(read_records(out / "manifest.jsonl"))
        progress.append(len(records))
        for record in records:  # what the manifest promises is there, whole
            for name, size in record.outputs.items():
                assert (out / name).stat().st_size == size
    assert progress == sorted(progress)
    assert 0 < progress[-1] < PAIRS
    assert start(sources, targets, out, 0).wait(timeout=60) == 0
    keys = [record.key for record in read_records(out / "manifest.jsonl")]
    assert sorted(keys) == sorted(f"frame{i}" for i in range(PAIRS))
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_second_run_into_the_same_folder_is_turned_away_until_the_first_is_gone(tmp_path) -> None:
    sources, targets = picture_folders(tmp_path, PAIRS)
    first = start(sources, targets, tmp_path / "out", 0.2)
    try:
        wait_for_lines(tmp_path / "out", 1)
        with pytest.raises(Exception, match="another run is writing"):
            align_batch(match_folders(sources, targets), tmp_path / "out", fake_settings())
    finally:
        first.kill()
        first.wait(timeout=30)
    summary = align_batch(match_folders(sources, targets), tmp_path / "out", fake_settings())
    assert summary.skipped >= 1
    assert summary.skipped + summary.done == PAIRS


def test_a_kill_loses_no_record_of_what_was_to_be_done_again(tmp_path) -> None:
    sources, targets = picture_folders(tmp_path, PAIRS)
    jobs, out = match_folders(sources, targets), tmp_path / "out"
    align_batch(jobs, out, fake_settings(options={"x": 1}))
    process = start(sources, targets, out, 0.05)  # with other options
    wait_for_lines(out, PAIRS + 3)
    process.kill()
    process.wait(timeout=30)
    back = align_batch(jobs, out, fake_settings(options={"x": 1}))
    assert 3 <= back.done < PAIRS
    assert back.skipped == PAIRS - back.done
    assert len(list(read_records(out / "manifest.jsonl"))) == PAIRS


CUT_WHILE_READ = """
import os, sys, threading, time
from pathlib import Path
import numpy as np
from batch_fakes import fake_settings, picture
from glualign.batch import align_batch, onto_target
from glualign.images import write_image

folder = Path(sys.argv[1])
target = picture(folder / "t.png")
source = folder / "s" / "x.tif"
write_image(source, np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8))
whole, end, failed = source.read_bytes(), time.monotonic() + 2, 0

def cut() -> None:  # for two seconds, and on until a read was hit
    while time.monotonic() < end + (0 if failed else 60):
        os.truncate(source, 5000)
        time.sleep(0.002)
        source.write_bytes(whole)
        time.sleep(0.004)

def run():
    return align_batch(onto_target(folder / "s", target), folder / "out", fake_settings(), redo="all")

thread = threading.Thread(target=cut)
thread.start()
while thread.is_alive():
    failed += run().failed
source.write_bytes(whole)
assert run().done == 1
print(failed)
"""


def test_a_tiff_cut_short_while_it_is_read_fails_its_pair_only(tmp_path) -> None:
    paths = os.pathsep.join(map(str, (PROGRAM.parent, PROGRAM.parents[2])))
    done = subprocess.run(
        [sys.executable, "-c", CUT_WHILE_READ, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
