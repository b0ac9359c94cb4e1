"""How a batch treats its pairs: the network, the reading, the files that are written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from glualign import outputs
from glualign.errors import DeviceError, OptionError
from glualign.files import mask_beside
from glualign.flow import Interpolation
from glualign.images import DEFAULT_MAX_PIXELS, Image, MaskFrom, read_image
from glualign.matching.options import choose_options
from glualign.quality import MIN_QUALITIES, MinQuality, falls_short
from glualign.rendering import fill_of

if TYPE_CHECKING:
    from glualign.aligner import Aligner
    from glualign.alignment import Alignment


@dataclass(frozen=True)
class Settings:
    """How each pair is read, aligned and written. Engines on other machines receive it pickled.

    Attributes:
        model, device, precision, preset: as in `Aligner.from_pretrained`.
        align: fields of `AlignOptions` that override the preset.
        apply_orientation, page, max_pixels, mask_from: as in `read_image`.
        kinds: which files are written, as in `name_outputs`.
        extension: of warped images, such as ``.png``; None: the source's where it can hold them.
        flow_extension: of flow files.
        matches_extension: of files of matches.
        interpolation, fill, quality: as in `write_outputs`.
        min_quality: worst verdict of a pair that is done. A pair of a worse one fails and nothing of it is
            written; with ``failed``, pairs of this verdict fail, too, but their files are kept; with ``none``
            every aligned pair is done.
        batch_size: successive pairs of equal size in one forward pass; None: 8 on CUDA, which is idle between
            the small kernels of one pair, and 1 elsewhere, where sharing gains nothing.

    Raises:
        OptionError: a value is not one of those, or out of range.
        ImageError, FlowError: a file format is unknown, or ``fill`` is no colour.
        OutputError: two kinds of output have one name, or a kind is unknown.
    """

    model: str = "compact"
    device: str = "auto"
    precision: str = "auto"
    preset: str = "balanced"
    align: Mapping[str, Any] = field(default_factory=dict)
    apply_orientation: bool = True
    page: int = 0
    max_pixels: int | None = DEFAULT_MAX_PIXELS
    mask_from: MaskFrom | None = None
    kinds: Collection[str] = outputs.DEFAULT_KINDS
    extension: str | None = None
    flow_extension: str = ".flo"
    matches_extension: str = ".csv"
    interpolation: Interpolation | None = None
    fill: str = "#000000"
    quality: int | None = None
    min_quality: MinQuality = "failed"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        choices = {
            "mask_from": (None, *get_args(MaskFrom)),
            "interpolation": (None, *get_args(Interpolation)),
            "min_quality": MIN_QUALITIES,
        }
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise OptionError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")
        fill_of(self.fill)
        choose_options(self.preset, dict(self.align))
        warped = Path(f"NAME{self.extension or '.png'}")
        outputs.check_formats(self._files(Path(), "NAME", ".png") | {"warped": warped})

    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that decides what the outputs look like, as JSON values.

        The weights by their hash, ``auto`` by what it means on this machine.
        """
        from glualign.checkpoints.registry import find_weights, sha256_of
        from glualign.devices import choose_device, choose_dtype

        known = {name: value for name, value in asdict(self).items() if name != "batch_size"}
        known["kinds"] = sorted(self.kinds)
        known["weights"] = sha256_of(find_weights(self.model).path)
        try:
            place = choose_device(self.device)
            dtype = choose_dtype(self.precision, place)  # type: ignore[arg-type]
        except DeviceError:  # the device is on other machines only
            return {**known, "device": self.device.partition(":")[0]}
        return {**known, "device": place.type, "precision": str(dtype).removeprefix("torch.")}

    def make_aligner(self) -> Aligner:
        """The aligner, with its weights loaded; raises as `Aligner.from_pretrained`."""
        from glualign.aligner import Aligner

        how = {name: getattr(self, name) for name in ("model", "device", "precision", "preset")}
        return Aligner.from_pretrained(**how, **self.align)

    def read(self, path: Path) -> Image:
        """Decode one image file."""
        how = ("apply_orientation", "page", "max_pixels", "mask_from")
        return read_image(path, **{name: getattr(self, name) for name in how})

    def files_of(self, path: Path) -> Sequence[Path]:
        """The files that `read` opens for one image: its own, and its mask where there may be one."""
        return [path, mask_beside(path)] if self.mask_from == "file" else [path]

    def names(self, stem: str, source: Path) -> Sequence[str]:
        """The names of the files that `write` may make of a pair.

        The warped image's depends on its content, too: a format that cannot hold it is replaced.
        """
        extensions = {self.extension or outputs.warped_extension(source.name)}
        extensions |= set() if self.extension else {".png", ".tif"}
        return sorted({path.name for each in extensions for path in self._files(Path(), stem, each).values()})

    def write(self, alignment: Alignment, folder: Path, stem: str) -> tuple[Sequence[Path], Sequence[str]]:
        """Write the results of a pair into ``folder``: the files, and notes on what a format left out."""
        drawing: dict[str, Any] = {"interpolation": self.interpolation, "fill": self.fill}
        image = outputs.expected_image(alignment.source, alignment.target.size, **drawing)
        files = self._files(folder, stem, self.extension or image)
        written, notes = outputs.write_outputs(files, alignment, quality=self.quality, **drawing)
        return list(written.values()), notes

    def refusal(self, verdict: str) -> tuple[str | None, bool]:
        """Why an alignment of this verdict failed (None: it did not), and whether its files are kept."""
        if falls_short(verdict, self.min_quality):
            return f"the alignment is {verdict}, --min-quality asks for {self.min_quality}", False
        if verdict == "failed" and self.min_quality == "failed":
            return "the verdict on the alignment is failed; its files are kept for you to look at", True
        return None, True

    def _files(self, folder: Path, stem: str, warped: str | Image) -> dict[str, Path]:
        how = {name: getattr(self, name) for name in ("kinds", "flow_extension", "matches_extension")}
        return outputs.name_outputs(folder, stem, warped, **how)
