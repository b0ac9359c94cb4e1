"""``glualign resize-flow``: the same motion for images of another size."""

from __future__ import annotations

from typing import Any

import click

from glualign.cli.flow_files import flow_output_option
from glualign.cli.options import parse_size, verbosity_options


@click.command("resize-flow", short_help="Make a flow fit images of another size.")
@click.argument("flow_file", metavar="FLOW", type=click.Path())
@flow_output_option
@click.option(
    "--size", metavar="WxH", callback=parse_size, required=True, help="New size of the target in pixels."
)
@click.option(
    "--source-size",
    metavar="WxH",
    callback=parse_size,
    show_default="the old one, scaled like the target",
    help="New size of the source in pixels.",
)
@click.option(
    "--old-source-size",
    metavar="WxH",
    callback=parse_size,
    show_default="as stored in the file, else the flow's own size",
    help="Size in pixels of the source that FLOW was computed for.",
)
@verbosity_options
def command(
    flow_file: str,
    output: str,
    size: tuple[int, int],
    source_size: tuple[int, int] | None,
    old_source_size: tuple[int, int] | None,
    **options: Any,
) -> None:
    """Resize FLOW (target -> source) to images of another size, scaling its vectors with them.

    For a flow computed on small copies that is to be applied to the full-size images. Pixel centres are
    integers: a factor s maps x to (x + 0.5) * s - 0.5.

    \b
    Examples:
      glualign resize-flow small.flo -o full.flo --size 6000x4000
      glualign resize-flow small.flo -o full.npz --size 6000x4000 --source-size 4000x3000
    """
    from glualign.cli import flow_files
    from glualign.flow import resize

    resized = resize(flow_files.read(flow_file, old_source_size), size, source_size)
    flow_files.write(output, resized, flow_file)
    flow_files.tell(output, resized, options)
