"""Every flow format: there and back, against independent readers, and refusals."""

import io
import os
import struct
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from glualign.errors import FlowError, OutputError
from glualign.flow import FLOW_EXTENSIONS, Flow, read_flow, write_flow
from tests.flow.fields import smooth_flow

# Largest difference in pixels after writing and reading: KITTI stores steps of 1/64 px.
LARGEST_ERROR = dict.fromkeys(FLOW_EXTENSIONS, 0.0) | {".png": 1 / 128}
STORES_SOURCE_SIZE = (".npz", ".flo5", ".nrrd", ".mha")


def needs(extension):
    module = {".flo5": "h5py", ".nrrd": "SimpleITK", ".mha": "SimpleITK"}.get(extension)
    if module:
        pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.fixture
def flow():
    data = smooth_flow().data.copy()
    data[3:9, 4:20] = np.nan
    return Flow(data, (111, 222))


@pytest.mark.parametrize("extension", FLOW_EXTENSIONS)
def test_round_trip(tmp_path, flow, extension):
    needs(extension)
    path = tmp_path / "größe" / f"flow{extension}"
    write_flow(path, flow)
    found = read_flow(path)
    np.testing.assert_array_equal(found.known, flow.known)
    assert np.nanmax(np.abs(found.data - flow.data)) <= LARGEST_ERROR[extension]
    assert found.source_size == (flow.source_size if extension in STORES_SOURCE_SIZE else None)


def test_arrays_are_written_too(tmp_path):
    write_flow(tmp_path / "flow.npy", np.ones((2, 3, 2)))
    assert read_flow(tmp_path / "flow.npy").data.tolist() == np.ones((2, 3, 2)).tolist()


def test_flo_as_opencv_reads_and_writes_it(tmp_path):
    flow = smooth_flow()
    write_flow(tmp_path / "ours.flo", flow)
    np.testing.assert_array_equal(cv2.readOpticalFlow(str(tmp_path / "ours.flo")), flow.data)
    cv2.writeOpticalFlow(str(tmp_path / "theirs.flo"), flow.data)
    assert (tmp_path / "theirs.flo").read_bytes() == (tmp_path / "ours.flo").read_bytes()


def test_flo_bytes(tmp_path):
    write_flow(tmp_path / "a.flo", np.array([[[1, 2], [3, np.nan]]], np.float32))
    tag, width, height, *values = struct.unpack("<fii4f", (tmp_path / "a.flo").read_bytes())
    assert (tag, width, height) == (202021.25, 2, 1)
    assert values[:2] == [1, 2]
    assert min(values[2:]) > 1e9


def test_flo_marks_unknown_above_a_thousand_million(tmp_path):
    values = np.array([0, 0, 1.1e9, 0, 0, -2e9, np.inf, 0, 9e8, 1], "<f4")
    (tmp_path / "a.flo").write_bytes(b"PIEH" + struct.pack("<ii", 5, 1) + values.tobytes())
    assert read_flow(tmp_path / "a.flo").known.tolist() == [[True, False, False, False, True]]


def test_kitti_as_opencv_reads_it(tmp_path, flow):
    write_flow(tmp_path / "flow.png", flow)
    blue, green, red = cv2.split(cv2.imread(str(tmp_path / "flow.png"), cv2.IMREAD_UNCHANGED))
    np.testing.assert_array_equal(blue == 1, flow.known)
    u = (red.astype(np.float64) - 2**15) / 64
    v = (green.astype(np.float64) - 2**15) / 64
    assert np.abs(np.dstack([u, v]) - flow.data)[flow.known].max() <= 1 / 128


def test_kitti_range(tmp_path):
    edge = np.zeros((1, 2, 2), np.float32)
    edge[0, :, 0] = (-512, 511.984375)
    write_flow(tmp_path / "edge.png", edge)
    np.testing.assert_array_equal(read_flow(tmp_path / "edge.png").data, edge)
    with pytest.raises(
        FlowError, match=r"far.png: KITTI .png holds flow within 512 px, this one reaches 512"
    ):
        write_flow(tmp_path / "far.png", edge + np.float32(0.5))
    assert not (tmp_path / "far.png").exists()


