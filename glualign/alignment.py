"""`Alignment`: everything one run found about a pair."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from glualign import outputs as results
from glualign.arrays import Doubles, Floats, Mask
from glualign.files import PathLike
from glualign.flow import Flow, Interpolation
from glualign.images import Image, exif, reduce_image, to_rgb8
from glualign.quality import Quality
from glualign.rendering import fill_invalid, fill_of, mark_nodata, reaches_data, warp_image
from glualign.report.page import picture_url


@dataclass(frozen=True, eq=False)
class Alignment:
    """The result of aligning a source onto a target.

    Attributes:
        source: the image that moved.
        target: the image whose pixel grid the result lives on.
        flow: target -> source, in source pixels.
        trusted: ``(H, W)`` bool on the target grid: valid, the target has data there, and the expected error
            is below 5 working pixels.
        confidence: ``(H, W)`` float32, 0 to 1: exp(-expected error / 4 working pixels); 0 where not valid or
            where the target has no data.
        quality: figures and a verdict on the whole; None where a saved flow came without them.
        transform: 3x3 float64, target pixel -> source pixel, where the flow is one global model.
        model: name of the network; empty where it is not known.
        device: where it ran, for people.
        timings: seconds by step.
    """

    source: Image
    target: Image
    flow: Flow
    trusted: Mask
    confidence: Floats
    quality: Quality
    transform: Doubles | None
    model: str = ""
    device: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        verdict = self.quality.verdict if self.quality else "a saved flow"
        return f"<Alignment {self.source!r} onto {self.target!r}: {verdict}>"

    def _repr_html_(self) -> str:
        """Source, warped source and target side by side, for notebooks."""
        quality = self.quality
        found = f"{quality.verdict}, {quality.trusted_share:.0%} trusted" if quality else "a saved flow"
        shown = (
            (self.source, f"source: {escape(self.source.name)}"),
            (self.warped, f"warped ({found})"),
            (self.target, f"target: {escape(self.target.name)}"),
        )
        figures = []
        for image, caption in shown:
            url = picture_url(reduce_image(to_rgb8(image), 320))
            figures.append(f'<figure><img src="{url}"><figcaption>{caption}</figcaption></figure>')
        return f'<div style="display:flex;gap:8px;flex-wrap:wrap">{"".join(figures)}</div>'

    @cached_property
    def valid(self) -> Mask:
        """``(H, W)`` bool on the target grid: the flow is known and leads to where the source has data."""
        return reaches_data(self.source, self.flow)

    @cached_property
    def warped(self) -> Image:
        """The source on the target's grid, in its own depth and channels; black where not valid."""
        return self.render()

    def render(
        self, *, interpolation: Interpolation | None = None, fill: str = "#000000", only_trusted: bool = False
    ) -> Image:
        """The source on the target's grid: every pixel that the flow reaches.

        Args:
            interpolation: how source pixels are sampled; None: nearest for labels, linear for the rest.
            fill: what pixels without a source show: a colour by name or as ``#rrggbb``, ``transparent``
                (adds an alpha channel) or ``target`` (the target's pixels, in the source's depth).
            only_trusted: fill what is valid but not trusted as well.

        Raises:
            FlowError: unknown interpolation.
            ImageError: unknown fill.
        """
        warped, shown = warp_image(self.source, self.flow, interpolation)
        if (turn := exif.orientation(self.target.exif)) != 1:
            warped = warped.replace(exif=exif.oriented(turn, warped.exif))
        if self.target.georeference and warped.nodata is None and fill_of(fill) != "transparent":
            warped = mark_nodata(warped, shown, self.target.nodata)
        if warped.nodata is None and fill == "#000000" and not only_trusted:  # as `warp_image` leaves it
            return warped.on_grid_of(self.target)
        filled = fill_invalid(warped, shown & self.trusted if only_trusted else shown, fill, self.target)
        return filled.on_grid_of(self.target)

    def save(
        self,
        directory: PathLike,
        *,
        stem: str | None = None,
        outputs: Collection[str] = results.DEFAULT_KINDS,
        extension: str | None = None,
        only_trusted: bool = False,
        quality: int | None = None,
        **drawing: Any,
    ) -> list[Path]:
        """Write the results to ``directory`` as ``glualign warp`` does, and return the files.

        Args:
            directory: created when it does not exist.
            stem: start of the file names; the source's by default.
            outputs: which files to write; a transform only where one was fitted.
            extension: of the warped image, such as ``.png``. By default the source's where it can hold the
                image, else PNG or TIFF.
            only_trusted: as in `render`.
            quality: of JPEG, WebP, HEIC and AVIF.
            drawing: ``interpolation`` and ``fill``, as in `render`.

        Raises:
            ImageError: the format cannot hold the image.
            OutputError: a file cannot be written, or is one of the two images.
        """
        source = self.source.path or Path("source")
        expected = results.expected_image(self.source, self.target.size, **drawing)
        files = results.name_outputs(directory, stem or source.stem, extension or expected, kinds=outputs)
        results.check_outputs(files, (self.source.path, self.target.path), warped=expected)
        written, _ = results.write_outputs(files, self, only_trusted=only_trusted, quality=quality, **drawing)
        return list(written.values())

    def summary(self) -> dict[str, Any]:
        """What a person or a script wants to know, as plain JSON values."""
        return {
            "source": {"name": self.source.name, "size": list(self.source.size)},
            "target": {"name": self.target.name, "size": list(self.target.size)},
            "model": self.model,
            "device": self.device,
            "quality": asdict(self.quality) if self.quality else None,
            "transform": None if self.transform is None else self.transform.tolist(),
            "timings": {step: round(seconds, 4) for step, seconds in self.timings.items()},
        }
