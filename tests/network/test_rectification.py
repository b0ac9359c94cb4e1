"""Views: how they are found, what they show, and that flow through them is flow of the whole pair."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glualign.matcher import Matcher
from glualign.network import GLUNet, glunet
from glualign.network.rectification import (
    affine_candidates,
    compose_flow_with_affine,
    compose_with_inverse_affine,
    inverse_affine,
    is_identity,
    rectifying_affine,
    snap_to_identity,
    warp_affine,
    zero_displacement_score,
)
from tests.networks import tiny_config

IDENTITY = torch.eye(2, 3)[None]
SMALL = tiny_config()


def turned(degrees: float, zoom: float = 1.0, x: float = 0.0, y: float = 0.0) -> torch.Tensor:
    """A view that turns and zooms about the middle, then shifts by parts of half a frame."""
    angle = math.radians(degrees)
    c, s = zoom * math.cos(angle), zoom * math.sin(angle)
    return torch.tensor([[[c, -s, x], [s, c, y]]])


def centres(height: int, width: int) -> torch.Tensor:
    """Cell centres in units of the frame, ``(1, 2, height, width)``."""
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]


def flow_of(view: torch.Tensor, cells: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """The flow of a view in pixels of a frame of ``size`` (height, width)."""
    here = centres(*cells)
    there = view[:, :, :2] @ here.flatten(2) + view[:, :, 2:]
    return (there.view_as(here) - here) * torch.tensor([size[1] / 2, size[0] / 2]).view(2, 1, 1)


VIEWS = [turned(90), turned(-35, zoom=0.5, x=0.3), turned(170, zoom=1.8, y=-0.2), turned(0, x=0.4)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("wrong", [0.0, 0.4])
def test_the_view_of_an_affine_motion_is_that_motion(view: torch.Tensor, wrong: float) -> None:
    flow = flow_of(view, (32, 32), (256, 256))
    generator = torch.Generator().manual_seed(5)
    # Whole blocks, because the flow is averaged to half its resolution before the fit.
    chosen = torch.rand(1, 1, 16, 16, generator=generator) < wrong
    chosen = chosen.repeat_interleave(2, 2).repeat_interleave(2, 3)
    flow = torch.where(chosen, 100 * torch.randn(flow.shape, generator=generator), flow)
    torch.testing.assert_close(rectifying_affine(flow), view, atol=0.05, rtol=0)
    assert not is_identity(rectifying_affine(flow)).any()


@pytest.mark.parametrize(
    "view",
    [turned(2), turned(0, x=0.1), torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]), turned(0, zoom=0.1)],
    ids=["nearly still", "small shift", "mirrored", "collapsed"],
)
def test_a_small_motion_and_one_that_no_scene_shows_give_no_view(view: torch.Tensor) -> None:
    assert torch.equal(rectifying_affine(flow_of(view, (32, 32), (256, 256))), IDENTITY)


@pytest.mark.parametrize("view", VIEWS)
def test_flow_within_a_view_follows_it(view: torch.Tensor) -> None:
    size = (80, 112)
    still = torch.zeros(1, 2, 20, 28)
    torch.testing.assert_close(compose_flow_with_affine(still, view, size), flow_of(view, (20, 28), size))
    flow = torch.randn(1, 2, 20, 28, generator=torch.Generator().manual_seed(1)) * 9
    there_and_back = compose_flow_with_affine(
        compose_flow_with_affine(flow, view, size), inverse_affine(view), size
    )
    torch.testing.assert_close(there_and_back, flow, atol=1e-4, rtol=0)


def test_both_flows_through_a_view_lead_back_to_the_start() -> None:
    """Within the view the two flows undo each other; so must what the view makes of them."""
    view, size = turned(50, zoom=0.7, x=0.1), (96, 128)
    forward = flow_of(turned(3, x=0.02), (24, 32), size)
    backward = flow_of(inverse_affine(turned(3, x=0.02)), (24, 32), size)
    there = compose_flow_with_affine(forward, view, size)
    back = compose_with_inverse_affine(backward, view, size)
    half = torch.tensor([size[1] / 2, size[0] / 2]).view(2, 1, 1)
    position = centres(24, 32) + there / half
    returned = F.grid_sample(back, position.permute(0, 2, 3, 1), align_corners=False, padding_mode="border")
    inside = (position.abs() < 0.9).all(dim=1) & (centres(24, 32).abs() < 0.9).all(dim=1)
    assert inside.float().mean() > 0.5
    assert torch.linalg.vector_norm(there + returned, dim=1)[inside].max() < 0.05


def test_a_view_shows_what_its_flow_leads_to() -> None:
    image = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    # Eight pixels to the right of 24, four down of 16: whole pixels, so nothing is interpolated.
    shown = warp_affine(image, turned(0, x=8 / 12, y=4 / 8))
    torch.testing.assert_close(shown[..., :12, :16], image[..., 4:, 8:], atol=1e-5, rtol=0)
    assert shown[..., 13:, :].abs().max() < 1e-5


def test_what_does_not_move_stays_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(2, 3, 16, 24, generator=generator)
    flow = torch.randn(2, 2, 4, 6, generator=generator)
    view = torch.cat([IDENTITY, turned(90)])
    for kept, given in (
        (warp_affine(images, view), images),
        (compose_flow_with_affine(flow, view, (16, 24)), flow),
        (compose_with_inverse_affine(flow, view, (16, 24)), flow),
    ):
        assert torch.equal(kept[0], given[0])
        assert not torch.equal(kept[1], given[1])


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> tuple[GLUNet, GLUNet]:
    """The same untrained weights without and with a second look, for which only flow proposes views."""
    monkeypatch.setattr(glunet, "affine_candidates", lambda source, target: [])
    torch.manual_seed(4)
    plain = GLUNet(SMALL).eval()
    looking = GLUNet(replace(SMALL, rectification_steps=1)).eval()
    looking.load_state_dict(plain.state_dict())
    return plain, looking


def scene(seed: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(256, 256), mode="bicubic", align_corners=False)


def let_the_network_see(view: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both directions of every first look propose this view, and it agrees better than none."""
    proposals = itertools.cycle([view, inverse_affine(view)])
    agreements = itertools.count()
    monkeypatch.setattr(glunet, "rectifying_affine", lambda flow: next(proposals)[: len(flow)])
    monkeypatch.setattr(
        glunet, "zero_displacement_score", lambda *images: torch.full((1, 1, 1, 1), float(next(agreements)))
    )


