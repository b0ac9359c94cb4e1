import pytest

from glualign.matching.options import PRESETS, AlignOptions, choose_options


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"search": "off"}, "search must be one of True, False, not 'off'"),
        ({"max_side": 15.5}, "max_side must be a whole number"),
        ({"max_side": True}, "max_side must be a whole number"),
        ({"transform": "afine"}, "transform must be one of auto, dense, homography"),
        ({"transform": None}, "transform must be one of"),
        ({"max_side": 3}, "max_side must be a whole number, at least 16 or None, not 3"),
        ({"max_side": "1024"}, "max_side must be a whole number"),
        ({"mirror": 1}, "mirror must be one of True, False, not 1"),
        ({"mirror": True, "search": False}, "mirror needs a search"),
        ({"fuse_global_motion": "no"}, "fuse_global_motion must be one of True, False"),
        ({"refine": "off"}, "refine must be one of True, False, not 'off'"),
    ],
)
def test_an_option_that_means_nothing_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        AlignOptions(**values)
    with pytest.raises(ValueError, match=words):
        choose_options("balanced", values)


def test_a_preset_is_a_start():
    assert choose_options("fast", {}) == PRESETS["fast"]
    assert choose_options("fast", {"max_side": None}).max_side is None
    with pytest.raises(ValueError, match="preset 'best' is unknown; use fast, balanced"):
        choose_options("best", {})
    with pytest.raises(ValueError, match="unknown option pases; use max_side, search"):
        choose_options("fast", {"pases": 1})
