"""How commands are declared, the options that several share, and ``-`` as a file to read or write.

This module imports click and nothing heavier, so that ``--help`` stays instant.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from glualign.cli.console import print_json, print_table, summary_rows, warn
from glualign.cli.streams import files_for_dashes
from glualign.errors import GlualignError, OutputError
from glualign.files import mask_beside
from glualign.quality import MIN_QUALITIES

if TYPE_CHECKING:
    from glualign.flow import Interpolation


FILE = click.Path(dir_okay=False)
FOLDER = click.Path(file_okay=False)
PATH = click.Path()
STREAM = click.Path(dir_okay=False, allow_dash=True)
NATURAL = click.IntRange(min=0)


def matching(pattern: str, wanted: str, value: Callable[[re.Match[str]], Any]) -> Callable[[str], Any]:
    """The type of values whose text matches a pattern, in any case: ``value`` is made of the match.

    A `GlualignError` of ``value`` says what is wrong with the text.
    """

    def convert(text: str) -> Any:
        if match := re.fullmatch(pattern, text.strip(), re.IGNORECASE):
            try:
                return value(match)
            except GlualignError as error:
                raise click.BadParameter(f"{error}.") from None
        raise click.BadParameter(f"{text!r} is not {wanted}.")

    return convert


def _fill(match: re.Match[str]) -> str:
    from glualign.rendering import fill_of

    return fill_of(match[0])


TYPES = {
    "FILE": FILE,
    "IMG": FILE,
    "FILE|-": STREAM,
    "DIR|FILE|-": PATH,
    "DIRECTORY": FOLDER,
    "N": click.IntRange(min=1),
    "PX": click.FloatRange(min=0, min_open=True),
    "X": click.FloatRange(min=0, min_open=True),
    "WxH": matching(  # (height, width) in the program
        r"0*([1-9]\d{0,6})\s*[x×]\s*0*([1-9]\d{0,6})",
        "a size in pixels such as 1920x1080",
        lambda match: (int(match[2]), int(match[1])),
    ),
    "EXT": matching(r"\.*(.*)", "an extension", lambda match: f".{match[1]}" if match[1] else None),
    "DEVICE": matching(
        r"auto|cpu|cuda(:\d+)?|mps", "one of auto, cpu, cuda, cuda:N, mps", lambda match: match[0].lower()
    ),
    "FILL": matching(r"(?s:.*)", "a fill", _fill),
}
"""Metavars that say the type of a value; others are text where no type is given."""


def option(declaration: str, type: Any = None, default: Any = None, *, name: str = "", **more: Any) -> Any:
    """A `click.Option`, declared as its help shows it; also as the default of its field in a dataclass.

    Args:
        declaration: names, the metavar of the value or its choices, two spaces, and what it means:
            ``"--onto [next|first]  Frame to align onto."``; without metavar and type it is a switch.
        type: of the value, or a function from text that raises `click.BadParameter`; None: as in `TYPES`.
        default: value when it is not given; ``show_default`` is the same in words.
        name: of the parameter; empty: click takes the longest flag's.
        more: further arguments of `click.Option`.
    """
    flags, _, text = declaration.partition("  ")
    words = flags.replace(",", "").split()
    metavar = None if words[-1].startswith("-") else words.pop()
    if metavar is None and type is None:
        more["is_flag"] = True
    elif metavar and metavar.startswith("["):
        type, metavar = click.Choice(metavar[1:-1].split("|")), None
    given = {"metavar": metavar, "type": type or TYPES.get(metavar or ""), "default": default}
    given = {key: value for key, value in given.items() if value is not None}
    return click.Option([*filter(None, [name]), *words], help=text, **given, **more)


def command(
    *parts: click.Parameter | type, short_help: str | None = None, name: str = "", stdout: str = ""
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command.

    Args:
        parts: parameters in the order of the help. A dataclass stands for the options of its fields, which
            the function receives as one object, named after the class.
        short_help: one line for the list of commands; None: the start of the function's docstring.
        name: of the command; empty: the function's.
        stdout: extension of standard output where ``--format`` does not say, of a command that can write
            there, and for whose arguments ``-`` is standard input. Its parameters ``out`` (an argument) and
            ``output`` (``-o``) become one ``output``; of `OUT` one must be given.
    """
    groups = {part.__name__.lower(): part for part in parts if isinstance(part, type)}
    parameters: list[click.Parameter] = []
    for part in parts:
        if isinstance(part, click.Parameter):
            parameters.append(part)
        else:
            parameters += [getattr(part, each.name) for each in fields(part)]

    inputs = [str(each.name) for each in parameters if isinstance(each, click.Argument)]

    def decorate(function: Callable[..., Any]) -> click.Command:
        def run(**values: Any) -> Any:
            if stdout:
                given = [name for name in (values.pop("out", None), values["output"]) if name is not None]
                if len(given) == 2:
                    raise click.UsageError("The output is given twice, as an argument and with -o.")
                if OUT[0] in parts and not given:
                    raise click.UsageError("Missing output: give OUT or --output.")
                values["output"] = given[0] if given else None
                check_format(values["output"] or "", values["format"] or "")
            elif values.get("output") == "-":
                raise click.UsageError(
                    "This command does not write to standard output; name a file or folder."
                )
            with files_for_dashes(values, inputs, stdout) if stdout else nullcontext():
                for key, group in groups.items():
                    values[key] = group(**{each.name: values.pop(each.name) for each in fields(group)})
                return function(**values)

        return click.Command(
            name or function.__name__.replace("_", "-"),
            callback=run,
            params=parameters,
            help=function.__doc__,
            short_help=short_help,
        )

    return decorate


