"""``glualign``: the group that all commands hang on, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from glualign import __version__
from glualign.errors import GlualignError

# command -> module; each module has a click command called `command`. Modules import only click and
# glualign.cli.options at the top, so that help never waits for torch or OpenCV.
COMMANDS = {
    "warp": "glualign.cli.warp",
    "flow": "glualign.cli.flow",
    "batch": "glualign.cli.batch",
    "apply": "glualign.cli.apply",
    "invert": "glualign.cli.invert",
    "compose": "glualign.cli.compose",
    "resize-flow": "glualign.cli.resize_flow",
    "convert": "glualign.cli.convert",
    "viz": "glualign.cli.viz",
    "report": "glualign.cli.report",
    "info": "glualign.cli.info",
    "weights": "glualign.cli.weights",
    "evaluate": "glualign.cli.evaluate",
    "train": "glualign.cli.train",
    "bench": "glualign.cli.bench",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is first asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", prog_name="glualign")
def cli() -> None:
    """Line up two images of any kind with dense flow.

    Flow is always target -> source: target pixel (x, y) shows source position (x + u, y + v).

    \b
    Example:
      glualign warp source.jpg target.jpg -o out/
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a `GlualignError` becomes one line on stderr and exit code 1."""
    try:
        return cli.main(args=arguments, prog_name="glualign")
    except GlualignError as error:
        click.echo(f"glualign: error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away (`glualign ... | head`): stop quietly, as other tools do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
