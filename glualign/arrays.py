"""Short names for the types of arrays; shapes and units are in the docstrings of what takes them."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = np.ndarray[Any, Any]
"""Of any type."""
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Matrix = Doubles
"""``(3, 3)`` float64."""
Points = Doubles
"""``(N, 2)`` float64, columns x and y in pixels."""
Field = Floats
"""``(H, W, 2)`` float32: x and y of a displacement or of a position."""
Size = tuple[int, int]
"""``(height, width)``."""