def check_format(output: str, extension: str) -> None:
    """Refuse ``--format`` for a file whose name ends in another format; a folder leaves it open."""
    if not extension:
        return
    from glualign.outputs import is_folder

    extension = extension.lower()
    spellings = (".jpg", ".jpeg"), (".tif", ".tiff")
    try:
        is_folder(output, next((same for same in spellings if extension in same), (extension,)))
    except OutputError:
        raise click.UsageError(
            f"{output} is not {extension}, as --format says; leave that out, or end the name in {extension}, "
            "that of a folder in a slash."
        ) from None


def given_options(names: Collection[str]) -> list[str]:
    """The flags of those of the running command's parameters ``names`` that the command line holds."""
    context = click.get_current_context()
    return [
        "/".join(each.opts[:1] + each.secondary_opts)
        for each in context.command.params
        if each.name in names and context.get_parameter_source(each.name) is ParameterSource.COMMANDLINE
    ]


DEVICE = option(
    "--device DEVICE  Where to compute: auto (the fastest there is), cpu, cuda, cuda:N (the N-th GPU), mps.",
    default="auto",
)
PRECISION = option(
    "--precision [auto|fp32|bf16|fp16]  Number format of the convolutions: auto is bf16 where the "
    "hardware has it; fp32 is exact, slower.",
    default="auto",
)


def min_quality(meaning: str) -> Any:
    """The option ``--min-quality``; what a worse verdict leads to differs between one pair and many."""
    return option(f"--min-quality  Worst verdict to accept. {meaning}", click.Choice(MIN_QUALITIES), "failed")


QUALITY = option(
    "--quality 1-100  Quality of JPEG, WebP, HEIC and AVIF output.",
    click.IntRange(1, 100),
    show_default="95",
)
QUIET = option("-q, --quiet  Print nothing but errors.")
JSON = option("--json  Print one JSON object on stdout instead of the summary.", name="as_json")
FORMAT = option(
    "--format EXT  Format of standard output, or of the image written into a folder, such as png or tif."
)
OUT = (
    click.Argument(["out"], required=False, type=STREAM),
    option("-o, --output FILE|-  The same as OUT."),
    option("--format EXT  Format of standard output, such as flo or npz; a file's name says its own."),
)
"""Of commands that write a flow."""
MASK = option(
    "--mask FILE  Also write the mask here (8-bit image): 255 where an alignment is trusted, for apply "
    "where valid."
)
CONFIDENCE = option(
    "--confidence FILE  Also write the confidence here (8-bit image): from 0 to 255 where certain."
)


