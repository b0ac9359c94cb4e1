import re
from dataclasses import fields

import pytest

from glualign.checkpoints import registry
from glualign.checkpoints.load import load_model
from glualign.checkpoints.registry import (
    cache_folder,
    find_weights,
    imported_files,
    load_registry,
    sha256_of,
)
from glualign.errors import CheckpointError
from glualign.network import CONFIGS, GLUNetConfig

ENTRIES = list(dict.fromkeys(load_registry().values()))


def test_names_aliases_and_files_are_unique():
    names = [name for entry in ENTRIES for name in (entry.name, *entry.aliases)]
    files = [entry.file for entry in ENTRIES if entry.file]
    ids = [entry.drive for entry in ENTRIES if entry.drive]
    for values in (names, files, ids):
        assert len(values) == len(set(values))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries_are_complete(entry):
    assert entry.source in ("embedded", "drive", "refused")
    assert entry.title
    assert entry.code_licence
    assert re.fullmatch(r"([0-9a-f]{64})?", entry.sha256)
    assert set(entry.settings) <= {field.name for field in fields(GLUNetConfig)}
    if entry.source == "refused":
        assert "non-commercial" in entry.reason
        return
    assert entry.model in CONFIGS
    assert entry.file
    assert entry.licence
    if entry.source == "drive":
        assert re.fullmatch(r"[\w-]{33}", entry.drive)
        assert bool(entry.sha256) == bool(entry.sha256_evidence)


def test_every_published_family_member_is_listed():
    models = {entry.model for entry in ENTRIES if entry.source == "drive"}
    assert models == {"glunet", "semantic-glunet", "glunet-star", "warpc-glunet"}
    assert len([entry for entry in ENTRIES if entry.source == "drive"]) == 11
    assert len([entry for entry in ENTRIES if entry.source == "refused"]) == 5


def test_the_embedded_file_is_the_registered_one():
    """After replacing weights/compact.safetensors, put its `sha256sum` into weights/registry.toml."""
    for entry in ENTRIES:
        if entry.source == "embedded":
            assert entry.path.parent == registry.PACKAGED
            assert sha256_of(entry.path) == entry.sha256
            assert entry.path.with_suffix(".md").is_file(), "every embedded file has a model card"


def test_the_cache_follows_the_environment(cache):
    assert cache_folder() == cache


def test_without_a_home_nothing_is_cached(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("GLUALIGN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr("pathlib.Path.home", no_home)
    assert imported_files() == []
    assert load_model("compact").name == "compact"


def test_the_default_cache_is_the_platforms(monkeypatch):
    monkeypatch.delenv("GLUALIGN_CACHE")
    assert cache_folder().is_absolute()
    assert "glualign" in cache_folder().parts


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("glunet-static", "`glualign weights fetch glunet-static`.*`glualign weights import FILE"),
        ("glunet", "glualign weights fetch glunet-static"),
        ("glunet-gocor-dynamic", "non-commercial"),
        ("compakt", "did you mean compact?"),
        ("zzz", "neither a file nor a known model; `glualign weights list`"),
        ("folder/zzz", "no such file"),
        ("zzz.pth", "no such file"),
    ],
)
def test_names_that_lead_nowhere(name, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        find_weights(name)
    assert "\n" not in str(caught.value)


def test_a_registered_name_goes_before_a_file_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "compact").write_text("a folder entry that happens to be called so")
    monkeypatch.chdir(tmp_path)
    assert load_model("compact").path.parent == registry.PACKAGED


def test_unfinished_downloads_and_records_are_no_checkpoints(cache):
    cache.mkdir()
    for name in ("a.pth", "b.pth.part", "a.pth.json", "GLUNet_static.pth", "c.pth.tar", ".glualign-0.pth"):
        (cache / name).touch()
    assert [path.name for path in imported_files()] == ["a.pth", "c.pth.tar"]


@pytest.mark.parametrize("text", ["[[checkpoint]]\nname = 'x'", "nonsense", "[[checkpoint]]\nwhat = 1"])
def test_a_damaged_registry_is_told(tmp_path, monkeypatch, text):
    (tmp_path / "registry.toml").write_text(text)
    monkeypatch.setattr(registry, "PACKAGED", tmp_path)
    with pytest.raises(CheckpointError, match="reinstall glualign"):
        load_registry.__wrapped__()


def test_a_missing_registry_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "PACKAGED", tmp_path)
    with pytest.raises(CheckpointError, match="reinstall glualign"):
        load_registry.__wrapped__()
