import os
from pathlib import Path

import pytest

from glualign.cli.outputs import Outputs, check_outputs, is_folder, plan_outputs
from glualign.errors import OutputError

DEFAULTS = {
    "output": ".",
    "fill": "#000000",
    "transform": "dense",
    "no_warped": False,
    "flow_path": None,
    "no_flow": False,
    "flow_image": None,
    "no_flow_image": False,
    "mask_path": None,
    "matrix": None,
}


def plan(source: str, **options) -> Outputs:
    return plan_outputs(source, {**DEFAULTS, **options})


def test_a_folder_gets_names_after_the_source():
    outputs = plan("photos/left.JPG", output="out/")
    assert outputs.warped == Path("out/left_warped.JPG")
    assert outputs.flow == Path("out/left_flow.flo")
    assert outputs.flow_image == Path("out/left_flow.png")
    assert outputs.mask is None
    assert outputs.transform is None


def test_a_file_name_is_the_warped_image_and_the_rest_goes_beside_it():
    outputs = plan("left.jpg", output="out/result.tif")
    assert outputs.warped == Path("out/result.tif")
    assert outputs.flow == Path("out/result_flow.flo")
    assert outputs.flow_image == Path("out/result_flow.png")


def test_results_can_be_switched_off_and_renamed():
    outputs = plan(
        "a.png", output="out", no_warped=True, flow_path="b.npz", no_flow_image=True, mask_path="m.png"
    )
    assert outputs.paths() == [Path("b.npz"), Path("m.png")]
    assert outputs.written() == {"flow": "b.npz", "mask": "m.png"}


def test_transparency_needs_a_format_with_alpha():
    assert plan("a.jpg", fill="transparent").warped == Path("a_warped.png")
    assert plan("a.webp", fill="transparent").warped == Path("a_warped.webp")


def test_a_source_format_that_cannot_be_written_becomes_png():
    assert plan("a.xyz").warped == Path("a_warped.png")


def test_a_global_transform_writes_its_matrix():
    assert plan("a.jpg", transform="affine").transform == Path("a_transform.txt")


@pytest.mark.parametrize(
    ("name", "folder"), [("out", True), ("out.d/", True), ("v1.2", True), ("x.png", False), ("x.PNG", False)]
)
def test_what_counts_as_a_folder(name, folder):
    assert is_folder(name, {".png"}) is folder


def test_an_existing_folder_is_a_folder_whatever_its_name(tmp_path):
    (tmp_path / "odd.png").mkdir()
    assert is_folder(str(tmp_path / "odd.png"), {".png"})


def test_an_input_is_never_overwritten(tmp_path):
    source = tmp_path / "a.png"
    with pytest.raises(OutputError, match="is an input"):
        check_outputs([tmp_path / "sub" / ".." / "a.png"], [str(source)])


def test_two_results_cannot_share_a_name(tmp_path):
    with pytest.raises(OutputError, match="two results"):
        check_outputs([tmp_path / "a.png", tmp_path / "a.png"], [])


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        check_outputs([tmp_path / "file" / "deep" / "a.png"], [])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        check_outputs([tmp_path / "a.png"], [])


def test_nothing_is_created_by_checking(tmp_path):
    check_outputs([tmp_path / "new" / "a.png"], [])
    assert list(tmp_path.iterdir()) == []
