"""What `warp` and `flow` have in common: aligning one pair, and telling what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from glualign.cli.options import MIN_QUALITIES, Aligning, Telling
from glualign.errors import GlualignError

if TYPE_CHECKING:
    from pathlib import Path

    from glualign.alignment import Alignment
    from glualign.images import Image
    from glualign.matching.quality import Quality

EXIT_FAILED_VERDICT = 4


def align_pair(
    source: Image, target: Image, aligning: Aligning, *, init: str | None = None, show: bool
) -> Alignment:
    """Align two images as the options say, from the motion in the file ``init`` where one is given.

    Progress goes to a terminal only, and only if ``show``.

    Raises:
        GlualignError: the model, the device or ``init`` is unusable, or an image cannot be matched.
    """
    from glualign.cli.console import status
    from glualign.flow import read_initial

    if show:
        aligning.warn_if_slow()
    known = read_initial(init, target.size, source.size) if init else None
    with status(f"Loading {aligning.model} ...", show=show):
        aligner = aligning.aligner()
    with status(f"Aligning {source.name} to {target.name} ...", show=show):
        return aligner.align(source, target, init=known)


def require_quality(alignment: Alignment, minimum: str) -> None:
    """Refuse an alignment whose verdict is worse than ``--min-quality``.

    Raises:
        GlualignError: with the verdict, its reasons and what to try.
    """
    quality = alignment.quality
    if MIN_QUALITIES.index(quality.verdict) < MIN_QUALITIES.index(minimum):
        raise GlualignError(
            f"{alignment.source.name}: the alignment is {quality.verdict}, --min-quality asks for {minimum}; "
            f"nothing was written ({reasons(quality)}). {advice(alignment)}"
        )


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
        lines.append(f"the transform explains {quality.inlier_share:.0%} of the trusted flow")
    if quality.folding_share >= 0.001:
        lines.append(f"the flow folds over itself at {quality.folding_share:.1%} of the pixels")
    return lines


def reasons(quality: Quality) -> str:
    """Why the verdict is not good, in one line."""
    return "; ".join([f"{quality.trusted_share:.1%} of the target's pixels are trusted", *figures(quality)])


def advice(alignment: Alignment) -> str:
    """What to try after a failed or doubtful verdict."""
    low, high = sorted((max(alignment.source.size), max(alignment.target.size)))
    crop = " crop the larger image to what both show;" if high > 3 * low else ""
    return (
        f"Try --preset accurate;{crop} --mirror if one image is mirrored; --transform homography for flat "
        "scenes, affine or similarity for scans; and look whether both show the same thing at all"
    )
