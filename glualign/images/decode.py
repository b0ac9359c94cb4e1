"""The decoders: Pillow for 8 bit, OpenCV for 16 bit and float, tifffile for what neither reads."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.errors import ImageError, MissingExtraError
from glualign.images.convert import STRIP_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from PIL import Image as PillowImage

_DIRECT = ("L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "F")


def with_opencv(data: Any, path: Path) -> npt.NDArray[Any]:
    """Pixels of an encoded 16-bit or float image (a buffer), in RGB order.

    Raises:
        ImageError: OpenCV cannot decode it.
    """
    import cv2

    with _QUIET_OPENCV:
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise ImageError(
                f"{path}: cannot be decoded; the file is damaged or of an unknown variety"
            ) from error
    if pixels is None:
        raise ImageError(f"{path}: cannot be decoded; the file is damaged or of an unknown variety")
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA, dst=pixels)
    return np.asarray(pixels)


class _Quiet:
    """Keeps OpenCV's own complaints off the terminal: the error raised says what the user needs.

    The log level is one for the whole process, so threads that decode at the same time share one change.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.level = 0

    def __enter__(self) -> None:
        import cv2

        with self.lock:
            if self.inside == 0:
                self.level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        import cv2

        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                cv2.utils.logging.setLogLevel(self.level)


_QUIET_OPENCV = _Quiet()


def with_tifffile(path: Path, page: int) -> npt.NDArray[Any]:
    """Pixels of a TIFF variety that OpenCV and Pillow cannot read losslessly.

    Raises:
        MissingExtraError: tifffile is not installed.
        ImageError: it cannot decode the page either.
    """
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: this variety of TIFF needs tifffile; install it with: pip install 'glualign[tiff]'"
        ) from error
    try:
        return np.asarray(tifffile.imread(path, key=page))
    except Exception as error:  # tifffile raises its own errors, KeyError for codecs and ValueError alike.
        raise ImageError(f"{path}: this variety of TIFF cannot be decoded ({error})") from error


def with_pillow(
    picture: PillowImage.Image, path: Path, *, keep_palette: bool
) -> tuple[npt.NDArray[Any], bytes | None, bytes | None]:
    """``(pixels, icc, palette)`` of an opened Pillow image.

    CMYK and Lab are converted to sRGB, CMYK through its own profile when it has one; other modes keep
    their samples. A palette becomes RGB (RGBA if it has transparency) unless it is asked to be kept.

    Raises:
        ImageError: the mode holds more than an `Image` can.
    """
    icc: bytes | None = picture.info.get("icc_profile") or None
    mode = picture.mode
    if mode == "P" and keep_palette and "transparency" not in picture.info:
        palette = bytes(picture.convert("P").getpalette("RGB") or b"")
        return _pixels(picture), icc, palette
    if mode in ("P", "PA") or "transparency" in picture.info:
        transparent = mode == "PA" or "transparency" in picture.info
        target = {"L": "LA", "1": "LA"}.get(mode, "RGBA") if transparent else "RGB"
        picture = picture.convert(target)
    elif mode in ("CMYK", "LAB"):
        picture, icc = _to_srgb(picture, icc)
    elif mode == "I":
        return _from_int32(np.asarray(picture), path), icc, None
    elif mode not in _DIRECT:
        conversions = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
        if mode not in conversions:
            raise ImageError(f"{path}: pixel mode {mode} is not supported; convert it to grey or RGB first")
        picture = picture.convert(conversions[mode])
    return _pixels(picture), icc, None


def _pixels(picture: PillowImage.Image) -> npt.NDArray[Any]:
    """The samples, copied in strips: one call for all of them would hold the image three times."""
    width, height = picture.size
    step = max(1, STRIP_PIXELS // max(1, width))
    first = np.asarray(picture.crop((0, 0, width, min(step, height))))
    out = np.empty((height, *first.shape[1:]), first.dtype.newbyteorder("="))
    out[: len(first)] = first
    for top in range(len(first), height, step):
        out[top : top + step] = np.asarray(picture.crop((0, top, width, min(top + step, height))))
    return out


def _from_int32(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.uint16]:
    # Older Pillow opens 16-bit grey as 32-bit integers.
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ImageError(
            f"{path}: 32-bit integer pixels are not supported; convert it to 16 bit or float first"
        )
    return values.astype(np.uint16)


def _to_srgb(picture: PillowImage.Image, icc: bytes | None) -> tuple[PillowImage.Image, bytes | None]:
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    source: Any = None
    if icc:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    elif picture.mode == "LAB":
        source = ImageCms.createProfile("LAB")
    if source is not None:
        try:
            converted = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
        except ImageCms.PyCMSError:
            converted = None  # A profile that does not fit the mode: fall back to the plain conversion.
        if converted is not None:
            return converted, ImageCms.ImageCmsProfile(srgb).tobytes()
    return picture.convert("RGB"), None
