import json
import re

import numpy as np
import pytest

from glualign.evaluation.datasets import Sample, open_dataset
from glualign.evaluation.metrics import DenseTruth, PointTruth
from glualign.evaluation.provenance import write_document
from glualign.evaluation.runner import evaluate
from glualign.evaluation.tables import document, group_results, table_cells
from glualign.report.evaluation import error_map, panels, worst_and_median, write_evaluation
from tests.evaluation.fakes import Offset, make_pairs


@pytest.fixture
def run(tmp_path):
    root = make_pairs(tmp_path, shifts=(1, 2, 3, 4, 5))
    (root / "moved" / "p4" / "source.png").write_bytes(b"<script>")
    dataset, methods = open_dataset("pairs", root), [Offset(), Offset("far", 9.0)]
    results = evaluate(dataset, methods)
    return dataset, methods, results, group_results(dataset, results)


def test_a_document_read_back_gives_the_same_table(run, tmp_path):
    dataset, methods, results, groups = run
    path = tmp_path / "result.json"
    write_document(path, document(dataset, methods, groups, results))
    content = json.loads(path.read_text())
    assert table_cells("pairs", content["rows"]) == table_cells("pairs", groups)
    assert [entry["pair"] for entry in content["failures"]] == ["moved/p4", "moved/p4"]
    assert content["machine"]["versions"]["numpy"] == np.__version__
    assert len(content["curve_alpha"]) == 50


def test_a_document_tells_nothing_about_the_person(run, tmp_path):
    import getpass
    import socket

    dataset, methods, results, groups = run
    content = document(dataset, methods, groups, [result for result in results if not result.error])
    text = json.dumps(content)
    assert socket.gethostname() not in text
    assert str(tmp_path) not in text
    assert f"/{getpass.getuser()}/" not in text


def test_the_page_is_self_contained_and_escapes_what_it_shows(run, tmp_path):
    dataset, methods, results, groups = run
    path = tmp_path / "out.html"
    write_evaluation(
        path, document(dataset, methods, groups, results), panels(dataset, methods[0], results, 2)
    )
    page = path.read_text("utf-8")
    assert page.count("data:image/webp;base64,") == 4 * 4
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "<script>" not in page
    assert "Failed pairs" in page
    assert page.count("<polyline") == 2


def test_worst_and_median_do_not_overlap(run):
    _, _, results, _ = run
    chosen = worst_and_median([r for r in results if r.method == "offset"], 3)
    names = [result.pair for _, result in chosen]
    assert len(set(names)) == len(names)
    errors = [result.metrics.aepe for kind, result in chosen if kind == "worst"]
    assert errors == sorted(errors, reverse=True)
    assert worst_and_median([], 3) == []


def test_the_error_map_is_bright_where_the_flow_is_wrong():
    image = np.full((30, 40, 3), 120, np.uint8)
    truth = DenseTruth(np.zeros((30, 40, 2), np.float32), np.ones((30, 40), bool))
    flow = np.zeros((30, 40, 2), np.float32)
    flow[:, 20:] = 10
    picture = error_map(Sample(image, image, truth, 40), flow, 5.0).astype(int).sum(axis=-1)
    assert picture[:, 20:].min() > 2 * picture[:, :20].max()


def test_the_error_map_of_points_marks_them():
    image = np.zeros((60, 80, 3), np.uint8)
    truth = PointTruth(np.array([[20.0, 30.0], [60.0, 30.0]]), np.array([[20.0, 30.0], [60.0, 90.0]]))
    picture = error_map(Sample(image, image, truth, 80), np.zeros((60, 80, 2)), 5.0).astype(int).sum(axis=-1)
    assert picture[30, 60] > picture[30, 20]
    assert picture[5, 5] == 0
