"""The options that several commands share, each declared once, and the dataclasses they are parsed into.

A command receives what was parsed as ``**options`` and takes its part with `Options.of`. This module imports
click and nothing heavier, so that ``--help`` stays instant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from glualign.errors import ImageError

if TYPE_CHECKING:
    from typing import Self

    from glualign.aligner import Aligner
    from glualign.flow import Interpolation
    from glualign.images import Image

INTERPOLATIONS = ("nearest", "linear", "cubic", "lanczos")
TRANSFORMS = ("auto", "dense", "homography", "affine", "similarity", "translation", "tps")
WITHOUT_MATRIX = ("dense", "tps")  # the transforms that no 3x3 matrix describes; auto may have one
SMALLEST_MAX_SIDE = 16
MIN_QUALITIES = ("none", "failed", "doubtful", "good")  # none, then the verdicts from worst to best

FILE = click.Path(dir_okay=False)
STREAM = click.Path(dir_okay=False, allow_dash=True)
COUNT = click.IntRange(min=1)
POSITIVE = click.FloatRange(min=0, min_open=True)


@dataclass(frozen=True)
class Options:
    """Values of options; the fields have the names of click's parameters."""

    @classmethod
    def of(cls, parsed: Mapping[str, Any]) -> Self:
        """The part of what click parsed that belongs here."""
        return cls(**{field.name: parsed[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Aligning(Options):
    """What `align_options` say: how to align. None: not given, the preset decides."""

    model: str
    device: str
    precision: str
    max_side: int | None
    preset: str | None
    transform: str
    mirror: bool

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `Aligner.from_pretrained` beside the model."""
        if self.mirror and self.preset == "fast":
            raise click.UsageError("--mirror needs a search, which --preset fast leaves out.")
        given = {name: getattr(self, name) for name in ("device", "precision", "transform", "mirror")}
        if self.preset is not None:
            given["preset"] = self.preset
        if self.max_side is not None:
            given["max_side"] = self.max_side or None  # 0 on the command line: the image's own size
        return given

    def warn_if_slow(self) -> None:
        """Print a warning where the precision asked for is emulated."""
        from glualign.cli.console import warn
        from glualign.devices import choose_device, precision_note

        if self.precision == "bf16" and (note := precision_note("bf16", choose_device(self.device))):
            warn(note)

    def aligner(self) -> Aligner:
        """The aligner that these options describe.

        Raises:
            CheckpointError: unknown model or unusable file of weights.
            DeviceError: the device or precision is not there.
        """
        from glualign.aligner import Aligner

        return Aligner.from_pretrained(self.model, **self.arguments())


@dataclass(frozen=True)
class Reading(Options):
    """What `reading_options` say: how images are read."""

    exif: bool
    page: int
    max_pixels: int
    mask_from: str | None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `glualign.images.read_image`."""
        limit = self.max_pixels or None  # 0 on the command line: no limit
        given = {"apply_orientation": self.exif, "page": self.page, "mask_from": self.mask_from}
        return {**given, "max_pixels": limit}

    def images(
        self, *paths: str, quiet: bool, masks: tuple[str | None, ...] = (), matched: bool = True
    ) -> list[Image]:
        """Read images; what there is to know of them is printed as warnings unless ``quiet``.

        Args:
            paths: of the files.
            quiet: print nothing.
            masks: image files that are black where the image is to be ignored, one for each or none at all.
            matched: also say how the network will see them.

        Raises:
            ImageError: one cannot be read.
        """
        from glualign.cli.console import print_notes
        from glualign.images import display_notes, read_image

        images = []
        for path, mask in zip(paths, masks or [None] * len(paths), strict=True):
            image = read_image(path, **self.arguments())
            notes = (*image.notes, *display_notes(image)) if matched else image.notes
            print_notes(image.name, notes, show=not quiet)
            if mask:
                image = image.ignore(read_image(mask, apply_orientation=self.exif))
            images.append(image)
        return images


@dataclass(frozen=True)
class Writing(Options):
    """What `writing_options` say: how warped images are drawn and written."""

    interpolation: Interpolation | None
    fill: str
    quality: int | None


@dataclass(frozen=True)
class Telling(Options):
    """What `verbosity_options` say: how a command tells what it did."""

    as_json: bool
    quiet: bool

    @property
    def shows(self) -> bool:
        """Whether a person reads along."""
        return not (self.as_json or self.quiet)

    def tell(self, record: Mapping[str, Any], rows: Callable[[], list[tuple[str, str]]]) -> None:
        """Print ``record`` as JSON, or ``rows`` (name and value), or nothing, as asked for."""
        from glualign.cli.console import print_facts, print_json

        if self.as_json:
            print_json(record)
        elif not self.quiet:
            print_facts(rows())


def _device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    text = value.strip().lower()
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", text):
        raise click.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N, mps.", context, parameter)
    return text


def _working_side(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    if value is not None and 0 < value < SMALLEST_MAX_SIDE:
        raise click.BadParameter(f"must be 0 or at least {SMALLEST_MAX_SIDE} pixels.", context, parameter)
    return value


def _fill(context: click.Context, parameter: click.Parameter, value: str) -> str:
    from glualign.fill import fill_of

    try:
        return fill_of(value)
    except ImageError as error:
        raise click.BadParameter(f"{error}.", context, parameter) from None


class Size(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4
    """``WxH`` on the command line, ``(height, width)`` in the program."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What the help shows."""
        return "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        match = re.fullmatch(r"(\d{1,7})\s*[xX×]\s*(\d{1,7})", value.strip())
        if match is None or 0 in (int(match[1]), int(match[2])):
            self.fail(f"{value!r} is not a size in pixels such as 1920x1080.", param, ctx)
        return int(match[2]), int(match[1])


def stack(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One decorator that applies several, so that ``--help`` lists them in the order given here."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


model_option = click.option(
    "-m",
    "--model",
    metavar="NAME|FILE",
    default="compact",
    help="Model: a name from `glualign weights list`, or a file of weights (.safetensors, .pth, .pth.tar).",
)
device_option = click.option(
    "--device",
    metavar="DEVICE",
    callback=_device,
    default="auto",
    help="Where to compute: auto (the fastest there is), cpu, cuda, cuda:N (the N-th GPU), mps.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    help="Number format of the convolutions: auto is bf16 where the hardware has it; fp32 is exact, slower.",
)
model_options = stack(
    model_option,
    device_option,
    precision_option,
    click.option(
        "--max-side",
        type=click.IntRange(min=0),
        metavar="PX",
        callback=_working_side,
        show_default="1024",
        help="Longer side in pixels the network works at; results have full size. 0: the image's own size.",
    ),
)

method_options = stack(
    click.option(
        "--preset",
        type=click.Choice(["fast", "balanced", "accurate"]),
        show_default="balanced",
        help="Speed against accuracy; fast does not look for large rotations and zooms.",
    ),
    click.option(
        "--transform",
        type=click.Choice(TRANSFORMS),
        default="auto",
        help="Motion: the simplest model that explains the pair, else free (auto); free for every pixel "
        "(dense); or one model of all of it (tps: a smooth bend).",
    ),
    click.option(
        "--mirror",
        is_flag=True,
        help="Also consider that the source is mirrored, left for right (not with --preset fast).",
    ),
)
align_options = stack(model_options, method_options)
min_quality_option = click.option(
    "--min-quality",
    type=click.Choice(MIN_QUALITIES),
    default="failed",
    help="Worst verdict to accept. Worse: nothing is written, exit code 1. Files of a failed alignment are "
    "kept, with exit code 4; with none the exit code is 0.",
)

reading_options = stack(
    click.option(
        "--exif/--no-exif",
        "exif",
        default=True,
        help="Turn photographs upright as their EXIF orientation says, or take the pixels as stored.",
    ),
    click.option(
        "--page",
        type=click.IntRange(min=0),
        metavar="N",
        default=0,
        help="Page of a multi-page TIFF to read, counted from 0.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=0),
        metavar="N",
        default=300_000_000,
        show_default="300,000,000",
        help="Refuse images with more pixels (width x height) than this. 0: no limit.",
    ),
    click.option(
        "--mask-from",
        type=click.Choice(["alpha", "file"]),
        help="Ignore pixels that are clear (alpha), or black in NAME_mask.png beside the image (file).",
    ),
)

quality_option = click.option(
    "--quality",
    type=click.IntRange(1, 100),
    metavar="1-100",
    show_default="95",
    help="Quality of JPEG, WebP, HEIC and AVIF output.",
)
mask_option = click.option(
    "--mask",
    type=FILE,
    help="Also write the mask here (8-bit image): 255 where an alignment is trusted, for apply where valid.",
)
confidence_option = click.option(
    "--confidence",
    type=FILE,
    help="Also write the confidence here (8-bit image): from 0 to 255 where certain.",
)
writing_options = stack(
    click.option(
        "--interp",
        "interpolation",
        type=click.Choice(INTERPOLATIONS),
        show_default="linear, nearest for label images",
        help="How source pixels are sampled; nearest keeps labels intact.",
    ),
    click.option(
        "--fill",
        metavar="FILL",
        callback=_fill,
        default="#000000",
        show_default="black",
        help="Pixels without a source: a colour (name or hex), transparent (adds alpha), target (shows it).",
    ),
    quality_option,
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of the summary."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
verbosity_options = stack(json_option, quiet_option)
pair_options = stack(
    click.option(
        "--only-trusted",
        is_flag=True,
        help="Leave out what the source reaches but forward and backward flow disagree on: filled in images, "
        "unknown in flow.",
    ),
    align_options,
    click.option(
        "--init",
        type=FILE,
        help="Start from a known motion: a 3x3 matrix target to source (.txt, .json), a flow, or point pairs "
        "(.csv: source x, y, target x, y). What is left is estimated on top of it.",
    ),
    min_quality_option,
    click.option(
        "--source-mask",
        type=FILE,
        help="Image of the source's size, black where the source has no say (sky, people, time stamps).",
    ),
    click.option("--target-mask", type=FILE, help="The same for the target."),
    reading_options,
    verbosity_options,
)
