"""Equality with the official networks: every recorded flow and intermediate, within the stated tolerance."""

import numpy as np
import pytest

from glualign.evaluation.methods import flow_allowing_mirror
from glualign.matching.predictor import FlowPredictor
from glualign.network.glunet import extra_layer_count
from tests.golden.golden_cases import (
    FOLDER,
    OFFICIAL,
    differences,
    load_case,
    official_network,
    predicted_flow,
    tolerance,
)

LOCAL = ["syn_240x240", "syn_256x256", "diffsize_300x420_380x350", "syn_1210x310"]
SHARED = [
    "real_yosemite_400x520",
    "syn_1000x750",
    "syn_284x2190",
    "syn_300x1400",
    "syn_333x517",
    "syn_520x520",
]


def assert_equal(case, network):
    found = differences(case, network)
    assert found, "the case has nothing recorded for this network"
    for what, (largest, mean) in found.items():
        most, usual = tolerance(what)
        assert largest <= most, f"{what}: {largest:.1e} px at most"
        assert mean <= usual, f"{what}: {mean:.1e} px on average"
    return found


@pytest.mark.parametrize("network", OFFICIAL)
@pytest.mark.parametrize("name", LOCAL)
def test_outputs_equal_the_official_ones(name, network):
    found = assert_equal(load_case(FOLDER / f"{name}.npz"), network)
    assert {"flow4", "flow3", "flow2"} <= found.keys()
    assert {"flow", "flow_s4"} & found.keys()


def test_a_predictor_gives_the_official_flow_of_images_of_different_size():
    case = load_case(FOLDER / "diffsize_300x420_380x350.npz")
    flow = predicted_flow(official_network("glunet"), case["source"], case["target"])
    assert np.abs(flow[:, ::4, ::4] - case["glunet.flow_s4"]).max() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("network", OFFICIAL)
@pytest.mark.parametrize("name", SHARED)
def test_outputs_equal_the_official_ones_at_more_sizes(name, network, shared):
    assert_equal(load_case(shared / "golden" / f"{name}.npz"), network)


@pytest.mark.parametrize("network", OFFICIAL)
def test_the_recorded_number_of_extra_layers(network):
    for name in LOCAL:
        case = load_case(FOLDER / f"{name}.npz")
        height, width = (side // 8 * 8 for side in case["target"].shape[:2])
        from_width = OFFICIAL[network].extra_layers_from_width
        assert extra_layer_count(height, width, from_width=from_width) == case[f"{network}.n_extra"]


@pytest.mark.parametrize(
    ("side", "layers"), [(1080, 0), (1088, 1), (2168, 1), (2176, 2), (4344, 2), (4352, 3), (8696, 4)]
)
def test_where_extra_layers_begin(side, layers):
    assert extra_layer_count(256, side) == extra_layer_count(side, 256) == layers
    assert extra_layer_count(side, 256, from_width=True) == 0


@pytest.mark.parametrize("network", OFFICIAL)
def test_the_flipping_condition(network):
    """The mirrored pair: the same decision as the official code, and the same flow."""
    import torch

    case = load_case(FOLDER / "flip_256x320.npz")
    predictor = FlowPredictor(official_network(network), device=torch.device("cpu"), dtype=torch.float32)

    def full(source, target):
        return predictor.predict([(source, target)])[0]

    motion = [
        np.abs(predictor.coarse_flow(case["source"], t)[..., 0]).mean()
        for t in (case["target"], case["target"][:, ::-1])
    ]
    np.testing.assert_allclose(motion, case[f"{network}.flip_mean_abs_flow_x"][:2], atol=1e-2)
    flow = flow_allowing_mirror(predictor.coarse_flow, full, case["source"], case["target"]).transpose(
        2, 0, 1
    )
    recorded = case.get(f"{network}.flow")
    if recorded is None:
        recorded, flow = case[f"{network}.flow_s4"], flow[:, ::4, ::4]
    assert np.abs(flow - recorded).max() < 2e-3
