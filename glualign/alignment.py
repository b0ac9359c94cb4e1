"""`Alignment`: everything one run found about a pair; its source warped and filled."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from glualign.arrays import Array, Doubles, Floats, Mask
from glualign.errors import ImageError
from glualign.files import PathLike
from glualign.flow import Flow, Interpolation, warp
from glualign.images import Image, exif, reduce_image, to_rgb8
from glualign.quality import Quality
from glualign.report.page import picture_url

_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (BT.601)."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The result of aligning a source onto a target.

    Attributes:
        source: the image that moved.
        target: the image whose pixel grid the result lives on.
        flow: target -> source, in source pixels.
        trusted: ``(H, W)`` bool on the target grid: valid, and the expected error is below 5 working pixels.
        confidence: ``(H, W)`` float32, 0 to 1: exp(-expected error / 4 working pixels); 0 where not valid.
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
        """``(H, W)`` bool on the target grid: the source position is known and inside, and both hold data."""
        return holds_data(self.source, self.target, self.flow)

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
            block = warped.exif or exif.oriented(turn)
            warped = warped.replace(exif=exif.patched(block, {exif.ORIENTATION: turn}))
        if self.target.georeference and warped.nodata is None and fill_of(fill) != "transparent":
            warped = _marked(warped, shown, self.target.nodata)
        if (hole := self.target.missing) is not None:
            shown &= ~hole
        elif warped.nodata is None and fill == "#000000" and not only_trusted:  # as `warp_image` leaves it
            return warped.on_grid_of(self.target)
        filled = fill_invalid(warped, shown & self.trusted if only_trusted else shown, fill, self.target)
        return filled.on_grid_of(self.target)

    def save(
        self,
        directory: PathLike,
        *,
        stem: str | None = None,
        outputs: Collection[str] = ("warped", "flow", "flow_image", "transform"),
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
            quality: of JPEG and WebP.
            drawing: ``interpolation`` and ``fill``, as in `render`.

        Raises:
            ImageError: the format cannot hold the image.
            OutputError: a file cannot be written, or is one of the two images.
        """
        import glualign.outputs as results

        source = self.source.path or Path("source")
        expected = results.expected_image(self.source, self.target.size, **drawing)
        extension = extension or results.warped_extension(source.name, expected)
        files = results.name_outputs(directory, stem or source.stem, extension, kinds=outputs)
        inputs = [image.path for image in (self.source, self.target) if image.path is not None]
        results.check_outputs(files, inputs, warped=expected)
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


def warp_image(image: Image, flow: Flow, interpolation: Interpolation | None = None) -> tuple[Image, Mask]:
    """An image of the source drawn on the target grid, with all of its bands.

    Args:
        image: the source, or another image of its size.
        flow: target -> source.
        interpolation: None: nearest for labels, linear for everything else. A palette is kept by nearest
            only; other interpolation gives its colours.

    Returns:
        ``(warped, valid)``: the image, and bool ``(H_target, W_target)``, false where the flow is unknown or
        leaves the source, or where a pixel without data has a part in the sample. Pixels that are not valid
        hold the no-data value where the image has one, otherwise 0.

    Raises:
        FlowError: the flow belongs to a source of another size.
    """
    how = interpolation or ("nearest" if image.is_labels else "linear")
    if how != "nearest":
        image = image.as_colours()
    hole = image.missing
    if hole is not None and image.nodata is None and image.pixels.dtype.kind == "f":
        image = image.replace(image.pixels, nodata=float("nan"))
    lacking = None
    if image.extrasamples and image.nodata is not None:
        lacking = image.pixels == image.nodata
        lacking &= ~lacking.all(axis=2, keepdims=True)
    if lacking is not None and lacking.any():
        pixels, valid = _warp_by_band(image, flow, how, lacking)
    else:
        pixels, valid = warp(image.pixels, flow, interpolation=how, alpha=image.has_alpha, missing=hole)
        pixels[~valid] = image.blank
    # Which side of the source was up says nothing of the target's grid.
    block = exif.patched(image.exif, {exif.ORIENTATION: 1}) if image.exif else None
    return image.replace(pixels, exif=block, georeference={}, dpi=None, ignored=None), valid


