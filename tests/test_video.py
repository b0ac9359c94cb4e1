"""Clips whose motion is known: a texture that moves by the same number of pixels from frame to frame."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from glualign import video
from glualign.batch import read_records
from glualign.batch.manifest import hold
from glualign.cli.main import cli
from glualign.errors import ImageError, OutputError
from glualign.flow import Flow
from glualign.images import Image
from glualign.report.alignment import saved_alignment
from glualign.styles import VIDEO_STYLES, VideoStyle
from glualign.video import Clip, video_pictures, write_video
from tests.report.fakes import texture

STEP = 3
SIZE = (96, 128)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twelve frames of 128 x 96 at 10 a second; the content moves to the left by three pixels each."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE[::-1])
    wide = texture(SIZE[0], 400)
    for k in range(12):
        writer.write(np.ascontiguousarray(wide[:, STEP * k : STEP * k + SIZE[1], ::-1]))
    writer.release()
    return path


class PerfectAligner:
    """Finds the shift between two frames by their content, and counts the frames that it prepares."""

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self, frame: np.ndarray) -> list[np.ndarray]:
        self.prepared += 1
        return [frame]

    def align(self, source: object, target: object) -> object:
        source, target = (each[0] if isinstance(each, list) else each for each in (source, target))
        shifts = range(-40, 41)
        inner = slice(40, SIZE[1] - 40)
        costs = [
            np.abs(np.roll(source.astype(int), shift, axis=1)[:, inner] - target[:, inner]).mean()
            for shift in shifts
        ]
        flow = np.zeros((*SIZE, 2), np.float32)
        flow[..., 0] = -shifts[int(np.argmin(costs))]
        return saved_alignment(Image(source), Image(target), Flow(flow))


def test_frames_are_those_of_the_range(clip: Path) -> None:
    assert Clip(clip).count() == 12
    assert Clip(clip, 2, 11, 3).count() == 3
    assert Clip(clip, 2, 11, 3).rate() == pytest.approx(10 / 3)
    whole, part = list(Clip(clip)), list(Clip(clip, 2, 11, 3))
    for frame, expected in zip(part, whole[2:11:3], strict=True):
        np.testing.assert_array_equal(frame, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere refuse such names")
@pytest.mark.parametrize("suffix", video.ENCODINGS)
def test_names_that_are_not_valid_unicode_are_read_and_written(tmp_path: Path, suffix: str) -> None:
    """In a process of its own: OpenCV crashes on them."""
    program = (
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from glualign.video import Clip, write_video\n"
        "path = Path(os.fsdecode(b'd\\xe9'), os.fsdecode(b'clip\\xff' + sys.argv[1].encode()))\n"
        "write_video(path, [np.full((48, 64, 3), v, np.uint8) for v in (20, 120, 220)], 5.0)\n"
        "print([int(frame.mean()) for frame in Clip(path)])"
    )
    command = [sys.executable, "-c", program, suffix]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx([20, 120, 220], abs=6)
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"d\xe9"]


def cut(clip: Path, share: float) -> Path:
    data = clip.read_bytes()
    clip.write_bytes(data[: int(share * len(data))])
    return clip


def test_a_clip_with_fewer_frames_than_its_header_promises_is_told(clip: Path) -> None:
    assert Clip(clip).shortfall(12) is None
    assert Clip(clip).shortfall(11) is None  # a header may count one too many
    assert Clip(clip, 2, 11, 3).shortfall(3) is None
    count = Clip(cut(clip, 0.5)).count()
    assert 0 < count < 11
    assert (
        Clip(clip).shortfall(count)
        == f"{clip}: {count} of 12 frames could be read; it is cut short or damaged"
    )
    assert Clip(clip, last=count).shortfall(count) is None


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("command", ["video", "batch"])
def test_a_clip_that_was_cut_short_is_told_by_the_commands(
    clip: Path, tmp_path: Path, command: str, quiet: bool
) -> None:
    cut(clip, 0.4)
    options = [
        "-o",
        str(tmp_path / "out"),
        "--preset",
        "fast",
        "--max-side",
        "64",
        *(["-q"] if quiet else []),
    ]
    arguments = [str(clip), "--max-flow", "3"] if command == "video" else ["--sequence", str(clip)]
    result = CliRunner().invoke(cli, [command, *arguments, *options])
    assert result.exit_code in (0, 3), result.output
    assert ("of 12 frames could be read; it is cut short or damaged" in result.stderr) != quiet


@pytest.mark.parametrize("style", VIDEO_STYLES)
def test_every_style_makes_one_picture_of_one_size_per_pair(clip: Path, style: VideoStyle) -> None:
    aligner = PerfectAligner()
    pictures = list(video_pictures(Clip(clip), aligner, 12, style=style))
    assert len(pictures) == 11
    assert aligner.prepared == 12, "the features of a frame are computed once"
    assert len({picture.shape for picture in pictures}) == 1


def test_the_scale_is_that_of_the_longest_motion_of_the_clip(clip: Path) -> None:
    """Onto the first frame the motion grows from 3 to 33 pixels: only the last picture has full colour."""
    pictures = list(video_pictures(Clip(clip), PerfectAligner(), 12, onto_first=True))
    pale = [int(picture[10, 10].min()) for picture in pictures]
    assert pale == sorted(pale, reverse=True)
    assert pale[0] > 200
    assert pale[-1] < 60
    fixed = list(video_pictures(Clip(clip), PerfectAligner(), 12, onto_first=True, max_flow=330))
    assert min(int(picture[10, 10].min()) for picture in fixed) > 200


def test_a_clip_warped_onto_its_first_frame_stands_still(clip: Path) -> None:
    pictures = list(video_pictures(Clip(clip, last=6), PerfectAligner(), 6, style="warped", onto_first=True))
    first = next(iter(Clip(clip))).astype(int)
    for picture in pictures:
        assert np.abs(picture[:, 20:100] - first[:, 20:100]).mean() < 4


@pytest.mark.parametrize("suffix", video.ENCODINGS)
def test_videos_can_be_read_back(tmp_path: Path, suffix: str) -> None:
    frames = [np.full((49, 65, 3), value, np.uint8) for value in (20, 120, 220)]
    assert write_video(tmp_path / f"out{suffix}", frames, 5.0) == 3
    read = list(Clip(tmp_path / f"out{suffix}"))
    assert [int(frame.mean()) for frame in read] == pytest.approx([20, 120, 220], abs=6)
    assert read[0].shape == (50, 66, 3)
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]


def test_a_folder_gets_a_file_for_each_picture(tmp_path: Path) -> None:
    frames = [np.full((8, 9, 3), value, np.uint8) for value in (20, 120)]
    write_video(tmp_path / "frames", frames, 5.0)
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())] == ["000001.png", "000002.png"]
    assert cv2.imread(str(tmp_path / "frames" / "000002.png")).mean() == 120


def test_a_folder_is_told_from_a_file_as_for_other_results(clip: Path, tmp_path: Path) -> None:
    how = ["--range", "0:3", "--max-side", 256, "--max-flow", 6]
    status, output = run(clip, "-o", f"{tmp_path}/frames.d/", *how)
    assert status == 0, output
    assert [path.name for path in sorted((tmp_path / "frames.d").iterdir())] == ["000001.png", "000002.png"]


def test_frames_in_a_folder_are_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    write_video(folder, [np.full((8, 9, 3), 20, np.uint8)] * 3, 5.0)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        write_video(folder, broken([], KeyboardInterrupt), 5.0)
    with pytest.raises(ImageError):
        write_video(folder, broken([np.full((8, 9, 3), 120, np.uint8)], ImageError), 5.0)
    assert cv2.imread(str(folder / "000001.png")).mean() == 20
    assert len(list(folder.iterdir())) == 4
    assert write_video(folder, broken([np.full((8, 9, 3), 120, np.uint8)], KeyboardInterrupt), 5.0) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["000001.png", "notes.txt"]
    assert cv2.imread(str(folder / "000001.png")).mean() == 120


def test_a_folder_with_frames_of_a_longer_run_is_refused(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    write_video(folder, [np.full((8, 9, 3), 20, np.uint8)] * 3, 5.0)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    status, output = run(clip, "-o", folder, "--range", "0:3")
    assert (status, "frames: has 000003.png of another run; empty it" in output) == (1, True), output
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    video.check_frames(folder, 3)


@pytest.mark.parametrize("room", [0.5, 0.999])
@pytest.mark.parametrize("suffix", video.ENCODINGS)
def test_a_video_on_a_full_disk_is_an_error_and_the_old_one_stays(
    tmp_path: Path, suffix: str, room: float
) -> None:
    """A limit on the size of files stands for the disk: OpenCV tells of neither."""
    words = "not all of 30 pictures could be written" + ("|too large" if room > 0.9 else "")
    resource = pytest.importorskip("resource", reason="needs limits on the size of files")
    out, limits = tmp_path / f"out{suffix}", resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 255, (30, 96, 128, 3), np.uint8)
    write_video(out, noise, 5.0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room * out.stat().st_size), limits[1]))
    out.write_text("the old one")
    try:
        with pytest.raises(OutputError, match=words):
            write_video(out, noise, 5.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the old one"]


def broken(frames: list[np.ndarray], error: type[BaseException]):
    yield from frames
    raise error


def test_ctrl_c_leaves_a_playable_video_and_an_error_none(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), value, np.uint8) for value in (20, 120)]
    assert write_video(tmp_path / "a.mp4", broken(frames, KeyboardInterrupt), 5.0) == 2
    assert Clip(tmp_path / "a.mp4").count() == 2
    with pytest.raises(ImageError):
        write_video(tmp_path / "b.mp4", broken(frames, ImageError), 5.0)
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "c.mp4", broken([], KeyboardInterrupt), 5.0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_what_cannot_be_encoded_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [np.zeros((8, 8, 3), np.uint8)]
    with pytest.raises(OutputError, match=r"cannot write \.webm; use one of \.mp4"):
        write_video(tmp_path / "out.webm", frames, 5.0)
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda _: False, raising=False)
    with pytest.raises(OutputError, match="cannot encode 8 x 8 pixels"):
        write_video(tmp_path / "out.mp4", frames, 5.0)
    assert not list(tmp_path.iterdir())


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["video", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.mp4", "-o", "out.mp4"], 1, "missing.mp4: no such file"),
        (["text.mp4", "-o", "out.mp4"], 1, "text.mp4: OpenCV cannot read it as a video"),
        (["clip.avi", "-o", "clip.avi"], 1, "overwritten"),
        (["clip.avi", "-o", "out.webm"], 1, "cannot write .webm"),
        (["clip.avi", "-o", "text"], 1, "is a file"),
        (["clip.avi", "-o", "out.mp4", "--range", "11:"], 1, "flow needs two frames, this range has 1"),
        (["clip.avi", "-o", "out.mp4", "--range", "9:3"], 2, "not a range of frames"),
        (["clip.avi", "-o", "out.mp4", "--range", "5"], 2, "not a range of frames"),
        (["clip.avi", "-o", "out.mp4", "--every", "0"], 2, "--every"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(clip.parent)
    Path("text.mp4").write_text("no video")
    Path("text").write_text("a file")
    before = sorted(clip.parent.iterdir())
    status, output = run(*arguments)
    assert status == code
    assert words in output
    assert sorted(clip.parent.iterdir()) == before


@pytest.mark.parametrize("options", [[], ["--style", "warped"], ["--max-flow", "3"]])
def test_a_video_too_small_to_match_is_named(tmp_path: Path, options: list[str]) -> None:
    write_video(tmp_path / "small.avi", [np.full((8, 64, 3), value, np.uint8) for value in (20, 120)], 5.0)
    status, output = run(tmp_path / "small.avi", "-o", tmp_path / "out.avi", *options)
    assert (status, output.startswith(f"glualign: error: {tmp_path / 'small.avi'}: 64x8 is too small")) == (
        1,
        True,
    )


def test_the_command_draws_the_flow_of_a_clip(clip: Path, tmp_path: Path) -> None:
    status, output = run(
        clip, "-o", tmp_path / "flow.mp4", "--range", "0:3", "--max-side", 256, "--max-flow", 6
    )
    assert status == 0, output
    assert "flow.mp4: 2 pictures" in output
    for frame in Clip(tmp_path / "flow.mp4"):
        # Content moves to the left: half of full colour in the wheel's colour for that direction (cyan).
        red, green, blue = frame[30:70, 40:90].reshape(-1, 3).mean(axis=0)
        assert red < green - 20
        assert red < blue - 20


def test_a_batch_takes_the_frames_of_a_video(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    frames = video.extract_frames(clip, out)
    assert frames == out / "clip_frames"
    for written, frame in zip(sorted(frames.glob("*.png")), Clip(clip), strict=True):
        np.testing.assert_array_equal(cv2.imread(str(written))[..., ::-1], frame)
    before = (frames / "000001.png").stat().st_mtime_ns
    video.extract_frames(clip, out)
    assert (frames / "000001.png").stat().st_mtime_ns == before, "they are written once"
    assert [path.name for path in out.iterdir()] == ["clip_frames"]


def another(clip: Path, count: int) -> Path:
    """A clip with the same name and an older date."""
    path = clip.parent / "another" / clip.name
    path.parent.mkdir()
    write_video(path, [np.full((*SIZE, 3), 120, np.uint8)] * count, 5.0)
    os.utime(path, (1e9, 1e9))
    return path


def frames_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


def test_frames_of_another_video_are_replaced(clip: Path, tmp_path: Path) -> None:
    older = another(clip, 3)
    folder = video.extract_frames(clip, tmp_path / "out")
    before = frames_in(folder)
    with pytest.raises(OutputError, match=r"clip_frames: is not of .*another/clip\.avi as it is now"):
        video.extract_frames(older, tmp_path / "out", shared=True)
    assert frames_in(folder) == before
    video.extract_frames(older, tmp_path / "out")
    assert len(frames_in(folder)) == 3
    assert cv2.imread(str(folder / "000001.png")).mean() == pytest.approx(120, abs=2)
    video.extract_frames(clip, tmp_path / "out")
    assert frames_in(folder) == before
    with pytest.raises(OutputError, match=r"\.glualign-frames\.json of another run"):
        video.check_frames(folder, 12)


def test_what_lies_beside_frames_is_not_lost_when_the_video_changes(clip: Path, tmp_path: Path) -> None:
    folder = video.extract_frames(clip, tmp_path / "out")
    (folder / "000001_mask.png").write_text("drawn by hand")
    os.utime(clip, (1e9, 1e9))
    with pytest.raises(OutputError, match=r"clip_frames: is not of .*; move it away"):
        video.extract_frames(clip, tmp_path / "out")
    assert (folder / "000001_mask.png").read_text() == "drawn by hand"


def test_a_video_that_is_reached_by_another_path_is_the_same(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(clip.parent)
    folder = video.extract_frames(clip, tmp_path / "out")
    assert video.extract_frames(tmp_path / "link" / clip.name, tmp_path / "out", shared=True) == folder


@pytest.mark.parametrize("names", [["000001.png", "years of work.txt"], []])
def test_a_folder_that_was_not_made_for_frames_stays(clip: Path, tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "out" / "clip_frames"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("mine")
    os.utime(folder, (1e9, 1e9))
    result = CliRunner().invoke(cli, ["batch", "--sequence", str(clip), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert f"{folder}: is not of {clip} as it is now; move it away, or choose another -o" in result.output
    assert sorted(path.name for path in folder.iterdir()) == names


def test_a_shard_that_is_slower_takes_the_frames_of_the_other(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, ours = video.write_text, []

    def slowly(path: Path, text: str) -> None:
        monkeypatch.setattr(video, "write_text", write)
        ours.append(video.extract_frames(clip, tmp_path, shared=True))
        ours.append(ours[0].stat().st_ino)
        write(path, text)

    monkeypatch.setattr(video, "write_text", slowly)
    folder = video.extract_frames(clip, tmp_path, shared=True)
    assert [folder, folder.stat().st_ino] == ours


def test_ctrl_c_leaves_no_half_of_the_frames(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Clip.__iter__
    monkeypatch.setattr(Clip, "__iter__", lambda self: broken(list(whole(self))[:5], KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        video.extract_frames(clip, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_running_batch_keeps_its_frames(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = video.extract_frames(clip, out)
    before = frames_in(folder)
    arguments = ["batch", "--sequence", str(another(clip, 3)), "-o", str(out)]
    with hold(out):
        result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert "another run is writing into this folder" in result.output
    assert frames_in(folder) == before
    result = CliRunner().invoke(cli, [*arguments, "--preset", "fast", "--max-side", "64", "--write", "flow"])
    assert result.exit_code in (0, 3), result.output
    assert len(list(read_records(out / "manifest.jsonl"))) == 2
    with hold(out):
        pass  # it is over


def test_opencv_and_ffmpeg_add_no_lines_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    command = [sys.executable, "-m", "glualign", "video", "text.mp4", "-o", "out.mp4"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert finished.returncode == 1
    assert len(finished.stderr.splitlines()) == 1, finished.stderr


def test_what_is_no_video_gives_no_frames(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    arguments = ["batch", "--sequence", str(tmp_path / "text.mp4"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert "text.mp4: OpenCV cannot read it as a video" in result.output
    assert not (tmp_path / "out").exists()
    assert CliRunner().invoke(cli, [*arguments, "--dry-run"]).exit_code == 2
