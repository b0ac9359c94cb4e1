"""Coordinates: pixel grids, frames, transforms and flow fields as arrays; numpy and OpenCV, never torch."""

from glualign.geometry.frames import (
    EDGE_TOLERANCE,
    SCALE_LIMIT,
    Field,
    Matrix,
    Points,
    Size,
    apply_transform,
    corner_motion,
    fill_unknown,
    forward_backward_error,
    inside,
    pixel_grid,
    positions,
    resize_flow,
    resizing_matrix,
    rotation_scale_matrix,
    sample,
    strips,
    transform_fault,
    transform_flow,
)
from glualign.geometry.robust import (
    TransformModel,
    fit_points,
    magsac_homography,
    transfer_errors,
)
