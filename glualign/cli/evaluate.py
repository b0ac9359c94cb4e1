"""``glualign evaluate``: measure models and baselines on a data set with ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import device_option, precision_option, quiet_option, stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from glualign.evaluation.datasets import Dataset
    from glualign.evaluation.methods import Method
    from glualign.evaluation.runner import PairResult

# Named here as well as in the library, because help must not import it; a test keeps the two lists equal.
DATASETS = (
    "pairs", "hpatches-240", "hpatches", "kitti-2012", "kitti-2012-noc", "kitti-2015", "kitti-2015-noc",
    "sintel-clean", "sintel-final", "middlebury", "chairs", "tss", "pf-willow", "pf-willow-box", "pf-pascal",
    "pf-pascal-box", "spair", "spair-box", "eth3d", "megadepth",
)  # fmt: skip
BASELINES = ("identity", "sift", "orb", "dis", "farneback", "ecc")
EXIT_WITH_FAILURES = 3
_LISTED_FAILURES = 20

choice_options = stack(
    click.option(
        "-m", "--model", "models", metavar="NAME|FILE[@PRESET]", multiple=True,
        help="Model to measure: a name from `glualign weights list` or a file of weights, with @fast or "
        "@accurate behind it for another preset. May be repeated. Default: compact, unless a baseline is "
        "asked for.",
    ),
    click.option(
        "-b", "--baseline", "baselines", type=click.Choice(BASELINES), multiple=True,
        help="Method of OpenCV to measure beside the models. May be repeated.",
    ),
    click.option(
        "--option", "settings", metavar="KEY=VALUE", multiple=True,
        help="Setting of the aligner, for example preset=accurate or max_side=512. May be repeated.",
    ),
    click.option(
        "--list", "pair_list", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="List of pairs, for the data sets that have one and keep it elsewhere.",
    ),
    click.option(
        "--limit", type=click.IntRange(min=1), metavar="N",
        help="Measure N pairs only, spread evenly over the data set.",
    ),
)  # fmt: skip
output_options = stack(
    click.option("--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                 help="Write one line per pair and method."),
    click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                 help="Write the table, PCK curves and failures with machine, versions and commit."),
    click.option("--html", "html_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                 help="Write a page with the table and pictures of the worst and the median pairs."),
    click.option("--resume", is_flag=True,
                 help="Take over what --csv holds for the same settings; failed pairs are tried again."),
)  # fmt: skip


@click.command(name="evaluate", short_help="Measure accuracy by the published protocols.")
@click.argument("dataset", type=click.Choice(DATASETS), metavar="DATASET")
@click.argument("root", type=click.Path(path_type=Path))
@choice_options
@device_option
@precision_option
@output_options
@quiet_option
@click.pass_context
def command(ctx: click.Context, /, dataset: str, root: Path, **options: Any) -> None:
    """Measure models and baselines on the DATASET in the folder ROOT, in its published protocol.

    \b
    DATASET is one of
      pairs           folders <set>/<pair> with source.*, target.* and flow.flo,
                      H_target_to_source.txt or points_target_source.txt
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
    from glualign.cli.console import console, counted, error_console, print_table
    from glualign.evaluation.datasets import open_dataset
    from glualign.evaluation.runner import evaluate
    from glualign.evaluation.tables import (
        HEADERS,
        RIGHT_ALIGNED,
        document,
        group_results,
        table_cells,
        write_document,
    )
    from glualign.outputs import check_outputs

    if options["resume"] and not options["csv_path"]:
        raise click.UsageError("--resume needs --csv, the file that holds the earlier results.")
    written = [options[name] for name in ("csv_path", "json_path", "html_path") if options[name]]
    check_outputs(written, [path for path in (*options["models"], options["pair_list"]) if path])
    data = _limited(open_dataset(dataset, root, pair_list=options["pair_list"]), options["limit"])
    methods = _methods(options)
    with counted(len(data) * len(methods), show=not options["quiet"]) as advance:
        results = evaluate(
            data,
            methods,
            csv_path=options["csv_path"],
            resume=options["resume"],
            listener=lambda result: advance(),
        )
    groups = group_results(data, results)
    content = document(data, methods, groups, results)
    if options["json_path"]:
        write_document(options["json_path"], content)
    if options["html_path"]:
        from glualign.report.evaluation import panels, write_evaluation

        write_evaluation(options["html_path"], content, panels(data, methods[0], results, 3))
    if not options["quiet"]:
        print_table(HEADERS, table_cells(data.name, groups), title=data.title, right=RIGHT_ALIGNED)
        console.print("AEPE and median over pairs in px, PCK and Fl in %, time in s.", style="dim")
    failures = [result for result in results if result.error]
    if failures:
        error_console.print(f"{len(failures)} of {len(results)} results failed:", markup=False)
        for text in _failure_lines(failures):
            error_console.print(f"  {text}", markup=False, soft_wrap=True)
        ctx.exit(EXIT_WITH_FAILURES)


def _limited(data: Dataset, limit: int | None) -> Dataset:
    from dataclasses import replace

    if limit is None or limit >= len(data):
        return data
    chosen = tuple(data.pairs[index * len(data) // limit] for index in range(limit))
    return replace(data, pairs=chosen, title=f"{data.title} ({limit} of {len(data)} pairs)")


def _methods(options: dict[str, Any]) -> list[Method]:
    from glualign.evaluation.baselines import open_baseline
    from glualign.evaluation.methods import open_model

    models = options["models"] or (() if options["baselines"] else ("compact",))
    settings = _settings(options["settings"])
    settings.setdefault("device", options["device"])
    settings.setdefault("precision", options["precision"])
    methods: list[Method] = [open_model(model, settings) for model in dict.fromkeys(models)]
    return methods + [open_baseline(name) for name in dict.fromkeys(options["baselines"])]


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` as keyword arguments: numbers, true, false and none as such, the rest as text."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, _, value = (part.strip() for part in text.partition("="))
        if not key or not value:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--option")
        try:
            parsed = json.loads(value.lower().replace("none", "null"))
        except ValueError:
            parsed = value
        settings[key.replace("-", "_")] = parsed
    return settings


def _failure_lines(failures: Sequence[PairResult]) -> Iterator[str]:
    """A line per failure; a pair that no method could use appears once."""
    lines: dict[tuple[str, str], list[str]] = {}
    for result in failures:
        lines.setdefault((result.pair, result.error), []).append(result.method)
    for (pair, error), methods in list(lines.items())[:_LISTED_FAILURES]:
        yield f"{pair} ({', '.join(methods)}): {error}"
    if len(lines) > _LISTED_FAILURES:
        yield f"... and {len(lines) - _LISTED_FAILURES} more; --csv and --json list all of them"
