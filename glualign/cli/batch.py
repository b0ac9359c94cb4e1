"""``glualign batch``: align many pairs, go on where an earlier run stopped, say what failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import (
    COUNT,
    POSITIVE,
    Aligning,
    Reading,
    Writing,
    align_options,
    min_quality_option,
    quiet_option,
    reading_options,
    writing_options,
)

if TYPE_CHECKING:
    from glualign.batch import PairList, Settings

SCENE_FORMATS = ("h5", "txt")  # files of matches that hold all pairs
KINDS = ("warped", "flow", "flow-image", "mask", "confidence", "transform")
PATH, FOLDER = click.Path(), click.Path(file_okay=False)


def _kinds(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    kinds = [kind.strip() for kind in value.split(",")]
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(KINDS)}.", context, parameter)
    return tuple(kind.replace("-", "_") for kind in kinds)


@click.command(short_help="Align many pairs of images into the folder OUT.")
@click.argument("sources", required=False, type=PATH)
@click.argument("targets", required=False, type=PATH)
@click.option("-o", "--output", required=True, type=FOLDER, metavar="OUT", help="Folder for the results.")
@click.option("--target", type=PATH, metavar="FILE", help="Align every one of SOURCES onto this image.")
@click.option(
    "--sequence",
    type=PATH,
    metavar="DIR|VIDEO",
    help="Align the frames in DIR, in natural order, onto each other; those of a VIDEO are written to "
    "OUT/NAME_frames first.",
)
@click.option(
    "--onto",
    type=click.Choice(["previous", "first"]),
    default="previous",
    help="With --sequence: the frame that each frame is aligned onto.",
)
@click.option(
    "--pairs",
    type=click.Path(allow_dash=True),
    metavar="FILE|-",
    help="List of pairs, .csv with a header or .jsonl: source, target and, optionally, output, the name "
    "of the results in OUT. Relative paths start at the list's folder. - reads standard input.",
)
@click.option("--recursive/--no-recursive", default=True, help="Look into sub-folders as well.")
@click.option(
    "--format",
    "extension",
    metavar="EXT",
    show_default="the source's",
    help="Format of the warped images, such as png or tif.",
)
@click.option("--flow-format", metavar="EXT", default="flo", help="Format of the flow, such as flo or npz.")
@click.option(
    "--write",
    "kinds",
    metavar="KINDS",
    callback=_kinds,
    default="warped,flow,flow-image,transform",
    help="What to write of each pair, with commas between: warped, flow, flow-image (its picture), mask, "
    "confidence (8-bit images), transform (where one is fitted).",
)
@click.option(
    "--merge",
    type=click.Choice(["mean", "median", "min", "max"]),
    help="With one target: also merge all aligned sources into OUT/merged.png, or .tif; the mean is "
    "weighted by confidence.",
)
@click.option(
    "--matches",
    type=click.Choice(["csv", "npz", "h5", "txt"]),
    help="Also write point matches: csv or npz of each pair, as `glualign matches` does; h5 (hloc) or txt "
    "(COLMAP) of all pairs as one scene, OUT/matches.h5 or .txt.",
)
@writing_options
@align_options
@min_quality_option
@reading_options
@click.option(
    "--resume",
    "redo",
    flag_value="changed",
    default=True,
    show_default=False,
    help="Leave pairs alone that were done, or failed, with these inputs and options (the default).",
)
@click.option("--retry-failed", "redo", flag_value="failed", help="Resume, and try failed pairs again.")
@click.option("--overwrite", "redo", flag_value="all", help="Do every pair again.")
@click.option(
    "--check",
    type=click.Choice(["mtime", "sha256"]),
    default="mtime",
    help="How changed inputs are noticed: by path, size and time of change, or by content.",
)
@click.option("--fail-fast", is_flag=True, help="Stop after the first pair that fails.")
@click.option(
    "--batch-size",
    type=COUNT,
    metavar="N",
    show_default="8 on CUDA, else 1",
    help="Successive pairs of equal size that share a forward pass.",
)
@click.option(
    "--shard", metavar="I/N", help="Do part I (from 1) of N only; a later run without --shard merges."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="Run in this process, or on a Ray cluster (extra `ray`).",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    show_default="Ray is started on this machine",
    help="Cluster to join: auto, HOST:PORT or ray://HOST:PORT.",
)
@click.option(
    "--ray-workers", type=COUNT, metavar="N", default=1, help="Ray actors, each with the model in memory."
)
@click.option("--ray-cpus", type=POSITIVE, metavar="X", default=1.0, help="Cores for each actor.")
@click.option(
    "--ray-gpus",
    type=click.FloatRange(min=0),
    metavar="X",
    default=0.0,
    help="GPUs for each actor; with 0.5 two share one.",
)
@click.option("--dry-run", is_flag=True, help="Print the pairs as JSON lines and do nothing.")
@click.option(
    "--report", is_flag=True, help="Write OUT/report.html: thumbnails of the pairs, the worst first."
)
@click.option(
    "--log-json", is_flag=True, help="Print JSON lines on stdout: the start, each pair, the summary."
)
@quiet_option
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
      glualign batch burst/ --target burst/1.tif -o out/ --write warped --merge mean
      glualign batch --sequence frames/ --onto first -o stabilised/ --write warped
      glualign batch --sequence clip.mp4 -o out/ --preset fast --matches txt
      glualign batch --pairs pairs.csv -o out/ --report --retry-failed
      glualign batch --pairs pairs.jsonl -o out/ --shard 3/16
    """
    from glualign.batch import Shard, align_batch, current_records
    from glualign.batch.pipeline import process
    from glualign.batch.ray_engine import RayEngine
    from glualign.cli.batch_display import Display, Interruption
    from glualign.cli.console import warn

    out = Path(options["output"])
    pairs = _pairs(sources, targets, out, options)
    if options["dry_run"]:
        for pair in pairs.pairs:
            names = {"source": str(pair.source), "target": str(pair.target), "output": pair.key}
            if pair.fault:
                warn(pair.fault)
            else:
                click.echo(json.dumps(names))
        for line in pairs.unmatched:
            warn(line)
        return
    if options["merge"] and len({pair.target for pair in pairs.pairs}) > 1:
        raise click.UsageError("--merge needs sources with one target (--target FILE).")
    settings = _settings(options)
    ray = {name: options[f"ray_{name}"] for name in ("workers", "address", "cpus", "gpus")}
    display, interruption = Display(quiet=options["quiet"], as_json=options["log_json"]), Interruption()
    display.unmatched(pairs.unmatched)
    with interruption.watched(), display.bar:
        summary = align_batch(
            pairs,
            out,
            settings,
            engine=process if options["engine"] == "local" else RayEngine(**ray),
            redo=options["redo"],
            fail_fast=options["fail_fast"],
            shard=Shard.parse(options["shard"]) if options["shard"] is not None else None,
            on_progress=display.progress,
            stop=lambda: interruption.code != 0,
        )
    display.summary(summary, out)
    if options["merge"] and not (options["shard"] or summary.remaining):
        from glualign.batch.combine import merge_images

        display.wrote("merged", merge_images(current_records(out, pairs), out, options["merge"]))
    if options["matches"] in SCENE_FORMATS and not (options["shard"] or summary.remaining):
        from glualign.batch.combine import join_matches
        from glualign.matches import write_matches

        joined = out / f"matches.{options['matches']}"
        write_matches(joined, join_matches(current_records(out, pairs), out, settings.flow_extension))
        display.wrote("matches", joined)
    if options["report"]:
        from glualign.report.contact_sheet import write_contact_sheet

        write_contact_sheet(out / "report.html", current_records(out, pairs), summary, read=settings.read)
    if interruption.code or summary.failed:
        raise click.exceptions.Exit(interruption.code or 3)


