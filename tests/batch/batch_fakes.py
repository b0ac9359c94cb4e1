"""An aligner that moves the source by the difference of mean brightness, in no time: for tests of the batch.

Run as a program, it is a batch in a process of its own, which tests may kill:
``python batch_fakes.py SOURCES TARGETS OUT SECONDS_PER_PAIR``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glualign.batch import Settings, align_batch, match_folders
from glualign.errors import GlualignError
from glualign.images import Image, read_image, write_image


@dataclass(frozen=True)
class FakeQuality:
    verdict: str
    valid_share: float


@dataclass
class FakeAlignment:
    source: Image
    target: Image

    @property
    def shift(self) -> int:
        return round(float(self.source.pixels.mean()) - float(self.target.pixels.mean()))

    @property
    def quality(self) -> FakeQuality:
        share = max(0.0, 1 - abs(self.shift) / 100)
        return FakeQuality("good" if share > 0.5 else "doubtful" if share > 0.1 else "failed", share)


class FakeAligner:
    """Counts what it does; refuses sources that are brighter than 250."""

    device = "cpu"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls = 0
        self.threads: set[int] = set()
        self.groups: list[list[str]] = []
        self.prepared: list[Image] = []

    def prepare(self, target: Image) -> Image:
        self.prepared.append(target)
        return target

    def align(self, source: Image, target: Image) -> FakeAlignment:
        self.calls += 1
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if source.pixels.mean() > 250:
            raise GlualignError(f"{source.name}: nothing to see")
        return FakeAlignment(source, target)

    def align_many(self, pairs: Sequence[tuple[Image, Image]]) -> list[FakeAlignment]:
        self.groups.append([source.name for source, _ in pairs])
        assert len({(source.size, target.size) for source, target in pairs}) == 1
        return [self.align(source, target) for source, target in pairs]


def save(alignment: FakeAlignment, folder: Path, stem: str) -> list[Path]:
    warped, flow = folder / f"{stem}_warped.png", folder / f"{stem}_flow.npy"
    write_image(warped, np.roll(alignment.source.pixels, alignment.shift, axis=1))
    np.save(flow, np.float32([alignment.shift, 0]))
    return [warped, flow]


@dataclass(frozen=True)
class FakeSettings(Settings):
    """`Settings` whose three steps are functions that a test may replace."""

    make: Callable[[], FakeAligner] = FakeAligner
    reader: Callable[[Path], Image] = read_image
    saver: Callable[[FakeAlignment, Path, str], list[Path]] = save
    options: Mapping[str, Any] = field(default_factory=dict)
    file_names: Sequence[str] = ("_warped.png", "_flow.npy")

    def fingerprint(self) -> Mapping[str, Any]:
        return self.options

    def make_aligner(self) -> FakeAligner:
        return self.make()

    def read(self, path: Path) -> Image:
        return self.reader(path)

    def names(self, stem: str, source: Path) -> list[str]:
        return [f"{stem}{name}" for name in self.file_names]

    def write(self, alignment: FakeAlignment, folder: Path, stem: str) -> tuple[list[Path], list[str]]:
        return self.saver(alignment, folder, stem), []


def fake_settings(aligner: FakeAligner | None = None, **changes: Any) -> FakeSettings:
    return FakeSettings(make=FakeAligner if aligner is None else lambda: aligner, **changes)


def picture(path: Path, grey: int = 100, size: tuple[int, int] = (12, 16)) -> Path:
    """Write a small image whose rows differ, around a mean brightness."""
    pixels = np.full((*size, 3), grey, np.uint8)
    pixels[::2] += 3
    pixels[1::2] -= 3
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels)
    return path


def picture_folders(root: Path, count: int) -> tuple[Path, Path]:
    """Two folders with ``count`` pairs of the same names."""
    for i in range(count):
        picture(root / "sources" / f"frame{i}.png", 60 + i)
        picture(root / "targets" / f"frame{i}.png", 100)
    return root / "sources", root / "targets"


def contents(out: Path) -> dict[str, bytes]:
    """Every result in an output folder, by name; without the records of the run itself."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(("manifest", "summary", "lock"))
    }


if __name__ == "__main__":
    sources, targets, output, delay = sys.argv[1:]
    settings = FakeSettings(make=partial(FakeAligner, float(delay)))
    align_batch(match_folders(sources, targets), output, settings)