@pytest.mark.parametrize(("kind", "words"), [(np.uint8, "is a picture"), (np.uint16, "is a 16-bit picture")])
def test_pictures_are_not_taken_for_flow(tmp_path, kind, words):
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((4, 4, 3), 77, kind))
    with pytest.raises(FlowError, match=words):
        read_flow(tmp_path / "photo.png")


def test_pfm_layout(tmp_path):
    flow = smooth_flow(4, 6)
    write_flow(tmp_path / "flow.pfm", flow)
    data = (tmp_path / "flow.pfm").read_bytes()
    assert data.startswith(b"PF\n6 4\n-1.0\n")
    rows = np.frombuffer(data[len(b"PF\n6 4\n-1.0\n") :], "<f4").reshape(4, 6, 3)
    np.testing.assert_array_equal(rows[::-1, :, :2], flow.data)
    big = b"PF\n6 4\n1.0\n" + rows.astype(">f4").tobytes()
    (tmp_path / "big.pfm").write_bytes(big)
    np.testing.assert_array_equal(read_flow(tmp_path / "big.pfm").data, flow.data)


def test_npy_of_other_tools(tmp_path):
    flow = smooth_flow(5, 7)
    np.save(tmp_path / "channels_first.npy", flow.data.transpose(2, 0, 1).astype(np.float64))
    np.testing.assert_array_equal(read_flow(tmp_path / "channels_first.npy").data, flow.data)
    np.savez(tmp_path / "one.npz", flow.data)
    np.testing.assert_array_equal(read_flow(tmp_path / "one.npz").data, flow.data)
    valid = np.ones((5, 7), bool)
    valid[2, 2] = False
    np.savez(tmp_path / "valid.npz", flow=flow.data, valid=valid)
    np.testing.assert_array_equal(read_flow(tmp_path / "valid.npz").known, valid)


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [True, False])
def test_itk_formats_with_simpleitk(tmp_path, flow, extension, compressed):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    write_flow(tmp_path / f"ours{extension}", flow)
    seen = itk.ReadImage(str(tmp_path / f"ours{extension}"))
    np.testing.assert_array_equal(itk.GetArrayFromImage(seen), flow.data)
    assert (seen.GetSpacing(), seen.GetOrigin(), seen.GetDirection()) == ((1, 1), (0, 0), (1, 0, 0, 1))
    field = smooth_flow(7, 9).data
    itk.WriteImage(
        itk.GetImageFromArray(field, isVector=True), str(tmp_path / f"theirs{extension}"), compressed
    )
    np.testing.assert_array_equal(read_flow(tmp_path / f"theirs{extension}").data, field)


def test_itk_applies_our_field_as_we_do(tmp_path):
    """The direction claimed in the header is the one ITK gives to displacement fields."""
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    from glualign.flow import warp

    flow = smooth_flow(40, 50)
    picture = np.add.outer(np.arange(40.0), 2 * np.arange(50.0)).astype(np.float32)
    write_flow(tmp_path / "field.nrrd", flow)
    field = itk.Cast(itk.ReadImage(str(tmp_path / "field.nrrd")), itk.sitkVectorFloat64)
    moved = itk.Resample(itk.GetImageFromArray(picture), itk.DisplacementFieldTransform(field))
    ours, valid = warp(picture, flow)
    np.testing.assert_allclose(itk.GetArrayFromImage(moved)[valid], ours[valid], atol=0.1)


