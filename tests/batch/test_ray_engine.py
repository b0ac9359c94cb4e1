import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from batch_fakes import FakeAligner, contents, fake_settings, picture, picture_folders, save

from glualign.batch import Record, align_batch, match_folders, ray_engine, read_records
from glualign.batch.pipeline import Writer
from glualign.batch.ray_engine import RayEngine
from glualign.errors import BatchError, MissingExtraError
from glualign.images import read_image


def test_without_ray_the_message_names_the_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    jobs = match_folders(*picture_folders(tmp_path, 1))
    with pytest.raises(MissingExtraError, match=r"glualign\[ray\]"):
        align_batch(jobs, tmp_path / "out", fake_settings(), engine=RayEngine())


def test_an_actor_works_through_chunks_with_one_aligner(tmp_path) -> None:
    pairs = match_folders(*picture_folders(tmp_path, 5)).pairs
    made = []
    settings = fake_settings()
    settings = replace(settings, make=lambda: made.append(1) or FakeAligner())
    actor = ray_engine._Actor(settings, Writer(tmp_path / "out", tmp_path / "out" / "aside"))
    chunks = {"pairs": [pickle.dumps(pairs[:3]), pickle.dumps(pairs[3:])]}
    rows = list(actor(chunks))
    assert [Record.from_json(row["record"][0]).key for row in rows] == [pair.key for pair in pairs]
    assert all(row["fatal"] == [""] for row in rows)
    assert made == [1]


@pytest.fixture(scope="module")
def two_workers():
    """One local cluster for all tests here: starting it takes seconds."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    paths = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[2])))
    environment = {"env_vars": {"PYTHONPATH": paths}}
    for attempt in range(3):
        try:
            ray.init(num_cpus=3, runtime_env=environment, include_dashboard=False, log_to_driver=False)
            break
        except Exception as error:  # Ray gives a node 30 s to start, which a busy machine may not keep
            ray.shutdown()
            if attempt == 2:
                pytest.skip(f"Ray does not start here: {error}")
    yield RayEngine(workers=2, chunk=2)
    ray.shutdown()


def test_ray_makes_what_local_makes_and_resumes(two_workers, tmp_path) -> None:
    sources, targets = picture_folders(tmp_path, 8)
    (sources / "frame5.png").write_bytes(b"")
    picture(sources / "odd \udcff name.png")
    picture(targets / "odd \udcff name.png")
    jobs = match_folders(sources, targets)
    local = align_batch(jobs, tmp_path / "local", fake_settings())
    ray = align_batch(jobs, tmp_path / "ray", fake_settings(), engine=two_workers)
    assert (ray.done, ray.failed) == (local.done, local.failed) == (8, 1)
    assert ray.failures == local.failures
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    keys = [record.key for record in read_records(tmp_path / "ray" / "manifest.jsonl")]
    assert sorted(keys) == sorted(pair.key for pair in jobs.pairs)
    assert align_batch(jobs, tmp_path / "ray", fake_settings(), engine=two_workers).skipped == 8
    picture(sources / "frame5.png")
    assert align_batch(jobs, tmp_path / "ray", fake_settings()).done == 1


def test_both_actors_work_and_each_makes_one_aligner(two_workers, tmp_path) -> None:
    made = tmp_path / "made"
    made.mkdir()

    def make() -> FakeAligner:
        import os

        (made / f"{os.getpid()}-{len(list(made.iterdir()))}").touch()
        return FakeAligner(0.05)

    jobs = match_folders(*picture_folders(tmp_path, 16))
    align_batch(jobs, tmp_path / "out", replace(fake_settings(), make=make), engine=two_workers)
    assert len({path.name.split("-")[0] for path in made.iterdir()}) == len(list(made.iterdir())) == 2


def test_the_chunk_of_an_actor_that_dies_is_done_again(two_workers, tmp_path) -> None:
    died = tmp_path / "died"

    def die_once(path):
        if path.name == "frame3.png" and not died.exists():
            died.touch()
            os._exit(1)
        return read_image(path)

    jobs = match_folders(*picture_folders(tmp_path, 8))
    summary = align_batch(
        jobs, tmp_path / "out", replace(fake_settings(), reader=die_once), engine=two_workers
    )
    assert died.exists()
    assert (summary.done, summary.failed) == (8, 0)
    assert len(list(read_records(tmp_path / "out" / "manifest.jsonl"))) == 8
    assert not (tmp_path / "out" / ".glualign" / "aside").exists()


def test_a_full_disk_on_a_worker_ends_the_run_with_its_message(two_workers, tmp_path) -> None:
    def fill(alignment, folder, stem):
        if stem == "frame3":
            raise OSError(28, "No space left on device")
        return save(alignment, folder, stem)

    jobs = match_folders(*picture_folders(tmp_path, 4))
    with pytest.raises(BatchError, match="disk is full"):
        align_batch(jobs, tmp_path / "out", replace(fake_settings(), saver=fill), engine=two_workers)


def test_stop_ends_the_run_in_order(two_workers, tmp_path) -> None:
    jobs = match_folders(*picture_folders(tmp_path, 12))
    seen = []
    task = fake_settings()
    summary = align_batch(
        jobs, tmp_path / "out", task, engine=two_workers, on_progress=seen.append, stop=lambda: len(seen) > 2
    )
    assert 0 < summary.done < 12
    assert align_batch(jobs, tmp_path / "out", task).skipped == summary.done
