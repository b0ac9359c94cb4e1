"""``glualign``: the group that all commands hang on, and the one place where errors become exit codes."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from glualign import __version__
from glualign.cli.streams import safe_streams
from glualign.errors import GlualignError

# Section of the help -> commands -> module and name of the click command. Modules import little more than
# click at the top, so that help never waits for torch or OpenCV.
SECTIONS = {
    "Align": {
        "warp": "warp:command",
        "flow": "flow:command",
        "matches": "matches:command",
        "batch": "batch:command",
    },
    "Work with flow files": {
        "apply": "apply:command",
        "invert": "flow_files:invert",
        "compose": "flow_files:compose",
        "resize-flow": "flow_files:resize_flow",
        "convert": "flow_files:convert",
        "info": "info:command",
    },
    "Look": {
        "viz": "viz:command",
        "report": "report:command",
        "video": "video:command",
    },
    "Models and measurements": {
        "weights": "weights:command",
        "evaluate": "evaluate:command",
        "bench": "bench:command",
        "train": "train:command",
    },
}
COMMANDS = {name: place for section in SECTIONS.values() for name, place in section.items()}


class OneLineError(click.ClickException):
    """An error on purpose: one line on stderr, exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Print the line."""
        with suppress(OSError, GlualignError):  # with stderr full or closed the exit code has to do
            click.echo(f"glualign: error: {' '.join(self.message.split())}", err=True)


class CommandGroup(click.Group):
    """A group that imports a command's module when asked for it, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(f"glualign.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest names in the message when there is no such command."""
        near = get_close_matches(args[0], COMMANDS, n=2)
        if args[0] not in COMMANDS and near:
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {' or '.join(near)}?", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under their section headings."""
        widest = max(map(len, COMMANDS))
        limit = formatter.width - 6 - widest
        for section, names in SECTIONS.items():
            with formatter.section(section):
                commands = [(name.ljust(widest), self.get_command(ctx, name)) for name in names]
                formatter.write_dl(
                    [(name, each.get_short_help_str(limit)) for name, each in commands if each]
                )

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click does, with everything printed through `safe_streams`."""
        with safe_streams():
            try:
                try:
                    return super().main(*args, **kwargs)
                finally:
                    sys.stdout.flush()
            except BrokenPipeError:
                # The reader of our output went away (`glualign ... | head`): stop quietly, as other tools do.
                sys.exit(1)
            except GlualignError as error:  # the disk that stdout goes to is full
                OneLineError(str(error)).show()
                sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors that a user can mend become one line on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except GlualignError as error:
            raise OneLineError(str(error)) from error
        except KeyboardInterrupt:
            click.echo("glualign: interrupted", err=True)
            raise click.exceptions.Exit(130) from None
        except Exception as error:
            remedy = _remedy(error)
            if remedy is None:
                raise
            raise OneLineError(remedy) from error


def _remedy(error: Exception) -> str | None:
    """What a user can do about an error that is not ours, or None for a mistake in the program."""
    text = str(error)
    if isinstance(error, (ImportError, OSError)) and re.search(r"\.so\b|\.dylib\b|DLL load failed", text):
        return _unloadable(_importing(error), text)
    # PyTorch on CUDA and on the CPU, OpenCV and numpy each have words of their own for it.
    words = "out of memory|not enough memory|can't allocate memory|insufficient memory|unable to allocate"
    if isinstance(error, MemoryError) or re.search(words, text, re.IGNORECASE):
        return "out of memory; a lower --max-side takes less"
    return None


def _importing(error: BaseException) -> str:
    """The package whose import raised ``error``: the last in its traceback that is not Python's."""
    found, frame = "a library", error.__traceback__
    while frame is not None:
        package = str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in ("", "glualign", "click", "importlib", "ctypes", "__main__"):
            found = package
        frame = frame.tb_next
    return found


def _unloadable(package: str, text: str) -> str:
    """What to do about a binary library that cannot be loaded."""
    if re.search("failed to map|cannot allocate memory", text, re.IGNORECASE):
        return f"{package} cannot be loaded: out of memory ({text})"
    if package == "cv2" or re.search("libGL|libgthread|libxcb|libSM", text):
        return (
            f"OpenCV cannot be loaded ({text}); on a machine without a desktop: "
            "pip uninstall opencv-python && pip install opencv-python-headless"
        )
    return f"{package} cannot be loaded ({text}); install it again, or see what {package} needs"


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
)
@click.version_option(__version__, "-V", "--version", prog_name="glualign")
def cli() -> None:
    """Line up two images of any kind with dense flow.

    Flow is always target -> source: target pixel (x, y) shows source position (x + u, y + v).

    \b
    Example:
      glualign warp source.jpg target.jpg -o out/
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line: the entry point of ``glualign`` and ``python -m glualign``."""
    return cli.main(args=arguments, prog_name="glualign")


if __name__ == "__main__":
    main()
