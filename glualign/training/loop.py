"""The training loop: stages, checkpoints, validation, resumption."""

from __future__ import annotations

import copy
import io
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from glualign.devices import choose_dtype, precision_note
from glualign.errors import GlualignError, TrainingError
from glualign.evaluation.datasets import Dataset, Sample
from glualign.evaluation.metrics import DenseTruth, PairMetrics, measure, summarise
from glualign.files import json_values, write_bytes
from glualign.matching.predictor import FlowPredictor
from glualign.network.config import COARSE_SIZE
from glualign.network.glunet import GLUNet
from glualign.training import batches, run_folder, synthesis, weights
from glualign.training.objectives import ContrastiveHead, Objective, schedule, teaches
from glualign.training.photos import KINDS, PhotoStore
from glualign.training.processes import Processes
from glualign.training.recipe import Recipe, StageOptions

CLIP = 1.0  # largest norm of a gradient
MOST_SKIPPED = 100  # steps in a row without a finite gradient after which a run ends: it will not recover
VALIDATION_SEED, VALIDATION_SIDE = 10_007, 768  # longer real images are reduced to this side


@dataclass(eq=False)
class Trainer:
    """One run in one folder. Construct, optionally `resume`, then `run`."""

    recipe: Recipe  # what to do
    photos: PhotoStore  # where pairs come from
    folder: Path  # where checkpoints, logs and plots go
    processes: Processes  # this process among those that train together
    log: Callable[[str], None] = print  # receives one line of text now and then
    signals: Sequence[int] = ()  # once it holds any: finish the step or the pair, save, and stop
    eval_pairs: Dataset | None = None  # to score the averaged network on, besides held-out photographs

    def __post_init__(self) -> None:
        run, data, device = self.recipe.run, self.recipe.data, self.processes.device
        if run.threads and device.type == "cpu":
            torch.set_num_threads(run.threads)
        self.dtype = choose_dtype(run.precision, device)
        if note := precision_note(run.precision, device):
            self.log(f"warning: {note}")
        torch.manual_seed(run.seed)
        self.train_photos, self.held_out = self.photos.split(data.held_out, data.held_out_share)
        mixes = [data.mix, *(stage.mix for stage in self.recipe.stages)]
        used = [kind for kind in KINDS if any(mix.get(kind) for mix in mixes)]
        self.photo_groups = {kind: self.photos.groups(kind, self.train_photos) for kind in used}
        self.network = GLUNet(self.recipe.model)
        weights.initialise(self.network)
        self.head = ContrastiveHead()
        self.normalised = False  # the pyramid has batch norms: it is being learned from nothing
        self.progress = run_folder.TrainingProgress()
        self.optimiser: torch.optim.Optimizer | None = None
        self._optimiser_state: dict[str, Any] | None = None
        for module in (self.network, self.head):
            module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._start_average()
        self.train_log, self.validation_log = self.folder / "train.csv", self.folder / "validation.csv"
        self._last_validation = time.monotonic()
        self._left_out: set[str] = set()  # why real pairs are left out of validations, as it was logged
        self._deadline = math.inf

    def _start_average(self, updates: int = 0) -> None:
        self.average, self.updates = copy.deepcopy(self.network), updates

    def start_from(self, state: dict[str, Tensor]) -> None:
        """Begin with given weights (`weights.start_from`); the running average begins there too."""
        new = weights.start_from(self.network, state)
        self.progress.warm = not any(name.startswith("pyramid.") for name in new)
        if new:
            self.log(f"starting weights leave {len(new)} tensors to training, the first is {new[0]}")
        self._start_average()

    def resume(self) -> None:
        """Continue the run in the folder exactly where its last checkpoint stands.

        Values of the recipe that may change (`recipe_changes`) apply from here on; each is logged. A
        `TrainingError` says that there is no checkpoint, or that it belongs to another recipe.
        """
        state = run_folder.load_state(self.folder)
        given = json_values(self.recipe)
        for change in run_folder.recipe_changes(state.recipe, given, self.folder, state.progress):
            self.log(f"changed in the recipe since the last checkpoint, from here on: {change}")
        if state.photos != self.photos.fingerprint:
            self.log("the photographs are not those the run was started with: its pairs differ from here on")
        self.progress = state.progress
        if state.pyramid:
            self._add_batch_norms()
        try:
            self.network.load_state_dict(state.network)
            self._start_average(state.average_updates)
            self.average.load_state_dict(state.average)
            self.head.load_state_dict(state.head)
        except RuntimeError as error:  # of other shapes or names
            raise TrainingError(f"{self.folder / run_folder.CHECKPOINT_NAME}: is of another model") from error
        self._optimiser_state = state.optimiser
        if self.processes.rank == 0:
            for path in (self.train_log, self.validation_log):
                run_folder.rewind(path, self.progress.pairs)

    def _add_batch_norms(self) -> None:
        weights.add_batch_norms(self.network.pyramid)
        self._start_average()
        self.normalised = True

    def run(self, *, steps: int | None = None, minutes: float | None = None) -> bool:
        """Train to the recipe's end (True), or to a limit of steps or minutes of this call (False).

        A checkpoint is left either way. A run that starts from given weights validates these first, as far as
        the limit allows.
        """
        self._deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        remaining = math.inf if steps is None else steps
        stages = self.recipe.stages
        if self.progress.warm and self.progress.pairs == 0 and not self.validation_log.exists():
            self.save()
            self.validate(stages[0])
        while self.progress.stage < len(stages) and remaining > 0:
            stage, first = stages[self.progress.stage], self.progress.step
            last = int(min(stage.steps, first + remaining))
            stopping = self.processes.agree(self._stopping()) or self._stage(stage, last)
            remaining -= self.progress.step - first
            if stopping:
                self.save()
                self.log(f"stopped at step {self.progress.step}; --resume continues from here")
            if stopping or self.progress.step < stage.steps:
                return False
            if self.normalised:
                weights.remove_batch_norms(self.network.pyramid)
                self.normalised = False
                # The average of unfolded weights means nothing for the folded ones; it starts anew.
                self._start_average()
            self.validate(stage)
            self.progress.stage += 1
            self.progress.step = 0
            self.optimiser = None
            # Kept under a name of its own, so that the next stage can be repeated with other rates.
            self.save(f"stage-{self.progress.stage}.pt")
        return self.progress.stage >= len(stages)

    def _stopping(self) -> bool:
        return bool(self.signals) or time.monotonic() >= self._deadline

    def _stage(self, stage: StageOptions, last: int) -> bool:
        """Steps of a stage up to ``last``, or until the run is to stop; returns whether it is."""
        run, progress, processes = self.recipe.run, self.progress, self.processes
        if stage.kind == "features" and not self.normalised and not progress.warm:
            self._add_batch_norms()
        done, coarse = {each.kind for each in self.recipe.stages[: progress.stage]}, {"features", "coarse"}
        if not (progress.step or progress.warm) and "coarse" in done <= coarse and stage.kind not in coarse:
            weights.begin_level2(self.network, self.average)
        objective = Objective(self.network, self.head, stage)
        self._start_optimiser(objective)
        module: nn.Module = objective
        if processes.world > 1:
            devices = [processes.device.index] if processes.device.type == "cuda" else None
            unused = bool(self.photo_groups)
            module = DistributedDataParallel(objective, devices, find_unused_parameters=unused)
        count = sum(p.numel() for p in objective.parameters() if p.requires_grad)
        steps = f"steps {progress.step} to {last} of {stage.steps}"
        self.log(f"stage {progress.stage} ({stage.kind}): {steps}, {count / 1e6:.2f} M parameters")
        objective.set_modes()
        made = self._batches(stage, last)
        rows: list[dict[str, float]] = []
        tick = saved = time.monotonic()
        skipped, stopping = 0, False
        while progress.step < last:
            rows.append(self._step(objective, module, next(made)))
            skipped = skipped + 1 if rows[-1]["skipped"] else 0
            if skipped >= MOST_SKIPPED:
                raise TrainingError(
                    f"{self.folder}: no finite gradient in {skipped} steps; resume with a lower learning rate"
                )
            progress.step += 1
            progress.pairs += stage.batch * processes.world
            now = time.monotonic()
            stopping = processes.agree(self._stopping())
            if len(rows) >= run.log_every or stopping or progress.step == last:
                self._log_rows(rows, len(rows) * stage.batch * processes.world / (now - tick))
                rows, tick = [], now
            if stopping:
                break
            if processes.agree(now - saved >= 60 * run.checkpoint_minutes) or progress.step == last:
                self.save()
                saved = time.monotonic()
            if processes.agree(now - self._last_validation >= 60 * run.validate_minutes):
                self.validate(stage)
                objective.set_modes()
                tick = time.monotonic()
        return stopping

    def _start_optimiser(self, objective: Objective) -> None:
        """Give the parameters that learn in a stage an optimiser, in a checkpoint's state if there is one."""
        released = objective.release_parameters()
        fused = self.processes.device.type == "cuda"
        self.optimiser = torch.optim.AdamW(released, betas=(0.9, 0.99), fused=fused)
        if self._optimiser_state is not None:
            self.optimiser.load_state_dict(self._optimiser_state)
            self._optimiser_state = None
            # A checkpoint brings its own rates along; those of the recipe count.
            for group, wanted in zip(self.optimiser.param_groups, released, strict=True):
                group["peak"] = wanted["peak"]

    def _batches(self, stage: StageOptions, last: int) -> Iterator[batches.Batch]:
        """The batches of a stage from where it stands to step ``last``."""
        # Every stage has a seed of its own, so that no stage repeats another's pairs.
        seed, data = self.recipe.run.seed * 1000 + self.progress.stage, self.recipe.data
        mix = {k: v for k, v in (stage.mix or data.mix).items() if teaches(k, stage.kind)}
        pairs = synthesis.PairSynthesis(self.photos, self.train_photos, seed, mix)
        place, pin = (self.processes.rank, self.processes.world), self.processes.device.type == "cuda"
        dataset = batches.BatchDataset(pairs, stage.batch, stage.sizes, *place, self.photo_groups)
        return batches.load_batches(dataset, self.progress.step, last, data.workers, pin)

    def _step(self, objective: Objective, module: nn.Module, batch: batches.Batch) -> dict[str, float]:
        """One optimiser step of ``module``, which is the objective, maybe distributed; what was measured.

        What is random in it depends on the step alone, so that a resumed run draws what the uninterrupted one
        does. A batch whose gradient or batch-norm statistics are not finite changes nothing: it must not end
        a run of hours, nor reach the weights that are exported.
        """
        assert self.optimiser is not None
        place, processes = (self.recipe.run.seed, self.progress.stage, self.progress.step), self.processes
        batch = {name: value.to(processes.device, non_blocking=True) for name, value in batch.items()}
        torch.manual_seed(int(np.random.SeedSequence((*place, processes.rank)).generate_state(1)[0]))
        extra = batch["flow"].shape[2] > COARSE_SIZE and (
            np.random.default_rng((*place, 2)).random() < objective.stage.extra_layers
        )
        rate = schedule(self.progress.step, objective.stage.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        buffers = list(objective.buffers())
        former = [b.clone() for b in buffers]
        with torch.autocast(processes.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss, measured = module(batch, int(extra))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [each for group in self.optimiser.param_groups for each in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, CLIP)
        statistics = [b.norm() for b in buffers if b.is_floating_point()]
        sound = processes.agree(bool(torch.stack([norm, *statistics]).isfinite().all()))
        if sound:
            self.optimiser.step()
            weights.move_average(self.average, self.network, self.recipe.run.ema, self.updates)
            self.updates += 1
        else:
            torch._foreach_copy_(buffers, former)
        numbers = {name: float(value) for name, value in {"loss": loss.detach(), **measured}.items()}
        return {**numbers, "gradient": float(norm), "rate": rate, "skipped": float(not sound)}

    def validate(self, stage: StageOptions) -> None:
        """Score the averaged weights on held-out photographs and real pairs, one pass each, and log it.

        For every stratum or set of pairs mean and median over its pairs of a pair's mean error in pixels, and
        the share of pixels within one pixel. While features are learned from nothing there is no flow to
        score. A validation that is stopped logs nothing.
        """
        self._last_validation = time.monotonic()
        if self.processes.rank or (stage.kind == "features" and not self.progress.warm):
            return
        predictor = FlowPredictor(self.average, device=self.processes.device, dtype=self.dtype)
        max_side = max(VALIDATION_SIDE, self.recipe.run.validation_size)
        measured: dict[str, list[PairMetrics]] = defaultdict(list)
        for name, sample in self._validation_pairs():
            if self._stopping():
                self.log("validation stopped before it was done")
                return
            (flow,) = predictor.predict([(sample.source, sample.target)], max_side=max_side)
            measured[name].append(measure(sample.truth.errors(flow, sample.longer_side)))
        scores: dict[str, float] = {}
        for name, found in measured.items():
            group = summarise(found, pooled_pck=True)
            values = {"mean": group.aepe, "median": group.median, "pck1": group.pck[0]}
            scores |= {f"{name}_{key}": float(value) for key, value in values.items()}
        run_folder.append_row(self.validation_log, {**self.progress.place(), **scores})
        medians = [name for name in scores if name.endswith("_median")]
        run_folder.plot(run_folder.read_rows(self.validation_log), medians, self.folder / "validation.png")
        shown = ", ".join(f"{name.removesuffix('_median')} {scores[name]:.2f} px" for name in medians)
        self.log(f"validation, median errors: {shown}")

    def _validation_pairs(self) -> Iterator[tuple[str, Sample]]:
        """Pairs of held-out photographs, always the same, by stratum; then real ones that can be read."""
        run = self.recipe.run
        for seed, stratum in enumerate(synthesis.STRATA, VALIDATION_SEED):
            pairs = synthesis.PairSynthesis(self.photos, self.held_out, seed, {stratum: 1.0})
            for index in range(run.validation_pairs):
                pair = pairs.pair(index, run.validation_size)
                if pair.valid.any():
                    yield stratum, Sample(pair.source, pair.target, DenseTruth(pair.flow, pair.valid))
        for real in self.eval_pairs.pairs if self.eval_pairs else ():
            try:
                yield f"{real.group or real.name}_eval", real.load()
            except GlualignError as error:
                if str(error) not in self._left_out:
                    self._left_out.add(str(error))
                    self.log(f"left out of validation: {error}")

    def _log_rows(self, rows: list[dict[str, float]], pairs_per_second: float) -> None:
        """Log the means of what is finite in these steps of all processes."""
        names = [*dict.fromkeys(name for row in rows for name in row)]
        table = torch.tensor([[row.get(name, math.nan) for name in names] for row in rows])
        sums = torch.stack([table.nan_to_num(0, 0, 0), table.isfinite()]).sum(dim=1).to(self.processes.device)
        if self.processes.world > 1:
            dist.all_reduce(sums)
        found = zip(names, *sums.tolist(), strict=True)
        row = {**{k: v / n for k, v, n in found if n}, "pairs_per_second": pairs_per_second}
        if self.processes.rank:
            return
        run_folder.append_row(self.train_log, {**self.progress.place(), **row})
        shown = [f"{name} {value:.3g}" for name, value in row.items() if name != "skipped" or value]
        at = self.progress
        self.log(f"{at.pairs} pairs, stage {at.stage}, step {at.step}: {', '.join(shown)}")

    def save(self, *also: str) -> None:
        """Write the checkpoint, ``also`` under other names, and the plot (first process only)."""
        if self.processes.rank:
            return
        state = run_folder.State(
            recipe=json_values(self.recipe),
            photos=self.photos.fingerprint,
            progress=self.progress,
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            average_updates=self.updates,
            head=self.head.state_dict(),
            pyramid=self.normalised,
            optimiser=self.optimiser.state_dict() if self.optimiser else self._optimiser_state,
        )
        buffer = io.BytesIO()  # torch has errors of its own for a full disk
        torch.save({**state._asdict(), "progress": vars(self.progress)}, buffer)
        for name in (run_folder.CHECKPOINT_NAME, *also):
            write_bytes(self.folder / name, buffer.getbuffer())
        rows = run_folder.read_rows(self.train_log)
        errors = dict.fromkeys(name for row in rows for name in row if name == "loss" or "epe" in name)
        run_folder.plot(rows, [*errors], self.folder / "train.png")
