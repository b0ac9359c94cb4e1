"""Every data set is read from a miniature of its official layout, and says what is missing from it."""

import json
import pickle

import numpy as np
import pytest

from glualign.errors import DatasetError
from glualign.evaluation.datasets import DATASETS, open_dataset
from glualign.evaluation.datasets.points import read_list
from glualign.evaluation.metrics import DenseTruth, PointTruth
from glualign.flow import write_flow
from tests.evaluation.fakes import make_pairs, texture, write_image

SIZE = (40, 60)


def matrix(folder, text):
    (folder / "H_target_to_source.txt").write_text(text)


def constant_flow(path, u, v, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    field = np.full((*size, 2), [u, v], np.float32)
    field[0, 0] = np.nan
    write_flow(path, field)


def loaded(name, root, **options):
    dataset = open_dataset(name, root, **options)
    return dataset, [pair.load() for pair in dataset.pairs]


def test_sintel_pairs_follow_each_other_and_invalid_pixels_are_left_out(tmp_path):
    for number in (1, 2, 3):
        write_image(
            tmp_path / "training" / "clean" / "alley_1" / f"frame_{number:04d}.png", texture(*SIZE, number)
        )
    for number in (1, 2):
        constant_flow(tmp_path / "training" / "flow" / "alley_1" / f"frame_{number:04d}.flo", number, 0)
        invalid = np.zeros((*SIZE, 3), np.uint8)
        invalid[5:10] = 255
        write_image(tmp_path / "training" / "invalid" / "alley_1" / f"frame_{number:04d}.png", invalid)
    dataset, (first, second) = loaded("sintel-clean", tmp_path)
    assert [pair.name for pair in dataset.pairs] == ["alley_1/frame_0001", "alley_1/frame_0002"]
    np.testing.assert_array_equal(first.source, second.target)
    assert first.truth.flow[20, 20, 0] == 1
    assert not first.truth.mask[7].any()
    assert not first.truth.mask[0, 0]
    assert first.truth.mask.sum() == (SIZE[0] - 5) * SIZE[1] - 1


def test_middlebury_target_is_frame_10(tmp_path):
    write_image(tmp_path / "other-data" / "Grove2" / "frame10.png", texture(*SIZE, 1))
    write_image(tmp_path / "other-data" / "Grove2" / "frame11.png", texture(*SIZE, 2))
    constant_flow(tmp_path / "other-gt-flow" / "Grove2" / "flow10.flo", 3, -1)
    _, (sample,) = loaded("middlebury", tmp_path)
    np.testing.assert_array_equal(sample.target, texture(*SIZE, 1))
    np.testing.assert_array_equal(sample.truth.flow[5, 5], [3, -1])
    assert sample.longer_side == 60


def make_chairs(root):
    for number in (1, 2, 3):
        for image in (1, 2):
            write_image(root / "data" / f"{number:05d}_img{image}.ppm", texture(*SIZE, 10 * number + image))
        constant_flow(root / "data" / f"{number:05d}_flow.flo", number, 0)


def test_chairs_take_the_validation_split_when_there_is_one(tmp_path):
    make_chairs(tmp_path)
    assert len(open_dataset("chairs", tmp_path)) == 3
    (tmp_path / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n")
    _, (sample,) = loaded("chairs", tmp_path)
    assert sample.truth.flow[5, 5, 0] == 2
    np.testing.assert_array_equal(sample.target, texture(*SIZE, 21))


def test_a_chairs_split_of_another_length_is_refused(tmp_path):
    make_chairs(tmp_path)
    (tmp_path / "split.txt").write_text("1\n2\n")
    with pytest.raises(DatasetError, match="lists 2 pairs, the folder holds 3"):
        open_dataset("chairs", tmp_path, pair_list=tmp_path / "split.txt")


def write_willow(root, cells=40):
    for name in ("a", "b"):
        write_image(root / "car(G)" / f"{name}.png", texture(*SIZE, ord(name)))
    points = list(range(10, 20)) + list(range(20, 30)) + list(range(12, 22)) + list(range(21, 31))
    header = ["imageA", "imageB", *(f"c{index}" for index in range(cells))]
    row = ["PF-dataset/car(G)/a.png", "PF-dataset/car(G)/b.png", *map(str, points[:cells])]
    (root / "test_pairs_pf.csv").write_text(",".join(header) + "\n" + ",".join(row) + "\n")


def test_pf_willow_moves_points_of_the_second_image_to_the_first(tmp_path):
    write_willow(tmp_path)
    dataset, (sample,) = loaded("pf-willow", tmp_path)
    assert dataset.groups == ("car(G)",)
    assert sample.truth.count() == 10
    np.testing.assert_array_equal(sample.truth.flow[21, 12], [-2, -1])
    assert sample.longer_side == 60
    _, (boxed,) = loaded("pf-willow-box", tmp_path)
    assert boxed.longer_side == 9


def test_pf_willow_with_a_wrong_number_of_columns(tmp_path):
    write_willow(tmp_path, cells=39)
    with pytest.raises(DatasetError, match=r"line 2.*39 coordinates, expected 40"):
        open_dataset("pf-willow", tmp_path).pairs[0].load()


def test_pf_pascal_reads_points_between_semicolons(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / "JPEGImages" / f"{name}.png", texture(*SIZE, ord(name)))
    (tmp_path / "test_pairs_pf_pascal.csv").write_text(
        "source_image,target_image,class,XA,YA,XB,YB\n"
        "JPEGImages/a.png,JPEGImages/b.png,3,10;20.5,5;6,12;25,7;8\n"
        "JPEGImages/a.png,JPEGImages/b.png,3,10;20.5,5;6,12;oops,7;8\n"
        "JPEGImages/a.png,JPEGImages/b.png,3,10;20.5,5,12;25,7;8\n"
    )
    dataset = open_dataset("pf-pascal", tmp_path)
    sample = dataset.pairs[0].load()
    np.testing.assert_allclose(sample.truth.flow[8, 25], [-4.5, -2])
    with pytest.raises(DatasetError, match=r"line 3: XB holds '12;oops'"):
        dataset.pairs[1].load()
    with pytest.raises(DatasetError, match=r"line 4: 2 values in XA but 1 in YA"):
        dataset.pairs[2].load()


def test_spair_reads_layout_annotation_and_images(tmp_path):
    for name in ("s", "t"):
        write_image(tmp_path / "JPEGImages" / "cat" / f"{name}.png", texture(*SIZE, ord(name)))
    entry = {
        "category": "cat", "src_imname": "s.png", "trg_imname": "t.png",
        "src_kps": [[10, 11], [30, 20]], "trg_kps": [[12, 10], [33, 22]],
        "src_bndbox": [5, 5, 35, 25], "trg_bndbox": [0, 0, 9, 9],
    }  # fmt: skip
    (tmp_path / "PairAnnotation" / "test").mkdir(parents=True)
    (tmp_path / "PairAnnotation" / "test" / "000001-s-t_cat.json").write_text(json.dumps(entry))
    (tmp_path / "Layout" / "large").mkdir(parents=True)
    (tmp_path / "Layout" / "large" / "test.txt").write_text("000001-s-t:cat\n000002-s-u:cat\n")
    dataset = open_dataset("spair-box", tmp_path)
    assert dataset.groups == ("cat",)
    sample = dataset.pairs[0].load()
    np.testing.assert_array_equal(sample.truth.flow[10, 12], [-2, 1])
    assert sample.longer_side == 30
    with pytest.raises(DatasetError, match=r"000002-s-u:cat\.json: no such file"):
        dataset.pairs[1].load()


def test_megadepth_resizes_images_and_points_and_pools_the_pck(tmp_path):
    write_image(tmp_path / "0001" / "a.png", texture(600, 900, 1))
    write_image(tmp_path / "0001" / "b.png", texture(700, 500, 2))
    (tmp_path / "test1600Pairs.csv").write_text(
        "scene,source_image,target_image,XA,YA,XB,YB\n0001,a.png,b.png,90;899;300,60;1;-5,100;5;5,70;5;5\n"
    )
    dataset, (sample,) = loaded("megadepth", tmp_path)
    assert dataset.pooled_pck
    # 900 x 600 -> 720 x 480; 500 x 700 -> 480 x 672; both padded to 720 x 672
    assert sample.source.shape == sample.target.shape == (672, 720, 3)
    assert not sample.source[480:].any()
    assert not sample.target[:, 480:].any()
    assert isinstance(sample.truth, PointTruth)
    np.testing.assert_allclose(sample.truth.source, [[72, 48], [719.2, 0.8]])  # the third lies outside
    np.testing.assert_allclose(sample.truth.target[0], [96, 67.2])


def test_kitti_2012_and_2015_differ_in_their_image_folder(tmp_path):
    constant_flow(tmp_path / "flow_noc" / "000000_10.png", 2, 1)
    for frame in ("10", "11"):
        write_image(tmp_path / "colored_0" / f"000000_{frame}.png", texture(*SIZE, int(frame)))
    _, (sample,) = loaded("kitti-2012-noc", tmp_path)
    np.testing.assert_allclose(sample.truth.flow[5, 5], [2, 1])
    np.testing.assert_array_equal(sample.target, texture(*SIZE, 10))
    with pytest.raises(DatasetError, match=r"flow_occ.*cvlibs"):
        open_dataset("kitti-2012", tmp_path)
    with pytest.raises(DatasetError, match="image_2"):
        open_dataset("kitti-2015-noc", tmp_path)


def test_pairs_takes_flow_before_homography_before_points(tmp_path):
    make_pairs(tmp_path, shifts=(2,))
    folder = tmp_path / "moved" / "p0"
    np.savetxt(folder / "points_target_source.txt", [[10, 10, 13, 10]], header="x_t y_t x_s y_s")
    _, (by_matrix,) = loaded("pairs", tmp_path)
    assert by_matrix.truth.flow[5, 30, 0] == -2
    constant_flow(folder / "flow.flo", 7, 0)
    _, (by_flow,) = loaded("pairs", tmp_path)
    assert by_flow.truth.flow[5, 30, 0] == 7
    _, (by_points,) = loaded("pairs-points", tmp_path)
    np.testing.assert_array_equal(by_points.truth.source, [[13, 10]])
    (folder / "flow.flo").unlink()
    (folder / "H_target_to_source.txt").unlink()
    _, (by_points,) = loaded("pairs", tmp_path)
    np.testing.assert_array_equal(by_points.truth.source, [[13, 10]])
    (folder / "points_target_source.txt").unlink()
    constant_flow(folder / "flow.flo", 7, 0)
    _, (by_flow,) = loaded("pairs-points", tmp_path)
    assert by_flow.truth.flow[5, 30, 0] == 7


def test_pairs_may_lie_directly_in_the_folder(tmp_path):
    make_pairs(tmp_path, shifts=(1, 2))
    dataset = open_dataset("pairs", tmp_path / "moved")
    assert [(pair.name, pair.group) for pair in dataset.pairs] == [("p0", ""), ("p1", "")]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda p: (p / "H_target_to_source.txt").unlink(), "no ground truth; it needs flow.flo"),
        (lambda p: (p / "source.png").unlink(), "no source image"),
        (lambda p: (p / "source.jpg").write_bytes(b"x"), "source.jpg and source.png; keep one"),
        (lambda p: matrix(p, "1 0 0\n0 1 0\n"), "not an invertible 3x3"),
        (lambda p: matrix(p, "1 0 0\n0 1 0\n0 0 x\n"), "not a table of numbers"),
        (lambda p: matrix(p, "1 2 3\n1 2 3\n1 2 3\n"), "not an invertible 3x3"),
        (lambda p: constant_flow(p / "flow.flo", 1, 1, (30, 60)), r"the flow is 60 x 30 pixels, .* 60 x 40"),
        (lambda p: (p / "target.png").write_bytes(b"not an image"), "target.png"),
    ],
)  # fmt: skip
def test_a_broken_pair_names_the_file_and_what_is_wrong(tmp_path, break_it, words):
    from glualign.errors import GlualignError

    make_pairs(tmp_path, shifts=(1,))
    break_it(tmp_path / "moved" / "p0")
    (pair,) = open_dataset("pairs", tmp_path).pairs
    with pytest.raises(GlualignError, match=words):
        pair.load()


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_missing_or_empty_folder_is_refused_with_the_layout_it_should_have(name, tmp_path):
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(DatasetError) as error:
            open_dataset(name, folder)
        assert str(folder) in str(error.value)
        assert "ROOT" in str(error.value)


