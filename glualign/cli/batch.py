"""``glualign batch``: align many pairs, go on where an earlier run stopped, say what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.batch_options import (
    pairing_options,
    ray_options,
    redo_options,
    report_options,
    result_options,
    run_options,
)
from glualign.cli.options import (
    align_options,
    aligner_arguments,
    aligner_from_options,
    min_quality_option,
    reading_arguments,
    reading_options,
    require_quality,
    writing_options,
)

if TYPE_CHECKING:
    from glualign.alignment import Alignment
    from glualign.batch import JobList, Task
    from glualign.batch.run import Engine
    from glualign.outputs import Outputs


@click.command()
@click.argument("sources", required=False, type=click.Path())
@click.argument("targets", required=False, type=click.Path())
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False),
    metavar="OUT",
    help="Folder for the results.",
)
@pairing_options
@result_options
@writing_options
@align_options
@min_quality_option
@reading_options
@redo_options
@run_options
@ray_options
@report_options
def command(sources: str | None, targets: str | None, **options: Any) -> None:
    """Align many pairs of images into the folder OUT.

    SOURCES and TARGETS are folders, or globs in quotes. Images are paired by their relative path without the
    extension, and the results mirror it: OUT/sub/name_warped.png and so on. Give the same command again
    after any interruption, and only what is missing or changed is done: OUT/manifest.jsonl has a line for
    each pair. One bad pair does not stop the others.

    Exit codes: 0 all pairs are done; 3 some failed; 1 the run could not start or go on; 130, 143 interrupted.

    \b
    Examples:
      glualign batch before/ after/ -o out/
      glualign batch "scans/**/*.tif" --target reference.tif -o out/ --transform homography
      glualign batch --sequence frames/ --onto first -o stabilised/ --no-flow --no-flow-image
      glualign batch --pairs pairs.csv -o out/ --report --retry-failed
      glualign batch --pairs pairs.jsonl -o out/ --shard 3/16
    """
    from glualign.batch import Shard, run_batch
    from glualign.cli.batch_display import Display, Interruption

    out = Path(options["output"])
    jobs = _jobs(sources, targets, out, options)
    if options["dry_run"]:
        _print_pairs(jobs)
        return
    task = _task(out, options)
    display = Display(out, quiet=options["quiet"], as_json=options["log_json"])
    display.unmatched(jobs.unmatched)
    with Interruption() as interruption, display:
        summary = run_batch(
            jobs,
            out,
            task,
            engine=_engine(options),
            redo=options["redo"],
            fail_fast=options["fail_fast"],
            shard=None if options["shard"] is None else Shard.parse(options["shard"]),
            on_progress=display.progress,
            stop=interruption,
        )
    display.summary(summary)
    if options["report"]:
        from glualign.batch.contact_sheet import write_contact_sheet
        from glualign.batch.run import current_records

        records = current_records(out, jobs)
        page = out / "report.html"
        write_contact_sheet(page, records, summary, read=task.read, workers=options["io_workers"])
    if interruption.code or summary.failed:
        raise click.exceptions.Exit(interruption.code or 3)


def _jobs(sources: str | None, targets: str | None, out: Path, options: Mapping[str, Any]) -> JobList:
    """The pairs that the arguments name, in exactly one of the four ways."""
    from glualign.batch import from_rows, match_folders, onto_target, read_pairs, sequence

    target, frames, pairs = options["target"], options["sequence"], options["pairs"]
    given = [value is not None for value in (sources, targets, target, frames, pairs)]
    ways = {
        (True, True, False, False, False): "SOURCES TARGETS",
        (True, False, True, False, False): "SOURCES --target FILE",
        (False, False, False, True, False): "--sequence DIR",
        (False, False, False, False, True): "--pairs FILE",
    }
    if tuple(given) not in ways:
        raise click.UsageError(f"Say what to align in one of these ways: {', '.join(ways.values())}.")
    where: dict[str, Any] = {"recursive": options["recursive"], "skip": [out]}
    if pairs is not None:
        return from_rows(read_pairs(pairs))
    if frames is not None:
        return sequence(frames, onto=options["onto"], **where)
    assert sources is not None
    if target is not None:
        return onto_target(sources, target, **where)
    assert targets is not None
    return match_folders(sources, targets, **where)


_DECISIVE = (
    *("model", "min_quality", "interpolation", "fill", "quality", "extension", "flow_format"),
    *("no_warped", "no_flow", "no_flow_image", "mask"),
)
"""Options that decide what the outputs look like, besides those of aligning and reading."""


def _task(out: Path, options: dict[str, Any]) -> Task:
    from glualign.batch import Task
    from glualign.batch.fingerprint import fingerprint
    from glualign.checkpoints.registry import find_weights
    from glualign.errors import ImageError
    from glualign.images import WRITABLE, read_image

    # A format that cannot be written fails here, once.
    _outputs(out, "any", None, options).check()
    if options["extension"] and f".{options['extension'].lstrip('.')}".lower() not in WRITABLE:
        raise ImageError(
            f".{options['extension'].lstrip('.')}: not an image format; use one of {' '.join(WRITABLE)}"
        )
    reading = reading_arguments(options)
    weights = fingerprint(find_weights(options["model"]).path, "sha256")
    return Task(
        make_aligner=partial(aligner_from_options, options),
        read=partial(read_image, **reading),
        write=partial(_write, options=options),
        options={
            "weights": weights.get("sha256"),
            **{name: value for name, value in aligner_arguments(options).items() if name != "device"},
            **reading,
            **{name: options[name] for name in _DECISIVE},
        },
        fingerprint=options["check"],
    )


def _write(alignment: Alignment, folder: Path, stem: str, *, options: Mapping[str, Any]) -> Sequence[Path]:
    """Write one pair's results as `warp` does, under the names that the batch chooses."""
    require_quality(alignment, options["min_quality"])
    outputs = _outputs(folder, stem, alignment, options)
    written, _ = outputs.write(
        alignment, interpolation=options["interpolation"], fill=options["fill"], quality=options["quality"]
    )
    return list(written.values())


