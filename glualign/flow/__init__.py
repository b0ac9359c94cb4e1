"""Flow fields as arrays: files, warping, algebra and fitting; numpy and OpenCV only, never torch."""

from glualign.flow.field import (
    Fit,
    Flow,
    compose,
    draw_points,
    fit_drawn,
    fit_transform,
    folding_share,
    forward_backward_error,
    from_transform,
    jacobian_determinant,
    resize,
)
from glualign.flow.files import FLOW_EXTENSIONS, read_flow, write_flow
from glualign.flow.initial import read_initial
from glualign.flow.inverse import invert, to_source, to_target
from glualign.flow.tps import fit_tps
from glualign.flow.warp import Interpolation, warp
from glualign.geometry.robust import TransformModel
