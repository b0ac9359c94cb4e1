"""A file of weights is data: whatever its pickle asks for, nothing of it is executed."""

import builtins
import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
import zipfile
from collections import deque

import pytest
import torch
from checkpoint_files import official_state, save_densematching_container, training_container

from glualign.checkpoints.load import read_checkpoint
from glualign.checkpoints.restricted import TorchFile
from glualign.errors import CheckpointError


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(marker):
    command = f"touch {marker}"
    return {
        "os.system": Calls(os.system, command),
        "subprocess": Calls(subprocess.check_call, ["touch", str(marker)]),
        "eval": Calls(builtins.eval, f"open({str(marker)!r}, 'w').close()"),
        "open": Calls(builtins.open, str(marker), "w"),
        "getattr": Calls(builtins.getattr, Calls(builtins.__import__, "os"), "system"),
        "pickle in pickle": Calls(pickle.loads, pickle.dumps(Calls(os.system, command))),
    }


ATTACKS = list(attacks("x"))
FORMS = ["bare", "beside the state dict", "inside the state dict", "as its key"]


def payload(form, attack):
    state = dict(official_state())
    if form == "bare":
        return attack
    if form == "beside the state dict":
        return {**training_container(state), "constructor": attack}
    if form == "inside the state dict":
        return {"state_dict": {**state, "extra": attack}}
    return {"state_dict": {**state, (attack,): torch.zeros(1)}}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_malicious_files_are_refused_and_run_nothing(tmp_path, name, form, legacy):
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pth"
    torch.save(payload(form, attacks(marker)[name]), path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="refused") as caught:
        read_checkpoint(path)
    assert not marker.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_malicious_file_is_malicious(tmp_path, legacy):
    """Read without restriction it does create the file: the test above refuses a real attack."""
    marker = tmp_path / "marker"
    attack = attacks(marker)["os.system"]
    torch.save(
        payload("beside the state dict", attack),
        tmp_path / "evil.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_malicious_pickle_is_refused(tmp_path, protocol):
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Calls(os.system, f"touch {marker}"), protocol))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("position", range(5))
def test_no_part_of_the_legacy_format_is_trusted(tmp_path, position):
    """The format is a run of five pickles; an attack in any of them is found."""
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pth"
    torch.save(dict(official_state()), path, _use_new_zipfile_serialization=False)
    data = io.BytesIO(path.read_bytes())
    evil = pickle.dumps(Calls(os.system, f"touch {marker}"), 2)
    parts = []
    for _ in range(5):
        start = data.tell()
        deque(pickletools.genops(data), maxlen=0)
        parts.append(data.getvalue()[start : data.tell()])
    parts[position] = evil
    path.write_bytes(b"".join(parts) + data.read())
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not marker.exists()


def test_an_unknown_class_is_not_imported(tmp_path, monkeypatch):
    """Reading a container of DenseMatching imports no module, even where one of that name exists."""
    (tmp_path / "admin").mkdir()
    (tmp_path / "admin" / "__init__.py").write_text("raise SystemExit('imported')")
    path = tmp_path / "x.pth"
    save_densematching_container(path, official_state())
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_checkpoint(path).config.model == "glunet"


def test_state_of_unknown_classes_is_dropped(tmp_path):
    """Nothing is kept of what the file wants to fill an object with, dunder names least of all."""
    path = tmp_path / "x.pth"
    source = b"\x80\x02cadmin.stats\nMeter\n)\x81}X\x09\x00\x00\x00__class__K\x01sb."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", source)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    with pytest.raises(CheckpointError, match="no state dict"):
        read_checkpoint(path)


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(str(path))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_a_zip_bomb_is_refused(tmp_path):
    path = tmp_path / "x.pth"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data.pkl", "w") as member,
    ):
        for _ in range(65):
            member.write(bytes(1 << 20))
    with pytest.raises(CheckpointError, match="compressed archive"):
        read_checkpoint(path)


