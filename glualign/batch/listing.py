"""Names of files: the images in folders and globs, in natural order, and what results can be called."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from glualign.errors import BatchError
from glualign.files import MASK_ENDING, PathLike

BOOKKEEPING = ".glualign"
"""Folder in the output folder with the locks and the results that are being written."""
# What a folder is searched for. A list of pairs may name files with any other extension.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif"}
    | {".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"}
)


class Listing(NamedTuple):
    """Images under one folder."""

    root: Path  # the folder; what ``names`` are relative to
    names: tuple[str, ...]  # relative paths of the images in natural order, with ``/`` between folders
    ignored: tuple[str, ...] = ()  # a line for each link and file that is left out


def natural_sort(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` with ``frame2`` before ``frame10``, folder by folder, without regard to case."""

    def key(name: str) -> tuple[object, ...]:
        folders = (re.findall("[0-9]+|[^0-9]+", part) for part in name.split("/"))
        runs = [[(0, int(r)) if r[0] in "0123456789" else (1, r.casefold()) for r in f] for f in folders]
        return runs, name  # the name itself decides between f1 and f01, A and a

    return tuple(sorted(names, key=key))


def list_images(
    where: PathLike, *, recursive: bool = True, masks: bool = True, skip: Collection[Path] = ()
) -> Listing:
    """All images in a folder, or all that a glob such as ``scans/**/*.tif`` matches, or one file.

    Hidden files and folders (a leading dot) are left out, as are the files and folders in ``skip`` (the
    output folder may lie inside the sources) and, without ``masks``, names such as ``NAME_mask.png``. Links
    are followed, but every folder is listed once, by its own name where it has one. A link that leads nowhere
    is listed. A `BatchError` says that nothing is there, or that no image is among what is there.
    """
    root, pattern = Path(where), None
    if os.path.isfile(root):
        return Listing(root.parent, (root.name,))
    for position, part in enumerate(root.parts if not os.path.isdir(root) else ()):
        if any(mark in part for mark in "*?[") and not os.path.exists(Path(*root.parts[: position + 1])):
            root, pattern = Path(*root.parts[:position]), root.parts[position:]
            break
    if not os.path.isdir(root):
        raise BatchError(f"{where}: no such folder")
    recursive = recursive or (pattern is not None and len(pattern) > 1)
    paths, left_out = _walk(root, recursive, {os.path.realpath(path) for path in skip})
    found = [
        path.relative_to(root).as_posix() for path in paths if masks or not path.match(f"*{MASK_ENDING}")
    ]
    if pattern is not None:
        found = [name for name in found if _matches(name.split("/"), pattern)]
    images = natural_sort(name for name in found if is_image(name))
    if not images:
        what = f"none of its {len(found)} files has an image extension" if found else "no file matches"
        raise BatchError(f"{where}: no images ({what})")
    others = natural_sort(name for name in found if not is_image(name))
    ignored = (*left_out, *(f"{root / name}: not an image by its extension" for name in others))
    return Listing(root, images, ignored)


def _walk(root: Path, recursive: bool, skipped: set[str]) -> tuple[list[Path], list[str]]:
    """Files that are not hidden, nor below the real paths ``skipped``, and a line on each link left out.

    Folders are entered through links as well, every folder once. A `BatchError` says that one cannot be
    listed; beyond a link it is left out.
    """
    found, left_out, tops = list[Path](), list[str](), [os.fspath(root)]
    # A link to one of these would lead round in a circle, or through the whole disk.
    starts = root.absolute(), Path(os.path.realpath(root))
    listed = {os.path.realpath(path) for start in starts for path in (start, *start.parents)}

    def fail(error: OSError) -> None:
        fault = f"{error.filename or root}: cannot be listed ({error.strerror})"
        if top == os.fspath(root):
            raise BatchError(fault) from error
        left_out.append(fault)

    while tops:
        top, links = tops.pop(0), []
        for folder, folders, files in os.walk(top, onerror=fail):
            real = os.path.realpath(folder)
            listed.add(real)
            for name in files:
                path = Path(folder, name)
                is_file = os.path.isfile(path) or not os.path.exists(path)  # no pipes and devices
                if is_file and not name.startswith(".") and os.path.join(real, name) not in skipped:
                    found.append(path)
            seen = [name for name in folders if recursive and not name.startswith(".")]
            reals = {name: os.path.realpath(os.path.join(folder, name)) for name in seen}
            inner = {name: leads_to for name, leads_to in reals.items() if leads_to not in skipped}
            links += [path for path in (os.path.join(folder, name) for name in inner) if os.path.islink(path)]
            folders[:] = [name for name, leads_to in inner.items() if leads_to not in listed]
        for link in natural_sort(links):
            real = os.path.realpath(link)
            if real in listed:
                left_out.append(f"{link}: leads to a folder that is listed already, or holds this one")
            elif skipped.isdisjoint({real, *map(str, Path(real).parents)}):
                listed.add(real)
                tops.append(link)
    return found, left_out


def stem_of(name: str) -> str:
    """A relative name without the extension of its last part."""
    pure = PurePosixPath(name)
    return str(pure.with_suffix("")) if pure.suffix and pure.stem else name


def is_image(name: str) -> bool:
    """Whether a name has the extension of an image."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Shell matching: ``*`` and ``?`` stay within a folder, ``**`` spans any number of folders."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return len(pattern) == 1 or _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    try:
        return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
    except re.error:  # [z-a], in which Python 3.10.0 to 3.10.4 see an error: no character is in it
        return False


def name_fault(name: str) -> str | None:
    """Why results cannot be called ``name`` in an output folder, or None: it must stay inside."""
    parts = name.replace(os.sep, "/").split("/")
    outside = ".." in parts or os.path.isabs(name) or PurePath(name).anchor
    if outside or not parts[-1].strip(".") or text_fault(name):
        return f"output {name!r} must be a relative name inside the output folder"
    if parts[0].casefold().rstrip(". ") == BOOKKEEPING:
        return f"output {name!r} lies in the folder of the run's own files; choose another name"
    return None


def text_fault(text: str) -> str | None:
    """Why no file can have this name."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return "holds a character that no file name can hold"
    return "holds a NUL character, which no file name can hold" if "\0" in text else None
