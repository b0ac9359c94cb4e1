"""The options that several commands share, each declared once.

A command takes them as ``**options`` and hands the dictionary to the functions at the end of this file, which
pass on only what the user gave: what was left out keeps the library's own default. This module imports click
and nothing heavier, so that ``--help`` stays instant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from glualign.errors import GlualignError

if TYPE_CHECKING:
    from glualign.aligner import Aligner
    from glualign.alignment import Alignment

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

INTERPOLATIONS = ("nearest", "linear", "cubic", "lanczos")
TRANSFORMS = ("dense", "homography", "affine", "similarity", "translation", "tps")
WITHOUT_MATRIX = ("dense", "tps")  # the transforms that no 3x3 matrix describes
SMALLEST_MAX_SIDE = 16
VERDICTS = ("failed", "doubtful", "good")  # from worst to best: --min-quality compares positions


def _matching(pattern: str, understood: str) -> Callable[[click.Context, click.Parameter, str], str]:
    """A click callback that accepts text of one shape, and says what it understands when it refuses."""

    def check(context: click.Context, parameter: click.Parameter, value: str) -> str:
        text = value.strip().lower()
        if not re.fullmatch(pattern, text):
            raise click.BadParameter(f"{value!r} is not one of {understood}.", context, parameter)
        return text

    return check


def _working_side(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    if value is not None and 0 < value < SMALLEST_MAX_SIDE:
        raise click.BadParameter(f"must be 0 or at least {SMALLEST_MAX_SIDE} pixels.", context, parameter)
    return value


def parse_size(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """A click callback: ``WxH`` as ``(height, width)``."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,7})\s*[xX×]\s*(\d{1,7})", value.strip())
    if match is None or 0 in (int(match[1]), int(match[2])):
        raise click.BadParameter(f"{value!r} is not a size in pixels such as 1920x1080.", context, parameter)
    return int(match[2]), int(match[1])


def parse_sizes(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, int] | None, ...]:
    """The same for an option that may be repeated."""
    return tuple(parse_size(context, parameter, value) for value in values)


