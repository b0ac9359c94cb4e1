"""Warping: known answers, every pixel type, alpha, borders, and images beyond OpenCV's size limit."""

import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow, from_transform, warp
from tests.flow.fields import smooth_flow

INTERPOLATIONS = ("nearest", "linear", "cubic", "lanczos")
TYPES = ("uint8", "uint16", "int16", "int8", "int32", "uint32", "float16", "float32", "float64", "bool")


def shift_flow(height, width, u, v, source_size=None):
    return Flow(np.broadcast_to(np.array([u, v], np.float32), (height, width, 2)).copy(), source_size)


def noise(shape, kind="uint8", seed=0):
    values = np.random.default_rng(seed).random(shape)
    return values > 0.5 if kind == "bool" else (values * 120).astype(kind)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("kind", TYPES)
def test_whole_shifts_move_pixels_unchanged(kind, channels, interpolation):
    pixels = noise((12, 15) if channels is None else (12, 15, channels), kind)
    warped, valid = warp(pixels, shift_flow(12, 15, 3, -2), interpolation=interpolation, alpha=False)
    assert warped.dtype == pixels.dtype
    assert warped.shape == pixels.shape
    assert valid[2:, :12].all()
    assert not valid[:2].any()
    assert not valid[:, 12:].any()
    np.testing.assert_allclose(
        warped[2:, :12].astype(float), pixels[:10, 3:].astype(float), atol=0 if kind[0] in "ui" else 1e-4
    )
    assert not warped[~valid].any()


@pytest.mark.parametrize(("interpolation", "most"), [("linear", 0.06), ("cubic", 0.2), ("lanczos", 0.15)])
def test_a_ramp_is_sampled_between_pixels(interpolation, most):
    y, x = np.mgrid[:60, :80].astype(np.float32)
    ramp = 2 * x + y
    flow = smooth_flow(60, 80)
    warped, valid = warp(ramp, flow, interpolation=interpolation)
    expected = 2 * (x + flow.data[..., 0]) + y + flow.data[..., 1]
    deep = valid & (np.abs(x + flow.data[..., 0] - 39.5) < 34) & (np.abs(y + flow.data[..., 1] - 29.5) < 24)
    assert deep.sum() > 1500
    # OpenCV 4 rounds positions to 1/32 px, and its cubic and Lanczos kernels bend a ramp a little.
    assert np.abs(warped - expected)[deep].max() <= most


def test_higher_orders_are_better_on_a_wave():
    y, x = np.mgrid[:64, :64].astype(np.float64)
    wave = np.sin(x * 0.9) * np.cos(y * 0.7)
    warped = {}
    for interpolation in ("nearest", "linear", "cubic", "lanczos"):
        found, valid = warp(
            wave.astype(np.float32), shift_flow(64, 64, 0.5, 0.25), interpolation=interpolation
        )
        expected = np.sin((x + 0.5) * 0.9) * np.cos((y + 0.25) * 0.7)
        inner = np.s_[6:-6, 6:-6]
        assert valid[inner].all()
        warped[interpolation] = np.abs(found - expected)[inner].max()
    assert warped["nearest"] > warped["linear"] > warped["cubic"] > warped["lanczos"]
    assert warped["lanczos"] < 0.02


def test_nearest_keeps_labels():
    labels = np.random.default_rng(0).choice(np.array([3, 70_000, 2**31 - 1], np.int64), (60, 80))
    warped, valid = warp(labels, smooth_flow(60, 80), interpolation="nearest")
    assert set(np.unique(warped)) == {0, 3, 70_000, 2**31 - 1}
    assert (warped[~valid] == 0).all()


def test_sizes_of_source_and_target_may_differ():
    pixels = noise((30, 40, 3))
    flow = from_transform(np.diag([2, 2, 1.0]), (10, 12), (30, 40))
    warped, valid = warp(pixels, flow)
    assert warped.shape == (10, 12, 3)
    assert valid.all()
    np.testing.assert_array_equal(warped, pixels[0:20:2, 0:24:2])


