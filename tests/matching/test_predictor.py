"""The predictor: flow in source pixels, alone and in company, and what it does to the model it is given."""

import copy

import numpy as np
import pytest
import torch

from glualign.geometry import to_source_pixels
from glualign.matching.predictor import FARTHEST, FlowPredictor
from glualign.network import GLUNet
from glualign.training.weights import initialise
from tests.matching.known_pairs import end_point_errors, example, median_error, warp_homography
from tests.networks import tiny_config

GENTLE = np.array([[0.97, 0.05, 8.0], [-0.03, 1.02, 3.0], [2e-5, -1e-5, 1.0]])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def wall():
    return example("graf1.png", 320)


def tiny_network(**changes):
    torch.manual_seed(2)
    network = GLUNet(tiny_config(**changes))
    initialise(network)
    return network.eval()


def test_flow_is_in_source_pixels_whatever_the_sizes(compact, wall):
    """A source twice as wide and half as high as the target: each axis has a ratio of its own."""
    to_source = np.array([[2.0, 0, 0.5], [0, 0.5, -0.25], [0, 0, 1]]) @ GENTLE
    source = warp_homography(
        wall, np.linalg.inv(np.array([[2.0, 0, 0.5], [0, 0.5, -0.25], [0, 0, 1]])), (128, 640)
    )
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    flow = compact.predict([(source, target)])[0]
    assert flow.shape == (*target.shape[:2], 2)
    assert flow.dtype == np.float32
    assert median_error(flow, to_source, source.shape[:2]) < 2.0


def test_pairs_of_a_batch_have_the_flow_that_each_has_alone(compact, wall):
    size, turned = (256, 320), np.ascontiguousarray(np.rot90(wall, 2))
    sources = [turned, wall, wall[:250, :300]]
    targets = [wall, warp_homography(wall, GENTLE, wall.shape[:2]), wall]
    together = compact.match(compact.encode(sources, size), compact.encode(targets, size))
    for k, pair in enumerate(zip(sources, targets, strict=True)):
        alone = compact.match(*(compact.encode([image], size) for image in pair))
        for flows, [flow] in zip(together, alone, strict=True):
            assert np.linalg.norm(flows[k] - flow, axis=2).max() < 0.05


def test_both_ways_lead_back(compact, wall):
    size = (256, 320)
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    sources, targets = compact.encode([wall], size), compact.encode([target], size)
    forward, backward = compact.match(sources, targets)
    assert forward[0].shape == backward[0].shape == (128, 160, 2)
    assert np.abs(forward[0] + backward[0])[8:-8, 8:-8].mean() < 3
    np.testing.assert_array_equal(compact.match(sources, targets, both_ways=False)[0][0], forward[0])


def test_the_working_size_may_be_smaller(compact, wall):
    large = example("graf1.png", 640)
    flow = compact.predict([(large, large)], max_side=256)[0]
    assert flow.shape == (*large.shape[:2], 2)
    assert np.median(np.linalg.norm(flow, axis=2)) < 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_given_stays_as_it_is(dtype):
    network = tiny_network()
    before = copy.deepcopy(network.state_dict())
    strides = [parameter.stride() for parameter in network.parameters()]
    network.train()
    predictor = FlowPredictor(network, device=CPU, dtype=dtype)
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    predictor.predict([(image, image)])
    assert network.training
    assert [parameter.stride() for parameter in network.parameters()] == strides
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not set(map(id, network.parameters())) & set(map(id, predictor.network.parameters()))


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_wild_weights_give_flow_outside_every_frame(value):
    network = tiny_network()
    with torch.no_grad():
        network.decoder1.predict_flow.bias.fill_(value)
    predictor = FlowPredictor(network, device=CPU, dtype=torch.float32)
    image = np.zeros((256, 256, 3), np.uint8)
    features = predictor.encode([image], (256, 256))
    for flow in predictor.match(features, features):
        assert (np.abs(flow[0]) == FARTHEST).all()


def test_bf16_and_fp32_agree(wall):
    """In bf16 the convolutions really are, so the flows differ, by less than half a pixel."""
    from glualign.checkpoints.load import load_model

    model = load_model("compact").model
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    exact, fast = (
        FlowPredictor(model, device=CPU, dtype=dtype).predict([(wall, target)])[0]
        for dtype in (torch.float32, torch.bfloat16)
    )
    difference = np.linalg.norm(exact - fast, axis=2)
    assert 0 < np.median(difference) < 0.5
    assert np.percentile(end_point_errors(fast, GENTLE, wall.shape[:2]), 75) < 2.0


def test_layout_and_folding_do_not_change_the_flow():
    network = tiny_network(half_decoder_width=0.25)
    rng = np.random.default_rng(4)
    pair = tuple(rng.integers(0, 256, (256, 320, 3)).astype(np.uint8) for _ in range(2))
    published = FlowPredictor(network, device=CPU, dtype=torch.float32, as_published=True)
    ours = FlowPredictor(network, device=CPU, dtype=torch.float32)
    np.testing.assert_allclose(published.predict([pair])[0], ours.predict([pair])[0], atol=2e-3)


def test_a_flow_within_a_transform_becomes_one_of_the_source():
    """A shift by (3, -2) seen at twice the scale, then moved by (10, 20)."""
    residual = np.full((4, 5, 2), (3, -2), np.float32)
    flow = to_source_pixels(residual, np.array([[2.0, 0, 10], [0, 2.0, 20], [0, 0, 1]]))
    ys, xs = np.mgrid[:4, :5]
    np.testing.assert_allclose(flow[..., 0], 2 * (xs + 3) + 10 - xs)
    np.testing.assert_allclose(flow[..., 1], 2 * (ys - 2) + 20 - ys)
