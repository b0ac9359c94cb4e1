import sys
from pathlib import Path

import cv2
import pytest

from glualign.training.journal import Journal, plot, read_rows


def row(pairs: int, **values: float) -> dict[str, float]:
    return {"pairs": pairs, "stage": 0, "step": pairs // 8, **values}


def test_rows_come_back_and_missing_or_infinite_cells_stay_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.csv", ["loss", "epe1"])
    journal.add(row(8, loss=2.5))
    journal.add(row(16, loss=float("nan"), epe1=3.0))
    assert read_rows(journal.path) == [row(8, loss=2.5), row(16, epe1=3.0)]


def test_rewinding_drops_what_will_be_trained_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.csv", ["loss"])
    for pairs in (8, 16, 24):
        journal.add(row(pairs, loss=1.0))
    with journal.path.open("a") as stream:
        stream.write("32,0,4,1.")  # cut off in the middle of a write
    journal.rewind(16)
    assert [r["pairs"] for r in read_rows(journal.path)] == [8, 16]


@pytest.mark.parametrize("matplotlib", [True, False])
def test_a_plot_is_drawn_with_or_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matplotlib: bool
) -> None:
    if not matplotlib:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    rows = [row(8 * k, loss=1 + 10 / k, epe1=20 / k) for k in range(1, 900)]
    path = tmp_path / "plot.png"
    plot(rows, ["loss", "epe1", "absent"], path)
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) >= 400
    assert picture.min() < 200 < picture.max()


def test_nothing_to_plot_writes_nothing(tmp_path: Path) -> None:
    plot([row(8, loss=1.0)], ["loss"], tmp_path / "plot.png")
    assert not list(tmp_path.iterdir())
