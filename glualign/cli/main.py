"""``glualign``: the group that all commands hang on, and the one place where errors become exit codes."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from traceback import walk_tb
from typing import Any, cast

import click

from glualign import __version__
from glualign.cli.exits import FAILED, INTERRUPTED, TERMINATED, termination_as_interrupt
from glualign.cli.streams import safe_streams
from glualign.errors import GlualignError

# Section of the help -> commands and their modules. These import little more than click at the top, so that
# help waits for neither torch nor OpenCV.
SECTIONS = {
    "Align": {"warp": "pair", "flow": "pair", "matches": "pair", "batch": "batch"},
    "Work with flow files": {
        "apply": "apply",
        **dict.fromkeys(("invert", "compose", "resize-flow", "convert", "info"), "flow_files"),
    },
    "Look": dict.fromkeys(("viz", "report", "video"), "pictures"),
    "Models and measurements": {
        "weights": "weights",
        **dict.fromkeys(("evaluate", "bench", "train"), "measure"),
    },
}
COMMANDS = {name: module for names in SECTIONS.values() for name, module in names.items()}


class CommandGroup(click.Group):
    """A group that imports a command's module when asked for it, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; a `UsageError` with the nearest names where there are some."""
        if cmd_name in COMMANDS:
            module = import_module(f"glualign.cli.{COMMANDS[cmd_name]}")
            return cast("click.Command", getattr(module, cmd_name.replace("-", "_")))
        near = get_close_matches(cmd_name, COMMANDS, n=2)
        if near and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {cmd_name!r}. Did you mean {' or '.join(near)}?", ctx)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under their section headings."""
        widest = max(map(len, COMMANDS))
        limit = formatter.width - 6 - widest
        for section, names in SECTIONS.items():
            with formatter.section(section):
                commands = {name.ljust(widest): self.get_command(ctx, name) for name in names}
                shown = [(name, each.get_short_help_str(limit)) for name, each in commands.items() if each]
                formatter.write_dl(shown)

    def main(self, args: Sequence[str] | None = None, *more: Any, **kwargs: Any) -> Any:
        """As click does, through `safe_streams`; a `GlualignError` becomes one line and exit code 1.

        The object of the context is the command line as it was given.
        """
        with safe_streams(), termination_as_interrupt() as terminated:
            try:
                line = shlex.join(["glualign", *(sys.argv[1:] if args is None else args)])
                return super().main(args, *more, **{"prog_name": "glualign", "obj": line, **kwargs})
            except SystemExit as end:
                sys.exit(TERMINATED if terminated and end.code == INTERRUPTED else end.code)
            except BrokenPipeError:
                # The reader of our output went away (`glualign ... | head`): stop quietly, as other tools do.
                sys.exit(FAILED)
            except GlualignError as error:
                with suppress(OSError, GlualignError):  # with stderr full or closed the exit code has to do
                    click.echo(f"glualign: error: {' '.join(str(error).split())}", err=True)
                sys.exit(FAILED)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend becomes a `GlualignError`.

        Ctrl-C or SIGTERM ends the command with one line and the exit code that shells expect.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("glualign: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except (GlualignError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            if remedy := _remedy(error, command):
                raise GlualignError(remedy) from error
            raise


def _remedy(error: Exception, command: click.Command | None) -> str | None:
    """What a user of the command can do about an error that is not ours; None: a mistake in the program."""
    text = str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    # PyTorch on CUDA and on the CPU, OpenCV, numpy and the loader each have words of their own for it.
    memory = (
        "out of memory|not enough memory|insufficient memory|can(not|'t) allocate memory|unable to allocate|"
        "failed to map"
    )
    short = isinstance(error, MemoryError) or re.search(memory, text, re.IGNORECASE) is not None
    binary = re.search(r"\.so\b|\.dylib\b|DLL load failed", text)
    if not (binary and isinstance(error, (ImportError, OSError))):
        has_limit = command is not None and any(each.name == "max_side" for each in command.params)
        less = "a lower --max-side takes" if has_limit else "smaller images take"
        return f"out of memory; {less} less" if short else None
    package = "a library"
    for frame, _ in walk_tb(error.__traceback__):  # the last not of Python is the one whose import failed
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name not in ("", "glualign", "click", "importlib", "ctypes", "__main__"):
            package = name
    mend = "out of memory" if short else f"install it again, or see what {package} needs"
    if not short and (package == "cv2" or re.search("libGL|libgthread|libxcb|libSM", text)):
        package = "OpenCV"
        mend = (
            "on a machine without a desktop: "
            "pip uninstall opencv-python && pip install opencv-python-headless"
        )
    return f"{package} cannot be loaded ({text}); {mend}"


cli = main = CommandGroup(
    "glualign",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
    help="""Line up two images of any kind with dense flow.

    Flow is always target -> source: target pixel (x, y) shows source position (x + u, y + v).

    \b
    Example:
      glualign warp source.jpg target.jpg -o out/
    """,
)
click.version_option(__version__, "-V", "--version", prog_name="glualign")(cli)
