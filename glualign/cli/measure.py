"""``glualign evaluate``, ``bench`` and ``train``: how good a model is, how fast, and how to make another."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.console import counted, note, print_table, status
from glualign.cli.exits import FAILED_PAIRS, interruptible
from glualign.cli.options import DEVICE, PRECISION, QUIET, command, matching, option
from glualign.errors import OutputError

if TYPE_CHECKING:
    from glualign.evaluation.methods import Method

# Named here as well as in the library, because help must not import it; a test keeps the two lists equal.
DATASETS = (
    "pairs", "pairs-points", "hpatches-240", "hpatches", "kitti-2012", "kitti-2012-noc", "kitti-2015",
    "kitti-2015-noc", "sintel-clean", "sintel-final", "middlebury", "chairs", "tss", "pf-willow",
    "pf-willow-box", "pf-pascal", "pf-pascal-box", "spair", "spair-box", "eth3d", "megadepth",
)  # fmt: skip
BASELINES = ("identity", "sift", "orb", "dis", "farneback", "ecc")
_LISTED_FAILURES = 20
EXISTING = click.Path(exists=True, file_okay=False)


def _setting(match: re.Match[str]) -> tuple[str, Any]:
    """Key and value, which is a number, true, false or none where it is one, else text."""
    value = match[2]
    with suppress(ValueError):
        value = json.loads(value.lower().replace("none", "null"))
    return match[1].strip().replace("-", "_"), value


@command(
    click.Argument(["dataset"], type=click.Choice(DATASETS), metavar="DATASET"),
    click.Argument(["root"], type=click.Path(path_type=Path)),
    option(
        "-m, --model NAME|FILE[@PRESET]  Model to measure: a name from `glualign weights list` or a file of "
        "weights, with @fast behind it for that preset. May be repeated. Default: compact, "
        "unless a baseline is asked for.",
        name="models",
        multiple=True,
    ),
    option(
        "-b, --baseline  Method of OpenCV to measure beside the models. May be repeated.",
        click.Choice(BASELINES),
        name="baselines",
        multiple=True,
    ),
    option(
        "--option KEY=VALUE  Setting of the aligner, for example preset=fast or max_side=512. May be "
        "repeated.",
        matching(r"([^=]*[^=\s])\s*=\s*(.+)", "KEY=VALUE", _setting),
        name="settings",
        multiple=True,
    ),
    option(
        "--list FILE  List of pairs, for the data sets that have one and keep it elsewhere.", name="pair_list"
    ),
    option("--limit N  Measure N pairs only, spread evenly over the data set."),
    DEVICE,
    PRECISION,
    option("--csv FILE  Write one line per pair and method."),
    option("--json FILE  Write the table, PCK curves and failures with machine, versions and commit."),
    option("--html FILE  Write a page with the table and pictures of the worst and the median pairs."),
    option("--resume  Take over what --csv holds for the same settings; failed pairs are tried again."),
    QUIET,
    short_help="Measure accuracy by the published protocols.",
)
def evaluate(dataset: str, root: Path, limit: int | None, **options: Any) -> None:
    """Measure models and baselines on the DATASET in the folder ROOT, in its published protocol.

    \b
    DATASET is one of
      pairs           folders <set>/<pair> with source.*, target.* and flow.flo,
                      H_target_to_source.txt or points_target_source.txt,
                      the first of these
      pairs-points    the same, but the points before the others
      hpatches-240, hpatches, tss, eth3d, megadepth
      kitti-2012, kitti-2015 (all pixels), kitti-2012-noc, kitti-2015-noc
      sintel-clean, sintel-final, middlebury, chairs
      pf-willow, pf-pascal, spair (PCK relative to the image), and each with
      -box (relative to the object)

    A pair that cannot be measured is listed, the others go on, and the exit code is 3. A baseline that finds
    no alignment is counted with the identity. Times are medians of the estimate alone, without reading files.

    \b
    Example:
      glualign evaluate pairs my-pairs/ --model compact --baseline sift --html out.html
      glualign evaluate hpatches-240 hpatches-sequences-release/ --csv hp.csv --resume
    """
    from glualign.evaluation import tables
    from glualign.evaluation.datasets import open_dataset
    from glualign.evaluation.methods import open_baseline, open_model
    from glualign.evaluation.provenance import write_document
    from glualign.evaluation.runner import evaluate
    from glualign.outputs import check_formats, check_outputs

    given = {"csv": options["csv"], "json": options["json"], "report": options["html"]}
    files = {kind: Path(name) for kind, name in given.items() if name}
    csv_path, json_path, html_path = (files.get(kind) for kind in given)
    if options["resume"] and not csv_path:
        raise click.UsageError("--resume needs --csv, the file that holds the earlier results.")
    weights = [part for model in options["models"] for part in (model, model.rpartition("@")[0]) if part]
    check_outputs(files.values(), (*weights, options["pair_list"]))
    # A folder of pairs is full of names that look like results, and nobody can make ground truth again.
    # Those of an earlier run that is resumed are its own.
    own = (".csv", ".json", ".html", ".htm") if options["resume"] else ()
    for path in files.values():
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
        if inside and os.path.exists(path) and path.suffix.lower() not in own:
            raise OutputError(f"{path}: is in the data set and would be overwritten; choose another name")
    check_formats(files)
    data = open_dataset(dataset, root, pair_list=options["pair_list"])
    if limit is not None and limit < len(data):
        chosen = tuple(data.pairs[index * len(data) // limit] for index in range(limit))
        data = replace(data, pairs=chosen, title=f"{data.title} ({limit} of {len(data)} pairs)")
    models = options["models"] or (() if options["baselines"] else ("compact",))
    settings = {name: options[name] for name in ("device", "precision")} | dict(options["settings"])
    methods: list[Method] = [open_model(model, settings) for model in dict.fromkeys(models)]
    methods += [open_baseline(name) for name in dict.fromkeys(options["baselines"])]
    with counted(len(data) * len(methods)) as advance:
        how = {"csv_path": csv_path, "resume": options["resume"]}
        results = evaluate(data, methods, listener=lambda result: advance(), **how)
    groups = tables.group_results(data, results)
    content = tables.document(data, methods, groups, results)
    if json_path:
        write_document(json_path, content)
    if html_path:
        from glualign.report.evaluation import panels, write_evaluation

        write_evaluation(html_path, content, panels(data, methods[0], results, 3))
    if not options["quiet"]:
        print_table(tables.table_cells(data.name, groups), tables.HEADERS, data.title, tables.RIGHT_ALIGNED)
        click.echo("AEPE and median over pairs in px, PCK and Fl in %, time in s.")
    failures: dict[tuple[str, str], list[str]] = {}  # a pair that no method could use appears once
    for result in results:
        if result.error:
            failures.setdefault((result.pair, result.error), []).append(result.method)
    if failures:
        note(f"{sum(map(len, failures.values()))} of {len(results)} results failed:")
        for (pair, error), names in list(failures.items())[:_LISTED_FAILURES]:
            note(f"  {pair} ({', '.join(names)}): {error}")
        if len(failures) > _LISTED_FAILURES:
            note(f"  ... and {len(failures) - _LISTED_FAILURES} more; --csv and --json list all of them")
        raise click.exceptions.Exit(FAILED_PAIRS)


@command(
    option(
        "-m, --model NAME|FILE  Model to time: a name from `glualign weights list` or a file of weights. May "
        "be repeated.",
        default=("compact",),
        name="models",
        multiple=True,
    ),
    option(
        "--size WxH  Size of both images. May be repeated.",
        default=("520x520", "1024x768"),
        name="sizes",
        multiple=True,
    ),
    option(
        "--precision [auto|fp32|bf16|fp16]  Number format of the convolutions. May be repeated.",
        default=("fp32", "auto"),
        name="precisions",
        multiple=True,
    ),
    option("--threads N  CPU threads. May be repeated.", multiple=True, show_default="all cores"),
    option(
        "--repeat N  Timed repetitions, after one that warms up; the table shows their median.", default=5
    ),
    option(
        "--reference/--no-reference  Also time GLU-Net as published (fp32, channels first, random weights) "
        "and give speed-ups over it.",
        default=True,
    ),
    DEVICE,
    option("--json FILE  Write the timings with machine, versions and commit."),
    QUIET,
    short_help="Measure speed on this machine.",
)
def bench(sizes: tuple[tuple[int, int], ...], threads: tuple[int, ...], **options: Any) -> None:
    """Time one pass of the models (flow from target to source, at full size) on this machine.

    Images are synthetic and of one size, reading and writing files is not part of the time. All contenders
    are timed in turns within one run, so that the ratio holds even on a busy machine.

    \b
    Example:
      glualign bench
      glualign bench --size 520x520 --precision bf16 --threads 1 --threads 2 --json speed.json
    """
    from glualign.checkpoints.load import load_model
    from glualign.devices import choose_device
    from glualign.evaluation import provenance, speed, tables
    from glualign.outputs import check_outputs

    device, path = choose_device(options["device"]), options["json"]
    check_outputs([path] if path else [], options["models"])
    # The reference first, then every model in every number format once (auto may be one of the others).
    contenders = [speed.reference_contender(device)] if options["reference"] else []
    for model, precision in product(dict.fromkeys(options["models"]), options["precisions"]):
        loaded = load_model(model)
        contender = speed.model_contender(loaded.name, loaded.model, precision, device)
        known = [(each.model, each.precision) for each in contenders]
        if (contender.model, contender.precision) not in known:
            contenders.append(contender)
    with status("timing"):
        timings = speed.time_contenders(
            contenders,
            sizes=dict.fromkeys(sizes),
            threads=dict.fromkeys(threads) or (provenance.usable_cores(),),
            repeat=options["repeat"],
        )
    if path:
        provenance.write_document(Path(path), speed.speed_document(timings, options["device"]))
    if not options["quiet"]:
        print_table(tables.speed_cells(timings), tables.SPEED_HEADERS, right=tables.SPEED_RIGHT_ALIGNED)


@command(
    click.Argument(["recipe"], metavar="NAME|FILE"),
    option("--photos  Folder of photographs, single or paired (docs/training.md).", EXISTING, required=True),
    option("-o, --output DIRECTORY  Folder of the run.", required=True),
    option("--resume  Continue the run in the folder from its last checkpoint."),
    option("--init NAME|FILE  Start from these weights instead of the recipe's."),
    option("--eval-pairs  Also validate on these pairs.", EXISTING),
    option("--cache DIRECTORY  Folder for decoded photographs."),
    option("--max-steps N  Stop after so many steps, checkpoint written."),
    option("--max-minutes X  Stop after so many minutes, checkpoint written.", click.FloatRange(min=0)),
    short_help="Train a network on pairs made from photographs.",
)
def train(recipe: str, photos: str, output: str, **options: Any) -> None:
    """Train a network on pairs made from photographs, by a recipe: a TOML file, or one that ships.

    The recipes that ship are compact (the default model from two frozen published networks, which
    tools/convert_backbones.py writes), finetune (the default model goes on with photographs of your own),
    glunet (GLU-Net-star at full size with bilinear up-sampling, from nothing, for CUDA devices) and tiny (a
    few seconds of everything). The run's folder receives last.pt (everything needed to resume), train.csv,
    validation.csv and their plots. Under torchrun, all processes train together. `glualign weights export`
    turns last.pt into a file of weights.

    Ctrl-C or SIGTERM finishes the step at hand, writes last.pt and ends with exit code 0; a second one ends
    at once.

    \b
    Examples:
      glualign train finetune --photos ~/Pictures -o runs/mine
      glualign train finetune --photos ~/Pictures -o runs/mine --resume
      torchrun --nproc-per-node 4 -m glualign train glunet --photos ~/Pictures -o runs/full
    """
    from glualign.training.session import train

    with interruptible("step") as signals:
        train(recipe, photos, output, **options, log=click.echo, signals=signals)
