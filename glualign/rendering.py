"""Images drawn on the target's grid through a flow, and what shows where no source is."""

from __future__ import annotations

import numpy as np
from PIL import ImageColor

from glualign.arrays import Array, Mask
from glualign.errors import ImageError
from glualign.flow import Flow, Interpolation, warp
from glualign.images import Image, exif, to_rgb8

_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (BT.601)."""


def warp_image(image: Image, flow: Flow, interpolation: Interpolation | None = None) -> tuple[Image, Mask]:
    """An image of the source drawn on the target grid, with all of its bands.

    Args:
        image: the source, or another image of its size.
        flow: target -> source.
        interpolation: None: nearest for labels, linear for everything else. A palette is kept by nearest
            only; other interpolation gives its colours.

    Returns:
        ``(warped, valid)``: the image, and bool ``(H_target, W_target)``, false where the flow is unknown or
        leaves the source, or where a pixel without data has a part in the sample. Of several bands, each is
        sampled where it has data, and one is enough. What holds nothing has the no-data value where the image
        has one (float: NaN), otherwise 0.

    Raises:
        FlowError: the flow belongs to a source of another size.
    """
    how = interpolation or ("nearest" if image.is_labels else "linear")
    if how != "nearest":
        image = image.as_colours()
    hole, lacking = image.missing, image.lacking
    if (hole is not None or lacking is not None) and image.nodata is None and image.pixels.dtype.kind == "f":
        image = image.replace(nodata=float("nan"))
    if lacking is not None and (lacking != lacking[..., :1]).any():
        pixels, valid = _warp_by_band(image, flow, how, lacking, hole)
    else:
        pixels, valid = warp(image.pixels, flow, interpolation=how, alpha=image.has_alpha, missing=hole)
        pixels[~valid] = image.blank
    # Which side of the source was up says nothing of the target's grid.
    block = exif.patched(image.exif, {exif.ORIENTATION: 1}) if image.exif else None
    return image.replace(pixels, exif=block, georeference={}, dpi=None, ignored=None), valid


def _warp_by_band(
    image: Image, flow: Flow, how: Interpolation, lacking: Mask, hole: Mask | None
) -> tuple[Array, Mask]:
    """`warp` of an image of which some pixels are ``lacking`` some bands; valid where one band is."""
    alone = (lacking != lacking.all(axis=2, keepdims=True)).any(axis=(0, 1))
    pixels = np.full((*flow.size, image.channels), image.blank, image.pixels.dtype)
    valid = np.zeros(flow.size, np.bool_)
    for bands in filter(len, (np.flatnonzero(~alone), *np.flatnonzero(alone)[:, None])):
        missing = np.asarray(lacking[..., bands].any(axis=2))
        if hole is not None:
            missing |= hole
        own = image.pixels[..., bands]
        values, seen = warp(own, flow, interpolation=how, alpha=False, missing=missing)
        for band, value in zip(bands, np.moveaxis(values, 2, 0), strict=True):
            pixels[seen, band] = value[seen]
        valid |= seen
    return pixels, valid


def mark_nodata(warped: Image, shown: Mask, nodata: float | None) -> Image:
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


def reaches_data(source: Image, flow: Flow) -> Mask:
    """``(H_target, W_target)`` bool: the flow is known and leads to where the source has data."""
    whole = source.missing is None and source.lacking is None
    return flow.valid() if whole else warp_image(source, flow)[1]


def within_data(target: Image, mask: Mask) -> Mask:
    """The part of a mask ``(H_target, W_target)`` where the target has data."""
    return mask if target.missing is None else mask & ~target.missing


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
    warped, nodata = warped.as_colours().replace(ignored=None), None
    if warped.lacking is not None and warped.extrasamples is None:
        valid = valid & ~warped.lacking.any(axis=2)  # part of a colour shows nothing
    elif warped.lacking is not None and warped.lacking[valid].any():
        nodata = warped.nodata  # which alpha cannot say of one band
    pixels, kind, extra = warped.pixels.copy(), warped.pixels.dtype, warped.extrasamples
    opaque = white = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    if kind.kind == "f":  # heights and the like go beyond 1
        white = float(pixels.max(initial=1.0, where=np.isfinite(pixels)))
    if fill == "transparent":
        if not warped.has_alpha:
            pixels = np.dstack([pixels, np.full(valid.shape, opaque, kind)])
            extra = (*extra, 2) if extra is not None else None
        pixels[~valid] = 0
        return warped.replace(pixels, extrasamples=extra, nodata=nodata)  # alpha says it of whole pixels
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