def _pairs(sources: str | None, targets: str | None, out: Path, options: Mapping[str, Any]) -> PairList:
    """The pairs that the arguments name, in exactly one of the four ways."""
    from glualign.batch import match_folders, onto_target, read_pairs, sequence

    if targets is not None and Path(targets).is_file():
        raise click.UsageError(
            f"{targets} is a file; to align every source onto it, give --target {targets}."
        )
    masks = [Path("*_mask.png")] if options["mask_from"] == "file" else []
    where: dict[str, Any] = {"recursive": options["recursive"], "skip": [out, *masks]}
    match sources, targets, options["target"], options["sequence"], options["pairs"]:
        case str(), str(), None, None, None:
            return match_folders(sources, targets, **where)
        case str(), None, str(target), None, None:
            return onto_target(sources, target, **where)
        case None, None, None, str(frames), None:
            if Path(frames).is_file():
                if options["dry_run"]:
                    raise click.UsageError("--dry-run writes nothing, so there are no frames of a video.")
                from glualign.video import extract_frames

                frames = str(extract_frames(Path(frames), out))
            return sequence(frames, onto=options["onto"], **where)
        case None, None, None, None, str(pairs):
            return read_pairs(pairs)
    raise click.UsageError(
        "Say what to align in one of these ways: SOURCES TARGETS, SOURCES --target FILE, "
        "--sequence DIR|VIDEO, --pairs FILE."
    )


def _settings(options: Mapping[str, Any]) -> Settings:
    from glualign.batch import Settings

    aligning = Aligning.of(options)
    if not options["quiet"] and options["engine"] != "ray":
        aligning.warn_if_slow()
    align = aligning.arguments()
    named = {name: align.pop(name) for name in ("device", "precision", "preset") if name in align}
    if options["engine"] == "ray" and options["ray_gpus"] and named["device"] == "auto":
        named["device"] = "cuda"  # of the actors; this machine may have none
    kinds = {*options["kinds"], *(("warped", "confidence") if options["merge"] else ())}
    if options["matches"] in SCENE_FORMATS:
        from glualign.matches import check_matches_path

        check_matches_path(f"matches.{options['matches']}")
        kinds |= {"flow", "mask", "confidence"}
    elif options["matches"]:
        kinds |= {"matches"}
    extension = options["extension"]
    return Settings(
        model=options["model"],
        **named,
        align=align,
        **Reading.of(options).arguments(),
        kinds=sorted(kinds),
        extension=f".{extension.lstrip('.')}" if extension else None,
        flow_extension=f".{options['flow_format'].lstrip('.')}",
        matches_extension=f".{options['matches'] or 'csv'}",
        **vars(Writing.of(options)),
        **{name: options[name] for name in ("min_quality", "check", "batch_size")},
    )