def test_flow_for_another_source_is_refused():
    with pytest.raises(FlowError, match=r"source of 40 x 30 pixels, the image is 41 x 30"):
        warp(noise((30, 41)), shift_flow(5, 5, 0, 0, (30, 40)))


def test_unknown_pixels_are_zero():
    data = np.zeros((4, 4, 2), np.float32)
    data[1, 2] = np.nan
    warped, valid = warp(np.full((4, 4), 9, np.uint8), Flow(data))
    assert warped[1, 2] == 0
    assert not valid[1, 2]
    assert valid.sum() == 15


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(FlowError, match="not one of nearest"):
        warp(noise((2, 2)), shift_flow(2, 2, 0, 0), interpolation="area")


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
@pytest.mark.parametrize(("kind", "full"), [("uint8", 255), ("uint16", 65535), ("float32", 1.0)])
def test_transparent_pixels_leave_no_dark_fringe(kind, full, interpolation):
    # White on the left, transparent black on the right: whatever is visible in between must stay white.
    pixels = np.zeros((16, 16, 4), kind)
    pixels[:, :8] = full
    warped, _ = warp(pixels, shift_flow(16, 16, 0.37, 0), interpolation=interpolation)
    alpha = warped[..., 3].astype(float) / full
    assert ((alpha > 0.05) & (alpha < 0.95)).any(), "the edge must be crossed for this to show anything"
    assert warped[alpha > 0.05][:, :3].min() >= 0.98 * full
    assert alpha.max() <= 1


def test_outside_is_transparent():
    pixels = np.full((4, 4, 4), 255, np.uint8)
    warped, valid = warp(pixels, shift_flow(4, 4, 2, 0))
    assert (warped[~valid] == 0).all()
    assert (warped[valid] == 255).all()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("height", "width"), [(3, 40_000), (40_000, 3)])
def test_sides_beyond_the_limit_of_opencv(height, width, interpolation):
    pixels = noise((height, width, 3))
    u, v = (-777, 0) if width > height else (0, -777)
    warped, valid = warp(pixels, shift_flow(height, width, u, v), interpolation=interpolation)
    if width > height:
        np.testing.assert_array_equal(warped[:, 777:], pixels[:, :-777])
        assert not valid[:, :777].any()
    else:
        np.testing.assert_array_equal(warped[777:], pixels[:-777])
    assert valid.mean() == pytest.approx(1 - 777 / 40_000)


def test_positions_stay_exact_far_from_the_origin():
    # In float32 the position 39,000.3 would be off by up to 0.002 px, and the ramp by as much.
    ramp = np.broadcast_to(np.arange(40_000, dtype=np.float32), (2, 40_000)).copy()
    warped, _ = warp(ramp, shift_flow(2, 40_000, 0.25, 0))
    assert np.abs(warped[0, 38_000:39_900] - (np.arange(38_000, 39_900) + 0.25)).max() < 0.005


def test_a_tile_that_gathers_from_a_whole_huge_source():
    pixels = noise((2, 40_000), "uint16")
    order = np.random.default_rng(1).permutation(40_000)[:5000].reshape(2, 2500)
    x = np.broadcast_to(np.arange(2500), (2, 2500))
    flow = np.zeros((2, 2500, 2), np.float32)
    flow[..., 0] = order - x
    warped, valid = warp(pixels, Flow(flow, (2, 40_000)))
    assert valid.all()
    np.testing.assert_array_equal(warped, np.take_along_axis(pixels, order, axis=1))


def test_tiles_leave_no_seams():
    y, x = np.mgrid[:700, :5000].astype(np.float32)
    picture = np.sin(x / 9) + np.cos(y / 7)
    flow = shift_flow(700, 5000, 0.5, 0.5)
    warped, valid = warp(picture, flow, interpolation="cubic")
    expected = np.sin((x + 0.5) / 9) + np.cos((y + 0.5) / 7)
    inner = np.s_[3:-3, 3:-3]
    assert valid[inner].all()
    assert np.abs(warped - expected)[inner].max() < 4e-3  # a pixel off at a seam would be 0.1


