"""What `warp` and `flow` have in common: reading and aligning one pair, and telling what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glualign.cli.options import aligner_from_options, reading_arguments, require_quality

if TYPE_CHECKING:
    from pathlib import Path

    from glualign.alignment import Alignment
    from glualign.images import Image
    from glualign.quality import Quality


def read_pair(source: str, target: str, options: Mapping[str, Any]) -> tuple[Image, Image]:
    """Read both images as the options say.

    Raises:
        ImageError: an image cannot be read.
    """
    from glualign.cli.console import print_notes
    from glualign.images import display_notes, read_image

    reading = reading_arguments(options)
    images = read_image(source, **reading), read_image(target, **reading)
    for image in images:
        print_notes(image.name, (*image.notes, *display_notes(image)), show=not options["quiet"])
    return images


def align_pair(source: Image, target: Image, options: Mapping[str, Any]) -> Alignment:
    """Align two images as the options say; progress goes to a terminal only.

    Raises:
        GlualignError: the model or the device is unusable, or the verdict is below --min-quality.
    """
    from glualign.cli.console import status

    show = not (options["quiet"] or options["as_json"])
    with status(f"Loading {options['model']} ...", show=show):
        aligner = aligner_from_options(options)
    with status(f"Aligning {source.name} to {target.name} ...", show=show):
        alignment = aligner.align(source, target)
    require_quality(alignment, options["min_quality"])
    return alignment


def tell(alignment: Alignment, written: Mapping[str, Path], options: Mapping[str, Any]) -> None:
    """Print the summary, or the JSON object, or nothing, as the options say."""
    from glualign.cli.console import print_facts, print_json

    if options["as_json"]:
        print_json({**alignment.summary(), "outputs": written})
    elif not options["quiet"]:
        print_facts(facts(alignment, written))


def facts(alignment: Alignment, written: Mapping[str, Path]) -> list[tuple[str, str]]:
    """What the summary on the screen says: name and value."""
    quality, timings = alignment.quality, alignment.timings
    rows = [
        ("source", f"{alignment.source.name}, {_size(alignment.source)}"),
        ("target", f"{alignment.target.name}, {_size(alignment.target)}"),
        ("model", f"{alignment.model} on {alignment.device}"),
        ("time", _seconds(timings)),
        ("valid", f"{quality.valid_share:.1%} of the target's pixels"),
        ("quality", _verdict(quality)),
    ]
    return rows + [("wrote" if row == 0 else "", str(path)) for row, path in enumerate(written.values())]


def _size(image: Image) -> str:
    return f"{image.width} x {image.height} pixels, {image.kind}"


def _seconds(timings: Mapping[str, float]) -> str:
    steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in timings.items() if name != "total")
    return f"{timings['total']:.2f} s ({steps})"


def _verdict(quality: Quality) -> str:
    details = []
    if quality.median_error is not None:
        details.append(f"forward and backward flow agree within {quality.median_error:.2f} px (median)")
    if quality.inlier_share is not None:
        details.append(f"the transform explains {quality.inlier_share:.0%} of the trusted flow")
    if quality.folding_share >= 0.001:
        details.append(f"{quality.folding_share:.1%} folded")
    return f"{quality.verdict} ({'; '.join(details)})" if details else quality.verdict
