"""`Alignment`: everything one run found about a pair, and how it is written down."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from glualign.files import write_text
from glualign.flow import Flow, Interpolation, write_flow
from glualign.images import Image, write_image

if TYPE_CHECKING:
    from glualign.quality import Quality

Output = Literal["warped", "flow", "flow_image", "mask", "transform"]
DEFAULT_OUTPUTS: tuple[Output, ...] = ("warped", "flow", "flow_image")


@dataclass(frozen=True, eq=False)
class Alignment:
    """The result of aligning a source onto a target.

    Attributes:
        source: the image that moved.
        target: the image whose pixel grid the result lives on.
        flow: target -> source, in source pixels.
        valid: ``(H, W)`` bool on the target grid: the source position is inside the source and both
            directions of matching agree on it.
        confidence: ``(H, W)`` float32, 0 to 1.
        quality: figures and a verdict on the whole.
        transform: 3x3 float64, target pixel -> source pixel, when one global motion was fitted.
        model: name of the network.
        device: where it ran, for people.
        timings: seconds by step.
    """

    source: Image
    target: Image
    flow: Flow
    valid: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float32]
    quality: Quality
    transform: npt.NDArray[np.float64] | None
    model: str
    device: str = "cpu"
    timings: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def warped(self) -> Image:
        """The source on the target's grid, in its own depth and channels; black where not valid."""
        return self.render()

    def render(self, *, interpolation: Interpolation | None = None, fill: str = "#000000") -> Image:
        """The source on the target's grid.

        Args:
            interpolation: how source pixels are sampled; None: nearest for labels, linear for the rest.
            fill: what pixels without a valid source show: a colour ``#rrggbb``, ``transparent`` (adds an
                alpha channel) or ``target`` (the target's pixels, in the source's depth).
        """
        from glualign.fill import fill_invalid, warp_image

        warped, holds_data = warp_image(self.source, self.flow, interpolation)
        return fill_invalid(warped, self.valid & holds_data, fill, self.target)

    def save(
        self,
        directory: str | os.PathLike[str],
        *,
        stem: str | None = None,
        outputs: Collection[Output] = DEFAULT_OUTPUTS,
        extension: str | None = None,
        interpolation: Interpolation | None = None,
        fill: str = "#000000",
        quality: int | None = None,
    ) -> list[Path]:
        """Write the results to ``directory`` as ``glualign warp`` does, and return the files.

        Args:
            directory: created when it does not exist.
            stem: start of the file names; the source's by default.
            outputs: which files to write.
            extension: of the warped image, such as ``.png``; the source's by default, PNG when there is none.
            interpolation: as in `render`.
            fill: as in `render`.
            quality: of JPEG and WebP.

        Raises:
            ImageError: the format cannot hold the image.
            OutputError: a file cannot be written.
        """
        folder = Path(directory)
        path = self.source.path
        name = stem or (path.stem if path else "source")
        suffix = extension or (path.suffix if path and path.suffix else ".png")
        written = {
            "warped": folder / f"{name}_warped{suffix}",
            "flow": folder / f"{name}_flow.flo",
            "flow_image": folder / f"{name}_flow.png",
            "mask": folder / f"{name}_mask.png",
            "transform": folder / f"{name}_transform.txt",
        }
        paths = {kind: written[kind] for kind in written if kind in outputs}
        if self.transform is None:
            paths.pop("transform", None)
        for kind, file in paths.items():
            if kind == "warped":
                write_image(file, self.render(interpolation=interpolation, fill=fill), quality=quality)
            elif kind == "flow":
                write_flow(file, self.flow)
            elif kind == "flow_image":
                write_image(file, self.flow_picture())
            elif kind == "mask":
                write_image(file, self.valid.astype(np.uint8) * 255)
            else:
                self.write_transform(file)
        return list(paths.values())

    def flow_picture(self, *, max_flow: float | None = None) -> npt.NDArray[np.uint8]:
        """The flow on the Middlebury colour wheel, ``(H, W, 3)`` uint8."""
        from glualign.viz import flow_to_rgb

        return flow_to_rgb(self.flow, max_flow=max_flow)

    def write_transform(self, path: str | os.PathLike[str]) -> None:
        """Write the 3x3 matrix, target pixel -> source pixel, as ``.txt`` (rows) or ``.json``.

        Raises:
            ValueError: there is no transform.
            OutputError: the file cannot be written.
        """
        if self.transform is None:
            raise ValueError("no global transform was fitted")
        if Path(path).suffix.lower() == ".json":
            content = {
                "direction": "target to source",
                "matrix": self.transform.tolist(),
                "source_size": list(self.source.size),
                "target_size": list(self.target.size),
            }
            write_text(path, json.dumps(content, indent=2) + "\n")
        else:
            rows = "\n".join(" ".join(f"{value:.17g}" for value in row) for row in self.transform)
            write_text(path, rows + "\n")

    def summary(self) -> dict[str, Any]:
        """What a person or a script wants to know, as plain JSON values."""
        return {
            "source": {"name": self.source.name, "size": list(self.source.size)},
            "target": {"name": self.target.name, "size": list(self.target.size)},
            "model": self.model,
            "device": self.device,
            "quality": self.quality.to_dict(),
            "transform": None if self.transform is None else self.transform.tolist(),
            "timings": {step: round(seconds, 4) for step, seconds in self.timings.items()},
        }
