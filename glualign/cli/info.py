"""``glualign info``: what a file is."""

from __future__ import annotations

from typing import Any

import click

from glualign.cli.options import json_option, reading_options

CHECKPOINTS = (".safetensors", ".pth", ".tar", ".pt", ".ckpt", ".bin")


@click.command(short_help="Say what a file is: image, flow or checkpoint.")
@click.argument("file", type=click.Path())
@reading_options
@json_option
def command(file: str, as_json: bool, **options: Any) -> None:
    """Say what FILE is: an image, a flow (target -> source) or a checkpoint.

    \b
    Examples:
      glualign info photo.tif
      glualign info flow.flo --json
      glualign info weights/compact.safetensors
    """
    from pathlib import Path

    from glualign.cli.console import print_facts, print_json
    from glualign.errors import GlualignError
    from glualign.flow import FLOW_EXTENSIONS

    extension = Path(file).suffix.lower()
    if not Path(file).exists():
        raise GlualignError(f"{file}: no such file")
    if Path(file).is_dir():
        raise GlualignError(f"{file}: is a folder; give an image, a flow file or a checkpoint")
    if extension in CHECKPOINTS:
        found = checkpoint_facts(file)
    elif (extension in FLOW_EXTENSIONS and extension != ".png") or (
        extension == ".png" and is_kitti_flow(file)
    ):
        found = flow_facts(file)
    else:
        found = image_facts(file, options)
    if as_json:
        print_json(found)
    else:
        print_facts(describe(found))


def is_kitti_flow(path: str) -> bool:
    """Whether a PNG is a flow in KITTI's encoding: 16-bit RGB whose blue channel is 0 or 1."""
    from glualign.errors import GlualignError
    from glualign.files import open_regular
    from glualign.flow import read_flow

    try:
        with open_regular(path) as stream:
            if stream.read(26)[24:] != b"\x10\x02":  # depth and colour type of the PNG header
                return False
        read_flow(path)
    except (GlualignError, OSError):
        return False
    return True


def flow_facts(path: str) -> dict[str, Any]:
    """Facts of a flow file."""
    from pathlib import Path

    from glualign.cli import flow_files

    flow = flow_files.read(path)
    stored = flow.source_size is not None
    return {
        "file": path,
        "kind": "flow",
        "bytes": Path(path).stat().st_size,
        **flow_files.facts(flow),
        "source_size_stored": stored,
    }


def image_facts(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Facts of an image file."""
    from pathlib import Path

    from glualign.cli.options import Reading
    from glualign.images import read_image
    from glualign.images.exif import orientation

    image = read_image(path, **{**Reading.of(options).arguments(), "apply_orientation": False})
    stored = orientation(image.exif)
    lying = options["exif"] and stored >= 5  # shown turned by a quarter
    height, width = image.size[::-1] if lying else image.size
    return {
        "file": path,
        "kind": "image",
        "bytes": Path(path).stat().st_size,
        "width": width,
        "height": height,
        "channels": image.channels,
        "depth": image.depth,
        "pixels": image.kind,
        "pages": image.pages,
        "palette": image.palette is not None,
        "labels": image.is_labels,
        "nodata": image.nodata,
        "notes": list(image.notes),
        "exif_orientation": stored,
        "exif_bytes": len(image.exif or b""),
        "icc_bytes": len(image.icc or b""),
    }


def checkpoint_facts(path: str) -> dict[str, Any]:
    """Facts of a checkpoint file: its model, configuration and metadata."""
    from pathlib import Path

    from glualign.checkpoints import load_model

    loaded = load_model(path)
    return {
        "file": path,
        "kind": "checkpoint",
        "bytes": Path(path).stat().st_size,
        "model": loaded.name,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "config": loaded.config.to_dict(),
        "metadata": dict(loaded.metadata),
    }


def describe(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts as lines for a person."""
    from glualign.cli import flow_files

    head = [("file", found["file"]), ("kind", found["kind"]), ("bytes", f"{found['bytes']:,}")]
    if found["kind"] == "flow":
        return head + flow_files.lines(found)
    if found["kind"] == "image":
        turned = found["exif_orientation"] != 1
        return [
            *head,
            ("size", f"{found['width']} x {found['height']} px"),
            ("pixels", found["pixels"] + (", labels" if found["labels"] else "")),
            ("pages", str(found["pages"])),
            *([("no data", f"{found['nodata']:g}")] if found["nodata"] is not None else []),
            ("orientation", f"EXIF {found['exif_orientation']}" + (" (shown upright)" if turned else "")),
            ("EXIF", f"{found['exif_bytes']:,} bytes" if found["exif_bytes"] else "none"),
            ("ICC profile", f"{found['icc_bytes']:,} bytes" if found["icc_bytes"] else "none"),
            *(("note", note) for note in found["notes"]),
        ]
    rest = [*found["config"].items(), *found["metadata"].items()]
    return [
        *head,
        ("model", found["model"]),
        ("parameters", f"{found['parameters']:,}"),
        *((str(key), str(value)) for key, value in rest),
    ]