def itk_image(data, spacing=(1, 1), origin=(0, 0), direction=(1, 0, 0, 1)):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    image = itk.GetImageFromArray(data, isVector=True)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return itk, image


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_displacements_are_divided_by_the_spacing(tmp_path, extension):
    data = smooth_flow(7, 9).data
    itk, image = itk_image(data, spacing=(0.5, 2))
    itk.WriteImage(image, str(tmp_path / f"spaced{extension}"))
    np.testing.assert_allclose(read_flow(tmp_path / f"spaced{extension}").data, data * (2, 0.5), rtol=1e-6)


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
@pytest.mark.parametrize("geometry", [{"origin": (10, 20)}, {"direction": (-1, 0, 0, 1)}])
def test_other_geometry_is_refused(tmp_path, extension, geometry):
    itk, image = itk_image(smooth_flow(7, 9).data, **geometry)
    itk.WriteImage(image, str(tmp_path / f"moved{extension}"))
    with pytest.raises(FlowError, match=r"an orientation|the origin \(10\.0, 20\.0\)"):
        read_flow(tmp_path / f"moved{extension}")


MHA = (
    "ObjectType = Image\nNDims = 2\nBinaryData = True\n{}ElementSpacing = 1 1\nDimSize = 9 7\n"
    "ElementNumberOfChannels = 2\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
)
NRRD = "NRRD0005\ntype: float\ndimension: 3\nsizes: 2 9 7\nendian: little\nencoding: raw\n{}\n"


def test_other_names_of_geometry_and_byte_order(tmp_path):
    """What tools other than ITK write into headers is followed or refused, never ignored."""
    pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    path, data = tmp_path / "flow.mha", smooth_flow(7, 9).data
    path.write_bytes(MHA.format("ElementByteOrderMSB = True\n").encode() + data.astype(">f4").tobytes())
    np.testing.assert_array_equal(read_flow(path).data, data)
    path.write_bytes(MHA.format("Position = 10 20\n").encode() + data.tobytes())
    with pytest.raises(FlowError, match="the origin"):
        read_flow(path)
    path = tmp_path / "flow.nrrd"
    for line in ("spacings: nan 0.5 0.5\n", "axis mins: nan 10 20\n"):
        path.write_bytes(NRRD.format(line).encode() + data.tobytes())
        with pytest.raises(FlowError, match="ITK sees no vectors"):
            read_flow(path)


@pytest.mark.parametrize(("third", "words"), [(0, ""), (1, "out of the plane")])
def test_a_slice_in_3d(tmp_path, third, words):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    data = np.dstack([smooth_flow(7, 9).data, np.full((7, 9), third, np.float32)])
    itk.WriteImage(itk.GetImageFromArray(data[None], isVector=True), str(tmp_path / "flow.nrrd"))
    if words:
        with pytest.raises(FlowError, match=words):
            read_flow(tmp_path / "flow.nrrd")
    else:
        np.testing.assert_array_equal(read_flow(tmp_path / "flow.nrrd").data, data[..., :2])


@pytest.mark.parametrize("place", ["private.raw", "LIST", "LOCAL\nElementDataFile = private.raw"])
def test_values_in_another_file_are_not_followed(tmp_path, place):
    pytest.importorskip("SimpleITK")
    (tmp_path / "private.raw").write_bytes(bytes(9 * 7 * 8))
    (tmp_path / "a.mha").write_text(MHA.format("").replace("LOCAL", place))
    (tmp_path / "a.nrrd").write_text(NRRD.format("data file: private.raw\n"))
    for name in ("a.mha", "a.nrrd"):
        with pytest.raises(FlowError, match="another file"):
            read_flow(tmp_path / name)


