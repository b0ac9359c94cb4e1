"""The training loop: stages, checkpoints, validation, resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from glualign.errors import TrainingError
from glualign.network.glunet import GLUNet
from glualign.training.batches import Batch, BatchDataset, load_batches
from glualign.training.journal import Journal, plot, read_rows
from glualign.training.normalised_pyramid import NormalisedPyramid
from glualign.training.objectives import ContrastiveHead, Objective
from glualign.training.photos import PhotoStore
from glualign.training.processes import Processes
from glualign.training.recipe import Recipe, StageKind, StageOptions, to_dict
from glualign.training.state import (
    CHECKPOINT_NAME,
    Progress,
    RunState,
    check_same_recipe,
    load_state,
    save_state,
)
from glualign.training.synthesis import PairSynthesis
from glualign.training.validation import score_strata
from glualign.training.weights import RunningAverage, initialise, start_from

TRAIN_COLUMNS = (
    "loss", "epe4", "epe3", "epe2", "epe1", "epe0", "hit16", "hit8", "hit4", "first_epe3", "first_hit16",
    "rate", "gradient", "pairs_per_second",
)  # fmt: skip
_HALF_PARTS = ("half_features", "decoder0")
_FINE_PARTS = (*_HALF_PARTS, "decoder2", "upfeat2", "deconv2", "decoder1", "l_dc_conv")
_COARSE_PARTS = ("transformer", "decoder4", "decoder3", "dc_conv", "deconv4")
_LEARNING: dict[StageKind, tuple[str, ...]] = {
    "features": ("transformer",),
    "coarse": _COARSE_PARTS,
    "full": (*_COARSE_PARTS, *_FINE_PARTS),
    "fine": _FINE_PARTS,
    "half": _HALF_PARTS,
}
"""What a stage of each kind teaches besides the pyramid: beginnings of parameter names."""


@dataclass(frozen=True)
class Limits:
    """When to stop before the recipe's end: steps of this call, or minutes of this call."""

    steps: int | None = None
    minutes: float | None = None


