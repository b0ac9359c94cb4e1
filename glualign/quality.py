"""`Quality`: how far one alignment can be trusted, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from glualign.matching.options import Transform

Verdict = Literal["failed", "doubtful", "good"]
MinQuality = Literal["none", Verdict]
VERDICTS: tuple[str, ...] = get_args(Verdict)
"""From worst to best."""
MIN_QUALITIES: tuple[str, ...] = get_args(MinQuality)


@dataclass(frozen=True)
class Quality:
    """Trust in one alignment.

    Attributes:
        verdict: ``good``, ``doubtful`` or ``failed``.
        valid_share: share of target pixels whose source position is known, inside the source and has data.
        trusted_share: share of target pixels that are valid and whose expected error is small.
        median_error: median error, in target pixels, of going to the source by the final flow and back by the
            network's backward flow; None where no pixel's way back was measured.
        consistency: mean over the cells of the network's flow of a score that falls from 1, where it leads
            there and back, to 1/e at 1.5 working pixels.
        edge_similarity: of target and aligned source, which does not depend on the network: below 0.12 for
            most unrelated images, 0.29 at most for those measured, and 1 for equal ones.
        content_correlation: squared correlation, 0 to 1, of what lies between the edges that both show; None
            where that is too little to judge by.
        inlier_share: share of the trusted flow that one global transform explains; None when none was fitted.
        folding_share: share of pixels at which the flow folds over itself (the Jacobian changes its sign).
        motion: what the flow is: ``dense``, or the global model that was fitted.
    """

    verdict: Verdict
    valid_share: float
    trusted_share: float
    median_error: float | None
    consistency: float
    edge_similarity: float
    content_correlation: float | None
    inlier_share: float | None
    folding_share: float
    motion: Transform = "dense"


def falls_short(verdict: str, least: str) -> bool:
    """Whether a verdict is worse than the least one asked for."""
    return MIN_QUALITIES.index(verdict) < MIN_QUALITIES.index(least)
