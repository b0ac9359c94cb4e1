"""What a person looks at: flow and pairs of images as pictures, and the HTML report."""

from glualign.viz.colorwheel import flow_to_rgb

__all__ = ["flow_to_rgb"]
