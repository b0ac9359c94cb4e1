"""``glualign report``: one HTML file that shows whether a pair is aligned."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from glualign.cli.options import FILE, Aligning, Reading, align_options, quiet_option, reading_options

if TYPE_CHECKING:
    from glualign.alignment import Alignment
    from glualign.images import Image
    from glualign.report.alignment import SavedAlignment


@click.command(short_help="Show an alignment in one HTML file.")
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
@click.argument("flow", metavar="[FLOW]", type=FILE, required=False)
@click.option("-o", "--output", required=True, type=FILE, help="HTML file to write, e.g. report.html.")
@click.option("--title", metavar="TEXT", show_default="names of both images", help="Heading of the report.")
@click.option("--mask", type=FILE, metavar="IMG", help="With FLOW: the mask that warp --mask wrote.")
@click.option(
    "--confidence", type=FILE, metavar="IMG", help="With FLOW: the confidence that warp --confidence wrote."
)
@click.option(
    "--summary", type=FILE, help="With FLOW: what warp --json printed (verdict, numbers, transform, timings)."
)
@click.option(
    "--size",
    type=click.IntRange(min=64),
    default=1400,
    metavar="PX",
    help="Longer side of the pictures at most.",
)
@align_options
@reading_options
@quiet_option
def command(
    source: str, target: str, output: str, title: str | None, size: int, quiet: bool, **options: Any
) -> None:
    """Show how SOURCE lies on TARGET in one self-contained HTML file.

    With FLOW, a saved flow from target to source, nothing is computed anew and the options of the model are
    not used; --mask, --confidence and --summary add what else was kept of the alignment. Without FLOW the
    pair is aligned first. `glualign warp --report FILE` writes the same page beside the results.

    The file holds a before/after slider, flicker, difference, pictures of the flow and the mask, numbers,
    and the command that made it. It asks the network for nothing and can be sent by mail. Needs: pip
    install 'glualign[report]'.

    \b
    Examples:
      glualign report source.jpg target.jpg -o report.html
      glualign report source.jpg target.jpg flow.flo -o report.html
      glualign report source.jpg target.jpg flow.flo --mask mask.png --summary warp.json -o report.html
    """
    from glualign.cli.console import status
    from glualign.cli.pair import align_pair
    from glualign.outputs import check_outputs
    from glualign.report.alignment import build_report
    from glualign.report.page import environment

    saved = [options[name] for name in ("flow", "mask", "confidence", "summary")]
    if any(saved) and not options["flow"]:
        raise click.UsageError("--mask, --confidence and --summary belong to a saved FLOW; give that too.")
    check_outputs([output], filter(None, (source, target, *saved)))
    environment()
    moving, fixed = Reading.of(options).images(source, target, quiet=quiet, matched=False)
    alignment: Alignment | SavedAlignment
    if options["flow"]:
        alignment = _saved(moving, fixed, *saved)
    else:
        alignment = align_pair(moving, fixed, Aligning.of(options), show=not quiet)
    with status("Drawing ...", show=not quiet):
        line = command_line(click.get_current_context())
        build_report(alignment, output, command=line, title=title, max_side=size)
    if not quiet:
        click.echo(output)


def _saved(
    source: Image, target: Image, flow: str, mask: str | None, confidence: str | None, summary: str | None
) -> SavedAlignment:
    """The pair with its saved flow and what else was kept of the alignment, all by the names of files."""
    from glualign.cli.viz import read_grey_map
    from glualign.flow import read_flow
    from glualign.report.alignment import read_summary, saved_alignment

    field = read_flow(flow)
    return saved_alignment(
        source,
        target,
        field,
        Path(flow).name,
        mask=read_grey_map(mask, field) >= 0.5 if mask else None,
        confidence=read_grey_map(confidence, field) if confidence else None,
        summary=read_summary(summary) if summary else None,
    )


def command_line(context: click.Context) -> str:
    """The command that was given, rebuilt from its parameters: what was left out stays left out."""
    words = ["glualign", context.info_name or "report"]
    for parameter in context.command.params:
        name = parameter.name or ""
        value, origin = context.params.get(name), context.get_parameter_source(name)
        if origin is not ParameterSource.COMMANDLINE or value is None:
            continue
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append((parameter.opts if value else parameter.secondary_opts)[-1])
        else:
            words += [parameter.opts[0], str(value)]
    return shlex.join(words)
