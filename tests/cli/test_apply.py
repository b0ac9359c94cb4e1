"""`glualign apply`: images keep what they are, labels stay labels, keypoints move the right way."""

import io
import json

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import ExifTags, ImageCms
from PIL import Image as PillowImage

from glualign.cli.main import cli, main
from glualign.errors import GlualignError
from glualign.flow import Flow, from_transform, write_flow
from glualign.images import Image, read_image, write_image
from glualign.keypoints import read_keypoints

SIZE = (30, 40)
SHIFT = (4, -3)  # the target shows the source 4 px further right and 3 px further up


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def shifted(pixels, outside=0):
    """What the flow of `SHIFT` makes of the source, computed by slicing."""
    out = np.full_like(pixels, outside)
    out[3:, :-4] = pixels[:-3, 4:]
    return out


@pytest.fixture
def flow_file(tmp_path):
    write_flow(tmp_path / "flow.flo", Flow(np.broadcast_to(np.float32(SHIFT), (*SIZE, 2)).copy()))
    return tmp_path / "flow.flo"


@pytest.fixture
def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(shape, kind="uint8"):
    return np.random.default_rng(0).integers(1, np.iinfo(kind).max, shape, dtype=kind)


def test_16_bit_rgba_tiff_keeps_depth_channels_profile_and_exif(tmp_path, flow_file, profile):
    pixels = noise((*SIZE, 4), "uint16")
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    write_image(tmp_path / "in.tif", Image(pixels, icc=profile, exif=block))
    assert run("apply", flow_file, tmp_path / "in.tif", "-o", tmp_path / "out.tif").exit_code == 0
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        found, tags = file.asarray(), file.pages[0].tags
        assert bytes(tags[34675].value) == profile
        assert tags[271].value == "Maker"
    assert found.dtype == np.uint16
    # Colours are weighted by alpha on the way, in float32.
    assert np.abs(found.astype(int) - shifted(pixels)).max() <= 1


def test_rotated_jpeg_comes_out_upright_with_its_profile(tmp_path, flow_file, profile):
    ramp = np.broadcast_to(np.linspace(0, 255, 30, dtype=np.uint8)[None, :, None], (40, 30, 3))
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = 6
    PillowImage.fromarray(ramp.copy()).save(tmp_path / "in.jpg", exif=exif, icc_profile=profile, quality=98)
    assert run("apply", flow_file, tmp_path / "in.jpg", "-o", tmp_path / "out.jpg").exit_code == 0
    with PillowImage.open(tmp_path / "out.jpg") as picture:
        assert picture.size == (40, 30)
        assert picture.info["icc_profile"] == profile
        assert picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
        found = np.asarray(picture).astype(int)
    upright = read_image(tmp_path / "in.jpg").pixels
    assert np.abs(found - shifted(upright))[4:, :-6].mean() < 2
    stored = run(
        "apply", flow_file, tmp_path / "in.jpg", "-o", tmp_path / "stored.jpg", "--no-exif", "--json"
    )
    assert stored.exit_code == 0
    with PillowImage.open(tmp_path / "stored.jpg") as picture:
        assert picture.getexif()[ExifTags.Base.Orientation] == 1, "it lies on the grid of the flow"


def test_labels_and_palettes_stay(tmp_path, flow_file):
    labels = np.random.default_rng(0).choice(np.array([0, 3, 7], np.uint8), SIZE)
    picture = PillowImage.fromarray(labels)
    picture.putpalette(list(range(24)))
    picture.save(tmp_path / "labels.png")
    result = run(
        "apply", flow_file, tmp_path / "labels.png", "--interp", "nearest", "-o", tmp_path / "out.png"
    )
    assert result.exit_code == 0
    with PillowImage.open(tmp_path / "out.png") as found:
        assert found.mode == "P"
        np.testing.assert_array_equal(np.asarray(found), shifted(labels))
        assert found.getpalette()[:24] == list(range(24))


