"""Where the pixels of a GeoTIFF lie on the map, and ground control points for an image aligned onto one.

A georeference is a mapping of GeoTIFF tags: 33550 (size of a pixel), 33922 (tie points), 34264 (matrix), and
34735 to 34737 (keys of the coordinate system), as `Image.georeference` holds them (OGC GeoTIFF 1.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.arrays import Doubles
from glualign.errors import ImageError
from glualign.files import write_text
from glualign.matches import spread

if TYPE_CHECKING:
    from glualign.alignment import Alignment

Georeference = Mapping[int, Any]

SCALE, TIE_POINTS, MATRIX, KEYS = 33550, 33922, 34264, 34735
_RASTER_TYPE, _PIXEL_IS_POINT, _GEOGRAPHIC, _PROJECTED, _USER_DEFINED = 1025, 2, 2048, 3072, 32767
GCP_GRID = 12
"""Cells per side from which one ground control point each is taken."""


def map_affine(georeference: Georeference, name: str) -> Doubles:
    """``(2, 3)`` float64, pixel ``(x, y, 1)`` (centres at whole numbers) to map ``(X, Y)``.

    An `ImageError` says that the image ``name`` has no georeference, or one by control points only.
    """
    scale, ties = georeference.get(SCALE), georeference.get(TIE_POINTS)
    if MATRIX in georeference:
        affine = np.reshape(georeference[MATRIX], (4, 4))[:2, [0, 1, 3]].astype(np.float64)
    elif scale is not None and ties is not None and len(ties) == 6:
        column, row, _, east, north, _ = ties
        affine = np.array(
            [[scale[0], 0, east - column * scale[0]], [0, -scale[1], north + row * scale[1]]], np.float64
        )
    else:
        raise ImageError(f"{name}: has no georeference by pixel size; give a GeoTIFF target")
    affine[:, 2] += affine[:, :2] @ np.full(2, _centre(georeference))
    return affine


def resized(georeference: Georeference, size: tuple[int, int], new: tuple[int, int]) -> dict[int, Any]:
    """The georeference of the same image at ``new`` ``(height, width)`` instead of ``size``."""
    if size == new:
        return dict(georeference)
    factor = np.array([size[1] / new[1], size[0] / new[0]])  # old pixels per new pixel
    shift = 0.5 - _centre(georeference)  # of the point that whole numbers name, from the pixel's corner
    changed = dict(georeference)
    if SCALE in changed:
        changed[SCALE] = (*(np.array(changed[SCALE][:2]) * factor).tolist(), *changed[SCALE][2:])
    if TIE_POINTS in changed:
        ties = np.reshape(changed[TIE_POINTS], (-1, 6)).astype(np.float64)
        ties[:, :2] = (ties[:, :2] + shift) / factor - shift
        changed[TIE_POINTS] = tuple(ties.ravel().tolist())
    if MATRIX in changed:
        matrix = np.reshape(changed[MATRIX], (4, 4)).astype(np.float64)
        matrix[:, 3] += matrix[:, :2] @ (shift * factor - shift)
        matrix[:, :2] *= factor
        changed[MATRIX] = tuple(matrix.ravel().tolist())
    return changed


def write_gcps(path: Path, alignment: Alignment) -> None:
    """Write ground control points of the source in QGIS's format.

    Each of about `GCP_GRID` x `GCP_GRID` cells of the target gives its most confident trusted pixel. Source
    positions are in pixels from the upper left corner of the image, upwards, as QGIS counts them.

    Raises:
        ImageError: the target has no georeference, or no pixel is trusted.
        OutputError: the file cannot be written.
    """
    target = alignment.target
    affine = map_affine(target.georeference, target.name)
    trust = np.where(alignment.trusted, alignment.confidence, np.float32(-1))
    lines = []
    for x, y in spread(trust, GCP_GRID**2):
        u, v = alignment.flow.data[y, x]
        east, north = affine @ (x, y, 1)
        lines.append(f"{east:.12g},{north:.12g},{x + u + 0.5:.4f},{-(y + v + 0.5):.4f},1,0,0,0")
    if not lines:
        raise ImageError(
            f"{target.name}: no pixel of the alignment is trusted, so there are no control points"
        )
    code = _key(target.georeference, _PROJECTED) or _key(target.georeference, _GEOGRAPHIC) or _USER_DEFINED
    head = [f"#CRS: EPSG:{code}"] if code < _USER_DEFINED else []
    write_text(path, "\n".join([*head, "mapX,mapY,sourceX,sourceY,enable,dX,dY,residual", *lines]) + "\n")


def _key(georeference: Georeference, key: int) -> int | None:
    """The value of a key of the coordinate system that is a number."""
    rows = np.reshape(georeference.get(KEYS, ()), (-1, 4))[1:]
    return next((int(value) for number, place, _, value in rows if number == key and place == 0), None)


def _centre(georeference: Georeference) -> float:
    """Raster coordinate of the centre of pixel 0."""
    return 0.0 if _key(georeference, _RASTER_TYPE) == _PIXEL_IS_POINT else 0.5