def stack(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator that applies several, so that ``--help`` lists them in the order given here."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


model_option = click.option(
    "-m",
    "--model",
    metavar="NAME|FILE",
    default="compact",
    show_default=True,
    help="Model: a name from `glualign weights list`, or a file of weights (.safetensors, .pth, .pth.tar).",
)
device_option = click.option(
    "--device",
    metavar="DEVICE",
    callback=_matching(r"auto|cpu|cuda(:\d+)?|mps", "auto, cpu, cuda, cuda:N, mps"),
    default="auto",
    show_default=True,
    help="Where to compute: auto (the fastest there is), cpu, cuda, cuda:N (the N-th GPU), mps.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Number format of the convolutions: auto is bf16 where the hardware has it; fp32 is exact, slower.",
)
max_side_option = click.option(
    "--max-side",
    type=click.IntRange(min=0),
    metavar="PX",
    callback=_working_side,
    show_default="1024",
    help="Longer side in pixels the network works at; results have full size. 0: the image's own size.",
)

model_options: Callable[[Any], Any] = stack(model_option, device_option, precision_option, max_side_option)

method_options: Callable[[Any], Any] = stack(
    click.option(
        "--preset",
        type=click.Choice(["fast", "balanced", "accurate"]),
        show_default="balanced",
        help="Speed against accuracy: sets the options below, each of which can still be given.",
    ),
    click.option(
        "--passes",
        type=click.IntRange(min=0),
        metavar="N",
        show_default="by preset",
        help="At most so many passes after the first, each with the global motion found so far undone.",
    ),
    click.option(
        "--search",
        type=click.Choice(["off", "auto", "full"]),
        show_default="by preset",
        help="Look for large rotations and zooms: never, while nothing convinces, or always.",
    ),
    click.option(
        "--transform",
        type=click.Choice(TRANSFORMS),
        default="dense",
        show_default=True,
        help="Motion: free for every pixel (dense), or one model of all of it (tps: a smooth bend).",
    ),
    click.option(
        "--fallback/--no-fallback",
        default=None,
        show_default="by preset",
        help="With --transform dense: use a global transform where it explains more than the flow.",
    ),
    click.option(
        "--mirror",
        is_flag=True,
        help="Also consider that the source is mirrored, left for right (needs a --search).",
    ),
    click.option(
        "--refine",
        type=click.Choice(["auto", "off"]),
        show_default="by preset",
        help="Sub-pixel refinement at full size, for pairs that look alike and only where it helps.",
    ),
)
min_quality_option = click.option(
    "--min-quality",
    type=click.Choice(VERDICTS),
    default="failed",
    show_default=True,
    help="Write nothing and exit with 1 when the verdict on the alignment is worse than this.",
)

align_options: Callable[[Any], Any] = stack(model_options, method_options)

reading_options: Callable[[Any], Any] = stack(
    click.option(
        "--exif/--no-exif",
        "exif",
        default=True,
        show_default=True,
        help="Turn photographs upright as their EXIF orientation says, or take the pixels as stored.",
    ),
    click.option(
        "--page",
        type=click.IntRange(min=0),
        metavar="N",
        default=0,
        show_default=True,
        help="Page of a multi-page TIFF to read, counted from 0.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=0),
        metavar="N",
        show_default="300,000,000",
        help="Refuse images with more pixels (width x height) than this. 0: no limit.",
    ),
)

interpolation_option = click.option(
    "--interp",
    "interpolation",
    type=click.Choice(INTERPOLATIONS),
    default=None,
    show_default="linear, nearest for label images",
    help="How source pixels are sampled; nearest keeps labels intact.",
)
fill_option = click.option(
    "--fill",
    metavar="FILL",
    callback=_matching(r"transparent|target|#[0-9a-f]{6}", "transparent, target, #rrggbb"),
    default="#000000",
    show_default=True,
    help="Pixels without a valid source: a colour, transparent (adds alpha), or target (its pixels).",
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
    "mask_path",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Also write the valid mask here (8-bit image: 255 valid, 0 not).",
)

writing_options: Callable[[Any], Any] = stack(interpolation_option, fill_option, quality_option)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of the summary."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
verbosity_options: Callable[[Any], Any] = stack(json_option, quiet_option)

# Options that Aligner.from_pretrained takes under the same name. None means: not given, keep its default.
_ALIGNER_KEYS = (
    *("device", "precision", "preset", "passes", "search", "transform", "fallback", "mirror", "refine"),
)


def aligner_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `Aligner.from_pretrained` from parsed options: only those that were given."""
    arguments = {key: options[key] for key in _ALIGNER_KEYS if options.get(key) is not None}
    if options.get("max_side") is not None:
        arguments["max_side"] = options["max_side"] or None  # 0 on the command line: the image's own size
    return arguments


def aligner_from_options(options: Mapping[str, Any]) -> Aligner:
    """The aligner that ``align_options`` describe.

    Raises:
        CheckpointError: unknown model or unusable file of weights.
        DeviceError: the device or precision is not there.
    """
    from glualign.aligner import Aligner

    return Aligner.from_pretrained(options.get("model") or "compact", **aligner_arguments(options))


def reading_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `glualign.images.read_image` from ``reading_options``."""
    arguments: dict[str, Any] = {"apply_orientation": options["exif"], "page": options["page"]}
    if options.get("max_pixels") is not None:
        arguments["max_pixels"] = options["max_pixels"] or None  # 0 on the command line: no limit
    return arguments


def require_quality(alignment: Alignment, minimum: str) -> None:
    """Refuse an alignment whose verdict is worse than ``--min-quality``.

    Raises:
        GlualignError: with the verdict and what to try.
    """
    verdict = alignment.quality.verdict
    if VERDICTS.index(verdict) < VERDICTS.index(minimum):
        raise GlualignError(
            f"{alignment.source.name}: the alignment is {verdict}, --min-quality asks for {minimum}; "
            "nothing was written (try --preset accurate or --search full)"
        )
