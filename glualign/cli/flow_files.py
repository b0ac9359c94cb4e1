"""What the commands on flow files share: the size option, and telling what was read and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import parse_size

if TYPE_CHECKING:
    from glualign.flow import Flow

DIRECTION = "target -> source"


source_size_option = click.option(
    "--source-size",
    metavar="WxH",
    callback=parse_size,
    show_default="as stored in the file, else the flow's own size",
    help="Size in pixels of the source image; .flo, .pfm, .npy and KITTI .png do not store it.",
)
flow_output_option = click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(),
    metavar="FILE",
    help="The flow file to write; its extension chooses the format.",
)


def read(path: str, source_size: tuple[int, int] | None = None) -> Flow:
    """Read a flow; a source size given on the command line wins over the stored one."""
    from glualign.flow import Flow, read_flow

    flow = read_flow(path)
    return Flow(flow.data, source_size) if source_size is not None else flow


def write(output: str, flow: Flow, *inputs: str) -> None:
    """Write a flow, never over one of the files it was made from."""
    from glualign.flow import write_flow
    from glualign.outputs import check_outputs

    check_outputs([output], inputs)
    write_flow(output, flow)


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
        "direction": DIRECTION,
        "known_share": float(known.mean()),
        "valid_share": float(flow.valid().mean()),
        "mean_length": float(length.mean(dtype=np.float64)) if length.size else None,
        "max_length": float(length.max()) if length.size else None,
    }


def tell(path: str, flow: Flow, options: Mapping[str, Any]) -> None:
    """Print what was written, as ``--json`` or ``--quiet`` ask."""
    if options["quiet"] and not options["as_json"]:
        return
    from glualign.cli.console import print_facts, print_json

    found = {"output": path, **facts(flow)}
    if options["as_json"]:
        print_json(found)
    else:
        print_facts([("wrote", path), *lines(found)])


def lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts of `facts` as lines for a person."""

    def pixels(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f} px"

    return [
        ("direction", f"{found['direction']} (target pixel (x, y) shows source position (x + u, y + v))"),
        ("target", f"{found['width']} x {found['height']} px"),
        ("source", f"{found['source_width']} x {found['source_height']} px"),
        ("known", f"{found['known_share']:.1%} of the pixels"),
        ("valid", f"{found['valid_share']:.1%} known and inside the source"),
        ("length", f"mean {pixels(found['mean_length'])}, largest {pixels(found['max_length'])}"),
    ]
