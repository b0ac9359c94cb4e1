"""How far an alignment can be trusted, in a few numbers and one word."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["good", "doubtful", "failed"]


@dataclass(frozen=True)
class Quality:
    """Trust in one alignment.

    Attributes:
        verdict: ``good``, ``doubtful`` or ``failed``.
        valid_share: share of target pixels whose source position is inside the source.
        trusted_share: share of target pixels that are valid and whose expected error is small.
        median_error: median forward-backward disagreement over the pixels that stay in frame, target pixels;
            None when no pixel does.
        edge_agreement: how far edges of the target and the aligned source run along each other, by a measure
            in which the network plays no part: about 0 for unrelated images, 1 for equal ones.
        inlier_share: share of the trusted flow that one global transform explains; None when none was fitted.
        folding_share: share of pixels at which the flow folds over itself (negative Jacobian).
    """

    verdict: Verdict
    valid_share: float
    trusted_share: float
    median_error: float | None
    edge_agreement: float
    inlier_share: float | None
    folding_share: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)


# Edges of unrelated photographs agree by up to 0.1 after any alignment; those of a right one by 0.4 and more
# when the images are alike, by 0.15 and more across modalities.
UNRELATED = 0.12
CONVINCING = 0.4


def judge(trusted_share: float, agreement: float, edge_agreement: float) -> Verdict:
    """The verdict on an alignment.

    Args:
        trusted_share: as in `Quality`.
        agreement: mean agreement of forward and backward flow, 0 to 1.
        edge_agreement: as in `Quality`.
    """
    if trusted_share < 0.02 or (edge_agreement < UNRELATED and agreement < CONVINCING):
        return "failed"
    if edge_agreement >= CONVINCING or (agreement >= CONVINCING and edge_agreement >= UNRELATED):
        return "good"
    return "doubtful"