@pytest.mark.parametrize("channels", [2, 6, 14])
def test_every_number_of_channels_is_sampled_as_exactly_as_one(channels):
    pixels = noise((30, 40, channels), "float32")
    flow = smooth_flow(30, 40, strength=0.3)
    warped, valid = warp(pixels, flow, alpha=False)
    alone = [warp(np.ascontiguousarray(pixels[..., c]), flow)[0] for c in range(channels)]
    assert valid.mean() > 0.5
    np.testing.assert_allclose(warped, np.stack(alone, axis=-1), atol=1e-4)


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
@pytest.mark.parametrize("kind", ["uint16", "int16", "int32", "uint32", "float64"])
def test_every_type_is_sampled_as_exactly_as_float32(kind, interpolation):
    ramp = np.tile(np.arange(0, 6400, 100), (20, 1))
    flow = shift_flow(20, 64, 0.26, 0.41)
    exact, _ = warp(ramp.astype(np.float32), flow, interpolation=interpolation)
    found, valid = warp(ramp.astype(kind), flow, interpolation=interpolation)
    limit = 0.01 if kind == "float64" else 0.51
    np.testing.assert_allclose(found[valid], exact[valid], atol=limit)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e40, 1e-47, 1e300])
def test_numbers_beyond_float32_are_sampled(scale):
    ramp = np.tile(np.arange(1, 65) * scale, (20, 1))
    found, valid = warp(ramp, shift_flow(20, 64, 0.25, 0.25))
    np.testing.assert_allclose(found[valid] / scale, (ramp / scale + 0.25)[valid], atol=0.02)


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
@pytest.mark.parametrize("hole", [-9999.0, np.nan], ids=["number", "nan"])
def test_pixels_without_data_are_mixed_into_no_height(interpolation, hole):
    heights = np.broadcast_to(100 + np.arange(40, dtype=np.float32), (30, 40)).copy()
    heights[10:20, 15:25] = hole
    missing = np.zeros((30, 40), bool)
    missing[10:20, 15:25] = True
    warped, valid = warp(heights, shift_flow(30, 40, 0.5, 0), interpolation=interpolation, missing=missing)
    # Column 14.5 lies between a height and the hole, column 25.5 between heights.
    assert not valid[10:20, 14:25].any()
    assert valid[10:20, 25].all()
    assert valid[9, :39].all()
    assert warped[valid].min() > 99
    assert warped[valid].max() < 141


def test_a_whole_shift_loses_no_pixel_beside_the_hole():
    heights, missing = noise((20, 20), "float32"), np.zeros((20, 20), bool)
    missing[5:9, 5:9] = True
    for interpolation in INTERPOLATIONS:
        warped, valid = warp(heights, shift_flow(20, 20, 2, 0), interpolation=interpolation, missing=missing)
        np.testing.assert_array_equal(valid[:, :18], ~missing[:, 2:])
        np.testing.assert_allclose(warped[valid], heights[:, 2:][~missing[:, 2:]], atol=1e-4)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(FlowError, match="mask of missing pixels"):
        warp(noise((4, 4)), shift_flow(4, 4, 0, 0), missing=np.zeros((3, 4), bool))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(0).integers(0, 2**32, (20, 30), dtype=np.uint32),
        np.random.default_rng(0).integers(-(2**31), 2**31, (20, 30), dtype=np.int32),
        5_400_000 + np.random.default_rng(0).random((20, 30)),
        np.random.default_rng(0).integers(0, 2**16, (20, 30)).astype(">u2"),
    ],
    ids=["uint32", "int32", "float64", "big-endian"],
)
def test_whole_pixels_keep_their_values(pixels, interpolation):
    warped, _ = warp(pixels, shift_flow(20, 30, 1, 0), interpolation=interpolation)
    assert np.abs(warped[:, :-1].astype(np.float64) - pixels[:, 1:]).max() < 1e-8
