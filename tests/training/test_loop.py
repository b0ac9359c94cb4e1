import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glualign.errors import DatasetError, TrainingError
from glualign.evaluation.datasets import Dataset, EvalPair, Sample
from glualign.evaluation.metrics import PointTruth
from glualign.training.batches import BatchDataset
from glualign.training.loop import Trainer
from glualign.training.objectives import Objective, schedule
from glualign.training.photos import PhotoStore
from glualign.training.processes import Processes
from glualign.training.recipe import Recipe, StageKind, StageOptions, read_recipe
from glualign.training.run_folder import load_state, read_rows
from glualign.training.synthesis import PairSynthesis

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture
def recipe(root: Path) -> Recipe:
    return read_recipe(root / "recipes" / "tiny.toml")


def trainer(recipe: Recipe, photos: PhotoStore, folder: Path, lines: list[str] | None = None) -> Trainer:
    folder.mkdir(exist_ok=True)
    log = (lambda _: None) if lines is None else lines.append
    return Trainer(recipe, photos, folder, ALONE, log=log)


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_rows(folder / "train.csv")]


LONG = (
    StageOptions(kind="features", steps=4, batch=1, pyramid_rate=1e-3, contrastive=1.0),
    StageOptions(kind="coarse", steps=3, batch=1, pyramid_rate=1e-3, contrastive=0.5),
    StageOptions(kind="full", steps=4, batch=1, sizes=(256, 320), extra_layers=0.5),
)


def test_a_resumed_run_is_the_uninterrupted_run(recipe: Recipe, photos: PhotoStore, tmp_path: Path) -> None:
    """Stopped twice or once within every stage, it logs the same losses and ends in the same weights."""
    recipe = replace(recipe, stages=LONG)
    whole = trainer(recipe, photos, tmp_path / "whole")
    assert whole.run()
    parts = tmp_path / "parts"
    last = trainer(recipe, photos, parts)
    for number, steps in enumerate((1, 2, 2, 3, 2)):
        if number:
            last = trainer(recipe, photos, parts)
            last.resume()
        assert not last.run(steps=steps)
    last = trainer(recipe, photos, parts)
    last.resume()
    assert last.progress.step > 0
    assert last.run()
    assert len(losses(tmp_path / "whole")) == 11
    assert losses(parts) == losses(tmp_path / "whole")
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(last.network.state_dict()[name], value, rtol=0, atol=0)
        torch.testing.assert_close(
            last.average.state_dict()[name], whole.average.state_dict()[name], rtol=0, atol=0
        )


