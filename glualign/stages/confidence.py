"""From an expected error to a confidence, calibrated on pairs with known ground truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VALID_ERROR = 5.0
"""Working pixels of expected error up to which a pixel is valid."""
SCALE = 4.0
"""Working pixels of expected error at which the confidence has fallen to 1/e."""


def confidence_from(error: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Confidence, 0 to 1, of an expected error in working pixels."""
    return np.asarray(np.exp(-error / SCALE), np.float32)
