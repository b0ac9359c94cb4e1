"""``fetch`` and ``import`` against a server that plays Google Drive."""

import errno
import io
import json
import os
import random
import tarfile
import time
import zipfile
from dataclasses import replace

import pytest
import torch
from checkpoint_files import official_state

from glualign.checkpoints import registry
from glualign.checkpoints.fetch import fetch, import_file, verify
from glualign.checkpoints.load import load_model
from glualign.checkpoints.registry import read_note, sha256_of
from glualign.errors import CheckpointError, DownloadError, OutputError

NAME = "glunet-static"
ARCHIVED = "glunet-dped-cityscape-ade"


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.fixture
def known_hash(monkeypatch):
    """Give a registered checkpoint another known hash for the time of a test."""

    def change(name, sha256):
        entries = registry.load_registry()
        changed = {**entries, name: replace(entries[name], sha256=sha256)}
        monkeypatch.setattr(registry, "load_registry", lambda: changed)

    return change


def left_over(cache):
    """Visible files in the cache."""
    return (
        sorted(path.name for path in cache.iterdir() if not path.name.startswith("."))
        if cache.exists()
        else []
    )


@pytest.mark.parametrize("page", ["none", "form", "link"])
def test_every_way_past_drives_warning(drive, cache, hurry, page):
    drive.page = page
    found = fetch(NAME, limits=hurry)
    assert found.path.read_bytes() == drive.payload
    assert found.hash_state == "as recorded"
    assert read_note(found.path) == {
        "sha256": sha256_of(found.path),
        "origin": "https://drive.google.com/file/d/1cu_8lwhuqeNsIxEsuB6ihDBzz-yLW_L5/view",
    }
    assert left_over(cache) == ["GLUNet_static.pth", "GLUNet_static.pth.json"]
    assert load_model(NAME).name == NAME
    assert load_model("glunet").config.truncate_to_uint8 is False


def test_the_drive_id_is_asked_for(drive, hurry):
    fetch(NAME, limits=hurry)
    assert "id=1cu_8lwhuqeNsIxEsuB6ihDBzz-yLW_L5" in drive.requests[0]["path"]


def test_what_is_there_is_not_fetched_again(drive, hurry):
    fetch(NAME, limits=hurry)
    count = len(drive.requests)
    fetch(NAME, limits=hurry)
    assert len(drive.requests) == count
    fetch(NAME, limits=hurry, force=True)
    assert len(drive.requests) > count


def test_a_damaged_file_is_fetched_again(drive, hurry):
    path = fetch(NAME, limits=hurry).path
    for damage in (drive.payload[:1000], saved(official_state(seed=1))):
        path.write_bytes(damage)
        fetch(NAME, limits=hurry)
        assert path.read_bytes() == drive.payload


def test_a_cache_that_cannot_be_written(drive, hurry, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLUALIGN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError, match="GLUALIGN_CACHE chooses another folder"):
        fetch(NAME, limits=hurry)


def test_dropped_connections_behind_the_warning_page(drive, hurry):
    drive.page = "form"
    drive.faults = [("drop", 8192), ("stall", 8192)]
    assert fetch(NAME, limits=hurry).path.read_bytes() == drive.payload
    assert drive.ranges == ["", "bytes=8192-", "bytes=16384-"]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("quota", "downloaded too often"),
        ("login", "no longer public"),
        ("foreign", "leads to another server"),
        ("loop", "one warning page after another"),
    ],
)
def test_refusals_say_what_to_do_by_hand(drive, cache, hurry, page, words):
    drive.page = page
    with pytest.raises(DownloadError, match=words) as caught:
        fetch(NAME, limits=hurry)
    message = str(caught.value)
    assert (
        "open https://drive.google.com/file/d/1cu_8lwhuqeNsIxEsuB6ihDBzz-yLW_L5/view in a browser" in message
    )
    assert f"glualign weights import FILE --name {NAME}" in message
    assert "\n" not in message
    assert left_over(cache) == []


def test_what_a_killed_download_left_is_removed_by_a_later_one(drive, cache, hurry):
    for name, hours in ((".download-dead", 3), (".download-alive", 1)):
        (cache / name).mkdir(parents=True)
        (cache / name / "GLUNet_static.pth").touch()
        os.utime(cache / name, (time.time() - 3600 * hours,) * 2)
    fetch(NAME, limits=hurry)
    assert [path.name for path in cache.glob(".download-*")] == [".download-alive"]


