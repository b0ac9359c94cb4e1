"""Rectification: how maps are found and chosen, pair by pair, and the algebra of flow and maps."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from glualign.matching import rectification
from glualign.matching.rectification import (
    affine_candidates,
    best_affine,
    compose_flow_with_affine,
    compose_with_inverse_affine,
    inverse_affine,
    is_identity,
    rectify,
    rectifying_affine,
    snap_to_identity,
    warp_affine,
    zero_displacement_score,
)
from glualign.network.glunet import CoarseFeatures
from tests.networks import tiny_config

IDENTITY = torch.eye(2, 3)[None]


def turned(degrees: float, zoom: float = 1.0, x: float = 0.0, y: float = 0.0) -> torch.Tensor:
    """A map that turns and zooms about the middle, then shifts by parts of half a frame."""
    angle = math.radians(degrees)
    c, s = zoom * math.cos(angle), zoom * math.sin(angle)
    return torch.tensor([[[c, -s, x], [s, c, y]]])


def centres(height: int, width: int) -> torch.Tensor:
    """Cell centres in units of the frame, ``(1, 2, height, width)``."""
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]


def flow_of(affine: torch.Tensor, cells: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """The flow of an affine map in pixels of a frame of ``size`` (height, width)."""
    here = centres(*cells)
    there = affine[:, :, :2] @ here.flatten(2) + affine[:, :, 2:]
    return (there.view_as(here) - here) * torch.tensor([size[1] / 2, size[0] / 2]).view(2, 1, 1)


MAPS = [turned(90), turned(-35, zoom=0.5, x=0.3), turned(170, zoom=1.8, y=-0.2), turned(0, x=0.4)]


@pytest.mark.parametrize("affine", MAPS)
@pytest.mark.parametrize("wrong", [0.0, 0.4])
def test_the_map_of_an_affine_motion_is_that_motion(affine: torch.Tensor, wrong: float) -> None:
    flow = flow_of(affine, (32, 32), (256, 256))
    generator = torch.Generator().manual_seed(5)
    # Whole blocks, because the flow is averaged to half its resolution before the fit.
    chosen = torch.rand(1, 1, 16, 16, generator=generator) < wrong
    chosen = chosen.repeat_interleave(2, 2).repeat_interleave(2, 3)
    flow = torch.where(chosen, 100 * torch.randn(flow.shape, generator=generator), flow)
    torch.testing.assert_close(rectifying_affine(flow), affine, atol=0.05, rtol=0)
    assert not is_identity(rectifying_affine(flow)).any()


@pytest.mark.parametrize(
    "affine",
    [turned(2), turned(0, x=0.1), torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]), turned(0, zoom=0.1)],
    ids=["nearly still", "small shift", "mirrored", "collapsed"],
)
def test_a_small_motion_and_one_that_no_scene_shows_give_no_map(affine: torch.Tensor) -> None:
    assert torch.equal(rectifying_affine(flow_of(affine, (32, 32), (256, 256))), IDENTITY)


@pytest.mark.parametrize("affine", MAPS)
def test_flow_composes_with_a_map(affine: torch.Tensor) -> None:
    size = (80, 112)
    still = torch.zeros(1, 2, 20, 28)
    torch.testing.assert_close(compose_flow_with_affine(still, affine, size), flow_of(affine, (20, 28), size))
    flow = torch.randn(1, 2, 20, 28, generator=torch.Generator().manual_seed(1)) * 9
    there_and_back = compose_flow_with_affine(
        compose_flow_with_affine(flow, affine, size), inverse_affine(affine), size
    )
    torch.testing.assert_close(there_and_back, flow, atol=1e-4, rtol=0)


def test_both_flows_composed_with_a_map_lead_back_to_the_start() -> None:
    """The two flows undo each other; so must their compositions with the map."""
    affine, size = turned(50, zoom=0.7, x=0.1), (96, 128)
    forward = flow_of(turned(3, x=0.02), (24, 32), size)
    backward = flow_of(inverse_affine(turned(3, x=0.02)), (24, 32), size)
    there = compose_flow_with_affine(forward, affine, size)
    back = compose_with_inverse_affine(backward, affine, size)
    half = torch.tensor([size[1] / 2, size[0] / 2]).view(2, 1, 1)
    position = centres(24, 32) + there / half
    returned = F.grid_sample(back, position.permute(0, 2, 3, 1), align_corners=False, padding_mode="border")
    inside = (position.abs() < 0.9).all(dim=1) & (centres(24, 32).abs() < 0.9).all(dim=1)
    assert inside.float().mean() > 0.5
    assert torch.linalg.vector_norm(there + returned, dim=1)[inside].max() < 0.05


def test_warping_shows_what_its_flow_leads_to() -> None:
    image = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    # Eight pixels to the right of 24, four down of 16: whole pixels, so nothing is interpolated.
    shown = warp_affine(image, turned(0, x=8 / 12, y=4 / 8))
    torch.testing.assert_close(shown[..., :12, :16], image[..., 4:, 8:], atol=1e-5, rtol=0)
    assert shown[..., 13:, :].abs().max() < 1e-5


def test_what_does_not_move_stays_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(2, 3, 16, 24, generator=generator)
    flow = torch.randn(2, 2, 4, 6, generator=generator)
    affine = torch.cat([IDENTITY, turned(90)])
    for kept, given in (
        (warp_affine(images, affine), images),
        (compose_flow_with_affine(flow, affine, (16, 24)), flow),
        (compose_with_inverse_affine(flow, affine, (16, 24)), flow),
    ):
        assert torch.equal(kept[0], given[0])
        assert not torch.equal(kept[1], given[1])


class KnownNetwork:
    """A network whose flows and features are known; images and features carry the number of their pair.

    ``forward`` and ``backward`` are the affine motions that its coarse flows show, by pair; every warped
    source has the target's features.
    """

    config = tiny_config(rectification_steps=1)

    def __init__(self, forward: dict[int, torch.Tensor], backward: dict[int, torch.Tensor]) -> None:
        self.forward, self.backward = forward, backward
        generator = torch.Generator().manual_seed(6)
        self.target = F.normalize(torch.randn(1, 32, 16, 16, generator=generator), dim=1)
        self.other = F.normalize(torch.randn(1, 32, 16, 16, generator=generator), dim=1)

    def batch(self, pairs: list[int]) -> tuple[torch.Tensor, CoarseFeatures, CoarseFeatures]:
        """Images, features of unrectified sources and of targets."""
        number = torch.tensor(pairs, dtype=torch.float32).view(-1, 1, 1, 1)
        count = len(pairs)
        sources = CoarseFeatures(self.other.repeat(count, 1, 1, 1), number.expand(-1, 1, 32, 32))
        targets = CoarseFeatures(self.target.repeat(count, 1, 1, 1), -number.expand(-1, 1, 32, 32))
        return number.expand(-1, 3, 256, 256), sources, targets

    def coarse_features(self, image: torch.Tensor) -> CoarseFeatures:
        number = image.amax(dim=(1, 2, 3)).view(-1, 1, 1, 1)
        return CoarseFeatures(self.target.repeat(len(image), 1, 1, 1), number.expand(-1, 1, 32, 32))

    def transform_features(
        self, source: CoarseFeatures, target: CoarseFeatures
    ) -> tuple[CoarseFeatures, CoarseFeatures]:
        return source, target

    def coarse_flows(
        self, source: CoarseFeatures, target: CoarseFeatures
    ) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = [int(number) for number in source.level3[:, 0, 0, 0].round()]
        motions = [self.forward[n] if n > 0 else self.backward[-n] for n in numbers]
        # Once a source is rectified nothing is left.
        left = (source.level4 * target.level4).sum(dim=1).mean(dim=(1, 2)) < 0.9
        maps = torch.where(left[:, None, None], torch.cat(motions), IDENTITY)
        flow3 = torch.cat([flow_of(each[None], (32, 32), (256, 256)) for each in maps])
        return flow3, flow3


@pytest.fixture
def no_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only flow proposes."""
    monkeypatch.setattr(rectification, "affine_candidates", lambda source, target: [])


