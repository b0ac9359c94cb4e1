"""``glualign weights``: list, fetch, check, import, describe and export checkpoints."""

from __future__ import annotations

import re
from typing import Any

import click

from glualign.cli.console import is_quiet, print_json, print_table, progress_on, warn
from glualign.cli.options import JSON, Printing, command, matching, option
from glualign.errors import CheckpointError


@command(JSON, name="list")
def list_command(as_json: bool) -> None:
    """Show every known checkpoint and whether it is on this machine.

    \b
    Example:
      glualign weights list
    """
    from glualign.checkpoints.registry import describe_all

    known = describe_all()
    if as_json:
        print_json(known)
        return
    rows = ((k["name"], k["state"], "; short name ".join([k["title"], *k["aliases"]])) for k in known)
    print_table(rows, ("name", "state", "what it is"))


@command(click.Argument(["name"]), option("--force  Download again even if the file is there."), Printing)
def fetch(name: str, force: bool, printing: Printing) -> None:
    """Download the checkpoint NAME into the cache and check it.

    What arrives is accepted when its hash is the known one; where none is known, when its architecture is
    right and every tensor fits.

    \b
    Example:
      glualign weights fetch glunet-static
    """
    from rich.progress import DownloadColumn, Progress

    from glualign.checkpoints.fetch import fetch

    columns = (*Progress.get_default_columns(), DownloadColumn())
    with progress_on(*columns, transient=False) as bar:
        task = bar.add_task("fetching", total=None)
        found = fetch(
            name, force=force, progress=lambda now, total: bar.update(task, completed=now, total=total)
        )
    printing.print_summary(vars(found))


@command(click.Argument(["name"], required=False, metavar="[NAME|FILE]"), Printing)
def verify(name: str | None, printing: Printing) -> None:
    """Check weights completely: readable, safe, every tensor fits, no NaN, hash as on record.

    Without an argument all checkpoints on this machine are checked. Exits with 1 if any is unsound.

    \b
    Example:
      glualign weights verify
    """
    from glualign.checkpoints.fetch import verify
    from glualign.checkpoints.registry import describe_all

    checked, problems = [], []
    for one in [name] if name else [known["name"] for known in describe_all() if known["path"]]:
        try:
            found = verify(one)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        checked.append(found)
        if found.hash_state == "differs":
            problems.append(f"{found.path}: the SHA-256 is not the one on record; fetch or import it again")
    if printing.as_json:
        print_json({"checked": checked, "problems": problems})
    elif not is_quiet() and checked:
        rows = [
            (one.name, one.model, f"{one.parameters:,}", f"{one.size:,}", one.hash_state, one.sha256)
            for one in checked
        ]
        print_table(rows, ("name", "model", "parameters", "bytes", "hash", "SHA-256"), right=(2, 3))
    if problems:
        raise CheckpointError("; ".join(problems))


@command(
    click.Argument(["file"], type=click.Path()),
    option("--name NAME  Name to use; by default an official file is recognised."),
    Printing,
    name="import",
)
def import_command(file: str, name: str | None, printing: Printing) -> None:
    """Copy a downloaded FILE of weights into the cache, after a strict check.

    Reads .pth, .pth.tar and .safetensors, and zip archives that hold one.

    \b
    Example:
      glualign weights import ~/Downloads/GLUNet_static.pth --name glunet-static
    """
    from glualign.checkpoints.fetch import import_file

    found = import_file(file, name=name)
    printing.print_summary(vars(found))
    if found.hash_state == "unlike registry":
        warn(f"{file}: not the bytes that the registry knows as {found.name}, though every tensor fits")


@command(click.Argument(["name"]))
def path(name: str) -> None:
    """Print where the weights NAME lie.

    \b
    Example:
      cp "$(glualign weights path compact)" .
    """
    from glualign.checkpoints.registry import find_weights

    click.echo(find_weights(name).path)


@command(click.Argument(["name"], metavar="NAME|FILE"), JSON)
def info(name: str, as_json: bool) -> None:
    """Show what is known of a checkpoint: architecture, tensors, licence, training, published metrics.

    Of a file: what it holds. Of official weights not fetched yet: what the registry says, with the address.

    \b
    Example:
      glualign weights info compact
    """
    from glualign.checkpoints.fetch import describe

    Printing(as_json, quiet=False).print_summary(describe(name))


@command(
    click.Argument(["checkpoint"], metavar="CHECKPOINT"),
    option("-o, --output FILE  The .safetensors file.", required=True),
    option(
        "--dtype [fp16|bf16|fp32]  Storage of the kernels; biases and batch norm stay fp32.", default="fp16"
    ),
    option(
        "--meta KEY=TEXT  A fact to store with the weights, such as licence=Apache-2.0; can be repeated.",
        matching(r"([^=]+)=(.*)", "KEY=TEXT", re.Match.groups),
        multiple=True,
    ),
    Printing,
)
def export(checkpoint: str, output: str, dtype: Any, printing: Printing, **more: Any) -> None:
    """Write CHECKPOINT (a name or a file) as one safetensors file that describes itself.

    Of a training run (last.pt) the averaged weights are taken, with the recipe.

    \b
    Example:
      glualign weights export runs/compact/last.pt -o compact.safetensors
    """
    from glualign.checkpoints.export import export_checkpoint
    from glualign.checkpoints.fetch import verify
    from glualign.checkpoints.registry import find_weights
    from glualign.outputs import check_outputs

    check_outputs([output], [find_weights(checkpoint).path])
    export_checkpoint(checkpoint, output, metadata=dict(more["meta"]), dtype=dtype)
    printing.print_summary(vars(verify(output)))


weights = click.Group(
    "weights",
    [list_command, fetch, verify, import_command, path, info, export],
    short_help="Weights: list, fetch, import, verify, export.",
    help="""List, fetch, check, import and export model weights.

    The default model ships with glualign; the official checkpoints are fetched once into the cache folder
    (GLUALIGN_CACHE, or the platform's own). GLUALIGN_OFFLINE=1 forbids the network.

    \b
    Example:
      glualign weights fetch glunet-static
    """,
)
