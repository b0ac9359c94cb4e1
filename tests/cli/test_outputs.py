import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from glualign.cli.main import cli
from glualign.errors import FlowError, ImageError, MissingExtraError, OutputError
from glualign.images import Image
from glualign.outputs import check_outputs, expected_image, is_folder, name_outputs, warped_extension


def image(kind: str = "uint8", channels: int = 3) -> Image:
    return Image(np.zeros((4, 5, channels) if channels > 1 else (4, 5), kind))


def test_a_folder_gets_names_after_the_source():
    assert name_outputs("out", "left", ".JPG") == {
        "warped": Path("out/left_warped.JPG"),
        "flow": Path("out/left_flow.flo"),
        "flow_image": Path("out/left_flow.png"),
        "transform": Path("out/left_transform.txt"),
    }


def test_kinds_are_chosen_and_unknown_ones_refused():
    files = name_outputs("out", "a", ".png", kinds=["mask", "flow"], flow_extension=".npz")
    assert files == {"flow": Path("out/a_flow.npz"), "mask": Path("out/a_mask.png")}
    with pytest.raises(OutputError, match="wrap: not a kind"):
        name_outputs("out", "a", ".png", kinds=["wrap"])


@pytest.mark.parametrize("extension", [".png", ".PNG"])
def test_a_flow_and_its_picture_cannot_be_one_file(extension):
    name_outputs("out", "a", ".png", kinds=["flow"], flow_extension=extension)
    with pytest.raises(OutputError, match=r"flow-image would both be a_flow\.(png|PNG); .* --flow-format"):
        name_outputs("out", "a", ".png", flow_extension=extension)


@pytest.mark.parametrize(
    ("name", "source", "fill", "extension"),
    [
        ("a.jpg", image(), "#000000", ".jpg"),
        ("a.JPG", image(), "#000000", ".JPG"),
        ("a.jpg", image(), "transparent", ".png"),
        ("a.webp", image(), "transparent", ".webp"),
        ("a.jfif", image(), "#000000", ".png"),
        ("a.bmp", image("uint16"), "#000000", ".png"),
        ("a.xyz", image("float32"), "#000000", ".tif"),
        ("", image("float32", 1), "#000000", ".tif"),
        ("", image(), "#000000", ".png"),
    ],
)
def test_the_warped_image_has_the_source_s_format_where_that_can_hold_it(name, source, fill, extension):
    assert warped_extension(name, expected_image(source, (6, 7), fill=fill)) == extension


def test_a_palette_of_colours_is_interpolated_and_may_be_a_jpeg():
    source = Image(np.zeros((4, 5), np.uint8), palette=bytes(range(9)), path=Path("a.jpg"))
    expected = expected_image(source, (6, 7))
    assert (expected.palette, expected.channels) == (None, 3)
    assert name_outputs("out", "a", expected, kinds=["warped"]) == {"warped": Path("out/a_warped.jpg")}


def test_formats_are_checked_before_anything_is_computed(tmp_path):
    with pytest.raises(ImageError, match="JPEG cannot hold"):
        check_outputs({"warped": tmp_path / "a.jpg"}, warped=expected_image(image("uint16"), (6, 7)))
    with pytest.raises(ImageError, match="at most 16383"):
        check_outputs({"warped": tmp_path / "a.webp"}, warped=expected_image(image(), (6, 20_000)))
    with pytest.raises(FlowError, match="not a flow format"):
        check_outputs({"flow": tmp_path / "a.xyz"})
    with pytest.raises(ImageError, match="not an image format"):
        check_outputs({"mask": tmp_path / "a.xyz"})


@pytest.mark.parametrize(
    ("name", "folder"),
    [("o", True), ("out.gif/", True), ("v1.2", True), ("x.png", False), ("x.PNG", False)],
)
def test_what_counts_as_a_folder(name, folder):
    assert is_folder(name, {".png"}) is folder


@pytest.mark.parametrize("name", ["result.gif", "result.xyz", "out/a.JP2"])
def test_an_extension_that_cannot_be_written_does_not_become_a_folder(name):
    with pytest.raises(OutputError, match=r"cannot write .*\.png.* slash"):
        is_folder(name, {".png"})


def test_an_existing_folder_is_a_folder_whatever_its_name(tmp_path):
    (tmp_path / "odd.png").mkdir()
    assert is_folder(str(tmp_path / "odd.png"), {".png"})


def test_an_input_is_never_overwritten(tmp_path):
    source = tmp_path / "a.png"
    with pytest.raises(OutputError, match="is an input"):
        check_outputs([tmp_path / "sub" / ".." / "a.png"], [str(source)])


def test_a_result_that_cannot_go_to_standard_output_is_no_file_called_dash(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="-: this result cannot go to standard output"):
        check_outputs([tmp_path / "a.csv", "-"])
    monkeypatch.chdir(tmp_path)
    for command in (["batch", "sources", "--target", "t.png"], ["video", "clip.avi"], ["report", "a", "b"]):
        result = CliRunner().invoke(cli, [*command, "-o", "-"])
        assert result.exit_code == 2, command
        assert "does not write to standard output" in result.stderr


def test_a_format_whose_package_is_missing_is_refused_beforehand(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r"out\.heic: HEIC needs pillow-heif"):
        check_outputs({"warped": "out.heic"}, warped=image())


def test_two_results_cannot_share_a_name(tmp_path):
    with pytest.raises(OutputError, match="two results"):
        check_outputs([tmp_path / "a.png", tmp_path / "a.png"], [])


@pytest.mark.parametrize(("one", "two"), [("a.png", "A.PNG"), ("caf\u00e9.png", "cafe\u0301.png")])
def test_names_that_are_one_on_some_file_systems_are_refused(tmp_path, one, two):
    with pytest.raises(OutputError, match="two results"):
        check_outputs([tmp_path / one, tmp_path / two])


@pytest.mark.parametrize("link", ["symbolic", "hard", "folder"])
def test_links_to_an_input_are_the_input(tmp_path, link):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "a.png"
    source.write_bytes(b"x")
    output = tmp_path / "b.png"
    if link == "symbolic":
        output.symlink_to(source)
    elif link == "hard":
        output.hardlink_to(source)
    else:
        (tmp_path / "there").symlink_to(tmp_path / "in")
        output = tmp_path / "there" / "a.png"
    with pytest.raises(OutputError, match="is an input"):
        check_outputs([output], [source])
    check_outputs([tmp_path / "c.png"], [source])


def test_a_name_that_is_too_long_is_said_in_bytes(tmp_path):
    with pytest.raises(OutputError, match="257 bytes"):
        check_outputs([tmp_path / ("x" * 253 + ".png")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(OutputError, match="is a device"):
        check_outputs([tmp_path / "a.png"])


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
