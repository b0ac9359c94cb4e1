"""Every layout of the official files is read strictly; every wrong file gets one clear line."""

import pytest
import torch
from checkpoint_files import official_state, prefixed, save_densematching_container, training_container
from safetensors.torch import save_file

from glualign.checkpoints.load import load_model, read_checkpoint
from glualign.errors import CheckpointError


def save_bare(path, state):
    torch.save(state, path)


def save_bare_legacy(path, state):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_container(path, state):
    torch.save(training_container(state), path)


def save_container_legacy(path, state):
    torch.save(training_container(state), path, _use_new_zipfile_serialization=False)


def save_prefixed(path, state):
    torch.save(prefixed(state), path)


def save_prefixed_container_legacy(path, state):
    torch.save(training_container(prefixed(state)), path, _use_new_zipfile_serialization=False)


def save_densematching_legacy(path, state):
    save_densematching_container(path, state, legacy=True)


def save_parameters(path, state):
    torch.save({k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in state.items()}, path)


def save_safetensors(path, state):
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)


FORMS = [
    save_bare,
    save_bare_legacy,
    save_container,
    save_container_legacy,
    save_prefixed,
    save_prefixed_container_legacy,
    save_densematching_container,
    save_densematching_legacy,
    save_parameters,
    save_safetensors,
]


@pytest.mark.parametrize("save", FORMS, ids=lambda save: save.__name__)
def test_every_official_layout_loads_strictly(tmp_path, save):
    state = official_state("glunet")
    path = tmp_path / "GLUNet_static.pth.tar"
    save(path, state)
    loaded = load_model(path)
    assert loaded.config.model == "glunet"
    assert loaded.path == path
    result = loaded.model.state_dict()
    assert list(result) == list(state)
    assert all(torch.equal(result[key], state[key]) for key in state)


@pytest.mark.parametrize("model", ["semantic-glunet", "glunet-star", "glunet-interp"])
def test_the_other_family_members_load(tmp_path, model):
    state = official_state(model)
    save_container_legacy(tmp_path / "x.pth", state)
    loaded = load_model(tmp_path / "x.pth")
    assert loaded.config.model == model
    assert all(torch.equal(loaded.model.state_dict()[key], state[key]) for key in state)


def test_half_precision_becomes_fp32_in_the_network(tmp_path):
    state = {k: v.half() if v.is_floating_point() else v for k, v in official_state().items()}
    save_bare(tmp_path / "x.pth", state)
    model = load_model(tmp_path / "x.pth").model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training
    assert all(p.is_contiguous() for p in model.parameters())


def test_files_older_than_batch_counters_load(tmp_path):
    state = {k: v for k, v in official_state().items() if not k.endswith("num_batches_tracked")}
    save_bare(tmp_path / "x.pth", state)
    assert load_model(tmp_path / "x.pth").config.model == "glunet"


def test_a_file_that_changes_afterwards_does_not_change_the_network(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(load_model("compact").path.read_bytes())
    state = read_checkpoint(path).state
    before = {key: tensor.clone() for key, tensor in state.items()}
    with path.open("r+b") as stream:
        stream.write(bytes(path.stat().st_size))
        stream.truncate(1000)
    assert all(torch.equal(state[key], before[key]) for key in state)


def refusal(path):
    """The one line that loading ``path`` fails with; it names the file."""
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>", "web page"),
        (b"\n  <html lang=en>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"epoch,loss\n1,2\n", "neither safetensors nor a torch file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "neither safetensors nor a torch file"),
        (b"PK\x03\x04" + bytes(300), "damaged"),
        (b"\x80\x02}q\x00.", "damaged"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{not json at all", "damaged"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, content, words):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert words in refusal(path)


def test_a_folder_and_a_missing_file(tmp_path):
    assert "is a folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "gone.pth")


@pytest.mark.parametrize("save", [save_bare, save_bare_legacy, save_safetensors], ids=lambda s: s.__name__)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.999])
def test_truncated_files(tmp_path, save, share):
    path = tmp_path / "x.pth"
    # A safetensors file has no repeated numbers to keep it small, and needs a configuration of its own.
    save(path, official_state("glunet-star"))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "damaged" in refusal(path)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    state = dict(official_state())
    del state["dc_conv3.0.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["dc_conv7.weight"] = torch.zeros(2, 16, 3, 3)
    save_bare(tmp_path / "x.pth", state)
    message = refusal(tmp_path / "x.pth")
    assert "missing dc_conv3.0.bias;" in message
    assert "unexpected extra.weight;" in message
    assert "of wrong shape dc_conv7.weight (2, 16, 3, 3) instead of (2, 32, 3, 3)" in message


def test_long_lists_of_keys_are_cut(tmp_path):
    state = {key: v for key, v in official_state().items() if not key.startswith("l_dc_conv")}
    save_bare(tmp_path / "x.pth", state)
    message = refusal(tmp_path / "x.pth")
    assert "missing l_dc_conv1.0.weight, " in message
    assert "and 35 more" in message
    assert len(message) < 400


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(tmp_path, value):
    state = dict(official_state())
    state["decoder1.predict_flow.bias"] = torch.tensor([0.0, value])
    save_bare(tmp_path / "x.pth", state)
    assert "NaN or infinite values in decoder1.predict_flow.bias" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"a": "text"}}, torch.zeros(3)])
def test_torch_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    assert "holds no state dict" in refusal(tmp_path / "x.pth")


def test_a_state_dict_of_other_things_than_tensors(tmp_path):
    torch.save({"state_dict": {**official_state(), "note": "hello"}}, tmp_path / "x.pth")
    assert "'note'" in refusal(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "config",
    [
        "{",
        '{"model": "x", "speed": 3}',
        "[]",
        '{"decoder": "quick"}',
        '{"decoder_width": "x"}',
        '{"decoder_width": -1}',
        '{"decoder_width": NaN}',
        '{"pyramid_channels": [1, 2]}',
        '{"pyramid_channels": "abcd"}',
        '{"div": null}',
        '{"semantic": 1}',
        "[" * 100_000,
        '{"max_displacement": 1e12}',
        '{"max_displacement": 4000000000000}',
    ],
)
def test_unusable_configurations(tmp_path, config):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"glualign.config": config})
    assert "configuration is unusable" in refusal(path)
