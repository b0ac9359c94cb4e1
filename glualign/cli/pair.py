"""``glualign warp``, ``flow`` and ``matches``: align a pair, write what was asked for, print a summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.console import status, summary_rows, warn
from glualign.cli.exits import FAILED_VERDICT
from glualign.cli.options import (
    CONFIDENCE,
    FORMAT,
    MASK,
    NATURAL,
    OUT,
    PATH,
    Aligning,
    Printing,
    Reading,
    Writing,
    command,
    min_quality,
    option,
)
from glualign.cli.verdict import advice, figures, reasons
from glualign.errors import GlualignError
from glualign.quality import falls_short

if TYPE_CHECKING:
    from glualign.alignment import Alignment
    from glualign.images import Image

PAIR = (click.Argument(["source"], type=PATH), click.Argument(["target"], type=PATH))
ONLY_TRUSTED = option(
    "--only-trusted  Leave out what is valid but not trusted, as its expected error is too large: filled in "
    "images, unknown in flow."
)


@dataclass(frozen=True)
class Pairing(Reading, Aligning):
    """How a pair is read and aligned, and how good the alignment has to be."""

    init: str | None = option(
        "--init FILE  Start from a known motion: a 3x3 matrix target to source (.txt, .json), a flow, or "
        "point pairs (.csv: source x, y, target x, y). What is left is estimated on top of it."
    )
    min_quality: str = min_quality(
        "Worse: nothing is written, exit code 1. Files of a failed alignment are kept, with exit code 4; "
        "with none the exit code is 0."
    )
    source_mask: str | None = option(
        "--source-mask FILE  Image of the source's size, black where the source has no say (sky, people, "
        "time stamps)."
    )
    target_mask: str | None = option("--target-mask FILE  The same for the target.")
    target_page: int | None = option("--target-page N  Page of the target.", NATURAL, show_default="--page")

    def inputs(self, source: str, target: str) -> list[str | None]:
        """All files that aligning the pair may read, which no result may replace."""
        own = self.model, self.init, self.source_mask, self.target_mask
        return [source, target, *own, *self.companions(source, target)]

    def images(self, source: str, target: str, *, matched: bool = True) -> tuple[Image, Image]:
        """Read both images and print what there is to know; ``matched``: also how the network sees them."""
        from glualign.images import display_notes, read_image

        reading, images = {each.name: getattr(self, each.name) for each in fields(Reading)}, []
        page = self.page if self.target_page is None else self.target_page
        masks = ((source, self.source_mask, self.page), (target, self.target_mask, page))
        for path, mask, number in masks:
            image = read_image(path, **{**reading, "page": number})
            notes = (*image.notes, *(display_notes(image) if matched else ()))
            warn(*(f"{image.name}: {text}" for text in notes))
            if mask:
                upright, limit = self.apply_orientation, self.max_pixels
                image = image.ignore(read_image(mask, apply_orientation=upright, max_pixels=limit))
            images.append(image)
        return images[0], images[1]

    def align(self, source: Image, target: Image) -> Alignment:
        """Align two images, with progress; too bad a verdict is an error, with what to try."""
        from glualign.aligner import Aligner
        from glualign.flow import read_initial

        known = read_initial(self.init, target.size, source.size) if self.init else None
        with status(f"Loading {self.model} ..."):
            aligner = Aligner.from_pretrained(**self.arguments())
        with status(f"Aligning {source.name} to {target.name}:") as aligner.on_step:
            alignment = aligner.align(source, target, init=known)
        quality = alignment.quality
        if falls_short(quality.verdict, self.min_quality):
            raise GlualignError(
                f"{source.name}: the alignment is {quality.verdict}, --min-quality asks for "
                f"{self.min_quality}; nothing was written ({reasons(quality)}). {advice(alignment)}"
            )
        return alignment

    def print_summary(self, alignment: Alignment, written: Mapping[str, Path], printing: Printing) -> None:
        """Print the summary, the JSON object or nothing; then `refuse_failed`."""
        quality, timings = alignment.quality, alignment.timings
        steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in timings.items() if name != "total")
        values: dict[str, Any] = {
            role: f"{image.name}, {image.width} x {image.height} pixels, {image.kind}"
            for role, image in (("source", alignment.source), ("target", alignment.target))
        }
        values |= {
            "model": f"{alignment.model} on {alignment.device}",
            "time": f"{timings['total']:.2f} s ({steps})",
            "valid": f"{quality.valid_share:.1%} of the target's pixels, {quality.trusted_share:.1%} trusted",
            "quality": quality.verdict,
            "measured": figures(quality),
            "try": advice(alignment) if quality.verdict == "doubtful" else None,
            "wrote": list(written.values()),
        }
        printing.print_summary({**alignment.summary(), "outputs": written}, summary_rows(values))
        self.refuse_failed(alignment)

    def refuse_failed(self, alignment: Alignment) -> None:
        """End in `FAILED_VERDICT` on a failed verdict, said even if quiet, unless any will do."""
        if alignment.quality.verdict == "failed" and self.min_quality != "none":
            warn(f"the alignment failed: {reasons(alignment.quality)}. {advice(alignment)}", always=True)
            raise click.exceptions.Exit(FAILED_VERDICT)


@command(
    *PAIR,
    click.Argument(["out"], required=False, type=PATH),
    option("-o, --output DIR|FILE|-  The same as OUT.", show_default="this folder"),
    FORMAT,
    option("--flow FILE  Write the flow here, format by extension."),
    option("--flow-image FILE  Write the picture of the flow here."),
    MASK,
    CONFIDENCE,
    option("--matrix FILE  Write the fitted 3x3 transform, target to source, here (.txt or .json)."),
    option("--report FILE  Write an HTML report here, as `glualign report` does."),
    option(
        "--gcps FILE  Write ground control points of SOURCE here in QGIS's format (.points, .csv); TARGET is "
        "a GeoTIFF."
    ),
    option("--matches FILE  Write point matches here (.csv, .npz, .h5, .txt), as `glualign matches` does."),
    Writing,
    ONLY_TRUSTED,
    Pairing,
    Printing,
    stdout=".png",
    short_help="Warp SOURCE onto the pixel grid of TARGET.",
)
def warp(
    source: str, target: str, writing: Writing, pairing: Pairing, printing: Printing, **options: Any
) -> None:
    """Warp SOURCE onto the pixel grid of TARGET.

    OUT is a folder or an image file. Into a folder (this one, when OUT is left out) go three files named
    after the source: STEM_warped.EXT in the source's format, depth and channels; STEM_flow.flo, the flow from
    target to source in source pixels; and STEM_flow.png, its picture on the colour wheel. Where one 3x3
    matrix describes the motion, also STEM_transform.txt. An image file gets the warped source and
    nothing else is written, except what is named by --flow, --mask and the like. Every pixel that the source
    reaches is written; --mask and --confidence say where it can be trusted.

    A GeoTIFF as TARGET gives its georeference to the results written as TIFF.

    Pixels that a --source-mask or --target-mask shows in black have no say in the matching, the motion and
    the verdict; those of the source are not drawn, those of the target not trusted.

    - is standard input (of one image) or standard output (of the warped image).
    A name that starts with a dash goes after `--`, or is written with its folder: ./-name.png.

    Exit codes: 0 done; 4 done, but the verdict is failed: the images hardly show the same thing; 1 an error.

    \b
    Examples:
      glualign warp source.jpg target.jpg
      glualign warp source.jpg target.jpg out/
      glualign warp source.jpg target.jpg out/aligned.png --fill transparent --flow out/flow.npz
      glualign warp map.tif photo.jpg --max-side 1600 --transform homography --json
      glualign warp drone.jpg map.tif out/drone.tif --gcps out/drone.points
      glualign warp scan.tif drawing.png out/ --init points.csv
      cat source.jpg | glualign warp - target.jpg - > aligned.png
    """
    import glualign.outputs as outputs
    from glualign.georeference import map_affine
    from glualign.images import WRITABLE
    from glualign.matches import check_matches_path

    if options["matrix"] and pairing.transform in ("auto", "dense", "tps"):
        raise click.UsageError("--matrix needs a --transform that always has one, such as homography.")
    moving, fixed = pairing.images(source, target)
    if options["matches"]:
        check_matches_path(options["matches"], (moving.name, fixed.name))
    if options["gcps"]:
        map_affine(fixed.georeference, target)  # a target without one is refused before the network runs
    expected = outputs.expected_image(moving, fixed.size, writing.interpolation, writing.fill)
    if outputs.is_folder(output := options["output"] or ".", WRITABLE):
        files = outputs.name_outputs(output, Path(source).stem, options["format"] or expected)
    else:
        files = {"warped": Path(output)}
    kinds = ("flow", "flow_image", "mask", "confidence", "gcps", "matches", "report")
    named = {"transform": options["matrix"], **{kind: options[kind] for kind in kinds}}
    files |= {kind: Path(name) for kind, name in named.items() if name}
    outputs.check_outputs(files, pairing.inputs(source, target), warped=expected)
    alignment = pairing.align(moving, fixed)
    with status("Writing ..."):
        trusted = options["only_trusted"]
        written, notes = outputs.write_outputs(files, alignment, only_trusted=trusted, **vars(writing))
        if page := files.get("report"):
            from glualign.report.alignment import build_report

            build_report(alignment, page, command=click.get_current_context().obj)
    warn(*notes)
    _warn_of_turned(*(moving, fixed) if options["matches"] else (moving,) if options["gcps"] else ())
    pairing.print_summary(alignment, written, printing)


@command(
    *PAIR,
    *OUT,
    MASK,
    CONFIDENCE,
    ONLY_TRUSTED,
    Pairing,
    Printing,
    stdout=".flo",
    short_help="Write the flow of a pair to a file.",
)
def flow(source: str, target: str, pairing: Pairing, printing: Printing, **options: Any) -> None:
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
    from glualign.outputs import check_outputs, write_outputs

    names = {"flow": options["output"], "mask": options["mask"], "confidence": options["confidence"]}
    files = {kind: Path(name) for kind, name in names.items() if name}
    check_outputs(files, pairing.inputs(source, target))
    moving, fixed = pairing.images(source, target)
    alignment = pairing.align(moving, fixed)
    written, _ = write_outputs(files, alignment, only_trusted=options["only_trusted"])
    pairing.print_summary(alignment, written, printing)


@command(
    *PAIR,
    option("-o, --output FILE  Where to write.", required=True),
    option(
        "--max N  Matches at most, spread evenly over what is trusted.",
        name="most",
        show_default="2000, or all of --points",
    ),
    option("--min-confidence X  Least confidence of a match.", click.FloatRange(0, 1), 0.5),
    option(
        "--points FILE  Key points in target pixels (.csv with x and y, .json) to match, instead of an even "
        "spread."
    ),
    Pairing,
    Printing,
    short_help="Write point matches of a pair, for structure from motion.",
)
def matches(source: str, target: str, pairing: Pairing, printing: Printing, **options: Any) -> None:
    """Find points of SOURCE and TARGET that show the same thing, where the flow is trusted.

    The extension of FILE chooses the format: .csv (source_x, source_y, target_x, target_y, confidence; apply
    reads it), .npz (keypoints0 of the source, keypoints1 of the target, confidence), .h5 (key points and
    matches as hloc stores them, extra hdf5), or .txt (COLMAP's raw match list, with a folder of its key point
    files beside it). Positions are in pixels, integers at pixel centres; COLMAP's are half a pixel more.

    Exit codes: 0 done; 4 done, but the verdict is failed: the images hardly show the same thing; 1 an error.

    \b
    Examples:
      glualign matches left.jpg right.jpg -o matches.csv
      glualign matches left.jpg right.jpg -o pair.h5 --max 5000 --min-confidence 0.7
    """
    from glualign.keypoints import read_keypoints
    from glualign.matches import check_matches_path, find_matches, write_matches
    from glualign.outputs import check_outputs

    output, points, least = Path(options["output"]), options["points"], options["min_confidence"]
    moving, fixed = pairing.images(source, target)
    check_outputs({"matches": output}, [points, *pairing.inputs(source, target)])
    check_matches_path(output, (moving.name, fixed.name))
    wanted = read_keypoints(points, "target")[0] if points else None
    alignment = pairing.align(moving, fixed)
    found = find_matches(alignment, most=options["most"], least_confidence=least, points=wanted)
    if not len(found.confidence):
        raise GlualignError(
            f"{source}: no match is trusted with a confidence of {least:g}; "
            f"the verdict is {alignment.quality.verdict}"
        )
    write_matches(output, found)
    _warn_of_turned(moving, fixed)
    pairing.print_summary(alignment, {f"matches ({len(found.confidence)})": output}, printing)


def _warn_of_turned(*images: Image) -> None:
    """Say of positions that were written that programs which ignore EXIF find them elsewhere."""
    for image in images:
        if image.turned != 1:
            warn(f"{image.name}: positions are those in the upright picture; with --no-exif in that stored")
