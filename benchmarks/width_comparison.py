"""What width buys: networks of several widths, trained from nothing for the same time, beside what they cost.

Every candidate gets one `features` stage (contrastive, pyramid and context) of so many minutes here.
Reported are the share of held-out target cells whose match is found within one cell, and the time of one pass
between two images.

Run: python benchmarks/width_comparison.py PHOTOS [--minutes 6] [--cache DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from glualign.evaluation.environment import environment
from glualign.evaluation.speed import model_contender, time_contenders
from glualign.files import write_text
from glualign.network.config import GLUNetConfig
from glualign.network.glunet import GLUNet
from glualign.training.batches import BatchDataset
from glualign.training.loop import Trainer
from glualign.training.objectives import ContrastiveHead, Objective
from glualign.training.photos import PhotoStore, open_photos
from glualign.training.recipe import DataOptions, Recipe, RunOptions, StageOptions, read_recipe
from glualign.training.session import Processes
from glualign.training.synthesis import PairSynthesis

Indices = npt.NDArray[np.int64]

RECIPE = read_recipe(Path(__file__).resolve().parent.parent / "recipes" / "compact.toml")
COMPACT = dataclasses.replace(RECIPE.model, coarse_backbone="pyramid")
CANDIDATES: dict[str, GLUNetConfig] = {
    "half": dataclasses.replace(COMPACT, pyramid_channels=(8, 16, 32, 64)),
    "compact": COMPACT,
    "one and a half": dataclasses.replace(COMPACT, pyramid_channels=(24, 48, 96, 192)),
    "compact, no context": dataclasses.replace(COMPACT, transformer_layers=0),
}
MIX = RECIPE.data.mix
TRIAL_STEPS = 15
STRIDES = (16, 8, 4)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos")
    parser.add_argument("--minutes", type=float, default=6.0, help="training time of each candidate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=24, help="held-out pairs of each kind")
    parser.add_argument("--cache")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(options.threads)
    photos = open_photos(options.photos, options.cache)
    rows = []
    for name, config in CANDIDATES.items():
        row = {"name": name} | measured(config, photos, options)
        rows.append(row)
        hits = ", ".join(f"1/{stride} {row['hits'][str(stride)]:.1%}" for stride in STRIDES)
        print(
            f"{name}: {row['pairs']} pairs in {row['minutes']:.1f} min, found {hits}, {row['seconds']:.3f} s"
        )
    if options.json:
        document = {
            "kind": "widths",
            "rows": rows,
            "threads": options.threads,
            "date": date.today().isoformat(),
            "machine": environment(),
        }
        write_text(options.json, json.dumps(document, indent=1) + "\n")


def measured(config: GLUNetConfig, photos: PhotoStore, options: argparse.Namespace) -> dict[str, Any]:
    """Train one candidate for the given time and score it."""
    with tempfile.TemporaryDirectory() as folder:
        trial = trainer(config, photos, TRIAL_STEPS, options.threads, Path(folder) / "trial")
        started = time.monotonic()
        trial.run(steps=TRIAL_STEPS)
        # The schedule has to know its length, so the trial run says how many steps the minutes hold.
        steps = int(60 * options.minutes / ((time.monotonic() - started) / TRIAL_STEPS))
        run = trainer(config, photos, steps, options.threads, Path(folder) / "run")
        started = time.monotonic()
        run.run()
        minutes = (time.monotonic() - started) / 60
    network = run.network.eval()
    contender = model_contender("candidate", network, "auto", torch.device("cpu"))
    timing = time_contenders([contender], sizes=[(520, 520)], threads=[1], repeat=5)[0]
    return {
        "channels": list(config.pyramid_channels),
        "context": config.transformer_layers,
        "megabytes": sum(p.numel() for p in network.parameters()) * 2 / 1e6,
        "minutes": minutes,
        "pairs": run.progress.pairs,
        "hits": hits(network, photos, run.held_out, options.pairs),
        "seconds": timing["seconds_median"],
    }


def trainer(config: GLUNetConfig, photos: PhotoStore, steps: int, threads: int, folder: Path) -> Trainer:
    """One features stage from nothing."""
    stage = StageOptions(kind="features", steps=steps, learning_rate=1e-3, pyramid_rate=2e-3, contrastive=1.0)
    recipe = Recipe(config, (stage,), DataOptions(mix=MIX, workers=1), RunOptions(threads=threads))
    folder.mkdir()
    return Trainer(recipe, photos, folder, Processes(0, 1, torch.device("cpu")), log=lambda _: None)


def hits(network: GLUNet, photos: PhotoStore, held_out: Indices, pairs: int) -> dict[str, float]:
    """Share of held-out cells found within one cell, by stride, mean over all kinds of pairs."""
    stage = StageOptions(kind="features", steps=1, pyramid_rate=1.0, contrastive=1.0)
    objective = Objective(network, ContrastiveHead(), stage)
    found: dict[str, list[float]] = {f"hit{stride}": [] for stride in STRIDES}
    for name in MIX:
        batches = BatchDataset(PairSynthesis(photos, held_out, 0, {name: 1.0}), 8, (256,))
        for step in range(-(-pairs // 8)):
            torch.manual_seed(step)
            with torch.inference_mode():
                figures = objective(batches[step])[1]
            for key, values in found.items():
                values.append(float(figures[key]))
    return {str(stride): float(np.mean(found[f"hit{stride}"])) for stride in STRIDES}


if __name__ == "__main__":
    main()
