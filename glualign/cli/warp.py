"""``glualign warp``: align a pair and write the warped source, the flow and its picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import (
    WITHOUT_MATRIX,
    align_options,
    mask_option,
    min_quality_option,
    reading_options,
    verbosity_options,
    writing_options,
)

if TYPE_CHECKING:
    from glualign.images import Image
    from glualign.outputs import Outputs

FILE = click.Path(dir_okay=False)


@click.command()
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option(
    "-o",
    "--output",
    metavar="DIR|FILE",
    default=".",
    show_default="this folder",
    help="A name that ends in an image extension is the warped image's file (the other results go beside it "
    "under its stem); any other name is a folder, created if need be.",
)
@click.option("--no-warped", is_flag=True, help="Do not write the warped image.")
@click.option(
    "--flow", "flow_path", type=FILE, metavar="FILE", help="Write the flow here, format by extension."
)
@click.option("--no-flow", is_flag=True, help="Do not write the flow.")
@click.option("--flow-image", type=FILE, metavar="FILE", help="Write the picture of the flow here.")
@click.option("--no-flow-image", is_flag=True, help="Do not write the picture of the flow.")
@mask_option
@click.option(
    "--matrix",
    type=FILE,
    metavar="FILE",
    help="Write the fitted 3x3 transform, target to source, here (.txt or .json).",
)
@writing_options
@align_options
@min_quality_option
@reading_options
@verbosity_options
def command(source: str, target: str, **options: Any) -> None:
    """Warp SOURCE onto the pixel grid of TARGET.

    Writes three files, named after the source: STEM_warped.EXT in the source's format, depth and channels;
    STEM_flow.flo, the flow from target to source in source pixels; and STEM_flow.png, its picture on the
    colour wheel. With a --transform that has a matrix (not dense, not tps) also
    STEM_transform.txt.

    A name that starts with a dash goes after `--`, or is written with its folder: ./-name.png.

    \b
    Examples:
      glualign warp source.jpg target.jpg
      glualign warp source.jpg target.jpg -o out/
      glualign warp source.jpg target.jpg -o out/aligned.png --no-flow --fill transparent
      glualign warp map.tif photo.jpg --preset accurate --transform homography --json
    """
    from glualign.cli.console import print_notes
    from glualign.cli.pair import align_pair, read_pair, tell
    from glualign.outputs import expected_image

    if options["matrix"] and options["transform"] in WITHOUT_MATRIX:
        raise click.UsageError(
            f"--matrix needs a --transform other than {' and '.join(WITHOUT_MATRIX)}, which have no matrix."
        )
    images = read_pair(source, target, options)
    expected = expected_image(images[0], images[1].size, options["interpolation"], options["fill"])
    outputs = plan(source, expected, options)
    outputs.check([source, target], warped=expected if outputs.warped else None)
    alignment = align_pair(*images, options)
    written, notes = outputs.write(
        alignment, interpolation=options["interpolation"], fill=options["fill"], quality=options["quality"]
    )
    print_notes(source, notes, show=not options["quiet"])
    tell(alignment, written, options)


def plan(source: str, expected: Image, options: Mapping[str, Any]) -> Outputs:
    """The files that these options ask for.

    ``-o`` is the warped image's file when it ends in an image extension and is no folder; otherwise it is a
    folder, and the names start with the source's stem.
    """
    from glualign.images import WRITABLE
    from glualign.outputs import Outputs, is_folder, warped_extension

    output = options["output"]
    given = {
        "flow": options["flow_path"],
        "flow_image": options["flow_image"],
        "mask": options["mask_path"],
        "transform": options["matrix"],
    }
    kinds = {
        "warped": not options["no_warped"],
        "flow": not options["no_flow"],
        "flow_image": not options["no_flow_image"],
        "transform": options["transform"] not in WITHOUT_MATRIX,
    }
    chosen = [kind for kind, wanted in kinds.items() if wanted]
    if is_folder(output, WRITABLE):
        extension = warped_extension(source, expected)
        outputs = Outputs.in_folder(output, Path(source).stem, extension, kinds=chosen)
    else:
        path = Path(output)
        outputs = Outputs.in_folder(path.parent, path.stem, path.suffix, kinds=chosen)
        outputs = replace(outputs, warped=path if "warped" in chosen else None)
    return replace(outputs, **{kind: Path(name) for kind, name in given.items() if name})
