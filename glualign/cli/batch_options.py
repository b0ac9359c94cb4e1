"""The options of ``glualign batch`` beyond those of `warp`, in the groups in which its help lists them."""

from __future__ import annotations

import click

from glualign.cli.options import quiet_option, stack

pairing_options = stack(
    click.option(
        "--target", type=click.Path(), metavar="FILE", help="Align every one of SOURCES onto this image."
    ),
    click.option(
        "--sequence",
        type=click.Path(),
        metavar="DIR",
        help="Align the frames in DIR, in natural order, onto each other.",
    ),
    click.option(
        "--onto",
        type=click.Choice(["previous", "first"]),
        default="previous",
        show_default=True,
        help="With --sequence: the frame that each frame is aligned onto.",
    ),
    click.option(
        "--pairs",
        type=click.Path(allow_dash=True),
        metavar="FILE|-",
        help="List of pairs, .csv with a header or .jsonl: source, target and, optionally, output, the name "
        "of the results in OUT. Relative paths start at the list's folder. - reads standard input.",
    ),
    click.option(
        "--recursive/--no-recursive", default=True, show_default=True, help="Look into sub-folders as well."
    ),
)
result_options = stack(
    click.option(
        "--format",
        "extension",
        metavar="EXT",
        show_default="the source's",
        help="Format of the warped images, such as png or tif.",
    ),
    click.option(
        "--flow-format",
        metavar="EXT",
        default="flo",
        show_default=True,
        help="Format of the flow, such as flo or npz.",
    ),
    click.option("--no-warped", is_flag=True, help="Do not write warped images."),
    click.option("--no-flow", is_flag=True, help="Do not write flow."),
    click.option("--no-flow-image", is_flag=True, help="Do not write pictures of the flow."),
    click.option("--mask", is_flag=True, help="Also write valid masks (8-bit: 255 valid, 0 not)."),
)
redo_options = stack(
    click.option(
        "--resume",
        "redo",
        flag_value="changed",
        default=True,
        help="Leave pairs alone that were done, or failed, with these inputs and options (the default).",
    ),
    click.option("--retry-failed", "redo", flag_value="failed", help="Resume, and try failed pairs again."),
    click.option("--overwrite", "redo", flag_value="all", help="Do every pair again."),
    click.option(
        "--check",
        type=click.Choice(["mtime", "sha256"]),
        default="mtime",
        show_default=True,
        help="How changed inputs are noticed: by path, size and time of change, or by content.",
    ),
)
run_options = stack(
    click.option("--fail-fast", is_flag=True, help="Stop after the first pair that fails."),
    click.option(
        "--io-workers",
        type=click.IntRange(min=1),
        metavar="N",
        default=2,
        show_default=True,
        help="Threads that read, and as many that write, beside the network.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="8 on CUDA, else 1",
        help="Successive pairs of equal size that share a forward pass.",
    ),
    click.option(
        "--shard", metavar="I/N", help="Do part I (from 1) of N only; a later run without --shard merges."
    ),
)
ray_options = stack(
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Run in this process, or on a Ray cluster (extra `ray`).",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        show_default="Ray is started on this machine",
        help="Cluster to join: auto, HOST:PORT or ray://HOST:PORT.",
    ),
    click.option(
        "--ray-workers",
        type=click.IntRange(min=1),
        metavar="N",
        default=1,
        show_default=True,
        help="Ray actors, each with the model in memory.",
    ),
    click.option(
        "--ray-cpus",
        type=click.FloatRange(min=0, min_open=True),
        metavar="X",
        default=1.0,
        show_default=True,
        help="Cores for each actor.",
    ),
    click.option(
        "--ray-gpus",
        type=click.FloatRange(min=0),
        metavar="X",
        default=0.0,
        show_default=True,
        help="GPUs for each actor; with 0.5 two share one.",
    ),
)
report_options = stack(
    click.option("--dry-run", is_flag=True, help="Print the pairs as JSON lines and do nothing."),
    click.option(
        "--report", is_flag=True, help="Write OUT/report.html: thumbnails of the pairs, the worst first."
    ),
    click.option(
        "--log-json", is_flag=True, help="Print JSON lines on stdout: the start, each pair, the summary."
    ),
    quiet_option,
)