@pytest.mark.parametrize("view", [IDENTITY, turned(40, zoom=0.8)], ids=["still", "moved"])
def test_the_second_look_is_the_network_on_what_the_view_shows(
    networks: tuple[GLUNet, GLUNet], view: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, looking = networks
    let_the_network_see(view, monkeypatch)
    source, target = scene(1), scene(2)
    with torch.inference_mode():
        looked = looking(source, target, source, target)
        seen = warp_affine(source, view)
        once = plain(seen, target, seen, target)
        for got, within in zip(looked[:4], once[:4], strict=True):
            torch.testing.assert_close(
                got, compose_flow_with_affine(within, view, (256, 256)), atol=1e-3, rtol=0
            )


def test_the_view_comes_from_the_flow_of_the_first_look(
    networks: tuple[GLUNet, GLUNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, looking = networks
    given: list[torch.Tensor] = []
    monkeypatch.setattr(glunet, "rectifying_affine", lambda flow: given.append(flow) or IDENTITY)
    source, target = scene(1), scene(2)
    with torch.inference_mode():
        looking(source, target, source, target)
        torch.testing.assert_close(given[0], plain(source, target, source, target).flow3)


@pytest.mark.parametrize(("gain", "taken"), [(0.9, False), (1.0, False), (1.05, False), (1.15, True)])
def test_a_view_must_agree_by_a_tenth_better(
    networks: tuple[GLUNet, GLUNet], monkeypatch: pytest.MonkeyPatch, gain: float, taken: bool
) -> None:
    plain, looking = networks
    let_the_network_see(turned(40), monkeypatch)
    agreements = iter([0.5, 0.5 * gain])
    monkeypatch.setattr(
        glunet, "zero_displacement_score", lambda *images: torch.full((1, 1, 1, 1), next(agreements))
    )
    source, target = scene(1), scene(2)
    with torch.inference_mode():
        looked, once = (network(source, target, source, target) for network in (looking, plain))
    assert torch.equal(looked.flow1, once.flow1) is not taken


@pytest.mark.parametrize(("of_forward", "of_backward", "degrees"), [(0.2, 0.4, -60), (0.4, 0.2, 60)])
def test_the_direction_that_agrees_better_decides(
    networks: tuple[GLUNet, GLUNet],
    monkeypatch: pytest.MonkeyPatch,
    of_forward: float,
    of_backward: float,
    degrees: float,
) -> None:
    """The forward flow proposes a turn to one side, the backward flow one to the other."""
    _, looking = networks
    agreements = iter([0.1, of_forward, of_backward])
    monkeypatch.setattr(glunet, "rectifying_affine", lambda flow: turned(60))
    monkeypatch.setattr(
        glunet, "zero_displacement_score", lambda *images: torch.full((1, 1, 1, 1), next(agreements))
    )
    source, target = scene(1), scene(2)
    with torch.inference_mode():
        coarse = [looking.coarse_features(image) for image in (source, target)]
        match = looking.match_coarse(source, *coarse)
    torch.testing.assert_close(match.view, turned(degrees), atol=1e-6, rtol=0)


def test_looks_go_on_from_the_view_of_the_last_one(
    networks: tuple[GLUNet, GLUNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three looks, each of which proposes another thirty degrees, end in a view turned by sixty."""
    plain, _ = networks
    looking = GLUNet(replace(SMALL, rectification_steps=2)).eval()
    looking.load_state_dict(plain.state_dict())
    let_the_network_see(turned(30), monkeypatch)
    source, target = scene(1), scene(2)
    with torch.inference_mode():
        coarse = [looking.coarse_features(image) for image in (source, target)]
        match = looking.match_coarse(source, *coarse)
    torch.testing.assert_close(match.view, turned(60), atol=1e-6, rtol=0)
    torch.testing.assert_close(match.image, warp_affine(source, turned(60)))


def test_steps_that_show_nearly_the_same_are_one() -> None:
    assert torch.equal(snap_to_identity(turned(40), turned(43)), IDENTITY)
    assert torch.equal(snap_to_identity(turned(40), turned(70)), turned(40))


def features_through(view: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of a source, and of the target whose cells lie in it where the view says."""
    wide = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(seed))
    here = centres(16, 16).flatten(2)
    there = (view[:, :, :2] @ here + view[:, :, 2:]).view(1, 2, 16, 16).permute(0, 2, 3, 1)
    seen = F.grid_sample(wide, there, mode="nearest", align_corners=False)
    return F.normalize(wide, dim=1), F.normalize(seen, dim=1, eps=1e-6)


@pytest.mark.parametrize("view", [turned(30), turned(0, x=0.75), turned(180)])
def test_matches_of_single_images_speak_for_their_view(view: torch.Tensor) -> None:
    """Also where half of the target lies outside the source."""
    best, _ = affine_candidates(*features_through(view, seed=7))
    torch.testing.assert_close(best, view, atol=0.05, rtol=0)


def test_a_second_view_is_that_of_the_matches_left_over() -> None:
    """The left half of the target lies to the right in the source, the right half upside down."""
    source, left = features_through(turned(0, x=0.75), seed=8)
    _, right = features_through(turned(180), seed=8)
    target = torch.cat([left[..., :8], right[..., 8:]], dim=3)
    found = affine_candidates(source, target)
    for view in (turned(0, x=0.75), turned(180)):
        assert min((view - each).abs().max().item() for each in found) < 0.1


def test_what_matches_in_place_speaks_for_no_view() -> None:
    source, target = features_through(turned(0), seed=9)
    assert torch.equal(affine_candidates(source, target)[0], IDENTITY)


def test_views_from_matches_are_tried_at_the_first_look(
    networks: tuple[GLUNet, GLUNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, looking = networks
    agreements = itertools.count()
    monkeypatch.setattr(glunet, "rectifying_affine", lambda flow: turned(60))
    monkeypatch.setattr(glunet, "affine_candidates", lambda source, target: [turned(62), turned(120)])
    monkeypatch.setattr(
        glunet, "zero_displacement_score", lambda *images: torch.full((1, 1, 1, 1), 1.2 ** next(agreements))
    )
    source, target = scene(1), scene(2)
    with torch.inference_mode():
        coarse = [looking.coarse_features(image) for image in (source, target)]
        match = looking.match_coarse(source, *coarse)
    torch.testing.assert_close(match.view, turned(120), atol=1e-6, rtol=0)
    # The features as they are, the forward view, the backward one and the second match: 62 degrees are as 60.
    assert next(agreements) == 4


def test_what_lies_in_place_agrees() -> None:
    generator = torch.Generator().manual_seed(6)
    features = F.normalize(torch.randn(1, 32, 16, 16, generator=generator), dim=1)
    beside = features.roll(1, dims=3)
    far = features.roll((5, 6), dims=(2, 3))
    same, near, other = (zero_displacement_score(each, features).item() for each in (features, beside, far))
    assert same > 0.9
    assert near > 0.8
    assert other < 0.1


def test_a_matcher_gives_the_flow_of_the_network_both_ways_and_in_batches(
    networks: tuple[GLUNet, GLUNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pair moves, the second does not; alone and together they give the same."""
    _, looking = networks
    let_the_network_see(torch.cat([turned(40, zoom=0.8), IDENTITY]), monkeypatch)
    matcher = Matcher(looking, device=torch.device("cpu"), dtype=torch.float32)
    pixels = [(image[0].permute(1, 2, 0).clamp(0, 1) * 255).byte().numpy() for image in map(scene, (1, 2, 3))]
    size = (256, 256)
    sources = matcher.encode_sources(pixels[:2], size)
    target = matcher.encode_target(pixels[2], size)

    forward, backward = matcher.match_many_both_ways([(source, target) for source in sources])
    alone = matcher.match(matcher.encode_source(pixels[0], size), target)
    np.testing.assert_allclose(forward[0], alone, atol=2e-3)
    there, back = matcher.match_both_ways(sources[0], target)
    np.testing.assert_allclose(forward[0], there, atol=2e-3)
    np.testing.assert_allclose(backward[0], back, atol=2e-3)
    assert all(source.working is None for source in sources)

    monkeypatch.setattr(glunet, "rectifying_affine", lambda flow: IDENTITY)
    np.testing.assert_allclose(forward[1], matcher.match(sources[1], target), atol=2e-3)