def _outputs(folder: Path, stem: str, alignment: Alignment | None, options: Mapping[str, Any]) -> Outputs:
    from glualign.outputs import Outputs, expected_image, warped_extension

    extension = f".{options['extension'].lstrip('.')}" if options["extension"] else ".png"
    if alignment is not None and not options["extension"]:
        expected = expected_image(
            alignment.source, alignment.target.size, options["interpolation"], options["fill"]
        )
        extension = warped_extension(alignment.source.name, expected)
    kinds = {
        "warped": not options["no_warped"],
        "flow": not options["no_flow"],
        "flow_image": not options["no_flow_image"],
        "mask": options["mask"],
        "transform": True,
    }
    return Outputs.in_folder(
        folder,
        stem,
        extension,
        kinds=[kind for kind, wanted in kinds.items() if wanted],
        flow_extension=f".{options['flow_format'].lstrip('.')}",
    )


def _engine(options: Mapping[str, Any]) -> Engine:
    from glualign.batch import LocalEngine

    local = LocalEngine(options["io_workers"], options["batch_size"])
    if options["engine"] == "local":
        return local
    from glualign.batch.ray_engine import RayEngine

    return RayEngine(
        workers=options["ray_workers"],
        address=options["ray_address"],
        cpus=options["ray_cpus"],
        gpus=options["ray_gpus"],
        local=local,
    )


def _print_pairs(jobs: JobList) -> None:
    import json

    from glualign.cli.console import warn

    for job in jobs.jobs:
        click.echo(json.dumps({"source": str(job.source), "target": str(job.target), "output": job.key}))
    for line in jobs.unmatched:
        warn(line)
