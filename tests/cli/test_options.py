"""Shared options spell out what the library defines, so that help stays instant; here both are compared."""

from dataclasses import fields
from typing import get_args

import click
import pytest

from glualign.cli import options


def parse(decorator, *arguments: str) -> dict:
    """The options that a command decorated so would receive."""
    received: dict = {}

    @click.command()
    @decorator
    def command(**parsed):
        received.update(parsed)

    command.main(list(arguments), standalone_mode=False)
    return received


def parameters(decorator) -> dict[str, click.Option]:
    command = click.command()(decorator(lambda **_: None))
    return {parameter.name: parameter for parameter in command.params}


def test_options_of_the_aligner_that_only_presets_set_are_not_on_the_command_line():
    from glualign.aligner import AlignOptions

    known = {field.name for field in fields(AlignOptions)}
    assert known & set(parameters(options.align_options)) == {"max_side", "transform", "mirror"}


def test_choices_are_those_of_the_library():
    from glualign.aligner import PRESETS, Transform
    from glualign.flow import Interpolation
    from glualign.matching.quality import Verdict

    method = parameters(options.method_options)
    assert set(method["preset"].type.choices) == set(PRESETS)
    assert set(method["transform"].type.choices) == set(get_args(Transform))
    assert set(options.INTERPOLATIONS) == set(get_args(Interpolation))
    assert set(options.MIN_QUALITIES) == {"none", *get_args(Verdict)}


def test_defaults_in_the_help_are_those_of_the_library():
    from glualign.aligner import SMALLEST_SIDE, AlignOptions
    from glualign.images import DEFAULT_MAX_PIXELS
    from glualign.images.write import DEFAULT_QUALITY

    assert parameters(options.model_options)["max_side"].show_default == str(AlignOptions().max_side)
    pixels = parameters(options.reading_options)["max_pixels"]
    assert (pixels.default, pixels.show_default) == (DEFAULT_MAX_PIXELS, f"{DEFAULT_MAX_PIXELS:,}")
    assert parameters(options.quality_option)["quality"].show_default == str(DEFAULT_QUALITY)
    assert options.SMALLEST_MAX_SIDE == SMALLEST_SIDE


def test_only_what_was_given_reaches_the_aligner():
    given = options.Aligning.of(parse(options.align_options)).arguments()
    assert given == {"device": "auto", "precision": "auto", "transform": "auto", "mirror": False}
    given = options.Aligning.of(parse(options.align_options, "--preset", "accurate", "--mirror")).arguments()
    assert (given["preset"], given["mirror"]) == ("accurate", True)


def test_a_mirrored_source_needs_a_search():
    with pytest.raises(click.UsageError, match="--preset fast"):
        options.Aligning.of(parse(options.align_options, "--preset", "fast", "--mirror")).arguments()


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
    assert options.Writing.of(parse(options.writing_options, "--fill", text)).fill == fill


@pytest.mark.parametrize(("given", "side"), [("0", None), ("640", 640)])
def test_zero_means_the_size_of_the_image(given, side):
    parsed = parse(options.align_options, "--max-side", given)
    assert options.Aligning.of(parsed).arguments()["max_side"] == side


def test_zero_means_no_limit():
    reading = options.Reading.of(parse(options.reading_options, "--max-pixels", "0", "--no-exif")).arguments()
    assert reading == {"apply_orientation": False, "page": 0, "mask_from": None, "max_pixels": None}


@pytest.mark.parametrize("text", ["cpu", "CUDA:1", " mps "])
def test_devices_are_spelt_in_any_case(text):
    assert parse(options.model_options, "--device", text)["device"] == text.strip().lower()


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:0"])
def test_devices_that_do_not_exist_are_refused(text):
    with pytest.raises(click.BadParameter, match="auto, cpu, cuda, cuda:N, mps"):
        parse(options.model_options, "--device", text)
