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
        valid_share: share of target pixels with a trusted source position.
        median_error: median forward-backward disagreement over the pixels that stay in frame, target pixels;
            None when no pixel does.
        inlier_share: share of the trusted flow that one global transform explains; None when none was fitted.
        folding_share: share of pixels at which the flow folds over itself (negative Jacobian).
    """

    verdict: Verdict
    valid_share: float
    median_error: float | None
    inlier_share: float | None
    folding_share: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)


def judge(valid_share: float, agreement: float) -> Verdict:
    """The verdict from the share of valid pixels and the mean agreement of both directions, 0 to 1.

    The limits separate pairs with known ground truth from pairs of unrelated photographs.
    """
    if valid_share < 0.08 or agreement < 0.05:
        return "failed"
    return "good" if valid_share > 0.4 and agreement > 0.35 else "doubtful"
