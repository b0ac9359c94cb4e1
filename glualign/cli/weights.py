"""``glualign weights``: list, fetch, check, import, describe and export checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import json_option, quiet_option
from glualign.errors import CheckpointError

if TYPE_CHECKING:
    from glualign.checkpoints.download import ProgressCallback
    from glualign.checkpoints.fetch import CheckedFile
    from glualign.checkpoints.registry import RegistryEntry

_HASHES = {
    "known": "hash known",
    "as recorded": "hash as recorded",
    "unlike registry": "hash as imported, not the registry's",
    "no record": "no hash on record",
    "differs": "HASH DIFFERS",
}


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Click callback: KEY=TEXT options as a dictionary."""
    pairs = [value.partition("=") for value in values]
    for (key, equals, _), value in zip(pairs, values, strict=True):
        if not (key and equals):
            raise click.BadParameter(f"{value!r} is not KEY=TEXT", context, parameter)
    return {key: text for key, _, text in pairs}


@click.group()
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
    from glualign.checkpoints.registry import imported_files, load_registry, stem
    from glualign.cli.console import print_json, print_table

    entries = list(load_registry())
    imported = imported_files()
    if as_json:
        print_json([_described(entry) for entry in entries] + [_described_import(path) for path in imported])
        return
    rows = [
        (entry.name, _state(entry), entry.title + "".join(f"; short name {alias}" for alias in entry.aliases))
        for entry in entries
    ]
    rows += [(stem(path), "imported", str(path)) for path in imported]
    print_table(("name", "state", "what it is"), rows)


@command.command("fetch")
@click.argument("name")
@click.option("--force", is_flag=True, help="Download again even if the file is there.")
@json_option
@quiet_option
def fetch_command(name: str, force: bool, as_json: bool, quiet: bool) -> None:
    """Download the checkpoint NAME into the cache and check it.

    What arrives is accepted when its hash is the known one; where none is known, when its architecture is
    right and every tensor fits.

    \b
    Example:
      glualign weights fetch glunet-static
    """
    from glualign.checkpoints.fetch import fetch

    with _progress_bar(name, show=not quiet) as progress:
        found = fetch(name, force=force, progress=progress)
    _report(found, as_json=as_json, quiet=quiet)


@command.command("verify")
@click.argument("name", required=False, metavar="[NAME|FILE]")
@json_option
@quiet_option
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
        print_json({"checked": [_as_json(found) for found in checked], "problems": problems})
    elif not quiet and checked:
        print_table(
            ("name", "model", "parameters", "size", "hash", "SHA-256"),
            [
                (v.name, v.model, f"{v.parameters:,}", _size(v.size), _HASHES[v.hash_state], v.sha256)
                for v in checked
            ],
            right=(2, 3),
        )
    if problems:
        raise CheckpointError("; ".join(problems))


@command.command("import")
@click.argument("file", type=click.Path())
@click.option("--name", metavar="NAME", help="Name to use; by default an official file is recognised.")
@json_option
@quiet_option
def import_command(file: str, name: str | None, as_json: bool, quiet: bool) -> None:
    """Copy a downloaded FILE of weights into the cache, after a strict check.

    Reads .pth, .pth.tar and .safetensors, and zip archives that hold one.

    \b
    Example:
      glualign weights import ~/Downloads/GLUNet_static.pth --name glunet-static
    """
    from glualign.checkpoints.fetch import import_file
    from glualign.cli.console import warn

    found = import_file(file, name=name)
    _report(found, as_json=as_json, quiet=quiet)
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
    from glualign.checkpoints.info import describe
    from glualign.cli.console import print_facts, print_json

    facts = describe(name)
    if as_json:
        print_json(facts)
        return
    shown = {key: value for key, value in facts.items() if not isinstance(value, dict)}
    for section in ("config", "metadata"):
        shown.update(facts.get(section, {}))
    print_facts([(key, _text(key, value)) for key, value in shown.items()])


@command.command("export")
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The .safetensors file.")
@click.option(
    "--dtype",
    type=click.Choice(["fp16", "bf16", "fp32"]),
    default="fp16",
    show_default=True,
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
@json_option
@quiet_option
def export_command(
    checkpoint: str, output: str, dtype: Any, facts: dict[str, str], as_json: bool, quiet: bool
) -> None:
    """Write CHECKPOINT (a name or a file) as one safetensors file that describes itself.

    Of a training run (last.pt) the averaged weights are taken, with the recipe.

    \b
    Example:
      glualign weights export runs/compact/last.pt -o compact.safetensors
    """
    from glualign.checkpoints.export import export_checkpoint
    from glualign.checkpoints.fetch import verify

    export_checkpoint(checkpoint, output, metadata=facts, dtype=dtype)
    _report(verify(output), as_json=as_json, quiet=quiet)


def _report(found: CheckedFile, *, as_json: bool, quiet: bool) -> None:
    from glualign.cli.console import print_facts, print_json

    if as_json:
        print_json(_as_json(found))
    elif not quiet:
        print_facts(
            [
                ("name", found.name),
                ("file", str(found.path)),
                ("model", f"{found.model}, {found.parameters:,} values, {_size(found.size)}"),
                ("SHA-256", f"{found.sha256} ({_HASHES[found.hash_state]})"),
            ]
        )


def _as_json(found: CheckedFile) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)


def _state(entry: RegistryEntry) -> str:
    if entry.source in ("embedded", "refused"):
        return entry.source
    return "fetched" if entry.path.is_file() else "not fetched"


def _described(entry: RegistryEntry) -> dict[str, Any]:
    from dataclasses import asdict

    there = entry.source != "refused" and entry.path.is_file()
    return {**asdict(entry), "state": _state(entry), "path": entry.path if there else None}


def _described_import(path: Any) -> dict[str, Any]:
    from glualign.checkpoints.registry import stem

    return {"name": stem(path), "source": "imported", "state": "imported", "path": path}


def _text(key: str, value: Any) -> str:
    if key == "size":
        return _size(value)
    if key == "parameters":
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


@contextmanager
def _progress_bar(name: str, *, show: bool) -> Iterator[ProgressCallback | None]:
    """A callback that moves a progress bar on stderr; None when there is no terminal to show it."""
    from glualign.cli.console import error_console

    if not (show and error_console.is_terminal):
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("{task.description}", *columns, console=error_console) as bar:
        task = bar.add_task(name, total=None)
        yield lambda arrived, total: bar.update(task, completed=arrived, total=total)
