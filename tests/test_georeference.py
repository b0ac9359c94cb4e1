"""A result on the grid of a map says where it lies: checked with GDAL where rasterio is installed."""

import csv

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from glualign.alignment import Alignment
from glualign.cli.main import cli
from glualign.errors import ImageError
from glualign.flow import Flow, write_flow
from glualign.georeference import map_affine, resized, write_gcps
from glualign.images import Image, read_image, write_image
from glualign.outputs import write_outputs

KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
AREA = {33550: (0.5, 0.25, 0.0), 33922: (0.0, 0.0, 0.0, 500_000.0, 5_400_000.0, 0.0), 34735: KEYS}
POINT = {**AREA, 34735: (*KEYS[:11], 2, *KEYS[12:])}
ROTATED = {
    34264: (0.3, -0.4, 0, 500_000.0, 0.4, 0.3, 0, 5_400_000.0, 0, 0, 0, 0, 0, 0, 0, 1),
    34735: KEYS,
}
CASES = pytest.mark.parametrize("place", [AREA, POINT, ROTATED], ids=["area", "point", "rotated"])


def geotiff(path, place, nodata=None, size=(40, 60), kind="uint8"):
    pixels = np.random.default_rng(0).integers(1, 200, size).astype(kind)
    write_image(path, Image(pixels, georeference=place, nodata=nodata))
    return pixels


def aligned(source, target, shift=(3.5, -1.25)):
    flow = Flow(np.full((*target.size, 2), shift, np.float32), source.size)
    valid = flow.valid()
    return Alignment(source, target, flow, valid, valid.astype(np.float32), None, None, "none")


@CASES
def test_a_result_on_the_grid_of_a_map_has_its_georeference(tmp_path, place):
    geotiff(tmp_path / "map.tif", place, nodata=0.0)
    target = read_image(tmp_path / "map.tif")
    source = Image(np.full((50, 70, 3), 9, np.uint8))
    write_outputs({"warped": tmp_path / "out.tif", "mask": tmp_path / "mask.tif"}, aligned(source, target))
    for name in ("out.tif", "mask.tif"):
        with tifffile.TiffFile(tmp_path / name) as file:
            assert {tag: file.pages[0].tags[tag].value for tag in place} == place
    assert read_image(tmp_path / "out.tif").nodata == 0


@CASES
def test_gdal_reads_the_same_place(tmp_path, place):
    rasterio = pytest.importorskip("rasterio")
    geotiff(tmp_path / "map.tif", place)
    target = read_image(tmp_path / "map.tif")
    source = Image(np.random.default_rng(1).normal(500, 9, (50, 70)).astype(np.float32), nodata=-9999.0)
    write_outputs({"warped": tmp_path / "out.tif"}, aligned(source, target))
    with rasterio.open(tmp_path / "map.tif") as expected, rasterio.open(tmp_path / "out.tif") as found:
        assert found.crs == expected.crs
        assert found.crs.to_epsg() == 32633
        assert found.bounds == expected.bounds
        assert found.transform == expected.transform
        assert found.nodata == -9999
        valid = aligned(source, target).valid
        np.testing.assert_array_equal(found.dataset_mask() > 0, valid)
        affine = map_affine(target.georeference, "map.tif")
        np.testing.assert_allclose(affine @ (7, 11, 1), found.xy(11, 7))
        write_image(
            tmp_path / "half.tif",
            Image(np.zeros((20, 30), np.uint8), georeference=resized(place, (40, 60), (20, 30))),
        )
        with rasterio.open(tmp_path / "half.tif") as half:
            np.testing.assert_allclose(half.bounds, expected.bounds)


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_what_is_not_covered_holds_no_data(tmp_path, kind):
    geotiff(tmp_path / "map.tif", AREA, nodata=0.0)
    target = read_image(tmp_path / "map.tif")
    source = Image(np.full((50, 70), 7, kind), georeference=POINT)
    alignment = aligned(source, target, shift=(-20, 0))
    write_outputs({"warped": tmp_path / "out.tif"}, alignment)
    found = read_image(tmp_path / "out.tif")
    np.testing.assert_array_equal(found.missing, ~alignment.valid)
    assert found.georeference == AREA, "the source's own place is not that of the result"


UNITS = (
    '<GDALMetadata>\n  <Item name="SCALE" sample="0" role="scale">0.01</Item>\n'
    '  <Item name="OFFSET" sample="0" role="offset">-100</Item>\n'
    '  <Item name="DESCRIPTION" sample="0" role="description">Höhe</Item>\n{}</GDALMetadata>\n'
)
STATISTICS = '  <Item name="STATISTICS_MEAN" sample="0">{}</Item>\n'


def test_the_unit_of_the_values_stays_with_them(tmp_path):
    text = UNITS.format("".join(STATISTICS.format(value) for value in (1, 2)))
    image = Image(np.full((40, 60), 7, np.int16), nodata=-9.0, gdal_metadata=text)
    write_image(tmp_path / "in.tif", image)
    source = read_image(tmp_path / "in.tif")
    assert source.gdal_metadata.split() == UNITS.format("").split(), "statistics are those of other pixels"
    write_outputs({"warped": tmp_path / "out.tif"}, aligned(source, Image(np.zeros((9, 8), np.uint8))))
    assert read_image(tmp_path / "out.tif").gdal_metadata == source.gdal_metadata
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(tmp_path / "out.tif") as found:
        assert (found.scales, found.offsets, found.descriptions) == ((0.01,), (-100.0,), ("Höhe",))
        assert found.tags(1) == {}


