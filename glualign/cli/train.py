"""``glualign train``: train a network from a folder of photographs by a recipe."""

from __future__ import annotations

from typing import Any

import click


@click.command(short_help="Train a network on pairs made from photographs.")
@click.argument("recipe", metavar="NAME|FILE")
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
def command(recipe: str, **options: Any) -> None:
    """Train a network on pairs made from photographs, by a recipe: a TOML file, or one that ships.

    The recipes that ship are compact (the default model from nothing), finetune (the default model goes on
    with photographs of your own), glunet (the published network, for CUDA devices) and tiny (a few seconds
    of everything). The run's folder receives last.pt (everything needed to resume), train.csv,
    validation.csv and their plots. Under torchrun, all processes train together. `glualign weights export`
    turns last.pt into a file of weights.

    \b
    Examples:
      glualign train finetune --photos ~/Pictures -o runs/mine
      glualign train finetune --photos ~/Pictures -o runs/mine --resume
      torchrun --nproc-per-node 4 -m glualign train glunet --photos ~/Pictures -o runs/full
    """
    from glualign.training.session import train

    photos, output = options.pop("photos"), options.pop("output")
    train(recipe, photos, output, **options, log=click.echo)
