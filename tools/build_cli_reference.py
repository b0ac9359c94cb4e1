"""Write docs/cli.md and one page per command in docs/cli/ from the commands themselves.

python tools/build_cli_reference.py            write the pages
python tools/build_cli_reference.py --check    exit with 1 if a page differs from what would be written
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click
from pages import DOCS, write_or_check

from glualign.cli.main import SECTIONS, cli

HEADER = (
    "<!-- Written by tools/build_cli_reference.py from the commands; edit their help texts instead. -->\n"
)


def pages() -> dict[Path, str]:
    """Every page of the reference, by path."""
    context = cli.make_context("glualign", [], resilient_parsing=True)
    written = {}
    index = [HEADER, "# Command-line reference\n", *_description(cli), "## Commands\n"]
    for section, names in SECTIONS.items():
        index += [f"### {section}\n", "| command | what it does |", "|---|---|"]
        for name in names:
            command = cli.get_command(context, name)
            assert command is not None
            index.append(f"| [`glualign {name}`](cli/{name}.md) | {_cell(command.get_short_help_str(200))} |")
            body = "\n".join([HEADER, *_page(command, context, name, level=1), "[All commands](../cli.md)\n"])
            written[DOCS / "cli" / f"{name}.md"] = body
        index.append("")
    index += [
        "## Exit codes\n",
        "| code | meaning |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | failed: one line on stderr says what, which file, and what to do |",
        "| 2 | the command line was not understood |",
        "| 3 | a batch or an evaluation finished, and some of its pairs failed |",
        "| 4 | `warp`, `flow`, `matches`, `report`: the files are written, but the verdict on the alignment "
        "is failed (`--min-quality none`: 0) |",
        "| 130, 143 | interrupted by Ctrl-C, by SIGTERM; `train` writes its checkpoint and ends with 0 the "
        "first time |",
        "",
        "See also: [shell completion](completion.md), [conventions](conventions.md), "
        "[troubleshooting](troubleshooting.md).\n",
    ]
    written[DOCS / "cli.md"] = "\n".join(index)
    return written


def _page(command: click.Command, parent: click.Context, name: str, *, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"{'#' * level} {context.command_path}\n"
    yield f"```\n{usage}\n```\n"
    yield from _description(command)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            subcommand = command.get_command(context, child)
            assert subcommand is not None
            yield from _page(subcommand, context, child, level=level + 1)
        return
    yield "| option | meaning |\n|---|---|"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"
    yield ""


def _description(command: click.Command) -> Iterator[str]:
    # In click's help texts a paragraph that starts with \b keeps its line breaks: examples and lists.
    text = inspect.cleandoc(command.help or "")
    for paragraph in text.split("\n\n"):
        if not paragraph.startswith("\b"):
            yield " ".join(paragraph.split()) + "\n"
            continue
        lines = [line for line in paragraph.splitlines() if line.strip("\b")]
        if lines and lines[0].rstrip().endswith(":"):
            yield lines.pop(0).strip() + "\n"
        yield "```\n" + inspect.cleandoc("\n" + "\n".join(lines)) + "\n```\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the pages, or compare them with what is there."""
    wanted = pages()
    write_or_check(__doc__, wanted, [path for path in (DOCS / "cli").glob("*.md") if path not in wanted])


if __name__ == "__main__":
    main()