def test_what_only_tiff_holds_is_told(tmp_path):
    image = Image(np.full((4, 6), 7, np.uint8), nodata=255.0, gdal_metadata=UNITS.format(""))
    assert write_image(tmp_path / "a.tif", image) == ()
    place = {33550: (0.5, 0.5, 0.0), 33922: (0.0, 0.0, 0.0, 300000.0, 5000000.0, 0.0)}
    assert write_image(tmp_path / "c.tif", image.replace(georeference=place)) == ()
    nodata, unit, lost = write_image(tmp_path / "a.png", image.replace(georeference=place))
    assert lost == "the georeference is left out; write .tif to keep it"
    assert nodata == "its no-data value 255 is left out; write .tif to keep it"
    assert unit.startswith("its GDAL metadata (scale, offset, names of bands) are left out")
    write_image(tmp_path / "b.tif", image.replace(gdal_metadata="<x>" + STATISTICS.format(3) + "</x>"))
    assert read_image(tmp_path / "b.tif").gdal_metadata == ""


@CASES
def test_resizing_keeps_the_corners(place):
    half = resized(place, (40, 60), (20, 20))
    corner = np.array([-0.5, -0.5, 1])
    np.testing.assert_allclose(map_affine(half, "half") @ corner, map_affine(place, "map") @ corner)
    np.testing.assert_allclose(
        map_affine(half, "half") @ (19.5, 19.5, 1), map_affine(place, "map") @ (59.5, 39.5, 1)
    )


def test_control_points_say_where_source_pixels_lie_on_the_map(tmp_path):
    target = Image(np.zeros((40, 60), np.uint8), georeference=AREA)
    alignment = aligned(Image(np.zeros((50, 70), np.uint8)), target)
    write_gcps(tmp_path / "a.points", alignment)
    head, *rows = (tmp_path / "a.points").read_text().splitlines()
    assert head == "#CRS: EPSG:32633"
    points = list(csv.DictReader(rows))
    assert len(points) > 100
    for point in points:
        x, y = float(point["sourceX"]) - 0.5, -float(point["sourceY"]) - 0.5
        east, north = map_affine(AREA, "map") @ (x - 3.5, y + 1.25, 1)
        assert (float(point["mapX"]), float(point["mapY"])) == pytest.approx((east, north), abs=1e-3)


def test_a_target_without_georeference_gives_no_control_points(tmp_path):
    alignment = aligned(Image(np.zeros((50, 70), np.uint8)), Image(np.zeros((40, 60), np.uint8)))
    with pytest.raises(ImageError, match="has no georeference"):
        write_gcps(tmp_path / "a.points", alignment)


def test_apply_takes_the_place_from_the_full_size_map(tmp_path):
    geotiff(tmp_path / "map.tif", AREA, size=(80, 120))
    write_image(tmp_path / "a.tif", np.full((40, 60), 7, np.uint8))
    write_flow(tmp_path / "half.flo", Flow(np.zeros((40, 60, 2), np.float32)))
    arguments = ["apply", "half.flo", "a.tif", "-o", "out.tif", "--georeference", "map.tif"]
    arguments = [str(tmp_path / name) if "." in name else name for name in arguments]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert read_image(tmp_path / "out.tif").georeference == {**AREA, 33550: (1.0, 0.5, 0.0)}


@pytest.mark.parametrize(("tag", "value"), [(34735, (1, 1, 0)), (33922, (0.0,) * 5), (33550, "wide")])
def test_a_damaged_georeference_is_left_out_with_a_note(tmp_path, tag, value):
    kind = "s" if isinstance(value, str) else "H" if tag == 34735 else "d"
    tags = [(tag, kind, 0 if kind == "s" else len(value), value, True)]
    tifffile.imwrite(tmp_path / "map.tif", np.zeros((40, 60), np.uint8), extratags=tags)
    image = read_image(tmp_path / "map.tif")
    assert (image.georeference, image.notes) == ({}, ("its georeference is damaged and left out",))


def test_what_has_the_value_of_no_data_by_chance_stays_valid():
    target = Image(np.zeros((20, 30), np.uint8), georeference=AREA, nodata=0)
    target = target.replace(np.ones((20, 30), np.uint8))
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., 2] = 250
    found = aligned(Image(pixels), target, shift=(0, 0)).warped
    assert found.nodata == 0
    assert found.missing is None
    assert (found.pixels == (1, 1, 250)).all()
    clear = aligned(Image(pixels), target, shift=(0, 0)).render(fill="transparent")
    assert clear.nodata is None
    assert (clear.pixels == (0, 0, 250, 255)).all(), "alpha says it"


@pytest.mark.parametrize("classes", [(0, 1), (1, 2)])
def test_a_class_is_never_moved_to_another(classes):
    target = Image(np.ones((20, 30), np.uint8), georeference=AREA, nodata=0)
    pixels = np.where(np.arange(30) < 9, *classes).astype(np.uint8) * np.ones((20, 1), np.uint8)
    source = Image(pixels, is_labels=True, palette=bytes(range(9)))
    found = aligned(source, target, shift=(0, 0)).warped
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.nodata == (0 if 0 not in classes else None)
