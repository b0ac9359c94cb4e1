"""What a verdict rests on, and what to try after one that is not good, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glualign.quality import Quality

if TYPE_CHECKING:
    from glualign.alignment import Alignment


def figures(quality: Quality) -> list[str]:
    """What was measured, in words, with what is usual."""
    from glualign.matching.assess import CONTENT_AGREES, CONVINCING
    from glualign.matching.similarity import UNRELATED

    usual = f"unrelated images: mostly below {UNRELATED}, alike: from {CONVINCING}"
    lines = [f"edge similarity {quality.edge_similarity:.2f} ({usual})"]
    content = quality.content_correlation
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
