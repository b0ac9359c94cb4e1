"""Damaged and hostile files of weights: our error or a model, quickly, in little memory, nothing run."""

import collections
import json
import os
import pickle
import random
import resource
import struct
import sys
import time
import warnings
import zipfile

import pytest
import torch
from mutations import mutations

from glualign.checkpoints.export import save_checkpoint
from glualign.checkpoints.load import load_model
from glualign.errors import CheckpointError
from glualign.network import GLUNet, GLUNetConfig

COUNT = 120
SECONDS_EACH = 5.0  # of the processor: other work on the machine does not count
GROWTH = 400 << 20  # bytes of resident memory over all files of one test

TINY = GLUNetConfig(
    model="tiny",
    decoder="residual",
    upsampling="bilinear",
    pyramid_channels=(2, 2, 2, 2),
    decoder_width=1 / 16,
    mapping_decoder_width=1 / 16,
)


def resident_peak():
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return {
        key: tensor.half() if tensor.ndim > 1 else tensor for key, tensor in GLUNet(TINY).state_dict().items()
    }


def container(state, *, config=None, **changed):
    """The state of a training run, the one torch file that carries a configuration."""
    recipe = {"model": TINY.to_dict() if config is None else config}
    return {"recipe": recipe, "progress": {"pairs": 1}, "average": dict(state), **changed}


@pytest.fixture(scope="module")
def blobs(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    save_checkpoint(folder / "safetensors", state, TINY, metadata={"licence": "none"})
    torch.save(container(state), folder / "zip")
    torch.save(container(state), folder / "legacy", _use_new_zipfile_serialization=False)
    for path in folder.iterdir():
        assert load_model(path).config == TINY
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(path):
    """Whether the file was refused; what it did otherwise is checked here."""
    started = time.process_time()
    loaded, message = None, ""
    try:
        loaded = load_model(path)
    except CheckpointError as error:
        message = str(error)
    assert time.process_time() - started < SECONDS_EACH
    if loaded is None:
        assert message.startswith(str(path)), "the message must name the file"
    else:
        assert all(torch.isfinite(tensor).all() for tensor in loaded.model.parameters())
    return loaded is None


def survive(files, path):
    """Load every file; returns how many were refused."""
    before, count = resident_peak(), 0
    for blob in files:
        path.write_bytes(blob)
        count += refused(path)
    assert resident_peak() - before < GROWTH
    return count


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_damaged_files_of_weights(tmp_path, blobs, form):
    assert survive(mutations(blobs[form], COUNT, seed=11), tmp_path / "damaged") > COUNT // 4


def with_header(blob, header):
    (length,) = struct.unpack_from("<Q", blob)
    return struct.pack("<Q", len(header)) + header + blob[8 + length :]


def header_of(blob):
    (length,) = struct.unpack_from("<Q", blob)
    return blob[8 : 8 + length]


def test_damaged_safetensors_headers_of_right_length(tmp_path, blobs):
    blob = blobs["safetensors"]
    headers = mutations(header_of(blob), COUNT, seed=12)
    assert survive((with_header(blob, header) for header in headers), tmp_path / "damaged") > COUNT // 4


def repacked(blob, path, pickled):
    """The zip file with another pickle and right checksums, so that damage reaches the unpickler."""
    path.write_bytes(blob)
    other = path.with_name("repacked")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, pickled if is_pickle(member.filename) else old.read(member))
    return other.read_bytes()


def is_pickle(name):
    return name.endswith("/data.pkl")


def test_damaged_pickles_with_right_checksums(tmp_path, blobs):
    path = tmp_path / "damaged"
    path.write_bytes(blobs["zip"])
    with zipfile.ZipFile(path) as archive:
        whole = archive.read(next(filter(is_pickle, archive.namelist())))
    count = COUNT // 2  # every file is packed anew
    files = (repacked(blobs["zip"], path, damaged) for damaged in mutations(whole, count, seed=13))
    assert survive(files, path) > count // 4