def test_a_folder_and_several_files(tmp_path, flow_file):
    (tmp_path / "channels").mkdir()
    pixels = {"a.png": noise((*SIZE, 3)), "b.tif": noise(SIZE, "uint16")}
    for name, values in pixels.items():
        write_image(tmp_path / "channels" / name, values)
    (tmp_path / "channels" / "notes.txt").write_text("not an image")
    write_image(tmp_path / "c.bmp", noise(SIZE))
    result = run(
        "apply", flow_file, tmp_path / "channels", tmp_path / "c.bmp", "-o", tmp_path / "out", "--json"
    )
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_warped.png",
        "b_warped.tif",
        "c_warped.bmp",
    ]
    np.testing.assert_array_equal(
        read_image(tmp_path / "out" / "a_warped.png").pixels, shifted(pixels["a.png"])
    )
    results = json.loads(result.stdout)["results"]
    assert [entry["pixels"] for entry in results] == ["8-bit RGB", "16-bit grey", "8-bit grey"]
    assert results[0]["valid_share"] == pytest.approx(27 * 36 / 1200)


def test_mask_and_fill(tmp_path, flow_file):
    pixels = noise((*SIZE, 3))
    write_image(tmp_path / "in.png", pixels)
    run("apply", flow_file, tmp_path / "in.png", "-o", tmp_path / "out.png", "--mask", tmp_path / "mask.png")
    mask = read_image(tmp_path / "mask.png").pixels
    np.testing.assert_array_equal(mask, shifted(np.full(SIZE, 255, np.uint8)))
    run("apply", flow_file, tmp_path / "in.png", "-o", tmp_path / "red.png", "--fill", "#ff0000")
    assert (read_image(tmp_path / "red.png").pixels[mask == 0] == (255, 0, 0)).all()
    run("apply", flow_file, tmp_path / "in.png", "-o", tmp_path / "clear.png", "--fill", "transparent")
    np.testing.assert_array_equal(read_image(tmp_path / "clear.png").pixels[..., 3], mask)
    refused = run("apply", flow_file, tmp_path / "in.png", "-o", tmp_path / "t.png", "--fill", "target")
    assert refused.exit_code == 2


def test_csv_keypoints_of_the_source_move_to_the_target(tmp_path, flow_file):
    (tmp_path / "points.csv").write_text("name,x,y\nnose,20,10\near,2.5,5\n")
    result = run("apply", flow_file, tmp_path / "points.csv", "-o", tmp_path / "moved.csv", "--json")
    assert result.exit_code == 0
    # Target (x, y) shows source (x + 4, y - 3): source (20, 10) is seen at target (16, 13); (2.5, 5) is not.
    assert (tmp_path / "moved.csv").read_text() == "name,x,y\nnose,16.0000,13.0000\near,,\n"
    entry = json.loads(result.stdout)["results"][0]
    assert (entry["points"], entry["moved"], entry["direction"]) == (2, 1, "source -> target")


def test_keypoints_of_the_target_move_to_the_source(tmp_path, flow_file):
    (tmp_path / "points.csv").write_text("16;13\n0;0\n")
    run("apply", flow_file, tmp_path / "points.csv", "-o", tmp_path / "back.csv", "--points-from", "target")
    assert (tmp_path / "back.csv").read_text() == "20.0000;10.0000\n;\n", "(4, -3) is above the source"


def test_keypoints_in_columns_aligned_by_spaces_lose_no_position(tmp_path, flow_file):
    (tmp_path / "points.csv").write_text("x   y\n16  13\n0   0\n")
    run("apply", flow_file, tmp_path / "points.csv", "-o", tmp_path / "back.csv", "--points-from", "target")
    assert (tmp_path / "back.csv").read_text() == "x y\n20.0000 10.0000\nnan nan\n"
    points, _ = read_keypoints(str(tmp_path / "back.csv"))
    np.testing.assert_array_equal(points, [[20, 10], [np.nan, np.nan]])


@pytest.mark.parametrize("rows", ["x y conf id\n  0.9 5\n1 2 0.8 6\n", "x y\n \n1 2\n", "1 2\n 3\n"])
def test_columns_parted_by_spaces_with_an_empty_cell_are_refused(tmp_path, rows):
    (tmp_path / "points.csv").write_text(rows)
    with pytest.raises(GlualignError, match=r"row \d has \d values, the first \d; between spaces"):
        read_keypoints(str(tmp_path / "points.csv"))
    (tmp_path / "points.csv").write_text("x y \n 1  2 \n")
    np.testing.assert_array_equal(read_keypoints(str(tmp_path / "points.csv"))[0], [[1, 2]])


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([[20, 10, 0.9], [2, 5]], [[16.0, 13.0, 0.9], [None, None]]),
        ([{"x": 20, "y": 10, "id": "a"}], [{"x": 16.0, "y": 13.0, "id": "a"}]),
        ({"image": "s.png", "keypoints": [[20, 10]]}, {"image": "s.png", "keypoints": [[16.0, 13.0]]}),
    ],
)
def test_json_keypoints(tmp_path, flow_file, document, expected):
    (tmp_path / "points.json").write_text(json.dumps(document))
    assert run("apply", flow_file, tmp_path / "points.json", "-o", tmp_path / "moved.json").exit_code == 0
    assert json.loads((tmp_path / "moved.json").read_text()) == expected


