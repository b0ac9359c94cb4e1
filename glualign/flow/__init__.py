"""Flow fields as arrays: files, warping, algebra and fitting; numpy and OpenCV only, never torch."""

from glualign.flow.algebra import (
    compose,
    consistency,
    folding_share,
    from_transform,
    jacobian_determinant,
    resize,
)
from glualign.flow.field import Flow, FlowRows
from glualign.flow.fit import Fit, ThinPlateSpline, fit_tps, fit_transform
from glualign.flow.formats import FLOW_EXTENSIONS, open_flow, read_flow, write_flow
from glualign.flow.initial import read_initial
from glualign.flow.inverse import invert, to_source, to_target
from glualign.flow.warp import Interpolation, warp
from glualign.geometry import TransformModel, sample

__all__ = [
    "FLOW_EXTENSIONS",
    "Fit",
    "Flow",
    "FlowRows",
    "Interpolation",
    "ThinPlateSpline",
    "TransformModel",
    "compose",
    "consistency",
    "fit_tps",
    "fit_transform",
    "folding_share",
    "from_transform",
    "invert",
    "jacobian_determinant",
    "open_flow",
    "read_flow",
    "read_initial",
    "resize",
    "sample",
    "to_source",
    "to_target",
    "warp",
    "write_flow",
]
