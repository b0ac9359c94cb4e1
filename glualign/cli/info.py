"""``glualign info``: what a file is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from glualign.cli import flow_files
from glualign.cli.options import Reading, json_option, reading_options
from glualign.errors import GlualignError

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
    from glualign.cli.console import print_facts, print_json
    from glualign.flow import FLOW_EXTENSIONS

    extension = Path(file).suffix.lower()
    if not Path(file).exists():
        raise GlualignError(f"{file}: no such file")
    if Path(file).is_dir():
        raise GlualignError(f"{file}: is a folder; give an image, a flow file or a checkpoint")
    if extension in CHECKPOINTS:
        kind, facts, rows = "checkpoint", checkpoint_facts(file), checkpoint_rows
    elif extension in FLOW_EXTENSIONS and (extension != ".png" or is_kitti_flow(file)):
        flow = flow_files.read(file)
        facts = {**flow_files.facts(flow), "source_size_stored": flow.source_size is not None}
        kind, rows = "flow", flow_files.lines
    else:
        kind, facts, rows = "image", image_facts(file, options), image_rows
    head = {"file": file, "kind": kind, "bytes": Path(file).stat().st_size}
    if as_json:
        print_json({**head, **facts})
    else:
        print_facts([("file", file), ("kind", kind), ("bytes", f"{head['bytes']:,}"), *rows(facts)])


def is_kitti_flow(path: str) -> bool:
    """Whether a PNG is a flow in KITTI's encoding: 16-bit RGB whose blue channel is 0 or 1."""
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


def image_facts(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of an image file."""
    from glualign.images import read_image
    from glualign.images.exif import orientation

    image = read_image(path, **{**Reading.of(options).arguments(), "apply_orientation": False})
    stored = orientation(image.exif)
    lying = options["exif"] and stored >= 5  # shown turned by a quarter
    height, width = image.size[::-1] if lying else image.size
    return {
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


def image_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts of an image for a person."""
    turned = " (shown upright)" if facts["exif_orientation"] != 1 else ""
    return [
        ("size", f"{facts['width']} x {facts['height']} px"),
        ("pixels", facts["pixels"] + (", labels" if facts["labels"] else "")),
        ("pages", str(facts["pages"])),
        *([("no data", f"{facts['nodata']:g}")] if facts["nodata"] is not None else []),
        ("orientation", f"EXIF {facts['exif_orientation']}{turned}"),
        ("EXIF", f"{facts['exif_bytes']:,} bytes" if facts["exif_bytes"] else "none"),
        ("ICC profile", f"{facts['icc_bytes']:,} bytes" if facts["icc_bytes"] else "none"),
        *(("note", note) for note in facts["notes"]),
    ]


def checkpoint_facts(path: str) -> dict[str, Any]:
    """Facts of a checkpoint file: its model, configuration and metadata."""
    from glualign.checkpoints import load_model

    loaded = load_model(path)
    return {
        "model": loaded.name,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "config": loaded.config.to_dict(),
        "metadata": dict(loaded.metadata),
    }


def checkpoint_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts of a checkpoint for a person."""
    rest = {**facts["config"], **facts["metadata"]}
    rows = {"model": facts["model"], "parameters": f"{facts['parameters']:,}"}
    return [*rows.items(), *((str(key), str(value)) for key, value in rest.items())]
