"""What can be said of the flow of a pair: confidence, trust, the verdict."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from glualign.alignment import Alignment
from glualign.arrays import Floats, Mask, Matrix
from glualign.flow import Flow, folding_share
from glualign.images import Image
from glualign.matching.options import Transform
from glualign.matching.similarity import UNRELATED
from glualign.quality import Quality, Verdict
from glualign.rendering import reaches_data, within_data

TRUSTED_ERROR = 5.0
"""Working pixels of expected error below which a valid pixel is trusted."""
CONFIDENCE_SCALE = 4.0
"""Working pixels of expected error at which the confidence is 1/e; benchmarks/reliability.py shows what it is
worth."""
CONVINCING = 0.4
"""Edge similarity, or consistency of both directions, of a right alignment of images that look alike."""
CONTENT_AGREES = 0.18
"""Squared correlation of what lies between the shared edges, from which it agrees. On the same pairs walls,
forms and tables of different content are all below it, and three of 35 right alignments are."""
FEWEST_TRUSTED = 0.02
"""Share of what the target shows below which too little is left to call it aligned."""


class Figures(NamedTuple):
    """What was measured of a flow, as in `Quality`."""

    median_error: float | None
    consistency: float
    edge_similarity: float
    content_correlation: float | None
    inlier_share: float | None
    motion: Transform

    @classmethod
    def of(cls, quality: Quality) -> Figures:
        """The figures that a quality rests on."""
        return cls(*(getattr(quality, name) for name in cls._fields))


def assess(
    source: Image, target: Image, flow: Flow, matrix: Matrix | None, error: Floats, figures: Figures
) -> Alignment:
    """The alignment by a flow, with confidence, trust and verdict.

    ``error`` is what is expected of each pixel, ``(H, W)`` working pixels; its memory becomes the confidence.
    ``matrix`` is that of the flow, where it is a global model.
    """
    valid = reaches_data(source, flow)
    known = within_data(target, valid)
    if figures.edge_similarity < UNRELATED and figures.consistency < CONVINCING:
        # What agrees does so by chance.
        np.maximum(error, np.float32(TRUSTED_ERROR), out=error)
    trusted = known & (error < TRUSTED_ERROR)
    quality = Quality(
        verdict=verdict_on(_share_of_shown(trusted, target), figures),
        valid_share=float(valid.mean()),
        trusted_share=float(trusted.mean()),
        folding_share=folding_share(flow) if matrix is None else 0.0,
        **figures._asdict(),
    )
    confidence = confidence_of(error, out=error)
    confidence[~known] = 0
    return Alignment(source, target, flow, trusted, confidence, quality, matrix)


def verdict_on(trusted_share: float, figures: Figures) -> Verdict:
    """The verdict, from the share that is trusted of what the target shows, and what was measured."""
    if trusted_share < FEWEST_TRUSTED:
        return "failed"
    edges, content = figures.edge_similarity, figures.content_correlation
    if edges >= CONVINCING and content is not None and content < CONTENT_AGREES:
        return "doubtful"
    if edges >= CONVINCING or (figures.consistency >= CONVINCING and edges >= UNRELATED):
        return "good"
    return "doubtful"


def confidence_of(error: Floats, out: Floats | None = None) -> Floats:
    """Confidence, 0 to 1, of an expected error in working pixels, in ``out`` where that is given."""
    out = np.divide(error, np.float32(-CONFIDENCE_SCALE), out=out)
    return np.exp(out, out=out)


def error_of(confidence: Floats) -> Floats:
    """The expected error in working pixels that has this confidence; infinite at 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.float32(-CONFIDENCE_SCALE) * np.log(confidence), np.float32)


def _share_of_shown(trusted: Mask, target: Image) -> float:
    """Share that is trusted of what the target shows: the rest counts neither for nor against."""
    shown = 1.0 if target.missing is None else 1.0 - float(target.missing.mean())
    return float(trusted.mean()) / max(shown, 1e-9)
