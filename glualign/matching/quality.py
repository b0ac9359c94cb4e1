"""How far an alignment can be trusted: confidence of a pixel, figures and a verdict on the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from glualign.arrays import Floats
from glualign.matching.options import Transform

Verdict = Literal["good", "doubtful", "failed"]

TRUSTED_ERROR = 5.0
"""Working pixels of expected error below which a valid pixel is trusted."""
CONFIDENCE_SCALE = 4.0
"""Working pixels of expected error at which the confidence is 1/e; benchmarks/reliability.py shows what it is
worth."""
UNRELATED = 0.12
"""Edge similarity up to which images look unrelated. On the drawn pairs of benchmarks/verdicts.py right
alignments have 0.51 and more, unrelated pairs 0.22 at most, 17 of 26 below this limit. Two walls of one
pattern have 0.96, forms and tables on one grid 0.66 to 0.72: see `CONTENT_AGREES`."""
CONVINCING = 0.4
"""Edge similarity, or consistency of both directions, of a right alignment of images that look alike."""
CONTENT_AGREES = 0.18
"""Squared correlation of what lies between the shared edges, from which it agrees. On the same pairs walls,
forms and tables of different content have 0.15 at most; of the right alignments that are judged by it one has
0.12, all others 0.21 and more."""
FEWEST_TRUSTED = 0.02
"""Share of the target below which too little is left to call it aligned."""


@dataclass(frozen=True)
class Quality:
    """Trust in one alignment.

    Attributes:
        verdict: ``good``, ``doubtful`` or ``failed``.
        valid_share: share of target pixels whose source position is inside the source.
        trusted_share: share of target pixels that are valid and whose expected error is small.
        median_error: median error, in target pixels, of going to the source by the final flow and back by the
            network's backward flow; None where no pixel's way back was measured.
        edge_agreement: edge similarity of target and aligned source, which does not depend on the network:
            about 0 for unrelated images, 1 for equal ones.
        content_agreement: squared correlation, 0 to 1, of what lies between the edges that both show; None
            where that is too little to judge by.
        inlier_share: share of the trusted flow that one global transform explains; None when none was fitted.
        folding_share: share of pixels at which the flow folds over itself (negative Jacobian).
        motion: what the flow is: ``dense``, or the global model that was fitted.
    """

    verdict: Verdict
    valid_share: float
    trusted_share: float
    median_error: float | None
    edge_agreement: float
    content_agreement: float | None
    inlier_share: float | None
    folding_share: float
    motion: Transform = "dense"


def confidence_of(error: Floats, out: Floats | None = None) -> Floats:
    """Confidence, 0 to 1, of an expected error in working pixels, in ``out`` where that is given."""
    out = np.divide(error, np.float32(-CONFIDENCE_SCALE), out=out)
    return np.exp(out, out=out)


def verdict_on(
    trusted_share: float, consistency: float, edge_similarity: float, content: float | None
) -> Verdict:
    """The verdict, from figures of `Quality` and the mean consistency of forward and backward flow."""
    if trusted_share < FEWEST_TRUSTED or (edge_similarity < UNRELATED and consistency < CONVINCING):
        return "failed"
    if edge_similarity >= CONVINCING and content is not None and content < CONTENT_AGREES:
        return "doubtful"
    if edge_similarity >= CONVINCING or (consistency >= CONVINCING and edge_similarity >= UNRELATED):
        return "good"
    return "doubtful"
