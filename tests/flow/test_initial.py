"""A known motion from a matrix, a flow or point pairs; what is none of them in one line."""

import json

import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow, from_transform, read_initial, write_flow
from glualign.geometry import apply_transform
from tests.flow.fields import similarity

TARGET, SOURCE = (60, 80), (90, 120)
MATRIX = np.array([[1.4, 0.1, -3], [-0.05, 1.5, 2], [1e-4, 2e-4, 1]])


def assert_is(flow, matrix, atol=1e-3):
    np.testing.assert_allclose(flow.data, from_transform(matrix, TARGET).data, atol=atol)
    assert flow.source_size == SOURCE


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(" ".join(map(repr, row)) for row in MATRIX.tolist()),
        "# a comment\n" + "\n".join(",".join(map(repr, row)) for row in MATRIX.tolist()) + "\n\n",
        "\ufeff" + "\r\n".join("\t".join(map(repr, row)) for row in MATRIX.tolist()),
    ],
    ids=["spaces", "commas", "tabs"],
)
def test_a_matrix_as_text(text, tmp_path):
    path = tmp_path / "m.txt"
    path.write_bytes(text.encode())
    assert_is(read_initial(path, TARGET, SOURCE), MATRIX)


def test_a_matrix_as_json(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"matrix": MATRIX.tolist(), "source_size": SOURCE, "target_size": TARGET}))
    assert_is(read_initial(path, TARGET, SOURCE), MATRIX)
    with pytest.raises(FlowError, match="is for a target of 80 x 60 pixels, the target is 81 x 60"):
        read_initial(path, (60, 81), SOURCE)
    path.write_text(json.dumps(MATRIX.tolist()))
    assert_is(read_initial(path, TARGET, SOURCE), MATRIX)


def test_a_flow(tmp_path):
    path = tmp_path / "f.npz"
    write_flow(path, from_transform(MATRIX, TARGET, SOURCE))
    assert_is(read_initial(path, TARGET, SOURCE), MATRIX)
    with pytest.raises(FlowError, match="is for a source of 120 x 90 pixels, the source is 60 x 45"):
        read_initial(path, TARGET, (45, 60))
    write_flow(tmp_path / "f.flo", Flow(np.zeros((5, 6, 2))))
    with pytest.raises(FlowError, match="is for a target of 6 x 5 pixels"):
        read_initial(tmp_path / "f.flo", TARGET, SOURCE)


@pytest.mark.parametrize(
    ("count", "matrix"),
    [
        (1, similarity(0, 1, (7, -3))),
        (2, similarity(20, 1.2, (5, 9))),
        (4, np.array([[1.4, 0.1, -3], [-0.05, 1.5, 2], [0, 0, 1]])),
        (12, MATRIX),
    ],
)
@pytest.mark.parametrize("header", [True, False])
def test_point_pairs_give_what_they_determine(count, matrix, header, tmp_path):
    target = np.random.default_rng(0).uniform((0, 0), (79, 59), (count, 2))
    table = np.column_stack([apply_transform(matrix, target), target])
    if count == 12:
        table[5, 0] += 300  # one wrong pair among many
    lines = [",".join(f"{value:.6f}" for value in row) for row in table]
    if header:
        order = (2, 3, 0, 1)
        lines = ["target_x;target_y;source_x;source_y;name"]
        lines += [";".join([*(f"{row[k]:.6f}" for k in order), "a"]) for row in table]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    assert_is(read_initial(path, TARGET, SOURCE), matrix, atol=0.02)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.txt", "1 2\n3 4", "holds 2 x 2 numbers"),
        ("m.txt", "1 0 0\n0 1 0\n1 1 0", "is singular"),
        ("m.txt", "1 0 0\n0 1 0\n-1 0 30", "puts the horizon inside the picture"),
        ("m.txt", "0.001 0 0\n0 0.001 0\n0 0 1", "changes the scale more than 50 times"),
        ("m.txt", "1 0 0\n0 nan 0\n0 0 1", "not finite"),
        ("m.txt", "1 0 zero\n0 1 0\n0 0 1", "is no table of numbers"),
        ("m.txt", "", "holds 0 numbers"),
        ("m.txt", b"\xff\xfe\x00", "is not text in UTF-8"),
        ("m.json", "[[1, 0, 0], [0, 1, 0]]", "holds no 3x3 matrix"),
        ("m.json", "{", "is not valid JSON"),
        ("m.json", '{"matrix": "one"}', "holds no 3x3 matrix"),
        ("m.json", f"[[1{'0' * 400}, 0, 0], [0, 1, 0], [0, 0, 1]]", "holds no 3x3 matrix"),
        ("p.csv", "1,1,1,1\n1,1,1,1\n1,1,1,1", "3 point pairs determine no affine"),
        ("p.csv", "source_x,source_y,target_x,target_y\n1,2,3", "is no table of numbers"),
        ("p.csv", "x,y\n1,2", "is no table of numbers"),
    ],
)
def test_what_is_no_motion_is_refused_in_one_line(name, text, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FlowError, match=words) as caught:
        read_initial(path, TARGET, SOURCE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FlowError, match="no such file"):
        read_initial(tmp_path / "none.txt", TARGET, SOURCE)
