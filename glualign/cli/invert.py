"""``glualign invert``: the flow of the other direction."""

from __future__ import annotations

from typing import Any

import click

from glualign.cli.flow_files import flow_output_option, source_size_option
from glualign.cli.options import verbosity_options


@click.command(short_help="Turn a flow around: source -> target.")
@click.argument("flow_file", metavar="FLOW", type=click.Path())
@flow_output_option
@source_size_option
@verbosity_options
def command(flow_file: str, output: str, source_size: tuple[int, int] | None, **options: Any) -> None:
    """Invert FLOW: target -> source becomes source -> target.

    The result lies on the source's pixel grid and warps the target onto the source. Pixels of the source
    that the target does not show, or where FLOW folds, are unknown in the result.

    \b
    Examples:
      glualign invert flow.flo -o back.flo
      glualign invert flow.flo -o back.npz --source-size 1920x1080
      glualign apply back.flo target.png     # the target, drawn on the source's grid
    """
    from glualign.cli import flow_files
    from glualign.flow import invert

    inverse = invert(flow_files.read(flow_file, source_size))
    flow_files.write(output, inverse, flow_file)
    flow_files.tell(output, inverse, options)
