import dataclasses
import json
import math
import random
from datetime import date
from pathlib import Path

import pytest

from glualign.errors import TrainingError
from glualign.files import json_values
from glualign.network.config import GLUNetConfig
from glualign.training.recipe import (
    DataOptions,
    RunOptions,
    StageOptions,
    find_recipe,
    parse_recipe,
    read_recipe,
)

STAGE = {"kind": "coarse", "steps": 3}


def test_every_recipe_of_the_repository_is_valid(root: Path) -> None:
    recipes = sorted((root / "recipes").glob("*.toml"))
    assert {"compact", "finetune", "glunet", "tiny"} == {path.stem for path in recipes}
    for path in recipes:
        assert read_recipe(path).stages


def test_the_full_size_recipe_trains_the_published_network(root: Path) -> None:
    model = read_recipe(root / "recipes" / "glunet.toml").model
    assert model.pyramid_channels == (64, 128, 256, 512)
    assert model.decoder_width == 1.0


def test_values_are_read_with_their_types() -> None:
    recipe = parse_recipe(
        {
            "model": {"base": "compact", "half_decoder_width": 1},
            "data": {"mix": {"small": 1, "large": 2}, "held_out": ["a/*"]},
            "stages": [{**STAGE, "pyramid_rate": 1, "loss_exponents": [1, 1, 1, 1, 1]}],
        }
    )
    assert type(recipe.model.half_decoder_width) is float
    assert recipe.model.pyramid_channels == (24, 32, 64, 128)
    assert recipe.data.mix == {"small": 1.0, "large": 2.0}
    assert recipe.stages[0].loss_exponents == (1.0,) * 5
    assert json_values(recipe)["data"]["held_out"] == ["a/*"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "no [[stages]]"),
        ({"stages": [STAGE], "extra": {}}, "unknown key extra"),
        ({"stages": [{**STAGE, "lerning_rate": 1.0}]}, "stages[0]: unknown key lerning_rate"),
        ({"stages": [{**STAGE, "steps": 0}]}, "stages[0].steps: 0 is not from 1 to 1000000000"),
        ({"stages": [{**STAGE, "steps": 1.5}]}, "stages[0].steps: 1.5 must be of type int"),
        ({"stages": [{**STAGE, "steps": True}]}, "must be of type int"),
        ({"stages": [{"kind": "final", "steps": 1}]}, "'final' is not one of features, coarse, full"),
        ({"stages": [{"steps": 1}]}, "kind"),
        (
            {"stages": [{"kind": "full", "steps": 1, "sizes": [260]}]},
            "stages[0].sizes[0]: 260 is not from 256 to 4096, a multiple of 8",
        ),
        ({"stages": [{"kind": "full", "steps": 1, "sizes": []}]}, "name at least one size"),
        ({"stages": [{**STAGE, "sizes": [384]}]}, "works at 256 only"),
        ({"stages": [{"kind": "features", "steps": 1}]}, "needs contrastive above 0, and pyramid_rate"),
        (
            {"stages": [{**STAGE, "loss_exponents": [1, 1]}]},
            "stages[0].loss_exponents must be a list of 5 values",
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
        (
            {"stages": [STAGE], "data": {"mix": {"wobble": 1}}},
            "data.mix: unknown key wobble; known are small,",
        ),
        ({"stages": [STAGE], "data": {"mix": {"small": -1}}}, "data.mix.small: -1 is not from 0"),
        (
            {"stages": [STAGE], "data": {"mix": {"small": 0, "views": 1}}},
            "of the mix at least one of small, ",
        ),
        ({"stages": [STAGE], "data": {"mix": 3}}, "data.mix: must be a table"),
        ({"stages": [{**STAGE, "mix": {"wobble": 1}}]}, "stages[0].mix: unknown key wobble"),
        ({"stages": [{**STAGE, "mix": {"small": 0}}]}, "stages[0]: of the mix at least one of small, "),
        ({"stages": [STAGE], "data": {"workers": -1}}, "workers"),
        ({"stages": [STAGE], "run": {"ema": 1.0}}, "ema"),
        ({"stages": [STAGE], "run": {"precision": "fp8"}}, "'fp8' is not one of auto, fp32, bf16"),
        ({"stages": [STAGE], "model": {"base": "vgg"}}, "'vgg' is not one of"),
        ({"stages": [STAGE], "model": {"base": "semantic-glunet"}}, "a semantic model cannot be trained"),
        ({"stages": [STAGE], "model": {"widht": 1}}, "model: unknown key widht"),
        ({"stages": [STAGE], "model": {"decoder": "wide"}}, "model.decoder: 'wide' is not one of"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key_that_is_wrong(table: dict[str, object], words: str) -> None:
    with pytest.raises(TrainingError) as error:
        parse_recipe(table)
    assert words in str(error.value)


NUMBERS = {
    "data": ("held_out_share", "workers"),
    "run": ("seed", "threads", "ema", "log_every", "checkpoint_minutes", "validate_minutes",
            "validation_pairs", "validation_size"),
    "stages": ("steps", "batch", "learning_rate", "pyramid_rate", "extra_layers", "contrastive"),
    "model": ("decoder_width", "mapping_decoder_width", "max_displacement", "div", "soft_argmax_scale",
              "descriptor_channels", "half_decoder_width"),
}  # fmt: skip
BAD = (math.nan, math.inf, -math.inf, -1, -1e-9, 1e300, 10**5000, True, "1", [1], {"a": 1}, date(2026, 1, 1))


@pytest.mark.parametrize(("table", "key"), [(t, k) for t, keys in NUMBERS.items() for k in keys])
def test_no_number_may_be_nan_negative_huge_or_of_another_type(table: str, key: str) -> None:
    for value in BAD:
        recipe: dict[str, object] = {"stages": [{**STAGE, "contrastive": 1.0}]}
        recipe[table] = [{**STAGE, key: value}] if table == "stages" else {key: value}
        with pytest.raises(TrainingError, match=rf"{key}|model"):
            parse_recipe(recipe)


def test_random_damage_is_refused_by_name_or_read() -> None:
    """Values of every type in every place: an error of ours, or a recipe whose numbers are all finite."""
    rng = random.Random(5)
    fields = {
        "data": [f.name for f in dataclasses.fields(DataOptions)],
        "run": [f.name for f in dataclasses.fields(RunOptions)],
        "stages": [f.name for f in dataclasses.fields(StageOptions)],
        "model": [f.name for f in dataclasses.fields(GLUNetConfig)],
    }
    values = (
        *BAD,
        0,
        1,
        8,
        0.5,
        "",
        "cpu",
        "small",
        [],
        ["x"],
        [0.5, 1],
        {},
        {"small": 1},
        {"small": -1},
        None,
    )
    messages = []
    for _ in range(3000):
        recipe: dict[str, object] = {"stages": [dict(STAGE)], "data": {}, "run": {}, "model": {}}
        for _ in range(rng.randint(1, 3)):
            name = rng.choice(list(fields))
            table = recipe[name][0] if name == "stages" else recipe[name]  # type: ignore[index]
            table[rng.choice(fields[name])] = rng.choice(values)
        try:
            read = parse_recipe(recipe)
        except TrainingError as error:
            messages.append(str(error))
        else:
            text = json.dumps(json_values(read))
            assert "NaN" not in text
            assert "Infinity" not in text
    assert 1500 < len(messages) < 3000
    assert max(map(len, messages)) < 400


def test_a_shipped_recipe_is_found_by_its_name_and_a_file_by_its_path(root: Path, tmp_path: Path) -> None:
    assert find_recipe("tiny") == root / "recipes" / "tiny.toml"
    own = tmp_path / "tiny"
    own.write_text("")
    assert find_recipe(own) == own
    with pytest.raises(TrainingError, match="neither a file nor one of the recipes that ship: compact, fin"):
        find_recipe("tyni")


def test_recipes_ship_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a wheel as in the source tree."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "own.toml").write_text("")
    monkeypatch.setattr("glualign.training.recipe.PACKAGED", tmp_path / "weights")
    assert find_recipe("own").parent == tmp_path / "recipes"


@pytest.mark.parametrize(
    "text",
    [
        "stages = [",
        "x = " + "9" * 5000,
        "x = " + "[" * 100_000,
        "x = 0x" + "f" * 5000,
        "x = 1979-05-27",
    ],
)
def test_files_that_are_no_recipe_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"broken\.toml: ") as error:
        read_recipe(path)
    assert "\n" not in str(error.value)
    with pytest.raises(TrainingError, match=r"none\.toml: no such file"):
        read_recipe(tmp_path / "none.toml")
