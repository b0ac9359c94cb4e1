"""`Alignment` without a network: what is drawn and trusted, what a notebook shows, what `save` writes."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from glualign.alignment import Alignment
from glualign.errors import CheckpointError, GlualignError, OptionError, OutputError
from glualign.flow import Flow, read_flow
from glualign.images import Image, read_image
from glualign.quality import Quality
from glualign.viz.styles import wheel

SIZE = (12, 16)
QUALITY = Quality("good", 0.9, 0.5, 0.4, 0.7, 0.6, None, None, 0.0)


def image(shape=(*SIZE, 3), kind="uint8", path=None) -> Image:
    top = 255 if kind == "uint8" else 65535
    return Image(np.random.default_rng(0).integers(1, top, shape).astype(kind), path)


@pytest.fixture
def shifted() -> Alignment:
    """The target shows the source two pixels further right: its last two columns have no source.

    The first three columns are not trusted.
    """
    trusted = np.ones(SIZE, bool)
    trusted[:, -2:] = trusted[:, :3] = False
    return Alignment(
        source=image(),
        target=image(),
        flow=Flow(np.broadcast_to(np.float32([2, 0]), (*SIZE, 2)).copy()),
        trusted=trusted,
        confidence=trusted.astype(np.float32) / 2,
        quality=QUALITY,
        transform=None,
        model="test",
        timings={"total": 1.0},
    )


def test_every_pixel_that_the_source_reaches_is_drawn(shifted):
    source, warped = shifted.source.pixels, shifted.warped.pixels
    np.testing.assert_array_equal(warped[:, :-2], source[:, 2:])
    assert (warped[:, -2:] == 0).all()
    assert shifted.valid.sum() == SIZE[0] * (SIZE[1] - 2)


def test_only_trusted_leaves_the_rest_out(shifted, tmp_path):
    warped = shifted.render(only_trusted=True, fill="white").pixels
    assert (warped[:, :3] == 255).all()
    np.testing.assert_array_equal(warped[:, 3:-2], shifted.source.pixels[:, 5:])
    shifted.save(tmp_path, outputs=["flow", "mask", "confidence"], only_trusted=True)
    known = np.isfinite(read_flow(tmp_path / "source_flow.flo").data[..., 0])
    np.testing.assert_array_equal(known, shifted.trusted)
    shifted.save(tmp_path, outputs=["flow_image"], only_trusted=True)
    black = (read_image(tmp_path / "source_flow.png").pixels == 0).all(axis=2)
    np.testing.assert_array_equal(black, ~shifted.trusted)
    np.testing.assert_array_equal(read_image(tmp_path / "source_mask.png").pixels == 255, shifted.trusted)
    assert set(np.unique(read_image(tmp_path / "source_confidence.png").pixels)) == {0, 128}


def test_the_picture_of_the_flow_is_that_of_viz(shifted, tmp_path):
    data = shifted.flow.data.copy()
    data[0, 0] = 90, 0  # leaves the source, and sets no scale
    moved = replace(shifted, flow=Flow(data, SIZE))
    moved.save(tmp_path, outputs=["flow_image"])
    picture = read_image(tmp_path / "source_flow.png").pixels
    np.testing.assert_array_equal(picture, wheel(moved.flow).picture)


def test_apply_draws_what_warp_drew(shifted, tmp_path):
    from click.testing import CliRunner

    from glualign.cli.main import cli
    from glualign.images import write_image

    write_image(tmp_path / "s.png", shifted.source)
    shifted.save(tmp_path, stem="s")
    arguments = ["apply", tmp_path / "s_flow.flo", tmp_path / "s.png", "-o", tmp_path / "again.png"]
    assert CliRunner().invoke(cli, list(map(str, arguments))).exit_code == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "s_warped.png").read_bytes()


def test_labels_are_not_mixed_unless_asked_for(shifted):
    from dataclasses import replace

    labels = PillowImage.fromarray(np.arange(192, dtype=np.uint8).reshape(SIZE) % 3 * 100)
    picture = labels.convert("P")
    from glualign.images import as_image

    half = Flow(np.full((*SIZE, 2), 0.5, np.float32))
    alignment = replace(shifted, source=as_image(picture), flow=half)
    assert alignment.source.is_labels
    assert set(np.unique(alignment.warped.pixels)) <= set(np.unique(alignment.source.pixels))
    assert len(np.unique(alignment.render(interpolation="linear").pixels)) > 3


@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("turned", [None, 8])
def test_a_result_lies_as_its_target_does(shifted, tmp_path, extension, turned):
    """With ``--no-exif``, the orientation of the source says nothing of the grid that the result lies on."""
    tagged = PillowImage.Exif()
    tagged[0x0112], tagged[0x010F] = 6, "Maker"
    PillowImage.fromarray(shifted.source.pixels).save(tmp_path / "source.jpg", exif=tagged)
    source = read_image(tmp_path / "source.jpg", apply_orientation=False)
    target = shifted.target
    if turned:
        tagged[0x0112] = turned
        target = target.replace(exif=tagged.tobytes().removeprefix(b"Exif\0\0"))
    replace(shifted, source=source, target=target).save(tmp_path, outputs=["warped"], extension=extension)
    with PillowImage.open(tmp_path / f"source_warped{extension}") as picture:
        assert picture.getexif().get(0x0112, 1) == (turned or 1)
        assert picture.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("has_exif", [False, True])
def test_a_source_without_orientation_lies_as_its_target_does_too(shifted, tmp_path, extension, has_exif):
    tagged = PillowImage.Exif()
    tagged[0x010F] = "Maker"
    source = shifted.source.replace(exif=tagged.tobytes().removeprefix(b"Exif\0\0") if has_exif else None)
    tagged[0x0112] = 6
    target = shifted.target.replace(exif=tagged.tobytes().removeprefix(b"Exif\0\0"))
    turned = replace(shifted, source=source, target=target)
    turned.save(tmp_path, stem="a", outputs=["warped"], extension=extension)
    with PillowImage.open(tmp_path / f"a_warped{extension}") as picture:
        assert picture.getexif()[0x0112] == 6
        assert picture.getexif().get(0x010F) == ("Maker" if has_exif else None)


def test_a_notebook_shows_before_and_after(shifted):
    from dataclasses import replace
    from pathlib import Path

    assert len(repr(shifted)) < 200
    assert "good" in repr(shifted)
    named = replace(shifted, source=image(path=Path("<script>.png")))
    html = named._repr_html_()
    assert html.count("data:image/webp;base64,") == 3
    assert "<script>" not in html
    assert "50%" in html or "50 %" in html


def test_an_image_is_an_array(shifted):
    assert np.asarray(shifted.warped) is shifted.warped.pixels
    assert np.asarray(shifted.warped, np.float32).dtype == np.float32
    assert np.array(shifted.warped).base is not shifted.warped.pixels


@pytest.mark.parametrize(
    "mistake",
    [
        lambda a, _: a.render(fill="greenish"),
        lambda a, _: a.render(interpolation="best"),
        lambda a, folder: a.save(folder, outputs=["wrapped"]),
        lambda a, folder: a.save(folder, outputs="warped"),
        lambda a, folder: a.save(folder, extension="png"),
        lambda a, folder: a.save(folder, extension=".gif"),
        lambda a, folder: a.save(folder, extension=".jpg", fill="transparent"),
        lambda a, folder: a.save(folder, quality=500),
        lambda a, folder: a.save(folder / "nul\0"),
    ],
)
def test_mistakes_are_errors_of_ours_and_write_nothing(shifted, tmp_path, mistake):
    with pytest.raises(GlualignError):
        mistake(shifted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", [None, 3])
def test_what_is_no_model_is_an_error_of_ours(model):
    from glualign import Aligner

    with pytest.raises(CheckpointError, match="is no model"):
        Aligner.from_pretrained(model)


def test_save_never_overwrites_the_images(tmp_path, shifted):
    from dataclasses import replace

    from glualign.images import write_image

    path = tmp_path / "x_warped.png"
    write_image(path, shifted.source)
    alignment = replace(shifted, target=read_image(path))
    with pytest.raises(OutputError, match="is an input"):
        alignment.save(tmp_path, stem="x")


def test_a_float_image_without_a_file_is_written_as_tiff(shifted, tmp_path):
    from dataclasses import replace

    alignment = replace(shifted, source=Image(np.ones(SIZE, np.float32)))
    (path,) = alignment.save(tmp_path, outputs=["warped"])
    assert path.name == "source_warped.tif"


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "best"},
        {"pases": 3},
        {"max_side": -3},
        {"transform": "afine"},
        {"max_side": 1.5},
    ],
)
def test_options_that_are_wrong_are_errors_of_ours(options):
    from glualign import Aligner

    with pytest.raises(OptionError) as caught:
        Aligner.from_pretrained("none-such", **options)
    assert isinstance(caught.value, GlualignError)
    assert isinstance(caught.value, ValueError)


def test_the_density_is_that_of_the_target(shifted, tmp_path):
    source, target = (image().replace(dpi=(dpi, dpi)) for dpi in (72.0, 300.0))
    found = replace(shifted, source=source, target=target)
    assert found.warped.dpi == (300.0, 300.0)
    assert read_image(found.save(tmp_path, outputs=["mask"])[0]).dpi == pytest.approx((300, 300), abs=0.02)
    assert replace(found, target=image()).warped.dpi is None


def test_the_transform_of_another_result_does_not_stay(shifted, tmp_path):
    replace(shifted, transform=np.eye(3)).save(tmp_path)
    assert (tmp_path / "source_transform.txt").is_file()
    shifted.save(tmp_path)
    assert not (tmp_path / "source_transform.txt").exists()