def test_a_csv_without_its_columns_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("obj,im1\nv_a,1\n")
    with pytest.raises(DatasetError, match="header lacks im2, Him"):
        open_dataset("hpatches", tmp_path, pair_list=tmp_path / "list.csv")


def test_a_list_for_a_set_without_one_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="takes no list"):
        open_dataset("tss", tmp_path, pair_list=tmp_path / "list.csv")


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(DatasetError, match="hpatches-240"):
        open_dataset("hpatchs", tmp_path)


class _Malicious:
    def __reduce__(self):
        import os

        return os.system, ("touch should-not-exist",)


def test_an_eth3d_list_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "lakeside_every_5_rate_of_3"
    path.write_bytes(pickle.dumps([_Malicious()]))
    with pytest.raises(DatasetError, match="system is not allowed"):
        read_list(path)
    assert not (tmp_path / "should-not-exist").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": 1}), pickle.dumps([1, 2])])
def test_an_eth3d_list_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "lakeside_every_5_rate_of_3"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="not a list of pairs"):
        read_list(path)


def test_an_eth3d_entry_without_its_points_fails_alone(tmp_path):
    entries = [{"source_image": "a.png", "target_image": "b.png", "Xs": [1.0], "Ys": [1.0], "Xt": [1.0]}]
    (tmp_path / "lakeside_every_5_rate_of_3").write_bytes(pickle.dumps(entries))
    pair = next(p for p in open_dataset("eth3d", tmp_path).pairs if p.name.endswith("0000"))
    with pytest.raises(DatasetError, match="entry 0: lacks Yt"):
        pair.load()


def test_the_shared_pairs_are_all_readable(shared):
    dataset = open_dataset("pairs", shared / "eval")
    assert len(dataset) == 85
    assert len(dataset.groups) == 10
    for pair in dataset.pairs[::9]:
        sample = pair.load()
        assert sample.truth.count() > 0
        if isinstance(sample.truth, DenseTruth):
            assert np.isfinite(sample.truth.flow).all()