def zipped(path, source):
    """A file of torch's zip format with the given pickle and one storage of four values."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", source)
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/data/0", bytes(16))
    return path


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def call(name, *arguments):
    module, _, function = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + function.encode() + b"\n(" + b"".join(arguments) + b"tR"


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
TENSOR = call("torch._utils._rebuild_tensor_v2", STORAGE, b"K\x00", b"(K\x04t", b"(K\x01t", b"\x89")
SHADOW = b"}(" + text("detach") + b"ccollections\nOrderedDict\nu"
LARGE_KEYS = b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 9))
HOSTILE = {
    "nest of tuples as a key": (b"}" + b")" + b"\x86q\x00h\x00h\x00" * 40 + b"\x86Ns.", "keys that are no"),
    "an allocation of any size": (
        call("builtins.bytearray", b"J\xff\xff\xff\x7f") + b".",
        "builtins.bytearray",
    ),
    "more opcodes than weights need": (b"N" * 500_000 + b".", "opcodes"),
    "a hundred thousand names": (b"cm\nn\n" * 100_000 + b".", "opcodes"),
    "a tensor with methods of the file": (
        b"}" + text("w") + call("torch._tensor._rebuild_from_type_v2", TENSOR, SHADOW) + b"s.",
        "wants to call torch._tensor",
    ),
    "a container with methods of the file": (
        call("collections.OrderedDict") + b"}" + text("get") + b"ccollections\nOrderedDict\nsb.",
        "no state dict",
    ),
    "keys of equal hash": (b"}(" + LARGE_KEYS + b"u.", "keys that are no"),
    "an instance by name": (b"(ios\nsystem\n.", "opcode INST"),
    "a persistent object": (b"(" + text("module") + text("x") + b"tQ.", "more than storages"),
    "a tensor beyond its storage": (
        b"}" + text("w") + TENSOR.replace(b"(K\x04t(K\x01t", b"(K\x04t(K\x02t") + b"s.",
        "damaged",
    ),
    "a storage of another size": (
        b"}" + text("w") + TENSOR.replace(b"cpuK\x04", b"cpuK\x09").replace(b"\x04", b"\x09") + b"s.",
        "damaged",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_at_once(tmp_path, name):
    source, words = HOSTILE[name]
    path = zipped(tmp_path / "x.pth", b"\x80\x02" + source)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_harmless_calls_are_not_made(tmp_path):
    """An encoding named by the file may take minutes (punycode); of the result only the name is kept."""
    encoded = call("_codecs.encode", text("é" * 1000), text("punycode"))
    source = b"}(" + text("metadata") + b"}" + text("a") + encoded + b"s" + text("w") + TENSOR + b"u."
    opened = TorchFile(zipped(tmp_path / "x.pth", b"\x80\x02" + source).open("rb"))
    assert str(opened.content["metadata"]["a"]) == "encode"
    assert opened.tensors({"w": opened.content["w"]})["w"].tolist() == [0, 0, 0, 0]


def test_compressed_storages_are_refused(tmp_path):
    path, packed = tmp_path / "x.pth", tmp_path / "packed.pth"
    torch.save({"state_dict": official_state()}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w") as new:
        for info in old.infolist():
            deflated = zipfile.ZIP_DEFLATED if "/data/" in info.filename else zipfile.ZIP_STORED
            new.writestr(info.filename, old.read(info), deflated)
    with pytest.raises(CheckpointError, match="compressed archive"):
        read_checkpoint(packed)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="is a named pipe"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_damaged_bytes_end_in_one_clear_error(tmp_path, legacy):
    """Flipped bytes are read or refused; no other exception and no crash."""
    path = tmp_path / "x.pth"
    torch.save({"state_dict": official_state("glunet-star")}, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    dice = random.Random(7)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(4):
            damaged[dice.randrange(min(len(data), 30_000))] = dice.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            read_checkpoint(path)
        except CheckpointError:
            refused += 1
    assert refused > 10
