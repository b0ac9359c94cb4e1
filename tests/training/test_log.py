from pathlib import Path

import cv2
import numpy as np
import pytest

from glualign.errors import TrainingError
from glualign.training.run_folder import append_row, plot, read_rows, rewind


def row(pairs: int, **values: float) -> dict[str, float]:
    return {"pairs": pairs, "stage": 0, "step": pairs // 8, **values}


def test_rows_come_back_and_missing_or_infinite_cells_stay_empty(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    append_row(path, row(8, loss=2.5))
    append_row(path, row(16, loss=float("nan"), epe1=3.0))
    assert read_rows(path) == [row(8, loss=2.5), row(16, epe1=3.0)]
    assert path.read_text().splitlines()[0] == "pairs,stage,step,loss,epe1"


def test_a_row_with_further_columns_keeps_the_cells_of_the_others_in_place(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    append_row(path, row(8, small=1.0, large=4.0))
    append_row(path, row(16, real=9.0, small=0.5, large=3.0))
    assert read_rows(path) == [row(8, small=1.0, large=4.0), row(16, small=0.5, large=3.0, real=9.0)]


def test_rewinding_drops_what_will_be_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for pairs in (8, 16, 24):
        append_row(path, row(pairs, loss=1.0))
    with path.open("a") as stream:
        stream.write("32,0,4,1.")  # cut off in the middle of a write
    rewind(path, 16)
    assert read_rows(path) == [row(8, loss=1.0), row(16, loss=1.0)]
    append_row(path, row(24, loss=2.0))
    assert read_rows(path)[-1] == row(24, loss=2.0)


def test_a_log_saved_by_a_spreadsheet_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("pairs;stage;step;loss\n8;0;1;2,5\n")
    with pytest.raises(TrainingError, match=r"train\.csv: is truncated or damaged"):
        rewind(path, 16)


def test_a_falling_curve_falls_in_the_plot(tmp_path: Path) -> None:
    """The coloured pixels of the first columns lie higher than those of the last."""
    rows = [row(8 * k, loss=1 + 100 / k) for k in range(1, 900)]
    path = tmp_path / "plot.png"
    plot(rows, ["loss", "absent"], path)
    picture = cv2.imread(str(path))
    assert picture.shape == (500, 900, 3)
    ys, xs = np.nonzero(np.ptp(picture.astype(int), axis=2) > 40)
    curve = xs < 700  # the legend stands to the right
    assert xs[curve].max() - xs[curve].min() > 500
    assert ys[curve & (xs < 80)].mean() + 100 < ys[curve & (xs > 600)].mean()


def test_nothing_to_plot_writes_nothing(tmp_path: Path) -> None:
    plot([row(8, loss=1.0)], ["loss"], tmp_path / "plot.png")
    assert not list(tmp_path.iterdir())


def test_counts_beyond_six_digits_stay_exact(tmp_path: Path) -> None:
    """A resumed run of millions of pairs keeps the rows up to its checkpoint, and no later ones."""
    path = tmp_path / "train.csv"
    for pairs in (1_234_564, 1_234_567, 1_234_570):
        append_row(path, {"pairs": pairs, "loss": 0.123456789})
    rewind(path, 1_234_567)
    assert path.read_text() == "pairs,loss\n1234564,0.123457\n1234567,0.123457\n"
