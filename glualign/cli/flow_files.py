"""``glualign invert``, ``compose``, ``resize-flow`` and ``convert``: flow files in, a flow file out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import STREAM, Size, Telling, stack, verbosity_options
from glualign.cli.streams import format_option, streamable

if TYPE_CHECKING:
    from glualign.flow import Flow


source_size_option = click.option(
    "--source-size",
    type=Size(),
    show_default="as stored in the file, else the flow's own size",
    help="Size in pixels of the source image; .flo, .pfm, .npy and KITTI .png do not store it.",
)
output_options = stack(
    click.argument("out", required=False, type=STREAM),
    click.option("-o", "--output", type=STREAM, metavar="FILE|-", help="The same as OUT."),
    format_option,
)


@click.command(short_help="Turn a flow around: source -> target.")
@click.argument("flow_file", metavar="FLOW", type=STREAM)
@output_options
@source_size_option
@verbosity_options
@streamable("flow_file", default=".flo", required=True)
def invert(flow_file: str, output: str, source_size: tuple[int, int] | None, **options: Any) -> None:
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

    _write(output, [flow_file], lambda: invert(read(flow_file, source_size)), options)


@click.command(short_help="Follow two flows one after the other.")
@click.argument("first", metavar="A", type=STREAM)
@click.argument("second", metavar="B", type=STREAM)
@output_options
@verbosity_options
@streamable("first", "second", default=".flo", required=True)
def compose(first: str, second: str, output: str, **options: Any) -> None:
    """Compose flow A (target -> middle) and flow B (middle -> source) into target -> source, written to OUT.

    The result lies on A's grid: result(x) = A(x) + B(x + A(x)). Pixels that A sends outside the middle image,
    or to an unknown pixel of B, are unknown.

    \b
    Examples:
      glualign compose frame3_to_2.flo frame2_to_1.flo -o frame3_to_1.flo
    """
    from glualign.flow import compose

    _write(output, [first, second], lambda: compose(read(first), read(second)), options)


@click.command("resize-flow", short_help="Make a flow fit images of another size.")
@click.argument("flow_file", metavar="FLOW", type=STREAM)
@output_options
@click.option("--size", type=Size(), required=True, help="New size of the target in pixels.")
@click.option(
    "--source-size",
    type=Size(),
    show_default="the old one, scaled like the target",
    help="New size of the source in pixels.",
)
@click.option(
    "--old-source-size",
    type=Size(),
    show_default="as stored in the file, else the flow's own size",
    help="Size in pixels of the source that FLOW was computed for.",
)
@verbosity_options
@streamable("flow_file", default=".flo", required=True)
def resize_flow(
    flow_file: str,
    output: str,
    size: tuple[int, int],
    source_size: tuple[int, int] | None,
    old_source_size: tuple[int, int] | None,
    **options: Any,
) -> None:
    """Resize FLOW (target -> source) to images of another size, scaling its vectors, and write it to OUT.

    For a flow computed on small copies that is to be applied to the full-size images. Pixel centres are
    integers: a factor s maps x to (x + 0.5) * s - 0.5.

    \b
    Examples:
      glualign resize-flow small.flo -o full.flo --size 6000x4000
      glualign resize-flow small.flo -o full.npz --size 6000x4000 --source-size 4000x3000
    """
    from glualign.flow import resize

    _write(output, [flow_file], lambda: resize(read(flow_file, old_source_size), size, source_size), options)


@click.command(short_help="Turn a flow file into another format.")
@click.argument("flow_file", metavar="IN", type=STREAM)
@output_options
@source_size_option
@verbosity_options
@streamable("flow_file", default=".flo", required=True)
def convert(flow_file: str, output: str, source_size: tuple[int, int] | None, **options: Any) -> None:
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
    _write(output, [flow_file], lambda: read(flow_file, source_size), options)


def read(path: str, source_size: tuple[int, int] | None = None) -> Flow:
    """Read a flow; a source size given on the command line wins over the stored one."""
    from glualign.flow import Flow, read_flow

    flow = read_flow(path)
    return Flow(flow.data, source_size) if source_size is not None else flow


def facts(flow: Flow) -> dict[str, Any]:
    """What there is to know about a flow, as plain values for ``--json``."""
    import numpy as np

    known = flow.known
    length = flow.magnitude[known]
    return {
        "width": flow.width,
        "height": flow.height,
        "source_width": flow.source_frame[1],
        "source_height": flow.source_frame[0],
        "direction": "target -> source",
        "known_share": float(known.mean()),
        "valid_share": float(flow.valid().mean()),
        "mean_length": float(length.mean(dtype=np.float64)) if length.size else None,
        "max_length": float(length.max()) if length.size else None,
    }


def lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `facts` found as lines for a person."""

    def pixels(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f} px"

    return [
        ("direction", f"{facts['direction']} (target pixel (x, y) shows source position (x + u, y + v))"),
        ("target", f"{facts['width']} x {facts['height']} px"),
        ("source", f"{facts['source_width']} x {facts['source_height']} px"),
        ("known", f"{facts['known_share']:.1%} of the pixels"),
        ("valid", f"{facts['valid_share']:.1%} known and inside the source"),
        ("length", f"mean {pixels(facts['mean_length'])}, largest {pixels(facts['max_length'])}"),
    ]


def _write(output: str, inputs: list[str], compute: Callable[[], Flow], options: Mapping[str, Any]) -> None:
    """Check where the flow goes, compute it, write it and tell of it."""
    from glualign.flow import write_flow
    from glualign.outputs import Outputs

    Outputs(flow=Path(output)).check(inputs)
    flow = compute()
    write_flow(output, flow)
    found = {"output": output, **facts(flow)}
    Telling.of(options).tell(found, lambda: [("wrote", output), *lines(found)])
