"""What every command's help owes to its reader."""

import re

import click
import pytest

from glualign.cli.main import COMMANDS, cli


def all_commands(command: click.Command, context: click.Context):
    if not isinstance(command, click.Group):
        yield context.command_path, command
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        yield from all_commands(child, click.Context(child, info_name=name, parent=context))


EVERY = dict(all_commands(cli, click.Context(cli, info_name="glualign")))
# Commands that read or write a flow must say which way it points.
FLOW = [
    f"glualign {name}"
    for name in ("warp", "flow", "apply", "invert", "compose", "resize-flow", "convert", "viz")
]


def words(command: click.Command) -> str:
    return " ".join((command.help or "").split())


@pytest.mark.parametrize("path", EVERY)
def test_help_has_an_example_that_calls_the_command(path):
    _, _, examples = EVERY[path].help.partition("Example")
    assert re.search(rf"\b{re.escape(path)}\b", examples), "no line shows the command in use"


@pytest.mark.parametrize("path", FLOW)
def test_help_states_the_direction_of_flow(path):
    assert re.search(
        r"target (->|to) (the )?source|from (the )?target (in)?to (the )?source", words(EVERY[path])
    )


@pytest.mark.parametrize("path", EVERY)
def test_every_option_has_help_that_ends_like_a_sentence(path):
    for parameter in EVERY[path].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{path} {parameter.opts[0]} has no help"
            assert parameter.help.rstrip().endswith((".", ")", "?")), (
                f"{path} {parameter.opts[0]}: {parameter.help}"
            )


@pytest.mark.parametrize("path", EVERY)
def test_examples_parse(path):
    """Examples that a reader copies must not be refused: their options exist and their choices are real."""
    for line in re.findall(rf"^\s+{re.escape(path)} (.*)$", EVERY[path].help, re.MULTILINE):
        arguments = re.split(r"\s[|>&]", line.split("  #")[0].replace("\\", " "))[0].split()
        if any(mark in line for mark in ("[", "...")):
            continue
        arguments = [argument.strip("'\"") for argument in arguments]
        context = click.Context(EVERY[path], info_name=path, resilient_parsing=False)
        try:
            EVERY[path].parse_args(context, arguments)
        except click.BadParameter as error:
            # A file of the example need not exist here; anything else wrong with it is a mistake.
            if "does not exist" not in error.message:
                pytest.fail(f"{line}: {error.message}")


def test_options_with_the_same_name_mean_the_same_everywhere():
    """An option declared twice drifts apart; shared ones come from glualign.cli.options."""
    shared = (
        "--model",
        "--device",
        "--precision",
        "--max-side",
        "--preset",
        "--transform",
    )
    texts: dict[str, set[str]] = {}
    for command in EVERY.values():
        for parameter in command.params:
            for name in parameter.opts:
                # Options that may be repeated (`evaluate --model`) are others of the same name.
                if name in shared and not parameter.multiple:
                    texts.setdefault(name, set()).add(parameter.help)
    assert {name: help_texts for name, help_texts in texts.items() if len(help_texts) > 1} == {}


def test_the_readme_names_every_command(root):
    readme = (root / "README.md").read_text("utf-8")
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", readme)] == []
