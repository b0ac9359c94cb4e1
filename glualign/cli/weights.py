"""``glualign weights``: list, fetch, check, import, describe and export checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import Telling, json_option, verbosity_options
from glualign.errors import CheckpointError

if TYPE_CHECKING:
    from glualign.checkpoints.fetch import CheckedFile


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Click callback: KEY=TEXT options as a dictionary."""
    if wrong := [value for value in values if "=" not in value[1:]]:
        raise click.BadParameter(f"{wrong[0]!r} is not KEY=TEXT", context, parameter)
    return dict(value.split("=", 1) for value in values)


@click.group(short_help="Weights: list, fetch, import, verify, export.")
def command() -> None:
    """List, fetch, check, import and export model weights.

    The default model ships with glualign; the official checkpoints are fetched once into the cache folder
    (GLUALIGN_CACHE, or the platform's own). GLUALIGN_OFFLINE=1 forbids the network.

    \b
    Example:
      glualign weights fetch glunet-static
    """


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Show every known checkpoint and whether it is on this machine.

    \b
    Example:
      glualign weights list
    """
    from glualign.checkpoints.registry import describe_all
    from glualign.cli.console import print_json, print_table

    known = describe_all()
    if as_json:
        print_json(known)
        return
    rows = ((k["name"], k["state"], "; short name ".join([k["title"], *k["aliases"]])) for k in known)
    print_table(("name", "state", "what it is"), rows)


@command.command("fetch")
@click.argument("name")
@click.option("--force", is_flag=True, help="Download again even if the file is there.")
@verbosity_options
def fetch_command(name: str, force: bool, **options: Any) -> None:
    """Download the checkpoint NAME into the cache and check it.

    What arrives is accepted when its hash is the known one; where none is known, when its architecture is
    right and every tensor fits.

    \b
    Example:
      glualign weights fetch glunet-static
    """
    from rich.progress import DownloadColumn, Progress

    from glualign.checkpoints.fetch import fetch
    from glualign.cli.console import progress_on

    columns = (*Progress.get_default_columns(), DownloadColumn())
    with progress_on(*columns, show=not options["quiet"], transient=False) as bar:
        task = bar.add_task("fetching", total=None)
        found = fetch(
            name, force=force, progress=lambda now, total: bar.update(task, completed=now, total=total)
        )
    _report(found, options)


@command.command("verify")
@click.argument("name", required=False, metavar="[NAME|FILE]")
@verbosity_options
def verify_command(name: str | None, as_json: bool, quiet: bool) -> None:
    """Check weights completely: readable, safe, every tensor fits, no NaN, hash as on record.

    Without an argument all checkpoints on this machine are checked. Exits with 1 if any is unsound.

    \b
    Example:
      glualign weights verify
    """
    from glualign.checkpoints.fetch import present_names, verify
    from glualign.cli.console import print_json, print_table

    checked, problems = [], []
    for one in [name] if name else present_names():
        try:
            found = verify(one)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        checked.append(found)
        if found.hash_state == "differs":
            problems.append(f"{found.path}: the SHA-256 is not the one on record; fetch or import it again")
    if as_json:
        print_json({"checked": checked, "problems": problems})
    elif not quiet and checked:
        print_table(
            ("name", "model", "parameters", "size", "hash", "SHA-256"),
            [(v.name, v.model, f"{v.parameters:,}", _size(v.size), v.hash_state, v.sha256) for v in checked],
            right=(2, 3),
        )
    if problems:
        raise CheckpointError("; ".join(problems))


@command.command("import")
@click.argument("file", type=click.Path())
@click.option("--name", metavar="NAME", help="Name to use; by default an official file is recognised.")
@verbosity_options
def import_command(file: str, name: str | None, **options: Any) -> None:
    """Copy a downloaded FILE of weights into the cache, after a strict check.

    Reads .pth, .pth.tar and .safetensors, and zip archives that hold one.

    \b
    Example:
      glualign weights import ~/Downloads/GLUNet_static.pth --name glunet-static
    """
    from glualign.checkpoints.fetch import import_file
    from glualign.cli.console import warn

    found = import_file(file, name=name)
    _report(found, options)
    if found.hash_state == "unlike registry":
        warn(f"{file}: not the bytes that the registry knows as {found.name}, though every tensor fits")


@command.command("path")
@click.argument("name", metavar="NAME")
def path_command(name: str) -> None:
    """Print where the weights NAME lie.

    \b
    Example:
      cp "$(glualign weights path compact)" .
    """
    from glualign.checkpoints.registry import find_weights

    click.echo(find_weights(name).path)


@command.command("info")
@click.argument("name", metavar="NAME|FILE")
@json_option
def info_command(name: str, as_json: bool) -> None:
    """Show what is known of a checkpoint: architecture, tensors, licence, training, published metrics.

    Of a file: what it holds. Of official weights not fetched yet: what the registry says, with the address.

    \b
    Example:
      glualign weights info compact
    """
    from glualign.checkpoints.registry import describe
    from glualign.cli.console import print_facts, print_json

    facts = describe(name)
    if as_json:
        print_json(facts)
        return
    config, metadata = facts.pop("config", {}), facts.pop("metadata", {})
    if "size" in facts:
        facts |= {"size": _size(facts["size"]), "parameters": f"{facts['parameters']:,}"}
    print_facts([(key, str(value)) for key, value in {**facts, **config, **metadata}.items()])


@command.command("export")
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The .safetensors file.")
@click.option(
    "--dtype",
    type=click.Choice(["fp16", "bf16", "fp32"]),
    default="fp16",
    help="Storage of the kernels; biases and batch norm stay fp32.",
)
@click.option(
    "--meta",
    "facts",
    metavar="KEY=TEXT",
    multiple=True,
    callback=_pairs,
    help="A fact to store with the weights, such as licence=Apache-2.0; can be repeated.",
)
@verbosity_options
def export_command(checkpoint: str, output: str, dtype: Any, facts: dict[str, str], **options: Any) -> None:
    """Write CHECKPOINT (a name or a file) as one safetensors file that describes itself.

    Of a training run (last.pt) the averaged weights are taken, with the recipe.

    \b
    Example:
      glualign weights export runs/compact/last.pt -o compact.safetensors
    """
    from glualign.checkpoints.export import export_checkpoint
    from glualign.checkpoints.fetch import verify

    export_checkpoint(checkpoint, output, metadata=facts, dtype=dtype)
    _report(verify(output), options)


def _report(found: CheckedFile, options: Mapping[str, Any]) -> None:
    rows = [
        ("name", found.name),
        ("file", str(found.path)),
        ("model", f"{found.model}, {found.parameters:,} values, {_size(found.size)}"),
        ("SHA-256", f"{found.sha256} (hash {found.hash_state})"),
    ]
    Telling.of(options).tell(vars(found), lambda: rows)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
