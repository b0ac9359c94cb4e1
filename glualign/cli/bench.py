"""``glualign bench``: seconds per pair on this machine, against GLU-Net as published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import Size, device_option, quiet_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from glualign.evaluation.speed import Contender


@click.command(name="bench", short_help="Measure speed on this machine.")
@click.option(
    "-m", "--model", "models", metavar="NAME|FILE", multiple=True, default=("compact",), show_default=True,
    help="Model to time: a name from `glualign weights list` or a file of weights. May be repeated.",
)  # fmt: skip
@click.option(
    "--size", "sizes", type=Size(), multiple=True, default=("520x520", "1024x768"),
    show_default=True, help="Size of both images. May be repeated.",
)  # fmt: skip
@click.option(
    "--precision", "precisions", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), multiple=True,
    default=("fp32", "auto"), show_default=True, help="Number format of the convolutions. May be repeated.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", multiple=True, show_default="all cores",
    help="CPU threads. May be repeated.",
)  # fmt: skip
@click.option(
    "--repeat", type=click.IntRange(min=1), metavar="N", default=5, show_default=True,
    help="Timed repetitions, after one that warms up; the table shows their median.",
)  # fmt: skip
@click.option(
    "--reference/--no-reference", default=True, show_default=True,
    help="Also time GLU-Net as published (fp32, channels first, random weights) and give speed-ups over it.",
)  # fmt: skip
@device_option
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the timings with machine, versions and commit.")  # fmt: skip
@quiet_option
def command(sizes: tuple[tuple[int, int], ...], threads: tuple[int, ...], **options: Any) -> None:
    """Time one pass of the models (flow from target to source, at full size) on this machine.

    Images are synthetic and of one size, reading and writing files is not part of the time. All contenders
    are timed in turns within one run, so that the ratio holds even on a busy machine.

    \b
    Example:
      glualign bench
      glualign bench --size 520x520 --precision bf16 --threads 1 --threads 2 --json speed.json
    """
    from glualign.cli.console import print_table, status
    from glualign.devices import choose_device
    from glualign.evaluation.environment import usable_cores
    from glualign.evaluation.speed import speed_document, time_contenders
    from glualign.evaluation.tables import SPEED_HEADERS, SPEED_RIGHT_ALIGNED, speed_cells, write_document
    from glualign.outputs import check_outputs

    device = choose_device(options["device"])
    check_outputs([options["json_path"]] if options["json_path"] else [], options["models"])
    contenders = _contenders(options["models"], options["precisions"], options["reference"], device)
    with status("timing", show=not options["quiet"]):
        timings = time_contenders(
            contenders,
            sizes=dict.fromkeys(sizes),
            threads=dict.fromkeys(threads) or (usable_cores(),),
            repeat=options["repeat"],
        )
    if options["json_path"]:
        write_document(options["json_path"], speed_document(timings, options["device"]))
    if not options["quiet"]:
        print_table(SPEED_HEADERS, speed_cells(timings), right=SPEED_RIGHT_ALIGNED)


def _contenders(
    models: Sequence[str], precisions: Sequence[str], reference: bool, device: torch.device
) -> list[Contender]:
    """The reference first, then every model in every number format once (auto may be one of the others)."""
    from glualign.checkpoints import load_model
    from glualign.evaluation.speed import model_contender, reference_contender

    contenders = [reference_contender(device)] if reference else []
    ours: dict[tuple[str, str], Contender] = {}
    for model in dict.fromkeys(models):
        for precision in precisions:
            loaded = load_model(model)
            contender = model_contender(loaded.name, loaded.model, precision, device)  # type: ignore[arg-type]
            ours.setdefault((contender.model, contender.precision), contender)
    return [*contenders, *ours.values()]
