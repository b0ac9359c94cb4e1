"""``glualign info``, ``invert``, ``compose``, ``resize-flow`` and ``convert``: files, above all of flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.console import warn
from glualign.cli.options import JSON, OUT, PATH, STREAM, Printing, Reading, command, option
from glualign.errors import FlowError

if TYPE_CHECKING:
    from glualign.arrays import Size
    from glualign.flow import Flow

CHECKPOINTS = (".safetensors", ".pth", ".tar", ".pt", ".ckpt", ".bin")
_MOSTLY_VALID = 0.95
"""Share of a flow that leads into its source, below which the size of that is doubted; set, not tuned."""
STORED = "as stored in the file, else the flow's own size"
SOURCE_SIZE = option(
    "--source-size WxH  Size in pixels of the source image; .flo, .pfm, .npy and KITTI .png do not store it.",
    show_default=STORED,
)
FLOW = click.Argument(["flow_file"], metavar="FLOW", type=STREAM)


def flow_tool(short_help: str, *parts: click.Parameter) -> Callable[[Callable[..., Flow]], click.Command]:
    """Make a function that computes a flow from files, its arguments, a command that writes it to OUT."""
    inputs = [part for part in parts if isinstance(part, click.Argument)]
    options = parts[len(inputs) :]

    def decorate(compute: Callable[..., Flow]) -> click.Command:
        @wraps(compute)
        def run(output: str, printing: Printing, format: str | None, **given: Any) -> None:
            from glualign.flow.files import MAX_FLOW_PIXELS, WITH_SOURCE_SIZE, write_flow
            from glualign.outputs import check_outputs

            files = [given[str(each.name)] for each in inputs]
            check_outputs({"flow": output}, files)
            with errors_about(*files):
                flow = compute(**given)
            write_flow(output, flow, max_pixels=MAX_FLOW_PIXELS)  # what could not be read again helps nobody
            lost = flow.source_size not in (None, flow.size)
            if lost and Path(output).suffix.lower() not in WITH_SOURCE_SIZE:
                size, formats = "{1}x{0}".format(*flow.source_frame), " ".join(WITH_SOURCE_SIZE)
                warn(f"{output}: does not say that its source is {size}; use {formats}, or --source-size")
            printing.print_summary({"output": output, **_flow_summary(flow)})

        return command(*inputs, *OUT, *options, Printing, short_help=short_help, stdout=".flo")(run)

    return decorate


@flow_tool("Turn a flow around: source -> target.", FLOW, SOURCE_SIZE)
def invert(flow_file: str, source_size: Size | None) -> Flow:
    """Invert FLOW: target -> source becomes source -> target, written to OUT.

    The result lies on the source's pixel grid and warps the target onto the source. Pixels of the source
    that the target does not show, or where FLOW folds, are unknown in the result.

    \b
    Examples:
      glualign invert flow.flo back.flo
      glualign invert flow.flo -o back.npz --source-size 1920x1080
      glualign apply back.flo target.png     # the target, drawn on the source's grid
    """
    from glualign.flow import invert

    flow = read(flow_file, source_size)
    warn_of_guess(flow_file, flow)
    return invert(flow)


@flow_tool(
    "Follow two flows one after the other.",
    click.Argument(["first"], metavar="A", type=STREAM),
    click.Argument(["second"], metavar="B", type=STREAM),
)
def compose(first: str, second: str) -> Flow:
    """Compose flow A (target -> middle) and flow B (middle -> source) into target -> source, written to OUT.

    The result lies on A's grid: result(x) = A(x) + B(x + A(x)). Pixels that A sends outside the middle image,
    or to an unknown pixel of B, are unknown.

    \b
    Examples:
      glualign compose frame3_to_2.flo frame2_to_1.flo -o frame3_to_1.flo
    """
    from glualign.flow import compose

    return compose(read(first), read(second))


@flow_tool(
    "Make a flow fit images of another size.",
    FLOW,
    option("--size WxH  New size of the target in pixels.", required=True),
    option(
        "--source-size WxH  New size of the source in pixels.",
        show_default="the old one, scaled like the target",
    ),
    option(
        "--old-source-size WxH  Size in pixels of the source that FLOW was computed for.", show_default=STORED
    ),
)
def resize_flow(flow_file: str, size: Size, source_size: Size | None, old_source_size: Size | None) -> Flow:
    """Resize FLOW (target -> source) to images of another size, scaling its vectors, and write it to OUT.

    For a flow computed on small copies that is to be applied to the full-size images. Pixel centres are
    integers: a factor s maps x to (x + 0.5) * s - 0.5.

    \b
    Examples:
      glualign resize-flow small.flo -o full.flo --size 6000x4000
      glualign resize-flow small.flo -o full.npz --size 6000x4000 --source-size 4000x3000
    """
    from glualign.flow import resize

    flow = read(flow_file, old_source_size)
    if source_size is not None:
        warn_of_guess(flow_file, flow, "--old-source-size")
    return resize(flow, size, source_size)


@flow_tool(
    "Turn a flow file into another format.",
    click.Argument(["flow_file"], metavar="IN", type=STREAM),
    SOURCE_SIZE,
)
def convert(flow_file: str, source_size: Size | None) -> Flow:
    """Convert the flow file IN into another format, chosen by the extension of OUT.

    Formats: .flo (Middlebury), .png (KITTI, 16 bit, steps of 1/64 px), .pfm, .npy, .npz, .flo5 (HDF5), .nrrd
    and .mha (ITK displacement field; extra itk). The values stay as they are: target -> source, in source
    pixels. Unknown pixels stay unknown. .npz, .flo5, .nrrd and .mha also store direction and source size.

    \b
    Examples:
      glualign convert flow.flo flow.npy
      glualign convert kitti/000000_10.png flow.flo
      glualign convert flow.flo displacement.nrrd --source-size 1920x1080
      glualign convert flow.flo - --format npz > flow.npz
    """
    return read(flow_file, source_size)


@command(
    click.Argument(["file"], type=PATH),
    Reading,
    JSON,
    short_help="Say what a file is: image, flow or checkpoint.",
)
def info(file: str, as_json: bool, reading: Reading) -> None:
    """Say what FILE is: an image, a flow (target -> source) or a checkpoint.

    \b
    Examples:
      glualign info photo.tif
      glualign info flow.flo --json
      glualign info weights/compact.safetensors
    """
    from glualign.flow import FLOW_EXTENSIONS

    extension, flow = Path(file).suffix.lower(), None
    if extension in FLOW_EXTENSIONS:
        # A .png may be a flow in KITTI's encoding; what is wrong with it as an image is said below.
        with suppress(FlowError) if extension == ".png" else nullcontext():
            flow = read(file)
    if extension in CHECKPOINTS:
        from glualign.checkpoints.fetch import describe

        kind, values = "checkpoint", describe(file)
    elif flow is not None:
        kind, values = "flow", {**_flow_summary(flow), "source_size_stored": flow.source_size is not None}
    else:
        kind, values = "image", _image_summary(file, reading)
    found = {"file": file, "kind": kind, "bytes": Path(file).stat().st_size, **values}
    Printing(as_json, quiet=False).print_summary(found)


@contextmanager
def errors_about(*names: str | None) -> Iterator[None]:
    """Put these names of files before a `FlowError` of the block that does not begin with one of them."""
    files = list(filter(None, names))
    try:
        yield
    except FlowError as error:
        if str(error).startswith(tuple(files)):
            raise
        raise FlowError(f"{', '.join(files)}: {error}") from error


def read(path: str, source_size: Size | None = None) -> Flow:
    """Read a flow; a source size given on the command line wins over the stored one."""
    from glualign.flow import Flow, read_flow

    flow = read_flow(path)
    return Flow(flow.data, source_size) if source_size is not None else flow


def warn_of_guess(path: str, flow: Flow, option: str = "--source-size") -> None:
    """Warn of what depends on the source's size where that is a guess that does not fit well."""
    if flow.source_size is None and flow.valid().mean() < _MOSTLY_VALID:
        guess = f"{flow.width} x {flow.height}"
        warn(f"{path}: does not say how large its source is; {option} says it, else it is {guess}")


