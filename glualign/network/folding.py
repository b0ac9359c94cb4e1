"""Merging batch norms into the convolutions before them, for inference and for export."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def fold_batch_norms(model: Network) -> Network:
    """A copy of ``model``, in evaluation mode, whose batch norms are part of their convolutions.

    Every convolution directly followed by a batch norm in a `nn.Sequential` is merged with it; the batch
    norm becomes an identity, so that the other layers keep their names.
    """
    folded = copy.deepcopy(model).eval()
    for block in folded.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for index in range(len(block) - 1):
            convolution, norm = block[index], block[index + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[index] = fuse_conv_bn_eval(convolution, norm)
                block[index + 1] = nn.Identity()
    return folded