def test_a_page_that_claims_to_be_a_file_is_not_kept(drive, cache, hurry):
    drive.payload = b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>"
    with pytest.raises(DownloadError, match="web page"):
        fetch(NAME, limits=hurry)
    assert left_over(cache) == []


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"\x00" * 5000, "neither safetensors nor a torch file"),
        (saved(official_state("glunet"))[:-2000], "damaged"),
        (saved(official_state("glunet-star")), "holds glunet-star, but glunet-static is glunet"),
        (saved({"a": torch.zeros(3)}), "not a GLU-Net"),
        (saved({**official_state(), "corr.corr_module.x": torch.zeros(1)}), "non-commercial"),
    ],
    ids=["garbage", "truncated", "another model", "no model", "GOCor"],
)
def test_wrong_bytes_are_discarded(drive, cache, hurry, payload, words):
    drive.payload = payload
    with pytest.raises(DownloadError, match=words) as caught:
        fetch(NAME, limits=hurry)
    assert "was discarded" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert left_over(cache) == []


def test_a_failed_renewal_keeps_the_old_file(drive, hurry):
    fetch(NAME, limits=hurry)
    good = drive.payload
    drive.payload, drive.etag = b"\x00" * 5000, '"v2"'
    with pytest.raises(DownloadError):
        fetch(NAME, limits=hurry, force=True)
    assert verify(NAME).path.read_bytes() == good


def test_a_known_hash_is_compared(drive, hurry, cache, known_hash, official_bytes, tmp_path):
    (tmp_path / "x").write_bytes(official_bytes)
    known_hash(NAME, sha256_of(tmp_path / "x"))
    found = fetch(NAME, limits=hurry)
    assert found.hash_state == "known"


def test_another_hash_than_the_known_one_is_refused(drive, hurry, cache, known_hash):
    known_hash(NAME, "0" * 64)
    with pytest.raises(DownloadError, match=f"SHA-256 is .*, not {'0' * 64}"):
        fetch(NAME, limits=hurry)
    assert left_over(cache) == []


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_one_file_is_taken_out_of_an_archive(drive, cache, hurry, known_hash, official_bytes, tmp_path):
    known_hash(ARCHIVED, "")
    drive.payload = zipped(
        {
            "../../escaped.pth": b"x",
            "pre_trained_models/Semantic_GLUNet_DPED_CityScape_ADE.pth": b"y",
            "pre_trained_models/GLUNet_DPED_CityScape_ADE.pth": official_bytes,
        }
    )
    found = fetch(ARCHIVED, limits=hurry)
    assert found.path.read_bytes() == official_bytes
    assert left_over(cache) == ["GLUNet_DPED_CityScape_ADE.pth", "GLUNet_DPED_CityScape_ADE.pth.json"]
    assert not list(tmp_path.parent.glob("escaped.pth"))
    assert load_model(ARCHIVED).config.truncate_to_uint8 is True


def test_an_archive_without_the_file(drive, cache, hurry):
    drive.payload = zipped({"readme.txt": b"nothing here"})
    with pytest.raises(DownloadError, match=r"of GLUNet_DPED_CityScape_ADE\.pth the archive holds none"):
        fetch(ARCHIVED, limits=hurry)
    assert left_over(cache) == []


def test_offline_nothing_is_asked(drive, hurry, monkeypatch):
    monkeypatch.setenv("GLUALIGN_OFFLINE", "1")
    with pytest.raises(DownloadError, match="GLUALIGN_OFFLINE forbids"):
        fetch(NAME, limits=hurry)
    assert drive.requests == []
    assert fetch("compact").hash_state == "known"


@pytest.mark.parametrize("name", ["glunet-gocor-static", "pdcnet-megadepth"])
def test_refused_checkpoints_are_not_fetched(drive, name):
    with pytest.raises(CheckpointError, match="non-commercial"):
        fetch(name)
    assert drive.requests == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no links or pipes with names")
def test_what_others_planted_in_a_shared_cache_is_not_followed(drive, hurry, cache, tmp_path):
    cache.mkdir()
    victim = tmp_path / "thesis.txt"
    victim.write_text("mine")
    for name in (".GLUNet_static.pth.lock", "GLUNet_static.pth.part", "GLUNet_static.pth.part.json"):
        (cache / name).symlink_to(victim)
    (cache / "GLUNet_static.pth").symlink_to(victim)
    os.mkfifo(cache / "GLUNet_static.pth.json")
    assert fetch(NAME, limits=hurry).path.read_bytes() == drive.payload
    assert victim.read_text() == "mine"
    assert not (cache / "GLUNet_static.pth").is_symlink()


# ---- import


