"""GLU-Net in torch: one module per concept of the paper, assembled by `GLUNet` from a `GLUNetConfig`."""

from glualign.network.config import CONFIGS, GLUNetConfig
from glualign.network.glunet import GLUNet

__all__ = ["CONFIGS", "GLUNet", "GLUNetConfig"]