@dataclass(eq=False)
class Trainer:
    """One run in one folder. Construct, optionally `resume`, then `run`.

    Attributes:
        recipe: what to do.
        photos: where pairs come from.
        folder: where checkpoints, logs and plots go.
        processes: this process among those that train together.
        say: receives one line of text now and then.
        validators: further scores of the averaged network, logged with the validation.
    """

    recipe: Recipe
    photos: PhotoStore
    folder: Path
    processes: Processes
    say: Callable[[str], None] = print
    validators: list[Callable[[GLUNet], dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        run = self.recipe.run
        if run.threads and self.processes.device.type == "cpu":
            torch.set_num_threads(run.threads)
        torch.manual_seed(run.seed)
        self.train_photos, self.held_out = self.photos.split(self.recipe.data.held_out)
        self.network = GLUNet(self.recipe.model)
        initialise(self.network)
        self.head = ContrastiveHead()
        self.pyramid: NormalisedPyramid | None = None
        self.stop_requested = False
        self.progress = Progress()
        self._optimiser_state: dict[str, Any] | None = None
        self._place(self.network)
        self._place(self.head)
        self.average = RunningAverage(self.network, run.ema)
        self.journal = Journal(self.folder / "train.csv", TRAIN_COLUMNS)
        self._last_validation = time.monotonic()

    def _place(self, module: nn.Module) -> None:
        module.to(self.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    # ---- starting and resuming

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Begin with given weights (`weights.start_from`); the running average begins there too."""
        new = start_from(self.network, weights)
        self.progress.warm = True
        if new:
            self.say(f"starting weights leave {len(new)} tensors to training, the first is {new[0]}")
        self.average = RunningAverage(self.network, self.recipe.run.ema)

    def resume(self) -> None:
        """Continue the run in the folder exactly where its last checkpoint stands.

        Raises:
            TrainingError: there is no checkpoint, or it belongs to another recipe.
        """
        state = load_state(self.folder)
        check_same_recipe(state.recipe, to_dict(self.recipe), self.folder, stage=state.progress.stage)
        self.progress = state.progress
        self.network.load_state_dict(state.network)
        self.average.state = {k: v.to(self.processes.device) for k, v in state.average.items()}
        self.average.updates = state.average_updates
        self.head.load_state_dict(state.head)
        if state.pyramid is not None:
            self.pyramid = NormalisedPyramid(self.network.pyramid)
            self.pyramid.load_state_dict(state.pyramid)
            self._place(self.pyramid)
        self._optimiser_state = state.optimiser
        if self.processes.first:
            self.journal.rewind(self.progress.pairs)

    # ---- running

    def run(self, limits: Limits = Limits()) -> bool:
        """Train to the recipe's end (True) or to a limit (False); a checkpoint is left either way."""
        started = time.monotonic()
        remaining = limits.steps
        while self.progress.stage < len(self.recipe.stages):
            stage = self.recipe.stages[self.progress.stage]
            deadline = None if limits.minutes is None else started + 60 * limits.minutes
            done = self._stage(stage, remaining, deadline)
            remaining = None if remaining is None else remaining - done
            if self.progress.step < stage.steps:
                return False
            self._finish_stage(stage)
            if remaining == 0:
                return self.progress.stage >= len(self.recipe.stages)
        return True

    def _stage(self, stage: StageOptions, steps: int | None, deadline: float | None) -> int:
        """Run (the rest of) a stage; returns the steps done."""
        if stage.kind == "features" and self.pyramid is None and not self.progress.warm:
            self.pyramid = NormalisedPyramid(self.network.pyramid)
            self._place(self.pyramid)
        groups = self._parameter_groups(stage)
        on_cuda = self.processes.device.type == "cuda"
        optimiser = torch.optim.AdamW(
            groups, weight_decay=stage.weight_decay, betas=(0.9, 0.99), fused=on_cuda
        )
        if self._optimiser_state is not None:
            optimiser.load_state_dict(self._optimiser_state)
            self._optimiser_state = None
        self.optimiser: torch.optim.Optimizer | None = optimiser
        objective = Objective(self.network, self.head, stage, self.pyramid)
        step_module: nn.Module = objective
        if self.recipe.run.compile:
            step_module = torch.compile(objective)  # type: ignore[assignment]
        if self.processes.world > 1:
            step_module = DistributedDataParallel(
                step_module, device_ids=[self.processes.device.index] if on_cuda else None
            )
        first = self.progress.step
        last = stage.steps if steps is None else min(stage.steps, first + steps)
        self.say(
            f"stage {self.progress.stage} ({stage.kind}): steps {first} to {last} of {stage.steps}, "
            f"{sum(p.numel() for g in groups for p in g['params']) / 1e6:.2f} M parameters"
        )
        self._set_modes(stage)
        self._loop(stage, step_module, optimiser, self._batches(stage, first, last), last, deadline)
        return self.progress.step - first

    def _loop(
        self,
        stage: StageOptions,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        batches: Iterator[Batch],
        last: int,
        deadline: float | None,
    ) -> None:
        run, device = self.recipe.run, self.processes.device
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        tick = saved = time.monotonic()
        logged = self.progress.step
        while self.progress.step < last:
            batch = {k: v.to(device, non_blocking=True) for k, v in next(batches).items()}
            rate = schedule(self.progress.step, stage)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate
            self._seed_step()
            with torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16"):
                loss, figures = module(batch, self._extra_layers(stage, batch))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, stage.clip)
            if not torch.isfinite(norm):
                # A single bad batch must not end a run of hours; its gradient is dropped.
                optimiser.zero_grad(set_to_none=True)
            else:
                optimiser.step()
            self.average.update(self.network)
            self.progress.step += 1
            self.progress.pairs += stage.batch * self.processes.world
            for name, value in {**figures, "loss": loss.detach(), "gradient": norm}.items():
                number = float(value)
                if math.isfinite(number):
                    sums[name] = sums.get(name, 0.0) + number
                    counts[name] = counts.get(name, 0) + 1
            now = time.monotonic()
            stopping = self.processes.agree(self.stop_requested or (deadline is not None and now >= deadline))
            if self.progress.step - logged >= run.log_every or self.progress.step == last or stopping:
                steps = self.progress.step - logged
                row = {name: value / counts[name] for name, value in sums.items()}
                row["rate"] = rate
                row["pairs_per_second"] = steps * stage.batch * self.processes.world / (now - tick)
                self.progress.seconds += now - tick
                self._log(row)
                sums, counts, logged, tick = {}, {}, self.progress.step, now
            due = self.processes.agree(now - saved >= 60 * run.checkpoint_minutes)
            if due or stopping or self.progress.step == last:
                self.save()
                saved = time.monotonic()
            if self.processes.agree(now - self._last_validation >= 60 * run.validate_minutes):
                self.validate(stage)
                self._set_modes(stage)
                tick = time.monotonic()
            if stopping:
                self.say(f"stopped at step {self.progress.step}; --resume continues from here")
                return

    def _finish_stage(self, stage: StageOptions) -> None:
        if self.pyramid is not None:
            self.pyramid.fold_into(self.network.pyramid)
            self.pyramid = None
            # The average of unfolded weights means nothing for the folded ones; it starts anew.
            self.average = RunningAverage(self.network, self.recipe.run.ema)
        if stage.kind != "features":
            self.validate(stage)
        self.progress.stage += 1
        self.progress.step = 0
        self.optimiser = None
        # The next stage may go wrong long before anyone looks.
        self.save(f"stage-{self.progress.stage}.pt")

    # ---- pieces

    def _parameter_groups(self, stage: StageOptions) -> list[dict[str, Any]]:
        """Sets which parameters learn, and returns them with their peak rates."""
        self.network.requires_grad_(False)
        self.head.requires_grad_(False)
        pyramid: list[nn.Parameter] = []
        if stage.pyramid_rate > 0:
            features = self.pyramid if self.pyramid is not None else self.network.pyramid
            pyramid = [
                parameter
                for name, parameter in features.named_parameters()
                if name.split(".")[0] not in stage.frozen_groups
            ]
        rest = [p for n, p in self.network.named_parameters() if n.startswith(_LEARNING[stage.kind])]
        if stage.contrastive > 0:
            rest += self.head.parameters()
        groups: list[dict[str, Any]] = [
            {"params": parameters, "peak": rate, "lr": rate}
            for parameters, rate in ((rest, stage.learning_rate), (pyramid, stage.pyramid_rate))
            if parameters
        ]
        for group in groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)
        return groups

    def _set_modes(self, stage: StageOptions) -> None:
        """Training mode for what learns; parts that do not keep their batch-norm statistics."""
        self.network.train(stage.kind != "features")
        if stage.kind in ("coarse", "fine", "half"):
            for name, module in self.network.named_children():
                module.train(name.startswith(_LEARNING[stage.kind]) or name == "pyramid")
        if stage.frozen_norms:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        if self.pyramid is not None:
            self.pyramid.train()

    def _batches(self, stage: StageOptions, first: int, last: int) -> Iterator[Batch]:
        # Every stage has a seed of its own, so that no stage repeats another's pairs.
        seed = self.recipe.run.seed * 1000 + self.progress.stage
        mix = stage.mix or self.recipe.data.mix
        synthesis = PairSynthesis(self.photos, self.train_photos, seed, mix)
        dataset = BatchDataset(synthesis, stage.batch, stage.sizes, self.processes.rank, self.processes.world)
        return load_batches(
            dataset, first, last, self.recipe.data.workers, self.processes.device.type == "cuda"
        )

    def _extra_layers(self, stage: StageOptions, batch: Batch) -> int:
        """0 or 1, drawn from the step alone, so that all processes and a resumed run agree."""
        if stage.extra_layers == 0 or "source_256" not in batch:
            return 0
        rng = np.random.default_rng((self.recipe.run.seed, self.progress.stage, self.progress.step, 2))
        return int(rng.random() < stage.extra_layers)

    def _seed_step(self) -> None:
        """Seed torch from the step alone, so that a resumed run draws what the uninterrupted one does."""
        where = (self.recipe.run.seed, self.progress.stage, self.progress.step, self.processes.rank)
        torch.manual_seed(int(np.random.SeedSequence(where).generate_state(1)[0]))

    def averaged_network(self) -> GLUNet:
        """A copy of the network with the averaged weights, in evaluation mode."""
        copy = GLUNet(self.recipe.model)
        copy.load_state_dict(self.average.state)
        self._place(copy)
        return copy.eval()

    def validate(self, stage: StageOptions) -> None:
        """Score the averaged weights on held-out photographs and on any further validators; log both."""
        self._last_validation = time.monotonic()
        if not self.processes.first or stage.kind == "features":
            return
        network = self.averaged_network()
        held_out = PairSynthesis(self.photos, self.held_out, 0, self.recipe.data.mix)
        scores = score_strata(
            network,
            held_out,
            self.recipe.run.validation_pairs,
            size=self.recipe.run.validation_size,
            device=self.processes.device,
            precision=self.recipe.run.precision,
        )
        row: dict[str, float] = {}
        for name, score in scores.items():
            row |= {f"{name}_mean": score.mean, f"{name}_median": score.median, f"{name}_pck1": score.pck1}
        for validator in self.validators:
            row |= validator(network)
        row |= {"pairs": self.progress.pairs, "stage": self.progress.stage, "step": self.progress.step}
        journal = Journal(
            self.folder / "validation.csv", [k for k in row if k not in ("pairs", "stage", "step")]
        )
        if self.progress.pairs == 0 or not journal.path.exists():
            journal.path.unlink(missing_ok=True)
        journal.add(row)
        plot(
            read_rows(journal.path),
            [c for c in journal.columns if c.endswith("_median")],
            self.folder / "validation.png",
        )
        self.say(
            "validation: "
            + ", ".join(f"{n} {s.mean:.2f}/{s.median:.2f} px {100 * s.pck1:.0f}%" for n, s in scores.items())
        )

    def _log(self, row: dict[str, float]) -> None:
        means = self.processes.mean(torch.tensor(list(row.values()), device=self.processes.device))
        row = dict(zip(row, means.tolist(), strict=True))
        if not self.processes.first:
            return
        row |= {"pairs": self.progress.pairs, "stage": self.progress.stage, "step": self.progress.step}
        self.journal.add(row)
        shown = [f"{c} {row[c]:.3g}" for c in TRAIN_COLUMNS if c in row]
        self.say(
            f"{self.progress.pairs} pairs, stage {row['stage']}, step {row['step']}: " + ", ".join(shown)
        )

    def save(self, *also: str) -> None:
        """Write the checkpoint, ``also`` under other names, and the plot (first process only)."""
        if not self.processes.first:
            return
        optimiser = getattr(self, "optimiser", None)
        state = RunState(
            recipe=to_dict(self.recipe),
            progress=self.progress,
            network=self.network.state_dict(),
            average=self.average.state,
            average_updates=self.average.updates,
            head=self.head.state_dict(),
            pyramid=None if self.pyramid is None else self.pyramid.state_dict(),
            optimiser=None if optimiser is None else optimiser.state_dict(),
        )
        for name in (CHECKPOINT_NAME, *also):
            save_state(self.folder, state, name)
        errors = [c for c in TRAIN_COLUMNS if c.startswith(("epe", "loss"))]
        plot(read_rows(self.journal.path), errors, self.folder / "train.png")


def schedule(step: int, stage: StageOptions) -> float:
    """Factor on the peak rates: a linear rise over the warm-up, then a cosine down to ``final_rate``."""
    rise = stage.warm_up * stage.steps
    if step < rise:
        return (step + 1) / (rise + 1)
    share = (step - rise) / max(1.0, stage.steps - rise)
    return stage.final_rate + (1 - stage.final_rate) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def require_empty(folder: Path) -> None:
    """Refuse to start over a run that is already there.

    Raises:
        TrainingError: the folder holds a checkpoint.
    """
    if (folder / CHECKPOINT_NAME).exists():
        raise TrainingError(
            f"{folder}: already holds a run; continue it with --resume, or name another folder"
        )
