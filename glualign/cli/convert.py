"""``glualign convert``: one flow format into another."""

from __future__ import annotations

from typing import Any

import click

from glualign.cli.flow_files import source_size_option
from glualign.cli.options import verbosity_options


@click.command(short_help="Turn a flow file into another format.")
@click.argument("flow_in", metavar="IN", type=click.Path())
@click.argument("flow_out", metavar="OUT", type=click.Path())
@source_size_option
@verbosity_options
def command(flow_in: str, flow_out: str, source_size: tuple[int, int] | None, **options: Any) -> None:
    """Convert a flow file into another format, chosen by the extension of OUT.

    Formats: .flo (Middlebury), .png (KITTI, 16 bit, steps of 1/64 px), .pfm, .npy, .npz, .flo5 (HDF5), .nrrd
    and .mha (ITK displacement field; extra itk). The values stay as they are: target -> source, in source
    pixels. Unknown pixels stay unknown. .npz, .flo5, .nrrd and .mha also store direction and source size.

    \b
    Examples:
      glualign convert flow.flo flow.npy
      glualign convert kitti/000000_10.png flow.flo
      glualign convert flow.flo displacement.nrrd --source-size 1920x1080
    """
    from glualign.cli import flow_files

    flow = flow_files.read(flow_in, source_size)
    flow_files.write(flow_out, flow, flow_in)
    flow_files.tell(flow_out, flow, options)
