"""``glualign report``: one HTML file that shows whether a pair is aligned."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from glualign.cli.options import (
    align_options,
    aligner_from_options,
    quiet_option,
    reading_arguments,
    reading_options,
)

if TYPE_CHECKING:
    from glualign.viz.report import AlignmentLike

_file = click.Path(dir_okay=False)


@click.command(short_help="Show an alignment in one HTML file.")
@click.argument("source_path", metavar="SOURCE", type=_file)
@click.argument("target_path", metavar="TARGET", type=_file)
@click.argument("flow_path", metavar="[FLOW]", type=_file, required=False)
@click.option(
    "-o", "--output", required=True, type=_file, metavar="FILE", help="HTML file to write, e.g. report.html."
)
@click.option("--title", metavar="TEXT", show_default="names of both images", help="Heading of the report.")
@click.option("--assets", is_flag=True, help="Put the pictures into a folder beside the file, not into it.")
@click.option(
    "--size",
    type=click.IntRange(min=64),
    default=1400,
    show_default=True,
    metavar="PX",
    help="Longer side of the pictures at most.",
)
@align_options
@reading_options
@quiet_option
def command(
    source_path: str,
    target_path: str,
    flow_path: str | None,
    output: str,
    title: str | None,
    assets: bool,
    size: int,
    quiet: bool,
    **options: Any,
) -> None:
    """Show how SOURCE lies on TARGET in one self-contained HTML file.

    With FLOW, a saved flow from target to source, nothing is computed anew and the options of the model are
    not used; without it the pair is aligned first.

    The file holds a before/after slider, flicker, difference, pictures of the flow and the mask, figures,
    and the command that made it. It asks the network for nothing and can be sent by mail. Needs: pip
    install 'glualign[report]'.

    \b
    Examples:
      glualign report source.jpg target.jpg -o report.html
      glualign report source.jpg target.jpg flow.flo -o report.html
      glualign report source.jpg target.jpg -o out/report.html --assets --title "Tile 17"
    """
    from glualign.cli.console import status
    from glualign.outputs import check_outputs
    from glualign.viz.report import build_report

    check_outputs([output], [name for name in (source_path, target_path, flow_path) if name])
    alignment = _alignment(source_path, target_path, flow_path, options, show=not quiet)
    with status("Drawing ...", show=not quiet):
        written = build_report(
            alignment,
            output,
            command=command_line(click.get_current_context()),
            title=title,
            assets=assets,
            max_side=size,
        )
    if not quiet:
        beside = f" and {len(written) - 1} pictures in {written[1].parent}" if len(written) > 1 else ""
        click.echo(f"{written[0]}{beside}")


def command_line(context: click.Context) -> str:
    """The command that was given, rebuilt from its parameters: what was left out stays left out."""
    words = ["glualign", context.info_name or "report"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if (
            context.get_parameter_source(parameter.name or "") is not ParameterSource.COMMANDLINE
            or value is None
        ):
            continue
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append((parameter.opts if value else parameter.secondary_opts)[-1])
        else:
            words += [parameter.opts[0], str(value)]
    return shlex.join(words)


def _alignment(
    source: str, target: str, flow: str | None, options: dict[str, Any], *, show: bool
) -> AlignmentLike:
    from pathlib import Path

    from glualign.cli.console import status
    from glualign.flow import read_flow
    from glualign.images import read_image
    from glualign.viz.report import saved_alignment

    reading = reading_arguments(options)
    moving, fixed = read_image(source, **reading), read_image(target, **reading)
    if flow:
        return saved_alignment(moving, fixed, read_flow(flow), Path(flow).name)
    with status(f"Aligning {moving.name} to {fixed.name} ...", show=show):
        return aligner_from_options(options).align(moving, fixed)
