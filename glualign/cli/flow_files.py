"""``glualign info``, ``invert``, ``compose``, ``resize-flow`` and ``convert``: files, above all of flow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import FORMAT, JSON, STREAM, Reading, Telling, command, option, size
from glualign.errors import GlualignError

if TYPE_CHECKING:
    from glualign.flow import Flow

Pixels = tuple[int, int] | None
CHECKPOINTS = (".safetensors", ".pth", ".tar", ".pt", ".ckpt", ".bin")
STORED = "as stored in the file, else the flow's own size"
SOURCE_SIZE = option(
    "--source-size WxH  Size in pixels of the source image; .flo, .pfm, .npy and KITTI .png do not store it.",
    size,
    show_default=STORED,
)
FLOW = click.Argument(["flow_file"], metavar="FLOW", type=STREAM)
OUT = (
    click.Argument(["out"], required=False, type=STREAM),
    option("-o, --output FILE|-  The same as OUT.", STREAM),
    FORMAT,
)


@command(
    FLOW,
    *OUT,
    SOURCE_SIZE,
    Telling,
    stdin=("flow_file",),
    stdout=".flo",
    output_required=True,
    short_help="Turn a flow around: source -> target.",
)
def invert(flow_file: str, output: str, source_size: Pixels, telling: Telling, **_: Any) -> None:
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

    _write(output, [flow_file], lambda: invert(read(flow_file, source_size)), telling)


@command(
    click.Argument(["first"], metavar="A", type=STREAM),
    click.Argument(["second"], metavar="B", type=STREAM),
    *OUT,
    Telling,
    stdin=("first", "second"),
    stdout=".flo",
    output_required=True,
    short_help="Follow two flows one after the other.",
)
def compose(first: str, second: str, output: str, telling: Telling, **_: Any) -> None:
    """Compose flow A (target -> middle) and flow B (middle -> source) into target -> source, written to OUT.

    The result lies on A's grid: result(x) = A(x) + B(x + A(x)). Pixels that A sends outside the middle image,
    or to an unknown pixel of B, are unknown.

    \b
    Examples:
      glualign compose frame3_to_2.flo frame2_to_1.flo -o frame3_to_1.flo
    """
    from glualign.flow import compose

    _write(output, [first, second], lambda: compose(read(first), read(second)), telling)


@command(
    FLOW,
    *OUT,
    option("--size WxH  New size of the target in pixels.", size, required=True),
    option(
        "--source-size WxH  New size of the source in pixels.",
        size,
        show_default="the old one, scaled like the target",
    ),
    option(
        "--old-source-size WxH  Size in pixels of the source that FLOW was computed for.",
        size,
        show_default=STORED,
    ),
    Telling,
    stdin=("flow_file",),
    stdout=".flo",
    output_required=True,
    short_help="Make a flow fit images of another size.",
)
def resize_flow(flow_file: str, output: str, telling: Telling, **sizes: Any) -> None:
    """Resize FLOW (target -> source) to images of another size, scaling its vectors, and write it to OUT.

    For a flow computed on small copies that is to be applied to the full-size images. Pixel centres are
    integers: a factor s maps x to (x + 0.5) * s - 0.5.

    \b
    Examples:
      glualign resize-flow small.flo -o full.flo --size 6000x4000
      glualign resize-flow small.flo -o full.npz --size 6000x4000 --source-size 4000x3000
    """
    from glualign.flow import resize

    def resized() -> Flow:
        return resize(read(flow_file, sizes["old_source_size"]), sizes["size"], sizes["source_size"])

    _write(output, [flow_file], resized, telling)


@command(
    click.Argument(["flow_file"], metavar="IN", type=STREAM),
    *OUT,
    SOURCE_SIZE,
    Telling,
    stdin=("flow_file",),
    stdout=".flo",
    output_required=True,
    short_help="Turn a flow file into another format.",
)
def convert(flow_file: str, output: str, source_size: Pixels, telling: Telling, **_: Any) -> None:
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
    _write(output, [flow_file], lambda: read(flow_file, source_size), telling)


@command(
    click.Argument(["file"], type=click.Path()),
    Reading,
    JSON(),
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

    extension = Path(file).suffix.lower()
    if not Path(file).exists():
        raise GlualignError(f"{file}: no such file")
    if Path(file).is_dir():
        raise GlualignError(f"{file}: is a folder; give an image, a flow file or a checkpoint")
    if extension in CHECKPOINTS:
        kind, facts = "checkpoint", _checkpoint_facts(file)
    elif extension in FLOW_EXTENSIONS and (extension != ".png" or _is_kitti_flow(file)):
        flow = read(file)
        kind, facts = "flow", {**_flow_facts(flow), "source_size_stored": flow.source_size is not None}
    else:
        kind, facts = "image", _image_facts(file, reading)
    found = {"file": file, "kind": kind, "bytes": Path(file).stat().st_size, **facts}
    Telling(as_json, quiet=False).tell(found)


def read(path: str, source_size: Pixels = None) -> Flow:
    """Read a flow; a source size given on the command line wins over the stored one."""
    from glualign.flow import Flow, read_flow

    flow = read_flow(path)
    return Flow(flow.data, source_size) if source_size is not None else flow


def _write(output: str, inputs: list[str], compute: Callable[[], Flow], telling: Telling) -> None:
    """Check where the flow goes, compute it, write it and tell of it."""
    from glualign.flow import write_flow
    from glualign.outputs import Outputs

    Outputs(flow=Path(output)).check(inputs)
    flow = compute()
    write_flow(output, flow)
    telling.tell({"output": output, **_flow_facts(flow)})


def _flow_facts(flow: Flow) -> dict[str, Any]:
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


def _is_kitti_flow(path: str) -> bool:
    """Whether a PNG is a flow in KITTI's encoding: 16-bit RGB whose blue channel is 0 or 1."""
    from glualign.files import open_regular
    from glualign.flow import read_flow

    try:
        with open_regular(path) as stream:
            if stream.read(26)[24:] != b"\x10\x02":  # depth and colour type of the PNG header
                return False
        read_flow(path)
    except (GlualignError, OSError):
        return False
    return True


def _image_facts(path: str, reading: Reading) -> dict[str, Any]:
    from glualign.images import read_image
    from glualign.images.exif import orientation

    image = read_image(path, **{**vars(reading), "apply_orientation": False})
    stored = orientation(image.exif)
    lying = reading.apply_orientation and stored >= 5  # shown turned by a quarter
    height, width = image.size[::-1] if lying else image.size
    return {
        "width": width,
        "height": height,
        "channels": image.channels,
        "depth": image.depth,
        "pixels": image.kind,
        "pages": image.pages,
        "palette": image.palette is not None,
        "labels": image.is_labels,
        "nodata": image.nodata,
        "notes": list(image.notes),
        "exif_orientation": stored,
        "shown_upright": reading.apply_orientation and stored != 1,
        "exif_bytes": len(image.exif or b""),
        "icc_bytes": len(image.icc or b""),
    }


def _checkpoint_facts(path: str) -> dict[str, Any]:
    from glualign.checkpoints import load_model

    loaded = load_model(path)
    return {
        "model": loaded.name,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "config": loaded.config.to_dict(),
        "metadata": dict(loaded.metadata),
    }
