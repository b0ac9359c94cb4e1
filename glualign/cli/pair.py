"""``glualign warp`` and ``glualign flow``: align a pair, write what was asked for, tell what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import (
    FILE,
    MIN_QUALITIES,
    STREAM,
    WITHOUT_MATRIX,
    Aligning,
    Reading,
    Telling,
    Writing,
    confidence_option,
    mask_option,
    pair_options,
    writing_options,
)
from glualign.cli.streams import format_option, streamable
from glualign.errors import GlualignError

if TYPE_CHECKING:
    from glualign.alignment import Alignment
    from glualign.images import Image
    from glualign.matching.quality import Quality
    from glualign.outputs import Outputs

EXIT_FAILED_VERDICT = 4


@click.command(short_help="Warp SOURCE onto the pixel grid of TARGET.")
@click.argument("source", type=click.Path(allow_dash=True))
@click.argument("target", type=click.Path(allow_dash=True))
@click.argument("out", required=False, type=click.Path(allow_dash=True))
@click.option("-o", "--output", metavar="DIR|FILE|-", show_default="this folder", help="The same as OUT.")
@format_option
@click.option("--flow", type=FILE, help="Write the flow here, format by extension.")
@click.option("--flow-image", type=FILE, help="Write the picture of the flow here.")
@mask_option
@confidence_option
@click.option(
    "--matrix", type=FILE, help="Write the fitted 3x3 transform, target to source, here (.txt or .json)."
)
@click.option("--report", type=FILE, help="Write an HTML report here, as `glualign report` does.")
@click.option(
    "--gcps",
    type=FILE,
    help="Write ground control points of SOURCE here in QGIS's format (.points, .csv); TARGET is a GeoTIFF.",
)
@click.option(
    "--matches",
    type=FILE,
    help="Write point matches here (.csv, .npz, .h5, .txt), as `glualign matches` does.",
)
@writing_options
@pair_options
@streamable("source", "target", default=".png")
def warp(
    source: str,
    target: str,
    min_quality: str,
    only_trusted: bool,
    init: str | None,
    report: str | None,
    **options: Any,
) -> None:
    """Warp SOURCE onto the pixel grid of TARGET.

    OUT is a folder or an image file. Into a folder (this one, when OUT is left out) go three files named
    after the source: STEM_warped.EXT in the source's format, depth and channels; STEM_flow.flo, the flow from
    target to source in source pixels; and STEM_flow.png, its picture on the colour wheel. Where one 3x3
    matrix describes the motion, also STEM_transform.txt. An image file gets the warped source and
    nothing else is written, except what is named by --flow, --mask and the like. Every pixel that the source
    reaches is written; how far it can be trusted says the --mask and the --confidence.

    A GeoTIFF as TARGET gives its georeference to the results written as TIFF.

    Pixels that a --source-mask or --target-mask shows in black have no say in the matching, the motion and
    the verdict, and are not valid.

    - is standard input (of one image) or standard output (of the warped image).
    A name that starts with a dash goes after `--`, or is written with its folder: ./-name.png.

    Exit codes: 0 done; 4 done, but the verdict is failed: the images hardly show the same thing; 1 an error.

    \b
    Examples:
      glualign warp source.jpg target.jpg
      glualign warp source.jpg target.jpg out/
      glualign warp source.jpg target.jpg out/aligned.png --fill transparent --flow out/flow.npz
      glualign warp map.tif photo.jpg --preset accurate --transform homography --json
      glualign warp drone.jpg map.tif out/drone.tif --gcps out/drone.points
      glualign warp scan.tif drawing.png out/ --init points.csv
      cat source.jpg | glualign warp - target.jpg - > aligned.png
    """
    from glualign.cli.console import print_notes, status
    from glualign.cli.report import command_line
    from glualign.georeference import map_affine
    from glualign.outputs import expected_image

    aligning, reading = Aligning.of(options), Reading.of(options)
    writing, telling = Writing.of(options), Telling.of(options)
    if options["matrix"] and aligning.transform in ("auto", *WITHOUT_MATRIX):
        raise click.UsageError("--matrix needs a --transform that always has one, such as homography.")
    masks = options["source_mask"], options["target_mask"]
    moving, fixed = reading.images(source, target, quiet=telling.quiet, masks=masks)
    if options["gcps"]:
        map_affine(fixed.georeference, target)  # a target without one is refused before the network runs
    expected = expected_image(moving, fixed.size, writing.interpolation, writing.fill)
    outputs = plan(source, expected, options)
    outputs.check(
        filter(None, (source, target, *masks, init)), warped=expected, beside=filter(None, [report])
    )
    if report:
        from glualign.report.alignment import build_report
        from glualign.report.page import environment

        environment()
    alignment = align_pair(moving, fixed, aligning, init=init, show=telling.shows, minimum=min_quality)
    with status("Writing ...", show=telling.shows):
        written, notes = outputs.write(alignment, only_trusted=only_trusted, **vars(writing))
        if report:
            build_report(alignment, report, command=command_line(click.get_current_context()))
            written["report"] = Path(report)
    print_notes(source, notes, show=not telling.quiet)
    tell(alignment, written, telling, min_quality)


@click.command(short_help="Write the flow of a pair to a file.")
@click.argument("source", type=click.Path(allow_dash=True))
@click.argument("target", type=click.Path(allow_dash=True))
@click.argument("out", required=False, type=STREAM)
@click.option("-o", "--output", type=STREAM, metavar="FILE|-", help="The same as OUT.")
@format_option
@mask_option
@confidence_option
@pair_options
@streamable("source", "target", default=".flo", required=True)
def flow(
    source: str, target: str, only_trusted: bool, min_quality: str, init: str | None, **options: Any
) -> None:
    """Estimate the flow between SOURCE and TARGET and write it to the file OUT.

    The extension of OUT chooses the format: .flo, .png (KITTI, 16 bit), .pfm, .npy, .npz, .flo5, .nrrd, .mha.
    The flow has the target's size and points from the target to the source: target pixel (x, y) shows source
    position (x + u, y + v), in source pixels. - is standard input (of one image) or standard output.

    Exit codes: 0 done; 4 done, but the verdict is failed: the images hardly show the same thing; 1 an error.

    \b
    Examples:
      glualign flow source.jpg target.jpg flow.flo
      glualign flow frame2.png frame1.png -o flow.png --only-trusted --max-side 0
    """
    from glualign.outputs import Outputs

    reading, telling = Reading.of(options), Telling.of(options)
    names = {"flow": options["output"], "mask": options["mask"], "confidence": options["confidence"]}
    outputs = Outputs(**{kind: Path(name) for kind, name in names.items() if name})
    masks = options["source_mask"], options["target_mask"]
    outputs.check(filter(None, (source, target, *masks, init)))
    moving, fixed = reading.images(source, target, quiet=telling.quiet, masks=masks)
    alignment = align_pair(
        moving, fixed, Aligning.of(options), init=init, show=telling.shows, minimum=min_quality
    )
    written, _ = outputs.write(alignment, only_trusted=only_trusted)
    tell(alignment, written, telling, min_quality)


def plan(source: str, expected: Image, options: Mapping[str, Any]) -> Outputs:
    """The files to write: one image, or a folder of results; and what was named beside.

    Raises:
        OutputError: the output's extension cannot be written.
    """
    from glualign.images import WRITABLE
    from glualign.outputs import DEFAULT_KINDS, Outputs, is_folder, warped_extension

    output = options["output"] or "."
    if is_folder(output, WRITABLE):
        extension = options["format"] or warped_extension(source, expected)
        kinds = set(DEFAULT_KINDS) - ({"transform"} if options["transform"] in WITHOUT_MATRIX else set())
        outputs = Outputs.in_folder(output, Path(source).stem, extension, kinds=kinds)
    else:
        outputs = Outputs(warped=Path(output))
    named = ("flow", "flow_image", "mask", "confidence", "gcps", "matches")
    beside = {"transform": options["matrix"], **{kind: options[kind] for kind in named}}
    return replace(outputs, **{kind: Path(name) for kind, name in beside.items() if name})


def align_pair(
    source: Image, target: Image, how: Aligning, *, show: bool, init: str | None = None, minimum: str = "none"
) -> Alignment:
    """Align two images as the options say, from the motion in the file ``init`` where one is given.

    Progress goes to a terminal only, and only if ``show``.

    Raises:
        GlualignError: the model, the device or ``init`` is unusable, an image cannot be matched, or the
            verdict is worse than ``minimum`` (``--min-quality``): with its reasons and what to try.
    """
    from glualign.cli.console import status
    from glualign.flow import read_initial

    if show:
        how.warn_if_slow()
    known = read_initial(init, target.size, source.size) if init else None
    with status(f"Loading {how.model} ...", show=show):
        aligner = how.aligner()
    with status(f"Aligning {source.name} to {target.name}:", show=show) as aligner.on_step:
        alignment = aligner.align(source, target, init=known)
    quality = alignment.quality
    if MIN_QUALITIES.index(quality.verdict) < MIN_QUALITIES.index(minimum):
        raise GlualignError(
            f"{source.name}: the alignment is {quality.verdict}, --min-quality asks for {minimum}; "
            f"nothing was written ({reasons(quality)}). {advice(alignment)}"
        )
    return alignment


def tell(alignment: Alignment, written: Mapping[str, Path], telling: Telling, minimum: str) -> None:
    """Print the summary, the JSON object or nothing; a failed alignment ends the command with exit code 4.

    Raises:
        Exit: the verdict is failed and ``minimum``, from ``--min-quality``, is not none.
    """
    from glualign.cli.console import warn

    telling.tell({**alignment.summary(), "outputs": written}, lambda: summary_rows(alignment, written))
    if alignment.quality.verdict == "failed" and minimum != "none":
        warn(f"the alignment failed: {reasons(alignment.quality)}. {advice(alignment)}")
        raise click.exceptions.Exit(EXIT_FAILED_VERDICT)


def summary_rows(alignment: Alignment, written: Mapping[str, Path]) -> list[tuple[str, str]]:
    """The summary on the screen: name and value."""
    quality, timings = alignment.quality, alignment.timings
    steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in timings.items() if name != "total")
    rows = [
        *(
            (role, f"{image.name}, {image.width} x {image.height} pixels, {image.kind}")
            for role, image in (("source", alignment.source), ("target", alignment.target))
        ),
        ("model", f"{alignment.model} on {alignment.device}"),
        ("time", f"{timings['total']:.2f} s ({steps})"),
        ("valid", f"{quality.valid_share:.1%} of the target's pixels, {quality.trusted_share:.1%} trusted"),
        ("quality", quality.verdict),
        *(("" if row else "measured", text) for row, text in enumerate(figures(quality))),
    ]
    if quality.verdict == "doubtful":
        rows.append(("try", advice(alignment)))
    return rows + [("" if row else "wrote", str(path)) for row, path in enumerate(written.values())]


def figures(quality: Quality) -> list[str]:
    """What was measured, in words, with what is usual."""
    from glualign.matching.quality import CONTENT_AGREES

    lines = [f"edge similarity {quality.edge_agreement:.2f} (unrelated images: up to 0.1, alike: from 0.4)"]
    content = quality.content_agreement
    if content is not None and content < CONTENT_AGREES:
        lines.append(
            f"what lies between their common edges differs (squared correlation {content:.2f}, alike: from "
            f"{CONTENT_AGREES}): on a pattern, form or grid other alignments may fit as well"
        )
    if quality.median_error is not None:
        lines.append(f"forward and backward flow differ by {quality.median_error:.2f} px (median)")
    if quality.inlier_share is not None:
        model = {"tps": "thin-plate spline"}.get(quality.motion, quality.motion)
        lines.append(f"one {model} explains {quality.inlier_share:.0%} of the trusted flow")
    if quality.folding_share >= 0.001:
        lines.append(f"the flow folds over itself at {quality.folding_share:.1%} of the pixels")
    return lines


def reasons(quality: Quality) -> str:
    """Why the verdict is not good, in one line."""
    return "; ".join([f"{quality.trusted_share:.1%} of the target's pixels are trusted", *figures(quality)])


def advice(alignment: Alignment) -> str:
    """What to try after a failed or doubtful verdict."""
    low, high = sorted((max(alignment.source.size), max(alignment.target.size)))
    crop = "crop the larger image to what both show; " if high > 3 * low else ""
    return (
        f"Try the default preset if this was fast; {crop}--mirror if one image is mirrored; --init with a "
        "few point pairs; --transform homography for flat scenes, affine or similarity for scans; and look "
        "if both show the same thing at all"
    )