@pytest.mark.parametrize("extension", [".nrrd", ".mha", ".npz"])
def test_damaged_values_are_refused_not_shown(tmp_path, extension):
    """ITK reads damaged compressed values without a word; checksums tell."""
    needs(extension)
    path, flow = tmp_path / f"flow{extension}", smooth_flow(40, 50)
    write_flow(path, flow)
    whole = path.read_bytes()
    for position in range(len(whole) // 2, len(whole) - 400, 97):
        damaged = bytearray(whole)
        damaged[position] ^= 16
        path.write_bytes(damaged)
        with pytest.raises(FlowError):
            read_flow(path)


def test_damage_is_told_in_one_line(tmp_path, capfd):
    """ITK's reader prints its own lines of damage; dimensions beyond ten made it crash."""
    pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    path, whole = tmp_path / "a.mha", MHA.format("").encode() + bytes(9 * 7 * 8)
    for damaged in (
        whole[:-20],
        whole.replace(b"NDims = 2", b"NDims = 2128"),
        whole.replace(b"DimSize", b"X"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(FlowError):
            read_flow(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("extension", FLOW_EXTENSIONS)
def test_truncated_empty_and_foreign(tmp_path, flow, extension):
    needs(extension)
    path = tmp_path / f"flow{extension}"
    write_flow(path, flow)
    data = path.read_bytes()
    for share in (0.01, 0.5, 0.995):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(Exception, match="flow") as caught:
            read_flow(path)
        assert type(caught.value).__module__ == "glualign.errors"
    path.write_bytes(b"")
    with pytest.raises(FlowError, match="file is empty"):
        read_flow(path)
    path.write_bytes(b"this is a text file, not a flow\n" * 20)
    with pytest.raises(Exception, match=f"flow{extension}: "):
        read_flow(path)


@pytest.mark.parametrize("extension", [".flo", ".pfm"])
def test_bytes_left_over_are_refused(tmp_path, flow, extension):
    path = tmp_path / f"flow{extension}"
    write_flow(path, flow)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(FlowError, match="left over"):
        read_flow(path)


def test_nan_in_flo_is_unknown(tmp_path):
    values = np.zeros(8, "<f4")
    values[3] = np.nan
    (tmp_path / "nan.flo").write_bytes(b"PIEH" + struct.pack("<ii", 2, 2) + values.tobytes())
    assert read_flow(tmp_path / "nan.flo").known.tolist() == [[True, False], [True, True]]


def test_kitti_with_255_where_known(tmp_path):
    pixels = np.full((2, 3, 3), (255, 32768 - 64, 32768 + 128), np.uint16)  # blue, green, red
    pixels[0, 0, 0] = 0
    cv2.imwrite(str(tmp_path / "flow.png"), pixels)
    flow = read_flow(tmp_path / "flow.png")
    assert flow.known.tolist() == [[False, True, True], [True, True, True]]
    assert flow.data[1, 1].tolist() == [2, -1]


def test_npz_with_u_and_v(tmp_path, flow):
    np.savez(tmp_path / "viper.npz", u=flow.data[..., 0], v=flow.data[..., 1])
    np.testing.assert_array_equal(read_flow(tmp_path / "viper.npz").data, flow.data)
    np.savez(tmp_path / "other.npz", u=flow.data[..., 0], v=flow.data[1:, :, 1])
    with pytest.raises(FlowError, match="no array named flow"):
        read_flow(tmp_path / "other.npz")


def test_npz_with_two_arrays_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.npz", "w") as archive:
        for name, side in (("flow", 40), ("flow.npy", 4)):
            with archive.open(name, "w") as member:
                np.save(member, np.zeros((side, side, 2), np.float32))
    with pytest.raises(FlowError, match="two arrays named flow"):
        read_flow(tmp_path / "two.npz", max_pixels=100)


@pytest.mark.parametrize("extension", STORES_SOURCE_SIZE)
@pytest.mark.parametrize("side", [22_000, 2**40])
def test_a_source_beyond_the_limit_is_refused(tmp_path, extension, side):
    needs(extension)
    write_flow(tmp_path / f"flow{extension}", Flow(np.zeros((4, 4, 2), np.float32), (side, side)))
    with pytest.raises(FlowError, match=r"a source of .* exceed the limit"):
        read_flow(tmp_path / f"flow{extension}")


@pytest.mark.parametrize("name", ["flow", "valid", "source_size"])
def test_npz_members_that_claim_more_than_they_hold(tmp_path, name):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (14_000, 14_000, 2)}
    )
    arrays = {"flow": np.zeros((4, 4, 2)), "valid": np.ones((4, 4), bool), "source_size": np.array([4, 4])}
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for other in set(arrays) - {name}:
            with archive.open(f"{other}.npy", "w") as member:
                np.save(member, arrays[other])
        archive.writestr(f"{name}.npy", header.getvalue() + bytes(1000))
    with pytest.raises(FlowError, match=f"its {name} needs"):
        read_flow(tmp_path / "a.npz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("extension", FLOW_EXTENSIONS)
def test_a_pipe_is_not_waited_for(tmp_path, extension):
    os.mkfifo(tmp_path / f"flow{extension}")
    with pytest.raises(FlowError, match="named pipe"):
        read_flow(tmp_path / f"flow{extension}")


@pytest.mark.parametrize("extension", [".npy", ".npz", ".flo", ".pfm", ".png"])
def test_a_field_without_a_known_pixel_is_refused(tmp_path, extension):
    write_flow(tmp_path / f"flow{extension}", np.full((3, 4, 2), np.nan))
    with pytest.raises(FlowError, match="no known flow"):
        read_flow(tmp_path / f"flow{extension}")


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (Flow(np.full((3, 4, 2), np.nan, np.float32)), "holds no known flow"),
        (Flow(np.zeros((3, 4, 2), np.float32), (20, 20)), "a source of 20 x 20 pixels exceed the limit"),
        (Flow(np.zeros((30, 40, 2), np.float32), (2, 2)), "40 x 30 pixels exceed the limit"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, field, words):
    with pytest.raises(FlowError, match=f"a.npz: {words}"):
        write_flow(tmp_path / "a.npz", field, max_pixels=399)
    assert list(tmp_path.iterdir()) == []
    write_flow(tmp_path / "a.npz", Flow(np.zeros((3, 4, 2), np.float32), (19, 21)), max_pixels=399)
    assert read_flow(tmp_path / "a.npz", max_pixels=399).source_size == (19, 21)


def test_missing_folder_and_unknown_extension(tmp_path):
    with pytest.raises(FlowError, match=r"none.flo: no such file"):
        read_flow(tmp_path / "none.flo")
    (tmp_path / "folder.flo").mkdir()
    with pytest.raises(FlowError, match="is a folder"):
        read_flow(tmp_path / "folder.flo")
    (tmp_path / "flow.txt").write_text("x")
    with pytest.raises(FlowError, match=r".txt is not a flow format; use one of .flo"):
        read_flow(tmp_path / "flow.txt")
    with pytest.raises(FlowError, match="not a flow format"):
        write_flow(tmp_path / "out.txt", smooth_flow())
    with pytest.raises(OutputError):
        write_flow(tmp_path / "flow.txt" / "a.flo", smooth_flow())


def test_size_limit_can_be_moved(tmp_path):
    for extension in (".flo", ".png", ".npz"):
        write_flow(tmp_path / f"flow{extension}", smooth_flow(10, 10))
        with pytest.raises(Exception, match="exceed the limit"):
            read_flow(tmp_path / f"flow{extension}", max_pixels=99)
        assert read_flow(tmp_path / f"flow{extension}", max_pixels=None).size == (10, 10)


def test_direction_is_stored_where_the_format_allows(tmp_path, flow):
    for extension in (".npz", ".nrrd", ".mha", ".png"):
        needs(extension)
        write_flow(tmp_path / f"flow{extension}", flow)
    assert str(np.load(tmp_path / "flow.npz")["direction"]).startswith("target -> source")
    for extension in (".nrrd", ".mha", ".png"):
        assert b"target -> source" in (tmp_path / f"flow{extension}").read_bytes()


@pytest.mark.parametrize("extension", STORES_SOURCE_SIZE)
@pytest.mark.parametrize(
    ("stated", "ours"), [("source -> target", False), ("Target_to_source", True), ("target <- source", False)]
)
def test_another_direction_is_refused(tmp_path, monkeypatch, extension, stated, ours):
    needs(extension)
    for module in ("files", "libraries"):
        monkeypatch.setattr(f"glualign.flow.{module}.DIRECTION", stated)
    write_flow(tmp_path / f"flow{extension}", smooth_flow())
    if ours:
        assert read_flow(tmp_path / f"flow{extension}").known.all()
    else:
        with pytest.raises(FlowError, match=f"its direction is {stated}, .* `glualign invert`"):
            read_flow(tmp_path / f"flow{extension}")


@pytest.mark.parametrize("stated", [b"target -> source", "", np.array(["target -> source"] * 999), 1])
def test_what_is_stated_as_the_direction_of_an_npz_is_understood(tmp_path, stated):
    np.savez(tmp_path / "a.npz", flow=smooth_flow().data, direction=stated)
    if isinstance(stated, (bytes, str)):
        assert read_flow(tmp_path / "a.npz").known.all()
    else:
        with pytest.raises(FlowError, match=r"its direction is (1|a long list), where"):
            read_flow(tmp_path / "a.npz")


@pytest.mark.skipif(os.name == "nt", reason="no limit of file sizes")
@pytest.mark.parametrize("extension", [".npz", ".flo5", ".nrrd", ".mha"])
@pytest.mark.parametrize("lacking", [1, 2000])
def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, extension, lacking):
    """In a process of its own: HDF5 crashed. NRRD's writer did not notice that the last bytes were lost."""
    needs(extension)
    name = str(tmp_path / f"flow{extension}")
    write_flow(name, smooth_flow())
    code = (
        "import os, resource, sys; from glualign.flow import read_flow, write_flow; name = sys.argv[1]; "
        f"flow = read_flow(name); limit = os.path.getsize(name) - {lacking}; os.unlink(name); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)); write_flow(name, flow)"
    )
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{name}: cannot be written" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_flo5_as_h5py_sees_it(tmp_path, flow):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    write_flow(tmp_path / "flow.flo5", flow)
    with h5py.File(tmp_path / "flow.flo5") as file:
        np.testing.assert_array_equal(file["flow"][()], flow.data)
        assert file.attrs["direction"].startswith("target -> source")
    with h5py.File(tmp_path / "huge.flo5", "w") as file:
        file.create_dataset("flow", (2**31, 2**31, 2), "f4", chunks=(64, 64, 2))
    with pytest.raises(FlowError, match="exceed the limit"):
        read_flow(tmp_path / "huge.flo5")


def flo5_with(kind, file, h5py, folder):
    """Put a flow of another kind than a plain data set into ``file``."""
    values = np.zeros((8, 8, 2), "f4")
    with h5py.File(folder / "private.h5", "w") as other:
        other["flow"] = values + 7
    (folder / "private.bin").write_bytes(values.tobytes())
    if kind == "external storage":
        file.create_dataset(
            "flow", values.shape, "f4", external=[(str(folder / "private.bin"), 0, values.nbytes)]
        )
    elif kind == "external link":
        file["flow"] = h5py.ExternalLink(str(folder / "private.h5"), "/flow")
    elif kind == "soft link":
        file["other"] = values
        file["flow"] = h5py.SoftLink("/other")
    elif kind == "virtual":
        layout = h5py.VirtualLayout(values.shape, "f4")
        layout[:] = h5py.VirtualSource(str(folder / "private.h5"), "flow", values.shape)
        file.create_virtual_dataset("flow", layout)
    elif kind == "never written":
        file.create_dataset("flow", (16_000, 16_000, 2), "f4", chunks=(64, 64, 2), compression="gzip")
    elif kind == "written in part":
        file.create_dataset("flow", (128, 128, 2), "f4", chunks=(64, 64, 2))[:64] = 1
    elif kind == "chunks beyond the field":
        file.create_dataset(
            "flow", data=values, chunks=(4096, 4096, 2), maxshape=(None, None, 2), compression="gzip"
        )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("external storage", "another file"),
        ("external link", "link to another place"),
        ("soft link", "link to another place"),
        ("virtual", "another file"),
        ("never written", "never written"),
        ("written in part", "never written"),
        ("chunks beyond the field", "claims more"),
    ],
)
def test_only_a_plain_data_set_of_flo5_is_read(tmp_path, kind, words):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        flo5_with(kind, file, h5py, tmp_path)
    with pytest.raises(FlowError, match=words):
        read_flow(tmp_path / "a.flo5")