@pytest.fixture
def official_file(tmp_path, official_bytes):
    path = tmp_path / "GLUNet_static.pth"
    path.write_bytes(official_bytes)
    return path


def test_an_official_file_is_recognised_by_its_name(official_file, cache):
    found = import_file(official_file)
    assert found.name == NAME
    assert found.path == cache / "GLUNet_static.pth"
    assert official_file.exists()
    assert load_model(NAME).path == found.path


def test_an_official_file_is_recognised_by_its_hash(official_file, known_hash, tmp_path):
    known_hash("glunet-dynamic", sha256_of(official_file))
    renamed = official_file.rename(tmp_path / "download(1).pth")
    assert import_file(renamed).name == "glunet-dynamic"


def test_a_file_of_ones_own_gets_a_name(official_file, cache):
    found = import_file(official_file, name="mine")
    assert found.path == cache / "mine.pth"
    assert load_model("mine").name == "mine"
    assert [known["name"] for known in registry.describe_all() if known["path"]] == ["compact", "mine"]


def test_a_second_import_replaces_the_first(official_file, cache, tmp_path):
    import_file(official_file, name="mine")
    from glualign.checkpoints.registry import find_weights

    other = tmp_path / "other.safetensors"
    other.write_bytes(find_weights("compact").path.read_bytes())
    import_file(other, name="mine")
    assert load_model("mine").config.model == "compact"
    assert left_over(cache) == ["mine.safetensors", "mine.safetensors.json"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_other_archives_are_named(tmp_path, official_bytes, mode):
    path = tmp_path / "models.tar"
    with tarfile.open(path, mode) as archive:
        info = tarfile.TarInfo("models/GLUNet_dynamic.pth")
        info.size = len(official_bytes)
        archive.addfile(info, io.BytesIO(official_bytes))
    with pytest.raises(CheckpointError, match="unpack it and import the file"):
        import_file(path, name="glunet-dynamic")


def test_damaged_archives_are_one_line(tmp_path, official_bytes):
    path = tmp_path / "models.zip"
    whole = zipped({"a/GLUNet_dynamic.pth": official_bytes})
    dice = random.Random(5)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[dice.randrange(-200, 100)] = dice.randrange(256)
        path.write_bytes(damaged)
        message = ""
        try:
            import_file(path, name="glunet-dynamic")
        except CheckpointError as error:
            message = str(error)
        assert "\n" not in message


def test_archives_with_several_candidates_are_not_guessed(tmp_path, official_bytes):
    path = tmp_path / "models.zip"
    path.write_bytes(zipped({"a.pth": official_bytes, "b.pth": official_bytes}))
    with pytest.raises(CheckpointError, match=r"several candidates \(a.pth, b.pth\)"):
        import_file(path)


def test_a_wrong_file_is_not_imported(official_file, cache):
    with pytest.raises(CheckpointError, match=r"holds glunet, but semantic-glunet-static is semantic-glunet"):
        import_file(official_file, name="semantic-glunet-static")
    assert left_over(cache) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("compact", "ships with glualign"),
        ("glunet-gocor-static", "non-commercial"),
        ("../evil", "not usable as a name"),
        (".hidden", "not usable as a name"),
    ],
)
def test_names_that_cannot_be_used(official_file, cache, name, words):
    with pytest.raises(CheckpointError, match=words):
        import_file(official_file, name=name)
    assert left_over(cache) == []


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", full)
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(OutputError, match="No space left"):
        import_file(tmp_path / "a.pth")


def test_messages_name_the_imported_file(tmp_path):
    path = tmp_path / "page.pth"
    path.write_bytes(b"<html>")
    with pytest.raises(CheckpointError) as caught:
        import_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(CheckpointError, match="no such file"):
        import_file(tmp_path / "gone.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        import_file(tmp_path)


def test_other_bytes_than_the_known_ones_can_be_imported_knowingly(official_file):
    assert import_file(official_file, name=ARCHIVED).hash_state == "unlike registry"
    assert verify(ARCHIVED).hash_state == "unlike registry"


# ---- verify


def test_a_file_that_changed_since_it_was_fetched(drive, hurry):
    path = fetch(NAME, limits=hurry).path
    path.write_bytes(saved(official_state(seed=1)))
    assert verify(NAME).hash_state == "differs"


def test_a_damaged_record_counts_as_none(drive, hurry):
    path = fetch(NAME, limits=hurry).path
    path.with_name(path.name + ".json").write_text(json.dumps({"name": NAME}))
    assert verify(NAME).hash_state == "no record"
