from pathlib import Path

import pytest

from glualign.errors import TrainingError
from glualign.training.recipe import parse_recipe, read_recipe, to_dict

STAGE = {"kind": "coarse", "steps": 3}


def test_every_recipe_of_the_repository_is_valid(root: Path) -> None:
    recipes = sorted((root / "recipes").glob("*.toml"))
    assert {"compact", "glunet", "tiny"} <= {path.stem for path in recipes}
    for path in recipes:
        assert read_recipe(path).stages


def test_the_full_size_recipe_trains_the_published_network(root: Path) -> None:
    model = read_recipe(root / "recipes" / "glunet.toml").model
    assert model.pyramid_channels == (64, 128, 256, 512)
    assert model.decoder_width == 1.0


def test_values_are_read_with_their_types() -> None:
    recipe = parse_recipe(
        {
            "model": {"base": "compact", "mutual_match_features": True},
            "data": {"mix": {"small": 1, "large": 2}, "held_out": ["a/*"]},
            "stages": [{**STAGE, "pyramid_rate": 1, "loss_exponents": [1, 1, 1, 1, 1]}],
        }
    )
    assert recipe.model.mutual_match_features
    assert recipe.model.pyramid_channels == (16, 32, 64, 128)
    assert recipe.data.mix == {"small": 1.0, "large": 2.0}
    assert recipe.stages[0].loss_exponents == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert to_dict(recipe)["data"]["held_out"] == ["a/*"]


def test_gradients_stop_at_the_warp_only_while_the_pyramid_is_frozen() -> None:
    def stops(**values: object) -> bool:
        return parse_recipe({"stages": [{**STAGE, **values}]}).stages[0].stop_gradients

    assert stops()
    assert not stops(pyramid_rate=0.1)
    assert stops(pyramid_rate=0.1, detach=True)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "no [[stages]]"),
        ({"stages": [STAGE], "extra": {}}, "unknown key extra"),
        ({"stages": [{**STAGE, "lerning_rate": 1.0}]}, "stages[0]: unknown key lerning_rate"),
        ({"stages": [{**STAGE, "steps": 0}]}, "steps and batch must be positive"),
        ({"stages": [{**STAGE, "steps": 1.5}]}, "stages[0].steps: 1.5 must be of type int"),
        ({"stages": [{**STAGE, "steps": True}]}, "must be of type int"),
        ({"stages": [{"kind": "final", "steps": 1}]}, "'final' is not one of features, coarse, full"),
        ({"stages": [{"steps": 1}]}, "kind"),
        ({"stages": [{"kind": "full", "steps": 1, "sizes": [260]}]}, "multiples of 8"),
        ({"stages": [{"kind": "full", "steps": 1, "sizes": []}]}, "multiples of 8"),
        ({"stages": [{**STAGE, "sizes": [384]}]}, "works at 256 only"),
        ({"stages": [{"kind": "features", "steps": 1}]}, "needs contrastive above 0, and pyramid_rate"),
        (
            {"stages": [{**STAGE, "loss_exponents": [1, 1]}]},
            "stages[0].loss_exponents must be a list of 5 values",
        ),
        (
            {"stages": [{**STAGE, "level_weights": [1, 1, 1, 1]}], "model": {"half_decoder_width": 0.25}},
            "stages[0].level_weights must be a list of 5 values",
        ),
        (
            {"stages": [{"kind": "half", "steps": 1}], "model": {"half_decoder_width": 0}},
            "needs a model with half_decoder_width",
        ),
        ({"stages": [{"kind": "fine", "steps": 1, "contrastive": 1}]}, "a fine stage needs pyramid_rate 0"),
        (
            {
                "stages": [{"kind": "half", "steps": 1, "pyramid_rate": 1e-4}],
                "model": {"half_decoder_width": 0.25},
            },
            "a half stage needs pyramid_rate 0 and contrastive 0",
        ),
        ({"stages": [{**STAGE, "warm_up": 1.0}]}, "warm_up"),
        ({"stages": [STAGE], "data": {"mix": {"wobble": 1}}}, "unknown stratum wobble"),
        ({"stages": [STAGE], "data": {"mix": {"small": -1}}}, "weights must be positive"),
        ({"stages": [STAGE], "data": {"mix": {"small": 0}}}, "at least one weight"),
        ({"stages": [STAGE], "data": {"mix": 3}}, "data.mix: must be a table"),
        ({"stages": [{**STAGE, "mix": {"wobble": 1}}]}, "stages[0].mix: unknown stratum wobble"),
        ({"stages": [{**STAGE, "mix": {"small": 0}}]}, "stages[0].mix: at least one weight"),
        ({"stages": [STAGE], "data": {"workers": -1}}, "workers"),
        ({"stages": [STAGE], "run": {"ema": 1.0}}, "ema"),
        ({"stages": [STAGE], "run": {"precision": "fp8"}}, "'fp8' is not one of fp32, bf16"),
        ({"stages": [STAGE], "model": {"base": "vgg"}}, "'vgg' is not one of"),
        ({"stages": [STAGE], "model": {"widht": 1}}, "unknown configuration keys: widht"),
        ({"stages": [STAGE], "model": {"decoder": "wide"}}, "decoder must be"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key_that_is_wrong(table: dict[str, object], words: str) -> None:
    with pytest.raises(TrainingError) as error:
        parse_recipe(table)
    assert words in str(error.value)


def test_unreadable_recipes_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("stages = [")
    with pytest.raises(TrainingError, match=r"broken\.toml: not valid TOML"):
        read_recipe(broken)
    with pytest.raises(TrainingError, match=r"none\.toml: cannot be read"):
        read_recipe(tmp_path / "none.toml")