def test_a_pair_is_warped_by_the_motion_of_its_flow(no_matches: None) -> None:
    network = KnownNetwork({1: turned(60)}, {1: IDENTITY})
    image, source, target = network.batch([1])
    found = rectify(network, image, source, target)
    torch.testing.assert_close(found.affine, turned(60), atol=0.02, rtol=0)
    assert found.flow3.abs().max() < 1e-4
    torch.testing.assert_close(found.source.level4, network.target)
    torch.testing.assert_close(found.warp(image), warp_affine(image, found.affine))


def test_the_backward_flow_proposes_as_well(no_matches: None) -> None:
    network = KnownNetwork({1: turned(0, zoom=0.15)}, {1: IDENTITY})
    # What the forward flow shows is no motion of a scene: nothing is proposed, and the pair stays.
    found = rectify(network, *network.batch([1]))
    assert is_identity(found.affine).all()
    network = KnownNetwork({1: turned(60)}, {1: turned(-20)})
    first, second = turned(60), inverse_affine(turned(-20))
    scores = {0: first, 1: second}
    for best in scores:
        network.coarse_features = lambda image, best=best, calls=[]: _features_of(network, image, calls, best)
        found = rectify(network, *network.batch([1]))
        torch.testing.assert_close(found.affine, scores[best], atol=0.02, rtol=0)


def _features_of(network: KnownNetwork, image: torch.Tensor, calls: list[int], best: int) -> CoarseFeatures:
    """The target's features for the ``best``-th candidate alone."""
    calls.append(1)
    features = KnownNetwork.coarse_features(network, image)
    return features if len(calls) - 1 == best else features._replace(level4=network.other)


