"""The readers and metrics give what the published evaluation code gave on the same toy data."""

import json
import shutil

import numpy as np
import pytest

from glualign.evaluation.datasets import open_dataset
from glualign.evaluation.runner import evaluate
from glualign.evaluation.tables import group_results
from tests.evaluation.fakes import GOLDEN, Wobbled

EXPECTED = json.loads((GOLDEN / "expected_metrics.json").read_text())
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "expected.npz") as data:
        return dict(data)


def metrics_of(dataset, scale):
    results = evaluate(dataset, [Wobbled(scale)])
    assert [result.error for result in results] == [""] * len(dataset)
    return overall(dataset, results)


def overall(dataset, results):
    return next(row["metrics"] for row in group_results(dataset, results) if row["group"] == "")


def assert_matches(metrics, expected):
    pck, alpha = metrics["pck_px"], metrics["pck_alpha"]
    assert metrics["aepe"] == pytest.approx(expected["final_eape"], abs=TOLERANCE)
    assert pck["1"] == pytest.approx(expected["pck_thresh_1_average_per_image"], abs=TOLERANCE)
    assert pck["5"] == pytest.approx(expected["pck_thresh_5_average_per_image"], abs=TOLERANCE)
    assert alpha["0.05"] == pytest.approx(expected["pck_alpha_0_05_average_per_image"], abs=TOLERANCE)
    curve = expected["pck_per_threshold_over_dataset"]
    np.testing.assert_allclose(metrics["curve_pck"], curve, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["hpatches-240", "hpatches"])
def test_hpatches(name, arrays):
    dataset = open_dataset(name, GOLDEN / "hp", pair_list=GOLDEN / "hp" / "toy.csv")
    sample = dataset.pairs[0].load()
    key = "hp_240" if name == "hpatches-240" else "hp_orig"
    np.testing.assert_array_equal(sample.truth.mask, arrays[f"{key}_mask"])
    flow = arrays[f"{key}_flow"].transpose(1, 2, 0)
    np.testing.assert_allclose(sample.truth.flow[sample.truth.mask], flow[sample.truth.mask], atol=TOLERANCE)
    # One grey level: the bilinear resize of OpenCV rounds differently in its builds.
    for image, part in ((sample.source, "source"), (sample.target, "target")):
        np.testing.assert_allclose(image.astype(int), arrays[f"{key}_{part}"].transpose(1, 2, 0), atol=1)
    assert_matches(metrics_of(dataset, 2.0), EXPECTED[key])


def test_hpatches_from_folders_equals_the_list(tmp_path):
    shutil.copytree(GOLDEN / "hp" / "v_toy", tmp_path / "v_toy")
    header, row = (GOLDEN / "hp" / "toy.csv").read_text().split()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    matrix = [[float(values[f"H{r}{c}"]) for c in (1, 2, 3)] for r in (1, 2, 3)]
    np.savetxt(tmp_path / "v_toy" / "H_1_2", matrix, fmt="%.12g")
    dataset = open_dataset("hpatches", tmp_path)
    assert len(dataset) == 5
    first, listed = (
        dataset.pairs[0].load(),
        open_dataset("hpatches", GOLDEN / "hp", pair_list=GOLDEN / "hp" / "toy.csv").pairs[0].load(),
    )
    np.testing.assert_allclose(first.truth.flow, listed.truth.flow, atol=1e-4)
    assert (dataset.pairs[0].group, dataset.pairs[4].group) == ("I", "V")


def test_kitti(arrays):
    dataset = open_dataset("kitti-2015", GOLDEN / "kitti")
    sample = dataset.pairs[0].load()
    np.testing.assert_array_equal(sample.truth.mask, arrays["kitti0_valid"] == 1)
    np.testing.assert_allclose(sample.truth.flow[sample.truth.mask], arrays["kitti0_flow"][sample.truth.mask])
    metrics = metrics_of(dataset, 3.0)
    assert_matches(metrics, EXPECTED["kitti"])
    assert metrics["fl"] == pytest.approx(EXPECTED["kitti"]["kitti2015-F1"], abs=TOLERANCE)


def test_tss(arrays):
    dataset = open_dataset("tss", GOLDEN / "tss")
    toy = [pair for pair in dataset.pairs if pair.group == "FG3DCar"]
    for index, pair in enumerate(toy):
        sample = pair.load()
        np.testing.assert_array_equal(sample.truth.mask, arrays[f"tss{index}_mask"])
        np.testing.assert_allclose(
            sample.truth.flow, arrays[f"tss{index}_flow"].transpose(1, 2, 0), atol=1e-6
        )
        np.testing.assert_array_equal(sample.source, arrays[f"tss{index}_source"].transpose(1, 2, 0))
        np.testing.assert_array_equal(sample.target, arrays[f"tss{index}_target"].transpose(1, 2, 0))
        assert sample.may_be_mirrored
    results = evaluate(dataset, [Wobbled(4.0)])
    # Two of the three groups are absent from the toy data, and said to be.
    assert [result.group for result in results if result.error] == ["JODS", "PASCAL"]
    assert_matches(overall(dataset, results), EXPECTED["tss"])


def test_eth3d(arrays, tmp_path):
    for name in ("a.png", "b.png"):
        shutil.copy(GOLDEN / "eth" / name, tmp_path / name)
    (tmp_path / "info_ETH3D_files").mkdir()
    shutil.copy(GOLDEN / "eth" / "list", tmp_path / "info_ETH3D_files" / "lakeside_every_5_rate_of_3")
    dataset = open_dataset("eth3d", tmp_path)
    pair = next(pair for pair in dataset.pairs if pair.name == "rate 3/lakeside/0000")
    sample = pair.load()
    np.testing.assert_array_equal(sample.truth.mask, arrays["eth_mask"])
    np.testing.assert_allclose(sample.truth.flow, arrays["eth_flow"].transpose(1, 2, 0), atol=1e-6)
    results = evaluate(dataset, [Wobbled(0.8)])
    assert sum(bool(result.error) for result in results) == 69  # the lists of 10 scenes x 7 rates but one
    assert_matches(overall(dataset, results), EXPECTED["eth"])


def test_the_copies_are_the_golden_files(shared):
    original = shared / "golden" / "eval"
    for path in sorted(path for path in GOLDEN.rglob("*") if path.is_file() and path.suffix != ".md"):
        assert path.read_bytes() == (original / path.relative_to(GOLDEN)).read_bytes(), path