@pytest.mark.parametrize("length", [0, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_safetensors_header_of_impossible_length(tmp_path, blobs, length):
    path = tmp_path / "x.safetensors"
    before = resident_peak()
    path.write_bytes(struct.pack("<Q", length) + blobs["safetensors"][8:])
    assert refused(path)
    assert resident_peak() - before < GROWTH


def test_safetensors_that_claim_other_shapes_types_and_places(tmp_path, blobs):
    blob, dice = blobs["safetensors"], random.Random(14)
    whole, path = json.loads(header_of(blob)), tmp_path / "x.safetensors"
    names = sorted(name for name, entry in whole.items() if entry.get("shape"))
    for _ in range(COUNT):
        header = json.loads(json.dumps(whole))
        entry = header[dice.choice(names)]
        huge = dice.choice([2**31, 2**40, 2**62, 2**64 - 1, 2**64, -1, 1.5, None])
        kind = dice.choice(["shape", "dtype", "data_offsets"])
        if kind == "dtype":
            entry[kind] = dice.choice(["I4", "F8_E4M3", "C64", "BOOL", "U64", "F4", "", 7])
        else:
            entry[kind] = dice.choice([[huge], [huge, huge], [0, huge], [huge] * 9, []])
        path.write_bytes(with_header(blob, json.dumps(header).encode()))
        assert refused(path)


def doubled(times):
    """An object of a few bytes per level that is written out twice at every one."""
    value = ["x"]
    for _ in range(times):
        value = [value, value]
    return value


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def odd_tensors(tensor):
    return {
        "sparse": tensor.to_sparse(),
        "without data": tensor.to("meta"),
        "complex": tensor.to(torch.complex64),
        "boolean": tensor.bool(),
        "8 bit float": tensor.to(torch.float8_e4m3fn),
        "quantised": torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        "expanded": torch.zeros(1).expand(2**40),
        "expanded to the right rank": torch.zeros(1).expand(2**20, 2**12, 3, 3),
    }


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_tensors_that_are_no_weights(tmp_path, state, legacy):
    path = tmp_path / "x.pth"
    key = next(key for key, tensor in state.items() if tensor.ndim == 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = odd_tensors(state[key])
    before = resident_peak()
    for tensor in odd.values():
        changed = container({**state, key: tensor})
        torch.save(changed, path, _use_new_zipfile_serialization=not legacy)
        assert refused(path)
    assert resident_peak() - before < GROWTH


def test_a_network_of_claimed_size_is_not_built(tmp_path):
    """Configuration and shapes agree on a network of 0.5 GB, of which the file holds one number each."""
    wide = {"decoder_width": 4.0, "mapping_decoder_width": 4.0, "pyramid_channels": (1024,) * 4}
    config = GLUNetConfig(decoder="residual", upsampling="bilinear", **wide)
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in GLUNet(config).state_dict().items()}
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    path = tmp_path / "x.pth"
    torch.save(container(state, config=config.to_dict()), path)
    with pytest.raises(CheckpointError, match="claims more than"):
        load_model(path)


UNUSABLE = [None, -1, float("nan"), float("inf"), "x", [], {}, 10**30, [10**30] * 4, [0] * 4, 2.5j]


@pytest.mark.parametrize("field", sorted(TINY.to_dict()))
def test_configurations_with_values_of_the_wrong_kind(tmp_path, state, field):
    path = tmp_path / "x.pth"
    for value in UNUSABLE:
        if field == "model" and value in ("x", 2.5j):
            continue  # a name like any other; of a complex number only the type is kept
        torch.save(container(state, config={**TINY.to_dict(), field: value}), path)
        assert refused(path)


def hostile(state):
    cycle = {}
    cycle["state_dict"] = cycle["again"] = cycle
    pyramid = torch.zeros(1, dtype=torch.int64).expand(10**9)
    return {
        "cycle": cycle,
        "cycle in the progress": container(state, progress=cycle),
        "progress that multiplies": container(state, progress={"a": doubled(30)}),
        "recipe that multiplies": container(state, config={"a": doubled(30)}),
        "deep progress": container(state, progress={"a": nested(1500)}),
        "configuration that is text": container(state, config=json.dumps(TINY.to_dict())),
        "configuration of a billion channels": container(state, config={"pyramid_channels": pyramid}),
        "configuration that is a list": container(state, config=[1]),
        "no averaged weights": container(state, average=None),
        "progress that is a number": container(state, progress=3),
        "key that is a number": container({**state, 5: torch.zeros(1)}),
        "entry that is text": container({**state, "a": "b"}),
    }


HOSTILE = list(hostile({}))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", HOSTILE)
def test_contents_that_are_no_checkpoint(tmp_path, state, name, legacy):
    path, limit = tmp_path / "x.pth", sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)  # what pickle needs for a deep nest
    try:
        torch.save(hostile(state)[name], path, _use_new_zipfile_serialization=not legacy)
    finally:
        sys.setrecursionlimit(limit)
    before = resident_peak()
    assert refused(path)
    assert resident_peak() - before < GROWTH


def test_metadata_of_any_type_is_kept_as_text(tmp_path, state):
    path = tmp_path / "x.pth"
    facts = {"epe": 1.5, "tensor": torch.zeros(1), 3: [1, None], "many": collections.OrderedDict(a=(1, 2))}
    torch.save(container(state, progress=facts), path)
    assert json.loads(load_model(path).metadata["progress"]) == {
        "epe": 1.5,
        "tensor": "Tensor",
        "3": [1, None],
        "many": {"a": [1, 2]},
    }


class Touch:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_damage_to_a_malicious_pickle_never_lets_it_run(tmp_path, blobs):
    proof, path = tmp_path / "executed", tmp_path / "evil"
    attack = pickle.dumps({"state_dict": Touch(str(proof))}, protocol=2)
    pickle.loads(attack)
    proof.rmdir()  # the attack is real
    for damaged in mutations(attack, COUNT // 2, seed=15):
        for blob in (damaged, repacked(blobs["zip"], path, damaged)):
            path.write_bytes(blob)
            assert refused(path)
            assert not proof.exists()