@dataclass(frozen=True)
class Aligning:
    """How to align; ``preset`` and ``max_side`` None: not given."""

    model: str = option(
        "-m, --model NAME|FILE  Model: a name from `glualign weights list`, or a file of weights "
        "(.safetensors, .pth, .pth.tar).",
        default="compact",
    )
    device: str = DEVICE
    precision: str = PRECISION
    max_side: int | None = option(
        "--max-side PX  Longer side in pixels the network works at; results have full size. 0: the image's "
        "own size.",
        matching(r"0|1[6-9]|[2-9]\d|[1-9]\d{2,}", "0 or at least 16", lambda match: int(match[0])),
        show_default="1024, 512 with --preset fast",
    )
    preset: str | None = option(
        "--preset [fast|balanced]  Speed against accuracy; fast does not look for large rotations and zooms.",
        show_default="balanced",
    )
    transform: str = option(
        "--transform [auto|dense|homography|affine|similarity|translation|tps]  Motion: the simplest model "
        "that explains the pair, else free (auto); free for every pixel (dense); or one model of all of it "
        "(tps: a smooth bend).",
        default="auto",
    )
    mirror: bool = option(
        "--mirror  Also consider that the source is mirrored, left for right (not with --preset fast)."
    )

    def arguments(self, *, here: bool = True) -> dict[str, Any]:
        """Keyword arguments for `Aligner.from_pretrained`; warns where it emulates the precision ``here``."""
        if self.mirror and self.preset == "fast":
            raise click.UsageError("--mirror needs a search, which --preset fast leaves out.")
        if here and self.precision == "bf16":
            from glualign.devices import choose_device, precision_note

            if note := precision_note("bf16", choose_device(self.device)):
                warn(note)
        given = {each.name: getattr(self, each.name) for each in fields(Aligning)}
        given |= {"preset": self.preset or "balanced", "max_side": self.max_side or None}
        if self.max_side is None:
            del given["max_side"]
        return given


def showing(declared: Any, default: str) -> Any:
    """A declared option whose help says another default, in words."""
    declared = copy.copy(declared)
    declared.show_default = default
    return declared


@dataclass(frozen=True)
class Reading:
    """How images are read: keyword arguments of `glualign.images.read_image`."""

    apply_orientation: bool = option(
        "--exif/--no-exif  Turn photographs upright as their EXIF orientation says, or take the pixels as "
        "stored.",
        default=True,
        name="apply_orientation",
    )
    page: int = option(
        "--page N  Page or frame to read of a file that has several (TIFF, GIF, WebP), counted from 0.",
        NATURAL,
        0,
    )
    max_pixels: int | None = option(
        "--max-pixels N  Refuse images with more pixels (width x height) than this. 0: no limit.",
        NATURAL,
        300_000_000,
        show_default="300,000,000",
        callback=lambda context, parameter, value: value or None,
    )
    mask_from: str | None = option(
        "--mask-from [alpha|file]  Ignore pixels that are clear (alpha), or black in NAME_mask.png beside "
        "the image (file)."
    )

    def companions(self, *images: str) -> list[str]:
        """The masks beside images that may be read with them."""
        return [str(mask_beside(image)) for image in images if self.mask_from == "file"]


@dataclass(frozen=True)
class Writing:
    """How warped images are drawn and written: keyword arguments of `write_outputs`."""

    interpolation: Interpolation | None = option(
        "--interp [nearest|linear|cubic|lanczos]  How source pixels are sampled; nearest keeps labels "
        "intact.",
        name="interpolation",
        show_default="linear, nearest for label images",
    )
    fill: str = option(
        "--fill FILL  Pixels without a source: a colour (name or hex), transparent (adds alpha), target "
        "(shows it).",
        default="#000000",
        show_default="black",
    )
    quality: int | None = QUALITY


@dataclass(frozen=True)
class Printing:
    """How a command prints what it did; with ``as_json`` progress and warnings are still for a person."""

    as_json: bool = JSON
    quiet: bool = QUIET

    def print_summary(self, values: Mapping[str, Any], rows: Sequence[tuple[str, str]] | None = None) -> None:
        """Print ``values`` as JSON, or ``rows`` (name and value; None: `summary_rows`), or nothing."""
        if self.as_json:
            print_json(values)
        elif not self.quiet:
            print_table(summary_rows(values) if rows is None else rows)
