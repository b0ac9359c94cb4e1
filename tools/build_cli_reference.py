"""Write docs/cli.md and one page per command in docs/cli/ from the commands themselves.

python tools/build_cli_reference.py            write the pages
python tools/build_cli_reference.py --check    exit with 1 if a page differs from what would be written
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))  # the commands of this tree, whatever is installed
HEADER = (
    "<!-- Written by tools/build_cli_reference.py from the commands; edit their help texts instead. -->\n"
)


def pages() -> dict[Path, str]:
    """Every page of the reference, by path."""
    from glualign.cli.main import SECTIONS, cli

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
    parser = argparse.ArgumentParser(description="Write the command-line reference from the commands.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a page is out of date"
    )
    check = parser.parse_args().check
    wanted = pages()
    stale = [path for path in (DOCS / "cli").glob("*.md") if path not in wanted]
    write_or_check(wanted, stale, check=check, command="tools/build_cli_reference.py")


def write_or_check(
    wanted: Mapping[Path, str], stale: Sequence[Path] = (), *, check: bool, command: str
) -> None:
    """Write the pages that differ and remove the stale ones; with ``check``, exit with 1 if there are any."""
    changed = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in [*stale, *changed]:
        done = "out of date" if check else "removed" if path in stale else "written"
        print(f"{path.relative_to(ROOT)}: {done}")
    if check:
        if stale or changed:
            sys.exit(f"The reference differs from the code: run python {command}")
        return
    for path in stale:
        path.unlink()
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")


if __name__ == "__main__":
    main()
