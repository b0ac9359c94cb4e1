"""What is written describes itself and reads back as it was."""

import pytest
import torch
from checkpoint_files import official_state
from safetensors import safe_open

from glualign.checkpoints.export import export_checkpoint, save_checkpoint
from glualign.checkpoints.load import load_model, read_checkpoint
from glualign.errors import CheckpointError, OutputError
from glualign.network import CONFIGS


@pytest.fixture(scope="module")
def compact():
    return load_model("compact")


def largest_difference(first, second):
    return max(
        ((a.float() - b.float()).abs() / (a.float().abs() + 1e-4)).max().item()
        for a, b in zip(first.values(), second.values(), strict=True)
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 0.0), ("fp16", 1e-3), ("bf16", 4e-3)])
def test_round_trip(tmp_path, compact, dtype, tolerance):
    path = tmp_path / "out.safetensors"
    state = compact.model.state_dict()
    save_checkpoint(path, state, compact.config, metadata={"licence": "Apache-2.0"}, dtype=dtype)
    loaded = load_model(path)
    assert loaded.config == compact.config
    assert loaded.metadata["licence"] == "Apache-2.0"
    result = loaded.model.state_dict()
    assert list(result) == list(state)
    assert largest_difference(state, result) <= tolerance
    norms = [key for key in state if state[key].ndim == 1]
    assert len(norms) > 50
    assert all(torch.equal(state[key], result[key]) for key in norms)


def test_storage_is_as_asked(tmp_path, compact):
    sizes = {}
    for dtype, kernel in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        path = tmp_path / f"{dtype}.safetensors"
        save_checkpoint(path, compact.model.state_dict(), compact.config, dtype=dtype)
        stored = read_checkpoint(path).state
        assert stored["decoder4.conv_0.0.weight"].dtype == kernel
        assert stored["decoder4.conv_0.1.running_var"].dtype == torch.float32
        sizes[dtype] = path.stat().st_size
    assert sizes["fp16"] == pytest.approx(sizes["bf16"], abs=200)
    assert sizes["fp32"] > 1.9 * sizes["fp16"]


def test_the_file_describes_itself(tmp_path, compact):
    path = tmp_path / "out.safetensors"
    metadata = {"metrics": {"aepe": 5.25}, "training": "two words"}
    save_checkpoint(path, compact.model.state_dict(), compact.config, metadata=metadata)
    with safe_open(path, "pt") as file:
        stored = file.metadata()
    assert stored["metrics"] == '{"aepe": 5.25}'
    assert stored["training"] == "two words"
    assert '"model": "compact"' in stored["glualign.config"]
    assert stored["glualign.version"]


def test_tensors_that_share_memory_can_be_written(tmp_path):
    save_checkpoint(tmp_path / "x.safetensors", official_state("glunet"), CONFIGS["glunet"])
    assert load_model(tmp_path / "x.safetensors").config == CONFIGS["glunet"]


def test_values_beyond_fp16_are_refused_and_nothing_is_written(tmp_path, compact):
    state = {key: tensor.clone() for key, tensor in compact.model.state_dict().items()}
    state["dc_conv7.weight"][0] = 1e6
    path = tmp_path / "x.safetensors"
    with pytest.raises(
        CheckpointError, match=r"dc_conv7\.weight exceeds the range of fp16; store it as bf16"
    ):
        save_checkpoint(path, state, compact.config)
    assert list(tmp_path.iterdir()) == []
    save_checkpoint(path, state, compact.config, dtype="bf16")
    assert load_model(path).model.state_dict()["dc_conv7.weight"].max() == pytest.approx(1e6, rel=1e-2)


@pytest.mark.parametrize("damage", ["nan", "missing", "other config"])
def test_unsound_weights_leave_the_old_file(tmp_path, compact, damage):
    path = tmp_path / "x.safetensors"
    path.write_text("old")
    state = {key: tensor.clone() for key, tensor in compact.model.state_dict().items()}
    config = compact.config
    if damage == "nan":
        state["upfeat2.bias"][0] = float("nan")
    elif damage == "missing":
        del state["upfeat2.bias"]
    else:
        config = CONFIGS["glunet-star"]
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        save_checkpoint(path, state, config)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_official_file_becomes_self_describing(tmp_path):
    state = official_state("semantic-glunet")
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    export_checkpoint(tmp_path / "x.pth", tmp_path / "x.safetensors", dtype="fp32")
    loaded = load_model(tmp_path / "x.safetensors")
    assert loaded.config == CONFIGS["semantic-glunet"]
    assert all(torch.equal(loaded.model.state_dict()[key], state[key]) for key in state)


def run_state(compact, **changes):
    """What ``glualign train`` leaves to resume from."""
    state = {key: tensor.clone() for key, tensor in compact.model.state_dict().items()}
    return {
        "recipe": {"model": compact.config.to_dict(), "data": {}},
        "progress": {"stage": 1, "step": 12, "pairs": 96},
        "network": {key: torch.zeros_like(tensor) for key, tensor in state.items()},
        "average": state,
        "head": {"temperature": torch.zeros(3)},
        "pyramid": False,
        "random": torch.get_rng_state(),
        **changes,
    }


def test_the_averaged_weights_of_a_training_run(tmp_path, compact):
    torch.save(run_state(compact), tmp_path / "last.pt")
    export_checkpoint(
        tmp_path / "last.pt", tmp_path / "x.safetensors", dtype="fp32", metadata={"licence": "Apache-2.0"}
    )
    loaded = load_model(tmp_path / "x.safetensors")
    assert loaded.config == compact.config
    assert loaded.metadata["licence"] == "Apache-2.0"
    assert '"pairs": 96' in loaded.metadata["progress"]
    assert '"data"' in loaded.metadata["recipe"]
    assert largest_difference(compact.model.state_dict(), loaded.model.state_dict()) == 0


def test_a_training_run_without_a_whole_network(tmp_path, compact):
    torch.save(run_state(compact, pyramid=True), tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="in a features stage"):
        read_checkpoint(tmp_path / "last.pt")


def test_the_output_is_safetensors(tmp_path):
    with pytest.raises(CheckpointError, match=r"end in \.safetensors"):
        export_checkpoint("compact", tmp_path / "x.pth")


def test_equal_weights_give_equal_files(tmp_path, compact):
    metadata = {f"key {number}": "x" for number in range(20)}
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, compact.model.state_dict(), compact.config, metadata=metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", "pt") as file:
        assert set(metadata) < set(file.metadata())


def test_a_full_disk_is_told(tmp_path, compact):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"x\.safetensors: cannot be written"):
            save_checkpoint(tmp_path / "x.safetensors", compact.model.state_dict(), compact.config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written(tmp_path, compact):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_checkpoint(tmp_path / "file" / "x.safetensors", compact.model.state_dict(), compact.config)