def _flow_summary(flow: Flow) -> dict[str, Any]:
    import numpy as np

    lengths = flow.magnitude[flow.known]
    return {
        "direction": "target -> source",
        "width": flow.width,
        "height": flow.height,
        "source_width": flow.source_frame[1],
        "source_height": flow.source_frame[0],
        "known_share": float(flow.known.mean()),
        "valid_share": float(flow.valid().mean()),
        "mean_length": float(lengths.mean(dtype=np.float64)) if lengths.size else None,
        "max_length": float(lengths.max()) if lengths.size else None,
    }


def _image_summary(path: str, reading: Reading) -> dict[str, Any]:
    from glualign.images import read_image
    from glualign.images.exif import orientation

    image = read_image(path, **{**vars(reading), "apply_orientation": False})
    stored = orientation(image.exif)
    lying = reading.apply_orientation and stored >= 5  # shown turned by a quarter
    height, width = image.size[::-1] if lying else image.size
    return {
        "width": width,
        "height": height,
        **{name: getattr(image, name) for name in ("channels", "depth", "pages", "nodata")},
        "pixels": image.kind,
        "palette": image.palette is not None,
        "labels": image.is_labels,
        "notes": list(image.notes),
        "exif_orientation": stored,
        "shown_upright": reading.apply_orientation and stored != 1,
        "exif_bytes": len(image.exif or b""),
        "icc_bytes": len(image.icc or b""),
    }
