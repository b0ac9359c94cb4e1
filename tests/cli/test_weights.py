import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from glualign.cli.main import cli


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GLUALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GLUALIGN_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.fixture
def weights(cache):
    def run(*arguments, code=0):
        result = CliRunner().invoke(cli, ["weights", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    return run


@pytest.fixture
def compact(weights):
    return weights("path", "compact").strip()


def test_list_shows_names_and_states(weights):
    text = weights("list")
    assert "compact" in text
    assert "embedded" in text
    assert "glunet-static" in text
    assert "not fetched" in text
    assert "refused" in text


def test_list_as_json(weights, compact):
    weights("import", compact, "--name", "mine")
    entries = {entry["name"]: entry for entry in json.loads(weights("list", "--json"))}
    assert entries["compact"]["state"] == "embedded"
    assert entries["glunet-static"]["drive"] == "1cu_8lwhuqeNsIxEsuB6ihDBzz-yLW_L5"
    assert entries["glunet-static"]["path"] is None
    assert "non-commercial" in entries["glunet-gocor-static"]["reason"]
    assert entries["mine"]["state"] == "imported"


def test_path_prints_nothing_but_the_path(compact):
    assert os.path.isfile(compact)


def test_info(weights, compact):
    text = weights("info", "compact")
    for word in ("compact.safetensors", "residual", "Apache-2.0", "training"):
        assert word in text
    facts = json.loads(weights("info", compact, "--json"))
    assert facts["config"]["decoder"] == "residual"
    assert facts["storage"] == "safetensors"
    assert facts["size"] == os.path.getsize(compact)


def test_info_of_weights_that_are_not_here(weights):
    text = weights("info", "glunet-static")
    assert "not on this machine" in text
    assert "1cu_8lwhuqeNsIxEsuB6ihDBzz-yLW_L5" in text
    assert "LGPL-2.1" in text
    assert "non-commercial" in weights("info", "pdcnet-megadepth")


def test_verify(weights, compact, tmp_path):
    assert "known" in weights("verify")
    assert "no record" in weights("verify", compact)
    broken = tmp_path / "broken.safetensors"
    with open(compact, "rb") as file:
        broken.write_bytes(file.read()[:-1000])
    message = weights("verify", broken, code=1)
    assert "damaged" in message
    assert str(broken) in message


def test_verify_tells_of_every_unsound_file(weights, compact, cache):
    weights("import", compact, "--name", "good")
    (cache / "bad.pth").write_bytes(b"<html>")
    result = CliRunner().invoke(cli, ["weights", "verify", "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [verdict["name"] for verdict in found["checked"]] == ["compact", "good"]
    assert len(found["problems"]) == 1
    assert "bad.pth" in found["problems"][0]


def test_verify_notices_a_changed_file(weights, compact, cache):
    weights("import", compact, "--name", "mine")
    weights("export", "compact", "-o", cache / "mine.safetensors", "--dtype", "bf16")
    assert "SHA-256 is not the one on record" in weights("verify", "mine", code=1)


def test_import_then_use_by_name(weights, compact, cache):
    report = weights("import", compact, "--name", "mine")
    assert "mine" in report
    assert re.search("hash state +as recorded", report)
    assert weights("path", "mine").strip() == str(cache / "mine.safetensors")
    assert weights("import", compact, "--name", "mine", "-q") == ""


def test_export_writes_what_verify_accepts(weights, tmp_path):
    out = tmp_path / "new" / "small.safetensors"
    verdict = json.loads(
        weights("export", "compact", "-o", out, "--dtype", "fp32", "--meta", "note=a = b", "--json")
    )
    assert verdict["path"] == str(out)
    facts = json.loads(weights("info", out, "--json"))
    assert facts["metadata"]["note"] == "a = b"
    assert facts["metadata"]["licence"] == "Apache-2.0"
    assert "float16" not in facts["tensors"]


def test_export_options_are_checked(weights, tmp_path):
    weights("export", "compact", "-o", tmp_path / "x.safetensors", "--meta", "nonsense", code=2)
    assert "end in .safetensors" in weights("export", "compact", "-o", tmp_path / "x.pth", code=1)


def test_export_never_replaces_what_it_reads(weights, compact, cache):
    cache.mkdir()
    own = cache / "own.safetensors"
    shutil.copy(compact, own)
    for name in (own, "own"):
        assert "is an input" in weights("export", name, "-o", own, "--dtype", "bf16", code=1)
    assert own.read_bytes() == Path(compact).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["path", "glunet-static"], "glualign weights fetch glunet-static"),
        (["path", "compakt"], "did you mean compact"),
        (["fetch", "nothing"], "no such checkpoint"),
        (["fetch", "glunet-gocor-static"], "non-commercial"),
        (["fetch", "glunet-static"], "GLUALIGN_OFFLINE forbids"),
        (["import", "gone.pth"], "gone.pth: no such file"),
        (["info", "gone.pth"], "gone.pth: no such file"),
        (["verify", "gone.pth"], "gone.pth: no such file"),
        (["export", "gone", "-o", "x.safetensors"], "neither a file nor a known model"),
    ],
)
def test_failures_are_one_line_and_exit_with_one(weights, arguments, words):
    message = weights(*arguments, code=1)
    assert words in message
    assert message.strip().count("\n") == 0


def test_fetching_the_embedded_model_is_no_error(weights):
    assert re.search("hash state +known", weights("fetch", "compact"))


@pytest.mark.parametrize("command", ["list", "path compact", "fetch --help"])
def test_torch_is_not_loaded_without_need(command, cache):
    code = (
        "import sys; from glualign.cli.main import cli\n"
        f"cli.main({['weights', *command.split()]!r}, standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
