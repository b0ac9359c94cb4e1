"""Flow fields and pairs of images as pictures."""

from glualign.viz.colors import flow_to_rgb

__all__ = ["flow_to_rgb"]
