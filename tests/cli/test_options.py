"""Shared options spell out what the library defines, so that help stays instant; here both are compared."""

from dataclasses import fields
from typing import get_args

import click
import pytest
from click.testing import CliRunner

from glualign.cli import options
from glualign.cli.main import cli
from glualign.cli.pair import Pairing
from glualign.cli.pictures import Filming
from glualign.matching.options import PRESETS


def parse(part, *arguments: str):
    """What a command with the options of a dataclass receives."""
    received: dict = {}

    @options.command(part)
    def command(**parsed):
        received.update(parsed)

    command.main(list(arguments), standalone_mode=False)
    return received[part.__name__.lower()]


def parameters(part) -> dict[str, click.Option]:
    command = options.command(part)(lambda **_: None)
    return {parameter.name: parameter for parameter in command.params}


def test_options_of_the_aligner_that_only_presets_set_are_not_on_the_command_line():
    from glualign.matching.options import AlignOptions

    known = {field.name for field in fields(AlignOptions)}
    assert known & set(parameters(options.Aligning)) == {"max_side", "transform", "mirror"}


def test_choices_are_those_of_the_library():
    from glualign.flow import Interpolation
    from glualign.matching.options import PRESETS, Transform

    method = parameters(options.Aligning)
    assert set(method["preset"].type.choices) == set(PRESETS)
    assert set(method["transform"].type.choices) == set(get_args(Transform))
    assert set(parameters(options.Writing)["interpolation"].type.choices) == set(get_args(Interpolation))


def test_defaults_in_the_help_are_those_of_the_library():
    from glualign.images import DEFAULT_MAX_PIXELS
    from glualign.images.write import DEFAULT_QUALITY
    from glualign.matching.options import SMALLEST_SIDE

    pixels = parameters(options.Reading)["max_pixels"]
    assert (pixels.default, pixels.show_default) == (DEFAULT_MAX_PIXELS, f"{DEFAULT_MAX_PIXELS:,}")
    assert parameters(options.Writing)["quality"].show_default == str(DEFAULT_QUALITY)
    assert parse(options.Aligning, "--max-side", str(SMALLEST_SIDE)).max_side == SMALLEST_SIDE
    with pytest.raises(click.BadParameter, match=f"not 0 or at least {SMALLEST_SIDE}"):
        parse(options.Aligning, "--max-side", str(SMALLEST_SIDE - 1))


@pytest.mark.parametrize(
    "part", [options.Aligning, options.Reading, options.Writing, options.Printing, Pairing, Filming]
)
def test_the_options_of_a_dataclass_have_the_names_of_its_fields(part):
    assert list(parameters(part)) == [field.name for field in fields(part)]


def test_what_is_not_given_is_as_in_the_library():
    from glualign.matching.options import AlignOptions, choose_options

    given = parse(options.Aligning).arguments()
    named = {name: given.pop(name) for name in ("model", "device", "precision", "preset")}
    assert named == {"model": "compact", "device": "auto", "precision": "auto", "preset": "balanced"}
    assert choose_options("balanced", given) == AlignOptions()


def test_the_defaults_that_video_shows_leave_those_of_a_pair_alone():
    pair, film = parameters(options.Aligning), parameters(Filming)
    assert film["preset"].show_default.startswith("fast")
    assert pair["preset"].show_default == "balanced"
    assert [each.help for each in film.values()] == [each.help for each in pair.values()]


def test_what_is_given_reaches_the_aligner():
    assert parse(options.Aligning, "--preset", "fast").arguments()["preset"] == "fast"
    given = parse(options.Aligning, "--preset", "balanced", "--mirror").arguments()
    assert (given["preset"], given["mirror"]) == ("balanced", True)


def test_a_mirrored_source_needs_a_search():
    with pytest.raises(click.UsageError, match="--preset fast"):
        parse(options.Aligning, "--preset", "fast", "--mirror").arguments()


@pytest.mark.parametrize(
    ("text", "fill"),
    [
        ("White", "#ffffff"),
        ("#fc0", "#ffcc00"),
        ("#102030", "#102030"),
        ("rgb(1,2,3)", "#010203"),
        ("target", "target"),
    ],
)
def test_colours_are_given_by_name_or_hex(text, fill):
    assert parse(options.Writing, "--fill", text).fill == fill


@pytest.mark.parametrize(("given", "side"), [("0", None), ("640", 640)])
def test_zero_means_the_size_of_the_image(given, side):
    assert parse(options.Aligning, "--max-side", given).arguments()["max_side"] == side


def test_zero_means_no_limit():
    reading = parse(options.Reading, "--max-pixels", "0", "--no-exif")
    assert vars(reading) == {"apply_orientation": False, "page": 0, "mask_from": None, "max_pixels": None}


@pytest.mark.parametrize("text", ["cpu", "CUDA:1", " mps "])
def test_devices_are_spelt_in_any_case(text):
    assert parse(options.Aligning, "--device", text).device == text.strip().lower()


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:0"])
def test_devices_that_do_not_exist_are_refused(text):
    with pytest.raises(click.BadParameter, match="auto, cpu, cuda, cuda:N, mps"):
        parse(options.Aligning, "--device", text)


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_the_working_side_is_that_of_the_preset_where_none_is_given(preset):
    arguments = parse(options.Aligning, "--preset", preset).arguments()
    assert "max_side" not in arguments
    default = parameters(options.Aligning)["max_side"].show_default
    assert str(PRESETS[preset].max_side) in default


@pytest.mark.parametrize(
    ("output", "extension", "fits"),
    [
        ("o.png", ".tif", False),
        ("o.npy", ".npz", False),
        ("o.png", ".PNG", True),
        ("o.jpeg", ".jpg", True),
        ("o.png", "", True),
        ("out", ".tif", True),
        ("v1.2", ".tif", True),
        ("run.version2", ".tif", True),
        ("out.png/", ".tif", True),
        ("-", ".tif", True),
    ],
)
@pytest.mark.parametrize("name", ["warp", "flow", "apply", "invert", "convert"])
def test_a_format_that_the_name_of_the_file_denies_is_a_usage_error(name, output, extension, fits):
    command = cli.get_command(click.Context(cli), name)
    inputs = [part for part in command.params if isinstance(part, click.Argument) and part.required]
    arguments = [name, *(f"missing{place}.flo" for place, _ in enumerate(inputs)), "-o", output]
    result = CliRunner().invoke(cli, [*arguments, *(["--format", extension] if extension else [])])
    assert result.exit_code == (1 if fits else 2)
    assert (f"{output} is not {extension}" in result.stderr) is not fits
