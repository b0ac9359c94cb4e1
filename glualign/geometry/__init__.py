"""Coordinates: pixel grids, frames, transforms and flow fields as arrays; numpy and OpenCV, never torch."""

from glualign.geometry.fields import Field, forward_backward_error, resize_flow, sample
from glualign.geometry.grid import EDGE_TOLERANCE, FrameEdge, inside, pixel_grid
from glualign.geometry.keypoints import keypoint_transform
from glualign.geometry.transforms import (
    Matrix,
    Size,
    apply_transform,
    local_scale,
    resizing_matrix,
    rotation_scale_matrix,
)

__all__ = [
    "EDGE_TOLERANCE",
    "Field",
    "FrameEdge",
    "Matrix",
    "Size",
    "apply_transform",
    "forward_backward_error",
    "inside",
    "keypoint_transform",
    "local_scale",
    "pixel_grid",
    "resize_flow",
    "resizing_matrix",
    "rotation_scale_matrix",
    "sample",
]