def test_a_pair_is_decided_on_its_own_whatever_its_company(no_matches: None) -> None:
    """Pair 1 sees no motion, though its way back would propose one; pair 2 moves; pair 3 does not fit."""
    forward = {1: IDENTITY, 2: turned(60), 3: turned(-45)}
    network = KnownNetwork(forward, {1: turned(90), 2: IDENTITY, 3: IDENTITY})
    together = rectify(network, *network.batch([1, 2, 3]))
    for index, pair in enumerate(forward):
        alone = rectify(network, *network.batch([pair]))
        torch.testing.assert_close(together.affine[index], alone.affine[0])
        torch.testing.assert_close(together.flow3[index], alone.flow3[0])
        torch.testing.assert_close(together.source.level4[index], alone.source.level4[0])
    assert is_identity(together.affine).flatten().tolist() == [True, False, False]


def test_steps_go_on_from_the_map_so_far(no_matches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of thirty degrees each make sixty."""
    network = KnownNetwork({1: turned(30)}, {1: IDENTITY})
    network.config = tiny_config(rectification_steps=2)
    scores = itertools.count(1)
    monkeypatch.setattr(
        rectification, "zero_displacement_score", lambda *_: torch.full((1, 1, 1, 1), 1.2 ** next(scores))
    )
    # Forth, back, forth, back: both directions of a step say the same.
    proposals = itertools.cycle([turned(30), turned(-30)])
    monkeypatch.setattr(rectification, "rectifying_affine", lambda flow: next(proposals))
    image, source, target = network.batch([1])
    torch.testing.assert_close(rectify(network, image, source, target).affine, turned(60), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("gain", "taken"), [(0.9, False), (1.05, False), (1.15, True)])
def test_a_map_must_score_a_tenth_better(monkeypatch: pytest.MonkeyPatch, gain: float, taken: bool) -> None:
    network = KnownNetwork({}, {})
    scores = iter([0.5, 0.5 * gain])
    monkeypatch.setattr(
        rectification, "zero_displacement_score", lambda *_: torch.full((1, 1, 1, 1), next(scores))
    )
    affine, _ = best_affine(network, network.batch([1])[0], IDENTITY, [turned(40)], *network.batch([1])[1:])
    torch.testing.assert_close(affine, turned(40) if taken else IDENTITY)


def test_near_duplicates_are_tried_once() -> None:
    network, tried = KnownNetwork({}, {}), []
    network.coarse_features = lambda image: tried.append(1) or KnownNetwork.coarse_features(network, image)
    image, source, target = network.batch([1])
    best_affine(network, image, IDENTITY, [turned(60), turned(62), turned(120)], source, target)
    assert len(tried) == 2


def test_maps_that_show_nearly_the_same_are_one() -> None:
    assert torch.equal(snap_to_identity(turned(40), turned(43)), IDENTITY)
    assert torch.equal(snap_to_identity(turned(40), turned(70)), turned(40))


def features_through(affine: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of a source, and of the target whose cells lie in it where the map says."""
    wide = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(seed))
    here = centres(16, 16).flatten(2)
    there = (affine[:, :, :2] @ here + affine[:, :, 2:]).view(1, 2, 16, 16).permute(0, 2, 3, 1)
    seen = F.grid_sample(wide, there, mode="nearest", align_corners=False)
    return F.normalize(wide, dim=1), F.normalize(seen, dim=1, eps=1e-6)


@pytest.mark.parametrize("affine", [turned(30), turned(0, x=0.75), turned(180)])
def test_matches_of_single_images_propose_their_map(affine: torch.Tensor) -> None:
    """Also where half of the target lies outside the source."""
    best, _ = affine_candidates(*features_through(affine, seed=7))
    torch.testing.assert_close(best, affine, atol=0.05, rtol=0)


def test_a_second_map_is_that_of_the_matches_left_over() -> None:
    """The left half of the target lies to the right in the source, the right half upside down."""
    source, left = features_through(turned(0, x=0.75), seed=8)
    _, right = features_through(turned(180), seed=8)
    target = torch.cat([left[..., :8], right[..., 8:]], dim=3)
    found = affine_candidates(source, target)
    for affine in (turned(0, x=0.75), turned(180)):
        assert min((affine - each).abs().max().item() for each in found) < 0.1


def test_what_matches_in_place_proposes_no_map() -> None:
    source, target = features_through(turned(0), seed=9)
    assert torch.equal(affine_candidates(source, target)[0], IDENTITY)


def test_what_lies_in_place_scores_high() -> None:
    generator = torch.Generator().manual_seed(6)
    features = F.normalize(torch.randn(1, 32, 16, 16, generator=generator), dim=1)
    beside = features.roll(1, dims=3)
    far = features.roll((5, 6), dims=(2, 3))
    same, near, other = (zero_displacement_score(each, features).item() for each in (features, beside, far))
    assert same > 0.9
    assert near > 0.8
    assert other < 0.1
