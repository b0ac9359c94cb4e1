"""The golden cases: weights, inputs, and how far a network's outputs are from the recorded ones."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from glualign.geometry import apply_transform, pixel_grid, resizing_matrix
from glualign.matching.predictor import FlowPredictor
from glualign.network import CONFIGS, GLUNet, GLUNetConfig
from glualign.network.decoders import SLOPE
from glualign.network.warping import prepare, resize_bilinear, working_size
from tests.golden.golden_weights import value_for

FOLDER = Path(__file__).parent

OFFICIAL: dict[str, GLUNetConfig] = {
    "glunet": CONFIGS["glunet"],
    "semantic": CONFIGS["semantic-glunet"],
    # DenseMatching's GLUNetModel: the same network and weights, two differences in what surrounds it.
    "dm": dataclasses.replace(CONFIGS["glunet"], truncate_to_uint8=False, extra_layers_from_width=True),
}

# Largest and mean difference allowed, by the name of what is compared.
TOLERANCES = {"flow4": (5e-3, 1e-3), "corr4": (1e-5, 1e-6), "corr3": (1e-4, 1e-5), "est_map4": (1e-4, 1e-5)}
FLOW_TOLERANCE = (2e-3, 1e-4)


@cache
def official_network(name: str) -> GLUNet:
    """The network with the deterministic weights that the golden outputs were made with."""
    model = GLUNet(OFFICIAL[name])
    state = model.state_dict()
    for key, value in state.items():
        if value.dtype == torch.float32:
            is_bn = f"{key.rsplit('.', 1)[0]}.running_mean" in state
            state[key] = torch.from_numpy(value_for(key, value.shape, is_bn))
    model.load_state_dict(state)
    return model.eval()


def load_case(path: Path) -> dict[str, np.ndarray]:
    """A case's arrays; images decoded to RGB."""
    case = {}
    with np.load(path) as archive:
        for key in archive.files:
            if key.endswith("_png"):
                case[key.removesuffix("_png")] = cv2.imdecode(archive[key], cv2.IMREAD_COLOR)[..., ::-1]
            else:
                case[key] = archive[key]
    return case


def network_outputs(model: GLUNet, source: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """Every output and intermediate of a pair, by name, without the batch axis.

    The intermediates are what the decoders are given and answer, read by hooks.
    """
    working = working_size(*target.shape[:2])
    truncate, div = model.config.truncate_to_uint8, model.config.div
    window = (2 * model.config.max_displacement + 1) ** 2
    found: dict[str, torch.Tensor] = {}
    flows: list[torch.Tensor] = []  # what enters and leaves decoder2, which also makes the extra layers

    def decoder4(module: nn.Module, inputs: tuple[torch.Tensor], output: Any) -> None:
        found.update(corr4=inputs[0][:, :256], est_map4=output[1])

    def decoder3(module: nn.Module, inputs: tuple[torch.Tensor], output: Any) -> None:
        correlation = inputs[0][:, :window]  # after its leaky ReLU
        found["corr3"] = torch.where(correlation < 0, correlation / SLOPE, correlation)
        found["up_flow4"] = inputs[0][:, window : window + 2]

    def decoder2(module: nn.Module, inputs: tuple[torch.Tensor], output: Any) -> None:
        given = inputs[0][:, window : window + 2]
        found[f"flow3_extra{len(flows) + 1}"] = (given + output[1]) * div
        flows.append(given)

    def decoder1(module: nn.Module, inputs: tuple[torch.Tensor], output: Any) -> None:
        found["up_flow2"], found["up_feat2"] = inputs[0][:, window:].chunk(2, dim=1)

    hooks = [
        model.get_submodule(each.__name__).register_forward_hook(each)
        for each in (decoder4, decoder3, decoder2, decoder1)
    ]
    with torch.inference_mode():
        images = [
            prepare(image, to, truncate=truncate)
            for to in (working, (256, 256))
            for image in (source, target)
        ]
        output = model(*images)
    for hook in hooks:
        hook.remove()
    found.pop(f"flow3_extra{len(flows)}")  # the last of them is flow2
    found["up_flow3"] = flows[-1]
    found.update(zip(("flow4", "flow3", "flow2", "flow1", "flow0"), output, strict=False))
    size = target.shape[:2]
    scale = torch.tensor([size[1] / working[1], size[0] / working[0]]).view(1, 2, 1, 1)
    flow = resize_bilinear(output[-1], size) * scale
    found.update(flow=flow, flow_s4=flow[:, :, ::4, ::4])
    return {name: tensor[0].numpy() for name, tensor in found.items()}


def predicted_flow(model: GLUNet, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The predictor's flow ``(2, H, W)`` as the official code gives it: the source resized to the target."""
    predictor = FlowPredictor(model, device=torch.device("cpu"), dtype=torch.float32, as_published=True)
    grid = pixel_grid(target.shape[:2]).astype(np.float64)
    position = grid + predictor.predict([(source, target)])[0]
    resized = apply_transform(resizing_matrix(source.shape[:2], target.shape[:2]), position) - grid
    return np.ascontiguousarray(resized.transpose(2, 0, 1), np.float32)


def differences(case: dict[str, np.ndarray], name: str) -> dict[str, tuple[float, float]]:
    """Largest and mean |difference| of everything recorded for a network, in pixels where it is a flow."""
    outputs = network_outputs(official_network(name), case["source"], case["target"])
    found = {}
    for key, recorded in case.items():
        network, _, what = key.partition(".")
        if network == name and what in outputs:
            error = np.abs(outputs[what].reshape(recorded.shape) - recorded)
            found[what] = (float(error.max()), float(error.mean()))
    return found


def tolerance(what: str) -> tuple[float, float]:
    return TOLERANCES.get(what, FLOW_TOLERANCE)