def test_points_beyond_a_source_larger_than_the_target(tmp_path):
    write_flow(tmp_path / "flow.flo", from_transform(np.diag([4, 4, 1.0]), SIZE))
    (tmp_path / "points.csv").write_text("x,y\n100,80\n")
    run(
        "apply",
        tmp_path / "flow.flo",
        tmp_path / "points.csv",
        "-o",
        tmp_path / "a.csv",
        "--source-size",
        "160x120",
    )
    assert (tmp_path / "a.csv").read_text() == "x,y\n25.0000,20.0000\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "holds no keypoints"),
        ("a.csv", "name,left,top\nnose,1,2\n", "no columns x and y"),
        ("a.csv", "x,y\n1,two\n", "row 2: 'two' is not a coordinate"),
        ("a.csv", "x,y\n1\n", "row 2 has no x and y"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", '{"a": 1}', "not a list of points"),
        ("a.json", "[[1]]", "point 0 is neither"),
        ("a.json", "[[1, Infinity]]", "not a coordinate"),
        ("a.json", f"[[1, {'9' * 4000}]]", "not a coordinate"),
        ("a.json", "[" * 100_000, "is not valid JSON"),
        ("a.csv", f"x,y\n1,2\n3,{'4' * 140_000}\n", "cannot be read as CSV"),
        ("a.png", "text", "is not an image"),
        ("a.txt", "text", "is not an image"),
    ],
)
def test_bad_inputs_get_one_line(tmp_path, capsys, flow_file, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as caught:
        main(["apply", str(flow_file), str(tmp_path / name), "-o", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert caught.value.code == 1
    assert words in error
    assert error.count("\n") == 1


def test_an_image_of_another_size_than_the_flow_knows(tmp_path, capsys):
    write_flow(tmp_path / "flow.npz", from_transform(np.eye(3), SIZE, (60, 80)))
    write_image(tmp_path / "in.png", noise(SIZE))
    with pytest.raises(SystemExit):
        main(["apply", str(tmp_path / "flow.npz"), str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png")])
    assert "belongs to a source of 80 x 60 pixels" in capsys.readouterr().err


def test_inputs_are_never_overwritten_and_files_do_not_collide(tmp_path, flow_file, capsys):
    write_image(tmp_path / "in.png", noise(SIZE))
    before = (tmp_path / "in.png").read_bytes()
    with pytest.raises(SystemExit):
        main(["apply", str(flow_file), str(tmp_path / "in.png"), "-o", str(tmp_path / "in.png")])
    assert "is an input" in capsys.readouterr().err
    assert (tmp_path / "in.png").read_bytes() == before
    two = run("apply", flow_file, tmp_path / "in.png", tmp_path / "in.png", "-o", tmp_path / "one.png")
    assert two.exit_code == 2


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_mask_never_replaces_an_input_or_another_mask(tmp_path, flow_file):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, noise(SIZE))
    before = (tmp_path / "a.png").read_bytes()
    over = run("apply", flow_file, tmp_path / "a.png", "-o", tmp_path / "o.png", "--mask", tmp_path / "a.png")
    assert over.exit_code == 1
    assert "is an input" in over.stderr
    assert (tmp_path / "a.png").read_bytes() == before
    both = [tmp_path / "a.png", tmp_path / "b.png"]
    assert run("apply", flow_file, *both, "-o", tmp_path / "out", "--mask", tmp_path / "m.png").exit_code == 2
    same = tmp_path / "same.png"
    assert run("apply", flow_file, tmp_path / "a.png", "-o", same, "--mask", same).exit_code == 1
    assert names(tmp_path) == ["a.png", "b.png", "flow.flo"]


@pytest.mark.parametrize("more", [["--georeference", "map.tif"], ["--mask-from", "file"]])
def test_what_is_read_beside_the_image_is_not_overwritten(tmp_path, flow_file, monkeypatch, more):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "map.tif", "a_mask.png"):
        write_image(name, noise(SIZE))
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    over = run("apply", flow_file, "a.png", "-o", "map.tif", "--mask", "a_mask.png", *more)
    assert over.exit_code == 1
    assert "is an input" in over.stderr
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


@pytest.mark.parametrize("given", ["folder", "files"])
def test_a_source_named_like_a_result_is_not_overwritten(tmp_path, flow_file, given):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("x.png", "x_warped.png"):
        write_image(folder / name, noise(SIZE))
    before = (folder / "x_warped.png").read_bytes()
    inputs = [folder] if given == "folder" else [folder / "x.png", folder / "x_warped.png"]
    result = run("apply", flow_file, *inputs, "-o", folder)
    assert result.exit_code == 1
    assert "is an input" in result.stderr
    assert (folder / "x_warped.png").read_bytes() == before
    assert names(folder) == ["x.png", "x_warped.png"]


def test_two_inputs_of_one_stem_do_not_share_a_result(tmp_path, flow_file):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "x.png", noise(SIZE))
    result = run(
        "apply", flow_file, tmp_path / "one" / "x.png", tmp_path / "two" / "x.png", "-o", tmp_path / "out"
    )
    assert result.exit_code == 1
    assert "two results" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_name_too_long_for_its_result_is_one_line(tmp_path, flow_file):
    write_image(tmp_path / "in.png", noise(SIZE))
    long = tmp_path / ("x" * 246 + ".png")
    (tmp_path / "in.png").rename(long)
    result = run("apply", flow_file, long, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "too long" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_keypoints_are_not_written_into_an_image(tmp_path, flow_file):
    (tmp_path / "points.csv").write_text("x,y\n1,2\n")
    assert run("apply", flow_file, tmp_path / "points.csv", "-o", tmp_path / "p.png").exit_code == 2
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    "option",
    [
        ["--mask", "m.png"], ["--interp", "cubic"], ["--fill", "white"], ["--quality", "9"], ["--page", "0"],
        ["--georeference", "map.tif"], ["--no-exif"], ["--mask-from", "alpha"], ["--format", "png"],
    ],
    ids=lambda option: option[0],
)  # fmt: skip
def test_options_of_images_are_refused_for_keypoints(tmp_path, flow_file, option):
    (tmp_path / "points.csv").write_text("x,y\n1,2\n")
    result = run("apply", flow_file, tmp_path / "points.csv", "-o", tmp_path / "out", *option)
    assert result.exit_code == 2
    assert f"Keypoints have no use for {option[0].replace('--no', '--exif/--no')}" in result.stderr
    assert names(tmp_path) == ["flow.flo", "points.csv"]


def test_options_go_to_the_inputs_they_mean_something_for(tmp_path, flow_file):
    (tmp_path / "points.csv").write_text("x,y\n1,2\n")
    write_image(tmp_path / "in.png", noise(SIZE))
    more = ["-o", tmp_path / "out", "--interp", "cubic", "--points-from", "target"]
    assert run("apply", flow_file, tmp_path / "points.csv", tmp_path / "in.png", *more).exit_code == 0
    refused = run("apply", flow_file, tmp_path / "in.png", *more)
    assert refused.exit_code == 2
    assert "Images have no use for --points-from;" in refused.stderr


def test_a_georeference_that_the_format_cannot_hold_is_said(tmp_path, flow_file):
    scale, ties = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 300000.0, 5000000.0, 0.0)
    georeference = {33550: scale, 33922: ties}
    write_image(tmp_path / "map.tif", Image(noise(SIZE), georeference=georeference))
    write_image(tmp_path / "in.png", noise(SIZE))
    for name, words in (("o.png", "o.png: the georeference is left out"), ("o.tif", "")):
        more = ["-o", tmp_path / name, "--georeference", tmp_path / "map.tif"]
        result = run("apply", flow_file, tmp_path / "in.png", *more)
        assert result.exit_code == 0
        assert words in result.stderr
        assert bool(words) == bool(result.stderr)


def test_warnings_reach_stderr_when_the_image_goes_through_a_pipe(tmp_path, flow_file):
    first, second = (PillowImage.fromarray(noise(SIZE)) for _ in range(2))
    first.save(tmp_path / "in.tif", save_all=True, append_images=[second])
    result = run("apply", flow_file, tmp_path / "in.tif", "-o", "-")
    assert result.exit_code == 0
    assert "has 2 pages" in result.stderr
    with PillowImage.open(io.BytesIO(result.stdout_bytes)) as picture:  # and nothing else
        assert picture.size == SIZE[::-1]
    assert result.stdout_bytes.endswith(b"IEND\xaeB`\x82")
    assert run("apply", flow_file, tmp_path / "in.tif", "-o", "-", "-q").stderr == ""


def test_keypoints_that_apply_wrote_are_read_back(tmp_path, flow_file):
    (tmp_path / "a.csv").write_text("frame,x,y,likelihood\n0,20,10,0.9\n1,nan,nan,0.1\n2,2,5,0.9\n3,,,0.2\n")
    assert run("apply", flow_file, tmp_path / "a.csv", "-o", tmp_path / "b.csv").exit_code == 0
    moved = "frame,x,y,likelihood\n0,16.0000,13.0000,0.9\n1,,,0.1\n2,,,0.9\n3,,,0.2\n"
    assert (tmp_path / "b.csv").read_text() == moved
    again = run("apply", flow_file, tmp_path / "b.csv", "-o", tmp_path / "c.csv", "--points-from", "target")
    assert again.exit_code == 0
    assert (tmp_path / "c.csv").read_text().splitlines()[1] == "0,20.0000,10.0000,0.9"
    (tmp_path / "a.json").write_text('[[null, null], {"x": 20, "y": 10, "t": "\\ud800"}]')
    assert run("apply", flow_file, tmp_path / "a.json", "-o", tmp_path / "b.json").exit_code == 0
    read = json.loads((tmp_path / "b.json").read_text())
    assert read == [[None, None], {"x": 16.0, "y": 13.0, "t": "\ud800"}]
    assert run("apply", flow_file, tmp_path / "b.json", "-o", tmp_path / "c.json").exit_code == 0


def test_an_image_goes_through_pipes(tmp_path, flow_file):
    write_image(tmp_path / "in.png", noise((*SIZE, 3)))
    arguments = ["apply", str(flow_file), "-", "-o", "-", "--format", "ppm"]
    result = CliRunner().invoke(cli, arguments, input=(tmp_path / "in.png").read_bytes())
    assert result.exit_code == 0, result.stderr
    assert run("apply", flow_file, tmp_path / "in.png", "-o", tmp_path / "out.ppm").exit_code == 0
    assert result.stdout_bytes == (tmp_path / "out.ppm").read_bytes()


def test_an_image_of_half_the_size_is_refused_where_the_flow_cannot_know(tmp_path):
    """The flow of a larger source, as .flo: it does not store the source's size."""
    write_flow(tmp_path / "f.flo", from_transform(np.diag([2, 2, 1.0]), SIZE, (60, 80)))
    write_image(tmp_path / "full.png", noise((60, 80)))
    write_image(tmp_path / "half.png", noise((31, 41)))
    assert run("apply", tmp_path / "f.flo", tmp_path / "full.png", "-o", tmp_path / "a.png").exit_code == 0
    result = run("apply", tmp_path / "f.flo", tmp_path / "half.png", "-o", tmp_path / "b.png")
    assert result.exit_code == 1
    assert "--source-size" in result.stderr
    assert not (tmp_path / "b.png").exists()
    stated = run("apply", tmp_path / "f.flo", tmp_path / "half.png", "--source-size", "80x60")
    assert "belongs to a source of 80 x 60" in stated.stderr


def test_masks_in_a_folder_are_not_images_where_they_are_used_as_masks(tmp_path, flow_file):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a_mask.png"):
        write_image(tmp_path / "in" / name, noise(SIZE))
    for more, expected in (
        ([], ["a_mask_warped.png", "a_warped.png"]),
        (["--mask-from", "file"], ["a_warped.png"]),
    ):
        out = tmp_path / f"out{len(more)}"
        assert run("apply", flow_file, tmp_path / "in", "-o", out, *more).exit_code == 0
        assert names(out) == expected