def _warp_by_band(image: Image, flow: Flow, how: Interpolation, lacking: Mask) -> tuple[Array, Mask]:
    """`warp` of an image of which some pixels hold data in some bands only, ``lacking`` ``(H, W, C)`` bool.

    A pixel is valid where one of its bands is.
    """
    alone = lacking.any(axis=(0, 1))
    pixels = np.full((*flow.size, image.channels), image.blank, image.pixels.dtype)
    valid = np.zeros(flow.size, np.bool_)
    for bands in filter(len, (np.flatnonzero(~alone), *np.flatnonzero(alone)[:, None])):
        missing = np.asarray(lacking[..., bands].any(axis=2))
        if image.missing is not None:
            missing |= image.missing
        own = image.pixels[..., bands]
        values, seen = warp(own, flow, interpolation=how, alpha=False, missing=missing)
        for band, value in zip(bands, np.moveaxis(values, 2, 0), strict=True):
            pixels[seen, band] = value[seen]
        valid |= seen
    return pixels, valid


def _marked(warped: Image, shown: Mask, nodata: float | None) -> Image:
    """An image on the grid of a map, with the value by which that says what is not covered (float: NaN).

    Values that have it by chance are moved by one, as GDAL does; labels that have it, and images with alpha,
    are left as they are, without such a value. The pixels may be changed in place.
    """
    if warped.has_alpha:
        return warped
    marked = warped.replace(nodata=float("nan") if warped.pixels.dtype.kind == "f" else nodata)
    if marked.nodata is None or warped.pixels.dtype.kind == "f":
        return marked
    bands = warped.pixels.reshape(*warped.size, -1)
    taken = (bands == marked.nodata) & shown[..., None]
    if warped.is_labels:
        return warped if taken.any() else marked
    bands[taken] = int(marked.nodata) + (1 if marked.nodata < np.iinfo(bands.dtype).max else -1)
    return marked


def holds_data(source: Image, target: Image, flow: Flow) -> Mask:
    """``(H_target, W_target)`` bool: the flow is known, leads into the source, and both images have data."""
    valid = flow.valid() if source.missing is None else warp_image(source, flow)[1]
    hole = target.missing
    return valid if hole is None else valid & ~hole


def fill_of(text: str) -> str:
    """``transparent``, ``target``, or a colour (``white``, ``#fc0``, ``#ffcc00``) as ``#rrggbb``.

    An `ImageError` says that the text is none of them.
    """
    word = str(text).strip().lower()
    if word in ("transparent", "target"):
        return word
    try:
        red, green, blue = ImageColor.getrgb(word)[:3]
    except ValueError:
        raise ImageError(
            f"fill {text!r} is not one of transparent, target, a colour such as white or #ffcc00"
        ) from None
    return f"#{red:02x}{green:02x}{blue:02x}"


def fill_invalid(warped: Image, valid: Mask, fill: str, target: Image) -> Image:
    """Give pixels that are not valid a colour, transparency or the target's pixels.

    Args:
        warped: an image on the target's grid.
        valid: ``(H, W)`` bool on the same grid.
        fill: a colour as `fill_of` takes it, ``transparent`` or ``target``. Black is the absence of
            content: clear with an alpha channel, the no-data value in an image that has one, 0 among labels.
        target: the image to fill from.

    Returns:
        An image of the same depth; ``transparent`` adds an alpha channel where there was none. With an alpha
        channel, pixels filled with a colour or the target are opaque. A palette stays with black only.
    """
    if (fill := fill_of(fill)) == "#000000":
        pixels = warped.pixels.copy()
        pixels[~valid] = warped.blank
        return warped.replace(pixels)
    warped = warped.as_colours().replace(ignored=None)
    pixels, kind, extra = warped.pixels.copy(), warped.pixels.dtype, warped.extrasamples
    opaque = white = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    if kind.kind == "f":  # heights and the like go beyond 1
        white = float(pixels.max(initial=1.0, where=np.isfinite(pixels)))
    if fill == "transparent":
        if not warped.has_alpha:
            pixels = np.dstack([pixels, np.full(valid.shape, opaque, kind)])
            extra = (*extra, 2) if extra is not None else None
        pixels[~valid] = 0
        return warped.replace(pixels, extrasamples=extra, nodata=None)  # alpha says it
    own = target.as_colours() if fill == "target" else None
    if own is not None and (own.pixels.dtype, own.colours) == (kind, warped.colours):
        scaled = own.pixels.reshape(*valid.shape, -1)[~valid, : own.colours]
    else:
        shown: Array = to_rgb8(target)[~valid] if fill == "target" else np.array([ImageColor.getrgb(fill)])
        if warped.colours == 1:
            shown = (shown @ _LUMA)[:, None]
        scaled = shown * (white / 255)
    bands = pixels.reshape(*valid.shape, -1)
    bands[~valid, : warped.colours] = scaled if kind.kind == "f" else np.rint(scaled)
    bands[~valid, warped.colours :] = opaque if warped.has_alpha else 0
    return warped.replace(pixels)
