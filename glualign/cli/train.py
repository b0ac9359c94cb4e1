"""``glualign train``: train a network from a folder of photographs by a recipe."""

from __future__ import annotations

import click


@click.command(short_help="Train a network on pairs made from photographs.")
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--photos", required=True, type=click.Path(exists=True, file_okay=False), help="Folder of photographs."
)
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Continue the run in the folder from its last checkpoint.")
@click.option("--init", metavar="NAME|FILE", help="Start from these weights instead of the recipe's.")
@click.option(
    "--eval-pairs", type=click.Path(exists=True, file_okay=False), help="Also validate on these pairs."
)
@click.option("--cache", type=click.Path(file_okay=False), help="Folder for decoded photographs.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after so many steps, checkpoint written.")
@click.option(
    "--max-minutes", type=click.FloatRange(min=0), help="Stop after so many minutes, checkpoint written."
)
def command(
    recipe: str,
    photos: str,
    output: str,
    resume: bool,
    init: str | None,
    eval_pairs: str | None,
    cache: str | None,
    max_steps: int | None,
    max_minutes: float | None,
) -> None:
    """Train a network on pairs made from photographs, as RECIPE (a TOML file) says.

    The run's folder receives last.pt (everything needed to resume), train.csv, validation.csv and their
    plots. Under torchrun, all processes train together. `glualign weights export` turns last.pt into a
    file of weights.

    \b
    Examples:
      glualign train recipes/compact.toml --photos ~/Pictures -o runs/compact
      glualign train recipes/compact.toml --photos ~/Pictures -o runs/compact --resume
      torchrun --nproc-per-node 4 -m glualign train recipes/glunet.toml --photos ~/Pictures -o runs/full
    """
    from glualign.training.session import train

    train(
        recipe,
        photos,
        output,
        resume=resume,
        init=init,
        eval_pairs=eval_pairs,
        cache=cache,
        max_steps=max_steps,
        max_minutes=max_minutes,
        say=lambda line: click.echo(line),
    )
