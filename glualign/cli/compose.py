"""``glualign compose``: two flows, one after the other, as one."""

from __future__ import annotations

from typing import Any

import click

from glualign.cli.flow_files import flow_output_option
from glualign.cli.options import verbosity_options


@click.command(short_help="Follow two flows one after the other.")
@click.argument("first", metavar="A", type=click.Path())
@click.argument("second", metavar="B", type=click.Path())
@flow_output_option
@verbosity_options
def command(first: str, second: str, output: str, **options: Any) -> None:
    """Compose flow A (target -> middle) and flow B (middle -> source) into target -> source.

    The result lies on A's grid: result(x) = A(x) + B(x + A(x)). Pixels that A sends outside the middle image,
    or to an unknown pixel of B, are unknown.

    \b
    Examples:
      glualign compose frame3_to_2.flo frame2_to_1.flo -o frame3_to_1.flo
    """
    from glualign.cli import flow_files
    from glualign.flow import compose

    both = compose(flow_files.read(first), flow_files.read(second))
    flow_files.write(output, both, first, second)
    flow_files.tell(output, both, options)
