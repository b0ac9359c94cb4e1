"""``glualign batch``: align many pairs, go on where an earlier run stopped, say what failed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.batch_display import Display
from glualign.cli.console import note, print_json, warn
from glualign.cli.exits import FAILED_PAIRS, interruptible
from glualign.cli.options import (
    FOLDER,
    PATH,
    QUIET,
    Aligning,
    Reading,
    Writing,
    command,
    given_options,
    matching,
    min_quality,
    option,
)

if TYPE_CHECKING:
    from glualign.batch import PairList, Settings, Shard, Summary
    from glualign.video import Clip

SCENE_FORMATS = ("h5", "txt")  # files of matches that hold all pairs
KINDS = ("warped", "flow", "flow-image", "mask", "confidence", "transform")


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",")]
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(KINDS)}.")
    return [kind.replace("-", "_") for kind in kinds]


def _shard(match: re.Match[str]) -> Shard:
    from glualign.batch import Shard

    return Shard(int(match[1]), int(match[2]))


@command(
    click.Argument(["sources"], required=False, type=PATH),
    click.Argument(["targets"], required=False, type=PATH),
    option("-o, --output OUT  Folder for the results.", FOLDER, required=True),
    option("--target FILE  Align every one of SOURCES onto this image."),
    option(
        "--sequence DIR|VIDEO  Align the frames in DIR, in natural order, onto each other; those of a VIDEO "
        "are written to OUT/NAME_frames first.",
        PATH,
    ),
    option(
        "--onto [previous|first]  With --sequence: the frame that each frame is aligned onto.",
        default="previous",
    ),
    option(
        "--pairs FILE|-  List of pairs, .csv with a header or .jsonl: source, target and, optionally, "
        "output, the name of the results in OUT. Relative paths start at the list's folder. - reads standard "
        "input.",
        PATH,
    ),
    option("--recursive/--no-recursive  Look into sub-folders as well.", default=True),
    option(
        "--format EXT  Format of the warped images, such as png or tif.",
        name="extension",
        show_default="the source's",
    ),
    option("--flow-format EXT  Format of the flow, such as flo or npz.", default="flo"),
    option(
        "--write KINDS  What to write of each pair, with commas between: warped, flow, flow-image (its "
        "picture), mask, confidence (8-bit images), transform (where one is fitted).",
        _kinds,
        "warped,flow,flow-image,transform",
        name="kinds",
    ),
    option(
        "--merge [mean|median|min|max]  With one target: also merge all aligned sources into OUT/merged.png, "
        "or .tif for TIFF; the mean is weighted by confidence."
    ),
    option(
        "--matches [csv|npz|h5|txt]  Also write point matches: csv or npz of each pair, as `glualign "
        "matches` does; h5 (hloc) or txt (COLMAP) of all pairs as one scene, OUT/matches.h5 or .txt."
    ),
    Writing,
    Aligning,
    min_quality(
        "A pair of a worse one fails, and nothing of it is written. A pair of the verdict failed fails, too, "
        "but its files are kept; with none it is done. Any failed pair: exit code 3."
    ),
    Reading,
    option(
        "--resume  Leave pairs alone that were done, or failed, with these inputs and options (the default).",
        name="redo",
        flag_value="changed",
        default=True,
        show_default=False,
    ),
    option("--retry-failed  Resume, and try failed pairs again.", name="redo", flag_value="failed"),
    option("--overwrite  Do every pair again.", name="redo", flag_value="all"),
    option("--fail-fast  Stop after the first pair that fails."),
    option(
        "--batch-size N  Successive pairs of equal size that share a forward pass; rounding differs with it.",
        show_default="8 on CUDA, else 1",
    ),
    option(
        "--shard I/N  Do part I (from 1) of N only; a later run without --shard merges.",
        matching(r"(\d+)/(\d+)", "a part such as 3/16", _shard),
    ),
    option("--engine [local|ray]  Run in this process, or on a Ray cluster (extra `ray`).", default="local"),
    option(
        "--ray-address ADDRESS  Cluster to join: auto, HOST:PORT or ray://HOST:PORT.",
        show_default="Ray is started on this machine",
    ),
    option("--ray-workers N  Ray actors, each with the model in memory.", default=1),
    option("--ray-cpus X  Cores for each actor.", default=1.0),
    option("--ray-gpus X  GPUs for each actor; with 0.5 two share one.", click.FloatRange(min=0), 0.0),
    option("--dry-run  Print the pairs as JSON lines and do nothing."),
    option("--report  Write OUT/report.html: thumbnails of the pairs, the worst first."),
    option("--log-json  Print JSON lines on stdout: the start, each pair, the summary."),
    QUIET,
    short_help="Align many pairs of images into the folder OUT.",
)
def batch(writing: Writing, aligning: Aligning, reading: Reading, **options: Any) -> None:
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
    from glualign.batch import align_batch, current_records
    from glualign.batch.manifest import hold
    from glualign.batch.pipeline import process
    from glualign.batch.ray_engine import RayEngine
    from glualign.outputs import check_formats
    from glualign.video import extract_frames

    out, shard, scene = Path(options["output"]), options["shard"], options["matches"] in SCENE_FORMATS
    _check_selection(options)
    ray = {name: options[f"ray_{name}"] for name in ("workers", "address", "cpus", "gpus")}
    for needed, has_it, only_there in (
        ("--sequence", options["sequence"], ["onto"]),
        ("--engine ray", options["engine"] == "ray", [f"ray_{name}" for name in ray]),
    ):
        if not has_it and (useless := given_options(only_there)):
            raise click.UsageError(f"{useless[0]} has no use without {needed}; leave it out.")
    if options["report"]:
        check_formats({"report": out / "report.html"})
    clip = _video(options)
    if clip:  # the lock is held to the end of the command
        click.get_current_context().with_resource(hold(out, shard))
        frames = extract_frames(clip.path, out, shared=shard is not None)
    else:
        frames = options["sequence"]
    pairs = _pairs(out, options, frames, masked=reading.mask_from == "file")
    if clip and (shortfall := clip.shortfall(len(pairs) + 1)):
        warn(shortfall)
    if options["dry_run"]:
        part = pairs.shard(shard) if shard else pairs
        for pair in part.pairs:
            if pair.fault:
                note(f"glualign: {pair.fault}")
            else:
                names = {"source": pair.source, "target": pair.target, "output": pair.key}
                print_json(names, ascii_only=True)
        warn(*pairs.unmatched)
        return
    if options["merge"] and len({pair.target for pair in pairs.pairs}) > 1:
        raise click.UsageError("--merge needs sources with one target (--target FILE).")
    settings = _settings(writing, aligning, reading, options)
    if scene:
        _check_scene(pairs, out / f"matches.{options['matches']}")
    display = Display(as_json=options["log_json"])
    display.unmatched(pairs.unmatched)
    with interruptible("pair") as signals, display.bar:
        summary = align_batch(
            pairs,
            out,
            settings,
            engine=process if options["engine"] == "local" else RayEngine(**ray),
            redo=options["redo"],
            fail_fast=options["fail_fast"],
            shard=shard,
            held=clip is not None,
            on_progress=display.progress,
            stop=lambda: bool(signals),
        )
    display.summary(summary, out)
    if options["report"]:
        from glualign.report.contact_sheet import write_contact_sheet

        write_contact_sheet(out / "report.html", current_records(out, pairs), summary, read=settings.read)
    if options["merge"] or scene:
        with nullcontext() if clip or shard else hold(out):
            _join(pairs, out, settings, summary, display, options)
    if signals or summary.failed:
        raise click.exceptions.Exit(128 + signals[0] if signals else FAILED_PAIRS)


def _check_selection(options: Mapping[str, Any]) -> None:
    """Refuse arguments that do not name the pairs in exactly one of the four ways."""
    targets = options["targets"]
    if targets is not None and Path(targets).is_file():
        raise click.UsageError(
            f"{targets} is a file; to align every source onto it, give --target {targets}."
        )
    names = ("sources", "targets", "target", "sequence", "pairs")
    given = [name for name in names if options[name] is not None]
    if given not in (["sources", "targets"], ["sources", "target"], ["sequence"], ["pairs"]):
        raise click.UsageError(
            "Say what to align in one of these ways: SOURCES TARGETS, SOURCES --target FILE, "
            "--sequence DIR|VIDEO, --pairs FILE."
        )


def _video(options: Mapping[str, Any]) -> Clip | None:
    """The video whose frames are aligned, if that is what ``--sequence`` names; what is none is refused."""
    if options["sequence"] is None or not Path(options["sequence"]).is_file():
        return None
    if options["dry_run"]:
        raise click.UsageError("--dry-run writes nothing, so there are no frames of a video.")
    from glualign.video import Clip

    clip = Clip(Path(options["sequence"]))
    clip.rate()
    return clip


def _pairs(out: Path, options: Mapping[str, Any], frames: Path | None, *, masked: bool) -> PairList:
    """The pairs that the arguments name; ``frames`` is the folder of a sequence."""
    from glualign.batch import match_folders, onto_target, own_files, read_pairs, sequence

    sources, targets = options["sources"], options["targets"]
    skip = [out]
    listed = (Path(os.path.realpath(folder)) for folder in (sources, targets, frames) if folder)
    if any(Path(os.path.realpath(out)) in (path, *path.parents) for path in listed):
        skip += own_files(out)
    listing: dict[str, Any] = {"recursive": options["recursive"], "masks": not masked, "skip": skip}
    if options["pairs"] is not None:
        return read_pairs(options["pairs"])
    if frames is not None:
        return sequence(frames, onto=options["onto"], **listing)
    if options["target"] is not None:
        return onto_target(sources, options["target"], **listing)
    return match_folders(sources, targets, **listing)


def _settings(writing: Writing, aligning: Aligning, reading: Reading, options: Mapping[str, Any]) -> Settings:
    from glualign.batch import Settings
    from glualign.batch.merge import MERGED_KINDS
    from glualign.batch.scene import JOINED_KINDS

    align = aligning.arguments(here=options["engine"] != "ray")
    named = {name: align.pop(name) for name in ("model", "device", "precision", "preset")}
    if options["engine"] == "ray" and options["ray_gpus"] and named["device"] == "auto":
        named["device"] = "cuda"  # of the actors; this machine may have none
    kinds = {*options["kinds"], *(MERGED_KINDS if options["merge"] else ())}
    if options["matches"] in SCENE_FORMATS:
        kinds |= {*JOINED_KINDS}
    elif options["matches"]:
        kinds |= {"matches"}
    return Settings(
        **named,
        align=align,
        kinds=sorted(kinds),
        flow_extension=options["flow_format"],
        matches_extension=f".{options['matches'] or 'csv'}",
        **vars(reading),
        **vars(writing),
        **{name: options[name] for name in ("extension", "min_quality", "batch_size")},
    )


def _check_scene(pairs: PairList, path: Path) -> None:
    """Refuse a file of matches that cannot hold the names of the images, before they are aligned."""
    from glualign.batch.scene import names_in_scene
    from glualign.matches import check_matches_path

    sound = (pair for pair in pairs.pairs if pair.fault is None)
    images = {os.path.abspath(image) for pair in sound for image in (pair.source, pair.target)}
    check_matches_path(path, list(names_in_scene(images).values()))


def _join(
    pairs: PairList,
    out: Path,
    settings: Settings,
    summary: Summary,
    display: Display,
    options: Mapping[str, Any],
) -> None:
    """Make one image, or one scene, of the results of all pairs; what was made of earlier ones goes first."""
    from glualign.batch import current_records
    from glualign.batch.merge import merge_images
    from glualign.batch.scene import join_matches
    from glualign.matches import write_matches

    merge, scene = options["merge"], out / f"matches.{options['matches']}"
    joined = [out / "merged.png", out / "merged.tif"] if merge else []
    joined += [scene] if options["matches"] in SCENE_FORMATS else []
    if options["shard"]:
        display.remark(f"{joined[0]} is made by the same command without --shard")
        return
    for path in joined:
        path.unlink(missing_ok=True)
    if summary.failed == summary.total:
        display.remark(f"no pair is done: there is no {joined[0]}")
    if summary.remaining or summary.failed == summary.total:
        return
    records = current_records(out, pairs)
    if merge:
        display.wrote("merged", merge_images(records, out, merge))
    if scene in joined:
        write_matches(scene, join_matches(records, out, settings.flow_extension))
        display.wrote("matches", scene)