def test_a_changed_rate_applies_on_resume_and_is_logged(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a stage: with a rate of almost nothing the weights stay where they are."""
    stage = StageOptions(kind="coarse", steps=4, batch=1)
    monkeypatch.setattr("glualign.training.objectives.WEIGHT_DECAY", 0.0)
    trainer(replace(recipe, stages=(stage,)), photos, tmp_path / "run").run(steps=2)
    lines: list[str] = []
    slow = replace(stage, learning_rate=1e-12)
    again = trainer(replace(recipe, stages=(slow,)), photos, tmp_path / "run", lines)
    again.resume()
    assert any("stages.0.learning_rate: 0.0005 -> 1e-12" in line for line in lines)
    before = {name: value.clone() for name, value in again.network.named_parameters()}
    again.run()
    for name, value in again.network.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-8)


@pytest.mark.parametrize("where", ["gradient", "statistics"])
def test_a_step_that_is_not_finite_changes_nothing(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    stage = StageOptions(kind="coarse", steps=2, batch=1)
    run = trainer(replace(recipe, stages=(stage,)), photos, tmp_path)
    run.run(steps=1)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    average = {name: value.clone() for name, value in run.average.state_dict().items()}
    forward = Objective.forward

    def broken(self: Objective, *arguments: object) -> object:
        loss, measured = forward(self, *arguments)  # type: ignore[arg-type]
        if where == "statistics":
            norms = [m for m in self.network.decoder3.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            norms[0].running_var.data.fill_(float("inf"))
            return loss, measured
        return loss * float("nan"), measured

    monkeypatch.setattr(Objective, "forward", broken)
    run.run()
    for name, value in before.items():
        torch.testing.assert_close(run.network.state_dict()[name], value, rtol=0, atol=0)
        torch.testing.assert_close(run.average.state_dict()[name], average[name], rtol=0, atol=0)
    assert read_rows(tmp_path / "train.csv")[-1]["skipped"] == 1


def test_a_run_without_any_finite_step_ends(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glualign.training.loop.MOST_SKIPPED", 2)
    stage = StageOptions(kind="coarse", steps=9, batch=1)
    run = trainer(replace(recipe, stages=(stage,)), photos, tmp_path)
    with torch.no_grad():
        next(run.network.decoder3.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="no finite gradient in 2 steps"):
        run.run()
    assert run.progress.step == 1


def test_a_limit_or_a_signal_ends_the_first_validation(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path
) -> None:
    """With a checkpoint from which the run starts as if it had not been stopped."""
    weights = trainer(recipe, photos, tmp_path / "other").network.state_dict()
    for name, minutes in (("minutes", 0), ("signal", None)):
        run = trainer(recipe, photos, tmp_path / name)
        run.start_from(weights)
        run.signals = [15] if name == "signal" else []
        assert not run.run(minutes=minutes)
        assert not (tmp_path / name / "validation.csv").exists()
        again = trainer(recipe, photos, tmp_path / name)
        again.resume()
        assert again.progress.warm
        assert again.progress.pairs == 0
        assert not again.run(steps=1)
        assert read_rows(tmp_path / name / "validation.csv")[0]["pairs"] == 0


def test_a_real_pair_that_cannot_be_read_is_said_once(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path
) -> None:
    """One that has nothing to measure, too; the others are still validated on."""

    def unreadable() -> Sample:
        raise DatasetError("a/flow.flo: is empty")

    def unknown() -> Sample:
        image = np.zeros((256, 256, 3), np.uint8)
        return Sample(image, image, PointTruth(np.empty((0, 2)), np.empty((0, 2))))

    lines: list[str] = []
    run = trainer(recipe, photos, tmp_path / "run", lines)
    run.eval_pairs = Dataset("pairs", "Pairs", (EvalPair("a", unreadable), EvalPair("b", unknown)))
    for _ in range(2):
        run.validate(StageOptions(kind="coarse", steps=1))
    assert lines.count("left out of validation: a/flow.flo: is empty") == 1
    assert lines.count("left out of validation: b: no pixel with ground truth inside the source") == 1
    assert len(read_rows(tmp_path / "run" / "validation.csv")) == 2


def test_a_run_without_its_last_checkpoint_repeats_the_lost_steps(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path
) -> None:
    """A kill between two checkpoints: the log of the lost steps is dropped and written again, equal."""
    folder = tmp_path / "run"
    trainer(recipe, photos, folder).run(steps=3)
    kept = (folder / "last.pt").read_bytes()
    second = trainer(recipe, photos, folder)
    second.resume()
    second.run(steps=2)
    expected = losses(folder)
    assert len(expected) == 5
    (folder / "last.pt").write_bytes(kept)
    third = trainer(recipe, photos, folder)
    third.resume()
    third.run(steps=2)
    assert losses(folder) == expected


def test_a_resumed_run_stopped_before_its_first_step_keeps_the_optimiser(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path
) -> None:
    recipe = replace(recipe, stages=(StageOptions(kind="coarse", steps=3, batch=1),))
    trainer(recipe, photos, tmp_path / "run").run(steps=1)
    before = load_state(tmp_path / "run").optimiser["state"]
    again = trainer(recipe, photos, tmp_path / "run")
    again.resume()
    again.signals = [15]
    assert not again.run()
    after = load_state(tmp_path / "run").optimiser["state"]
    assert before.keys() == after.keys() != set()
    torch.testing.assert_close(after[0]["exp_avg"], before[0]["exp_avg"], rtol=0, atol=0)


def test_a_stage_can_be_repeated_from_the_end_of_the_one_before(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path
) -> None:
    stages = (StageOptions(kind="coarse", steps=1, batch=1), StageOptions(kind="coarse", steps=2, batch=1))
    folder = tmp_path / "run"
    trainer(replace(recipe, stages=stages), photos, folder).run()
    whole = losses(folder)
    (folder / "stage-1.pt").replace(folder / "last.pt")
    slower = (stages[0], replace(stages[1], learning_rate=1e-7))
    again = trainer(replace(recipe, stages=slower), photos, folder)
    again.resume()
    again.run()
    # The first step sees the same weights and pairs; the second feels the other rate.
    assert losses(folder)[:2] == whole[:2]
    assert losses(folder)[2] != whole[2]


def test_training_improves_the_loss(recipe: Recipe, photos: PhotoStore, tmp_path: Path) -> None:
    stage = StageOptions(
        kind="coarse", steps=25, batch=2, learning_rate=3e-3, pyramid_rate=1e-3, contrastive=0.5
    )
    data = replace(recipe.data, mix={"small": 1.0})
    run = trainer(replace(recipe, data=data, stages=(stage,)), photos, tmp_path / "run")
    run.run()
    history = losses(tmp_path / "run")
    assert np.mean(history[-5:]) < 0.7 * np.mean(history[:5])


def test_a_stage_may_draw_pairs_of_its_own(recipe: Recipe, photos: PhotoStore, tmp_path: Path) -> None:
    stage = StageOptions(kind="coarse", steps=1, batch=1)

    def loss(mix: dict[str, float], own: dict[str, float], folder: str) -> float:
        stages = (replace(stage, mix=own),)
        run = replace(recipe, data=replace(recipe.data, mix=mix), stages=stages)
        trainer(run, photos, tmp_path / folder).run()
        return losses(tmp_path / folder)[0]

    small, large = {"small": 1.0}, {"large": 1.0}
    assert loss(small, large, "a") == loss(large, {}, "b") != loss(small, {}, "c")


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_norms_keep_their_statistics_while_all_else_learns(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path, frozen: bool
) -> None:
    stage = StageOptions(kind="coarse", steps=1, batch=2, frozen_norms=frozen)
    run = trainer(replace(recipe, stages=(stage,)), photos, tmp_path)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.run()
    after = run.network.state_dict()
    changed = {
        name for name in after if name.startswith("decoder3") and not torch.equal(after[name], before[name])
    }
    assert any(name.endswith("running_var") for name in changed) is not frozen
    assert any(name.endswith("weight") for name in changed)


def test_a_frozen_pyramid_stays_and_a_released_one_moves(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path
) -> None:
    frozen = StageOptions(kind="coarse", steps=1, batch=1)
    released = StageOptions(kind="coarse", steps=1, batch=1, pyramid_rate=1e-2)

    def moved(stage: StageOptions, folder: str) -> set[str]:
        run = trainer(replace(recipe, stages=(stage,)), photos, tmp_path / folder)
        before = {name: value.clone() for name, value in run.network.named_parameters()}
        run.run()
        return {
            n.rsplit(".", 2)[0] for n, v in run.network.named_parameters() if not torch.equal(v, before[n])
        }

    first, second = moved(frozen, "a"), moved(released, "b")
    assert not any(name.startswith(("pyramid", "decoder1", "decoder2", "l_dc")) for name in first)
    assert "decoder3.conv_0" in first
    assert {name for name in second if name.startswith("pyramid")} == {f"pyramid.level_{n}" for n in range(5)}


@pytest.mark.parametrize(
    ("kind", "learning"),
    [
        ("half", {"half_features", "decoder0"}),
        (
            "fine",
            {"half_features", "decoder0", "decoder1", "decoder2", "upfeat2"}
            | {f"l_dc_conv{n}" for n in range(1, 8)},
        ),
    ],
)
def test_a_stage_for_finer_levels_teaches_these_alone(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path, kind: StageKind, learning: set[str]
) -> None:
    """Their batch norms take part; no other weight or statistic of the network moves."""
    stage = StageOptions(kind=kind, steps=2, batch=1, sizes=(256, 320))
    run = trainer(replace(recipe, stages=(stage,)), photos, tmp_path)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.run()
    moved = {n.split(".")[0] for n, v in run.network.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == learning
    assert {"epe0", "epe1"} <= set(read_rows(tmp_path / "train.csv")[0])


def test_level2_begins_as_level3_unless_it_has_learned(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path
) -> None:
    """Until a stage teaches it, or weights to start from bring it along."""
    coarse, full = (
        StageOptions(kind=kind, steps=1, batch=1, learning_rate=1e-9) for kind in ("coarse", "full")
    )

    def run_of(*stages: StageOptions) -> Trainer:
        name = "-".join(each.kind for each in stages)
        return trainer(replace(recipe, stages=stages), photos, tmp_path / name)

    def alike(run: Trainer) -> list[bool]:
        found = []
        for network in (run.network, run.average):
            pairs = zip(network.decoder2.parameters(), network.decoder3.parameters(), strict=True)
            found.append(all(torch.allclose(*pair, atol=1e-5) for pair in pairs))
        return found

    run = run_of(coarse, full)
    assert not run.run(steps=1)
    assert alike(run) == [False, False]
    first = {name: value.clone() for name, value in run.network.state_dict().items()}
    assert run.run()
    assert alike(run) == [True, True]

    taught = run_of(full, coarse, full)
    taught.run()
    assert alike(taught) == [False, False]

    warm = run_of(coarse, full, coarse)
    warm.start_from(first)
    warm.run()
    assert alike(warm) == [False, False]


def test_another_recipe_cannot_resume_a_run(recipe: Recipe, photos: PhotoStore, tmp_path: Path) -> None:
    recipe = replace(recipe, stages=LONG)
    trainer(recipe, photos, tmp_path / "run").run(steps=5)

    def with_stage(number: int, **changes: object) -> Recipe:
        stages = [*recipe.stages]
        stages[number] = replace(stages[number], **changes)  # type: ignore[arg-type]
        return replace(recipe, stages=tuple(stages))

    refused = {
        r"run\.seed = 7, the recipe says 8": replace(recipe, run=replace(recipe.run, seed=8)),
        r"run\.init": replace(recipe, run=replace(recipe.run, init="compact")),
        r"model\.div": replace(recipe, model=replace(recipe.model, div=4.0)),
        r"data\.mix\.class = 1.0, the recipe says nothing": replace(
            recipe, data=replace(recipe.data, mix={"small": 1.0})
        ),
        r"stages\.0\.learning_rate": with_stage(0, learning_rate=1e-6),
        r"stages\.1\.batch": with_stage(1, batch=2),
        r"stages\.1\.pyramid_rate = 0.001, the recipe says 0.0": with_stage(1, pyramid_rate=0.0),
        r"stages\.1\.mix\.small = nothing, the recipe says 1.0": with_stage(1, mix={"small": 1.0}),
    }
    for message, other in refused.items():
        with pytest.raises(TrainingError, match=message):
            trainer(other, photos, tmp_path / "run").resume()
    allowed = {
        "run.log_every: 1 -> 5": replace(recipe, run=replace(recipe.run, log_every=5)),
        "stages.1.steps: 3 -> 9": with_stage(1, steps=9),
        "stages.1.pyramid_rate: 0.001 -> 0.0001": with_stage(1, pyramid_rate=1e-4),
        "stages.2.kind: full -> coarse": with_stage(2, kind="coarse", sizes=(256,)),
        "stages.3.kind: nothing -> full": replace(recipe, stages=(*recipe.stages, recipe.stages[-1])),
    }
    for message, other in allowed.items():
        lines: list[str] = []
        trainer(other, photos, tmp_path / "run", lines).resume()
        assert any(message in line for line in lines), message
    lines = []
    trainer(recipe, photos, tmp_path / "run", lines).resume()
    assert lines == []


def test_other_photographs_on_resume_are_said(recipe: Recipe, photos: PhotoStore, tmp_path: Path) -> None:
    trainer(recipe, photos, tmp_path / "run").run(steps=1)
    fewer = replace(photos, names=photos.names[:-1], shapes=photos.shapes[:-1])
    lines: list[str] = []
    trainer(recipe, fewer, tmp_path / "run", lines).resume()
    assert any("photographs are not those" in line for line in lines)


def test_resuming_needs_a_readable_checkpoint(recipe: Recipe, photos: PhotoStore, tmp_path: Path) -> None:
    run = trainer(recipe, photos, tmp_path / "run")
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        run.resume()
    (tmp_path / "run" / "last.pt").write_bytes(b"half a file")
    with pytest.raises(TrainingError, match="not a readable checkpoint of such a run"):
        run.resume()
    run.save()
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    del state["optimiser"]
    torch.save(state, tmp_path / "run" / "last.pt")
    with pytest.raises(TrainingError, match="not a readable checkpoint of such a run"):
        run.resume()


def test_the_exported_weights_are_the_averaged_ones(
    recipe: Recipe, photos: PhotoStore, tmp_path: Path
) -> None:
    from glualign.checkpoints.load import load_model

    run = trainer(recipe, photos, tmp_path / "run")
    run.run()
    loaded = load_model(tmp_path / "run" / "last.pt").model.state_dict()
    for name, value in run.average.state_dict().items():
        torch.testing.assert_close(loaded[name], value)
    state = load_state(tmp_path / "run")
    assert state.progress.pairs == 16


def test_batches_depend_on_the_step_and_differ_between_processes(photos: PhotoStore) -> None:
    synthesis = PairSynthesis(photos, np.arange(len(photos)), 5, {"moderate": 1.0})
    sizes = (256, 320)
    sets = [BatchDataset(synthesis, 2, sizes, rank, 2) for rank in (0, 1)]
    drawn = [[d[step]["source"].shape[2] for step in range(6)] for d in sets]
    assert set(drawn[0]) == set(sizes)
    assert drawn[0] == drawn[1]
    step = drawn[0].index(320)
    first, second = (d[step] for d in sets)
    assert not torch.equal(first["flow"], second["flow"])
    assert first["source_256"].shape == (2, 3, 256, 256)
    torch.testing.assert_close(sets[0][step], first, rtol=0, atol=0)


def test_the_schedule_rises_and_falls() -> None:
    rates = [schedule(k, 100) for k in range(100)]
    peak = int(np.argmax(rates))
    assert 2 <= peak <= 4
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) <= 1.0
    assert rates[-1] == pytest.approx(0.01, abs=0.01)


@pytest.mark.slow
def test_two_processes_train_one_network(root: Path, photo_folder: Path, tmp_path: Path) -> None:
    """Under torchrun with gloo: one log, one checkpoint, twice the pairs, and it can be resumed by one."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "glualign",
        "train", str(root / "recipes" / "tiny.toml"), "--photos", str(photo_folder),
        "--cache", str(tmp_path / "cache"), "-o", str(tmp_path / "run"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = read_rows(tmp_path / "run" / "train.csv")
    assert [row["pairs"] for row in rows] == list(range(4, 33, 4))
    state = load_state(tmp_path / "run")
    assert state.progress.stage == 4
    assert all(torch.isfinite(v).all() for v in state.network.values() if v.is_floating_point())
