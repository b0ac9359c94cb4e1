"""Coordinates: pixel grids, frames, transforms and flow fields as arrays; numpy and OpenCV, never torch."""

from glualign.geometry.fields import (
    Field,
    fill_unknown,
    forward_backward_error,
    resize_flow,
    sample,
    transform_flow,
)
from glualign.geometry.grid import EDGE_TOLERANCE, FrameEdge, inside, pixel_grid, positions, strips
from glualign.geometry.keypoints import keypoint_homography, keypoint_transform
from glualign.geometry.robust import (
    TRANSFORM_MODELS,
    TransformModel,
    fit_points,
    magsac_homography,
    transfer_errors,
)
from glualign.geometry.splines import affine_basis, thin_plate_kernel
from glualign.geometry.transforms import (
    SCALE_LIMIT,
    Matrix,
    Points,
    Size,
    apply_transform,
    local_scale,
    resizing_matrix,
    rotation_scale_matrix,
    transform_fault,
)

__all__ = [
    "EDGE_TOLERANCE",
    "SCALE_LIMIT",
    "TRANSFORM_MODELS",
    "Field",
    "FrameEdge",
    "Matrix",
    "Points",
    "Size",
    "TransformModel",
    "affine_basis",
    "apply_transform",
    "fill_unknown",
    "fit_points",
    "forward_backward_error",
    "inside",
    "keypoint_homography",
    "keypoint_transform",
    "local_scale",
    "magsac_homography",
    "pixel_grid",
    "positions",
    "resize_flow",
    "resizing_matrix",
    "rotation_scale_matrix",
    "sample",
    "strips",
    "thin_plate_kernel",
    "transfer_errors",
    "transform_fault",
    "transform_flow",
]
