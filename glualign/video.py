"""Flow of a video: frames in, one picture per pair of frames out, as a video or as files.

Frames are read and written by OpenCV; one pair is in memory at a time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from glualign.errors import ImageError, OutputError
from glualign.files import FRAMES_ASIDE, PathLike, atomic_path, write_text
from glualign.flow import Flow
from glualign.images import write_image
from glualign.outputs import is_folder
from glualign.styles import VideoStyle
from glualign.viz.canvas import Picture
from glualign.viz.colors import flow_to_rgb, scale_of
from glualign.viz.lines import arrows
from glualign.viz.styles import wheel

if TYPE_CHECKING:
    from glualign.aligner import Aligner

ENCODINGS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
"""Codec by extension: those that the builds of OpenCV on PyPI bring along."""
FRAMES_OF = ".glualign-frames.json"
"""File that says which video the frames in a folder are of: its name, size, time of the last change."""
_TOLERATED = 0.05
"""Share of the frames by which headers may be wrong: some hold the duration only."""
SCALE_PAIRS = 12
"""Pairs, spread evenly over the clip, whose longest motion sets the scale."""


@dataclass(frozen=True)
class Clip:
    """Frames of a video file."""

    path: Path
    first: int = 0  # index of the first frame, from 0
    last: int | None = None  # index after the last frame; None: to the end
    every: int = 1  # only each N-th of them

    def __iter__(self) -> Iterator[Picture]:
        """The frames as ``(H, W, 3)`` uint8 RGB; one that cannot be decoded ends the clip.

        An `ImageError` says that the file cannot be read as a video.
        """
        with _opened(self.path) as capture:
            position = 0
            while (self.last is None or position < self.last) and capture.grab():
                if position >= self.first and (position - self.first) % self.every == 0:
                    found, frame = capture.retrieve()
                    if not found:
                        return
                    yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
                position += 1

    def rate(self) -> float:
        """Frames per second of this clip."""
        with _opened(self.path) as capture:
            return (capture.get(cv2.CAP_PROP_FPS) or 25.0) / self.every

    def count(self) -> int:
        """Number of frames, counted by decoding them: what headers say is often wrong."""
        return sum(1 for _ in self)

    def shortfall(self, count: int) -> str | None:
        """What to say of a clip of ``count`` frames whose header promises clearly more."""
        with _opened(self.path) as capture:
            whole = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        promised = len(range(self.first, whole if self.last is None else min(self.last, whole), self.every))
        if promised - count < max(2.0, _TOLERATED * promised):
            return None
        return f"{self.path}: {count} of {promised} frames could be read; it is cut short or damaged"


def extract_frames(video: Path, out: Path, *, shared: bool = False) -> Path:
    """Write the frames of a video as ``000001.png`` and so on into ``out/NAME_frames``, the folder returned.

    Frames of this very file stay as they are: `FRAMES_OF` beside them has its name, size and time. The caller
    keeps other runs out of ``out``; where they may read the frames (``shared``) none are replaced.

    An `ImageError` is raised where the video cannot be read or has fewer than two frames, an `OutputError`
    where nothing can be written or the folder holds what may not be replaced.
    """
    folder = out / f"{video.stem}_frames"
    owner = folder / FRAMES_OF
    refusal = OutputError(f"{folder}: is not of {video} as it is now; move it away, or choose another -o")
    try:
        found = video.stat()
        text = json.dumps([video.name, found.st_size, found.st_mtime_ns])
        former = os.path.lexists(folder)
        if former and owner.is_file() and owner.read_bytes() == text.encode():
            return folder
        if former and (shared or not owner.is_file() or {*os.listdir(folder)} - _frames_in(folder)):
            raise refusal
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=FRAMES_ASIDE) as aside:
            frames, number = Path(aside, "new"), 0
            for number, frame in enumerate(Clip(video), start=1):
                write_image(frames / f"{number:06d}.png", frame)
            if number < 2:
                raise ImageError(f"{video}: a sequence needs two frames, it has {number}")
            write_text(frames / FRAMES_OF, text)
            if former:
                folder.rename(Path(aside, "former"))
            with suppress(OSError) if shared else nullcontext():  # of another shard, which was faster
                frames.rename(folder)
        if owner.read_bytes() != text.encode():
            raise refusal
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return folder


def video_pictures(
    clip: Clip,
    aligner: Aligner,
    count: int,
    *,
    style: VideoStyle = "wheel",
    onto_first: bool = False,
    max_flow: float | None = None,
) -> Iterator[Picture]:
    """One picture ``(H, W, 3)`` uint8 RGB for each pair of frames; the features of each are computed once.

    Args:
        clip: of ``count`` frames, at least two (else an `ImageError`).
        aligner: aligns the frames.
        count: number of frames of the clip.
        style: ``wheel``, ``arrows`` on the frame, ``side-by-side`` (the frame and the wheel), or ``warped``
            (the other frame on this one's grid).
        onto_first: flow from the first frame to each, instead of from each frame to the next; with
            ``warped`` the clip comes out stabilised.
        max_flow: full scale in pixels for the whole clip; None measures it on `SCALE_PAIRS` pairs.
    """
    if count < 2:
        raise ImageError(f"{clip.path}: flow needs two frames, this range has {count}")
    scale, strip = max_flow, None
    try:
        if style != "warped" and scale is None:
            sample = islice(_pairs(clip, onto_first), 0, None, max(1, (count - 1) // SCALE_PAIRS))
            scale = max(scale_of(aligner.align(*pair).flow) for pair in sample)
        for source, target in _pairs(clip, onto_first, aligner.prepare):
            alignment = aligner.align(source, target)
            if style == "warped":
                yield np.asarray(alignment.warped.pixels, np.uint8)
                continue
            frame = alignment.target.pixels
            if style == "arrows":
                yield arrows(alignment.flow, frame, typical=scale).picture
                continue
            picture = flow_to_rgb(alignment.flow, scale)
            if style == "side-by-side":
                picture = np.concatenate([frame, picture], axis=1)
            # The legend of a field without motion, so that it has the same lines below every frame.
            if strip is None:
                still = Flow(np.zeros((*picture.shape[:2], 2), np.float32))
                strip = wheel(still, scale).explained()[still.height :]
            yield np.concatenate([picture, strip])
    except ImageError as error:  # about a frame, which is an array
        raise ImageError(str(error).replace("array: ", f"{clip.path}: ", 1)) from error


def _pairs(
    clip: Clip, onto_first: bool, ready: Callable[[Picture], Any] = lambda frame: frame
) -> Iterator[tuple[Any, Any]]:
    """Source and target frames: the next on each, or each on the first; targets as ``ready`` makes them."""
    frames = iter(clip)
    if not onto_first:
        return ((after, before) for before, after in pairwise(map(ready, frames)))
    first = ready(next(frames))
    return ((frame, first) for frame in frames)


def write_video(
    path: PathLike, pictures: Iterable[Picture], rate: float, progress: Callable[[], None] = lambda: None
) -> int:
    """Write pictures of one size as a video, or as ``000001.png`` and so on into a folder; their number.

    They replace the file, or all such pictures in the folder, when the last is written. An error or a second
    Ctrl-C leaves what was there before; the first Ctrl-C ends the video with the pictures so far.

    Args:
        path: ``.mp4``, ``.avi`` or ``.mkv``, or a folder, as `is_folder` tells.
        pictures: ``(H, W, 3)`` uint8 RGB.
        rate: frames per second.
        progress: called after each picture.

    Raises:
        OutputError: the file cannot be written as a whole, or this build of OpenCV cannot encode it.
    """
    count, folder = 0, is_folder(path, ENCODINGS)
    with _replaced_frames(Path(path)) if folder else _replaced_video(Path(path), rate) as put:
        try:
            for picture in pictures:
                put(count + 1, picture)
                count += 1
                progress()
        except KeyboardInterrupt:
            if not count:
                raise
    return count


@contextmanager
def _replaced_video(path: Path, rate: float) -> Iterator[Callable[[int, Picture], None]]:
    """Yield what adds pictures, from number 1, to a video that replaces ``path`` when the block succeeds."""
    count, writer = 0, cv2.VideoWriter()

    def put(number: int, picture: Picture) -> None:
        nonlocal count
        height, width = (side + side % 2 for side in picture.shape[:2])
        if number == 1:
            codec = cv2.VideoWriter.fourcc(*ENCODINGS[path.suffix.lower()])
            with _name_for_opencv(place) as name:
                writer.open(name, codec, rate, (width, height))
            if not writer.isOpened():
                raise OutputError(
                    f"{path}: this build of OpenCV cannot encode {width} x {height} pixels as "
                    f"{path.suffix}; use another of {', '.join(ENCODINGS)}, or a folder"
                )
        frame = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        # Encoders halve the colours: odd sides are filled up.
        more = height - picture.shape[0], width - picture.shape[1]
        writer.write(cv2.copyMakeBorder(frame, 0, more[0], 0, more[1], cv2.BORDER_REPLICATE))
        count = number

    with atomic_path(path) as place:
        try:
            yield put
        finally:
            writer.release()
        written = 0
        with suppress(ImageError):  # a writer says nothing of a full disk
            written = Clip(place).count() if count else 0
        if written != count:
            raise OutputError(f"{path}: not all of {count} pictures could be written; make room on the disk")
        with place.open("r+b") as file:  # where the end is missing no byte more can be written
            size = file.seek(0, os.SEEK_END)
            file.write(b"0")
            file.truncate(size)


@contextmanager
def _replaced_frames(path: Path) -> Iterator[Callable[[int, Picture], None]]:
    """Yield what adds a picture to those that replace the frames in ``path`` when the block succeeds."""

    def put(number: int, picture: Picture) -> None:
        write_image(place / f"{number:06d}.png", picture)

    try:
        parent = path if path.is_dir() else path.parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".glualign-") as name:
            (place := Path(name, "frames")).mkdir()
            yield put
            if parent != path:
                place.rename(path)
                return
            for frame in _frames_in(path) - _frames_in(place):
                (path / frame).unlink()
            for frame in _frames_in(place):
                (place / frame).replace(path / frame)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def check_frames(path: Path, count: int) -> None:
    """Refuse, by an `OutputError`, a folder with other frames than the ``count`` that will be written."""
    if others := _frames_in(path) - {f"{number:06d}.png" for number in range(1, count + 1)}:
        raise OutputError(f"{path}: has {min(others)} of another run; empty it, or choose another folder")


def _frames_in(path: Path) -> set[str]:
    return {frame.name for frame in (*path.glob("[0-9]" * 6 + ".png"), *path.glob(FRAMES_OF))}


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its complaints go to stderr by themselves
    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has these functions at the top
    level = logging.getLogLevel()
    logging.setLogLevel(0)
    try:
        with _name_for_opencv(path) as name:
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    finally:
        logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise ImageError(
                f"{path}: OpenCV cannot read it as a video; it is damaged, or of an unknown codec"
            )
        yield capture
    finally:
        capture.release()


@contextmanager
def _name_for_opencv(path: Path) -> Iterator[str]:
    """The name of a file, or, where it is not valid Unicode, which crashes OpenCV, of a link to it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="glualign-") as folder:
            link = Path(folder, f"video{path.suffix.encode('ascii', 'ignore').decode()}")
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)
