import os
from pathlib import Path

import pytest
from batch_fakes import picture

from glualign.batch.listing import list_images, natural_sort, stem_of
from glualign.errors import BatchError


def test_numbers_sort_by_value_and_folders_stay_together() -> None:
    names = ["b10.png", "b9.png", "a/2.png", "a/10.png", "B1.png", "a1/1.png"]
    assert natural_sort(names) == ("a/2.png", "a/10.png", "a1/1.png", "B1.png", "b9.png", "b10.png")


def test_numbers_that_differ_only_in_zeros_have_one_order() -> None:
    assert natural_sort(["f01.png", "f1.png"]) == natural_sort(["f1.png", "f01.png"])


def test_stem_keeps_dots_that_are_no_extension() -> None:
    assert stem_of("a.b/scan.v2.png") == "a.b/scan.v2"
    assert stem_of("a.b/scan") == "a.b/scan"


@pytest.fixture
def tree(tmp_path):
    for name in ("1.png", "sub/2.jpg", "sub/deep/3.tif", ".hidden/4.png", ".5.png", "out/6.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_folder_is_searched_with_its_sub_folders_but_not_hidden_or_skipped_ones(tree) -> None:
    listing = list_images(tree, skip=[tree / "out"])
    assert listing.names == ("1.png", "sub/2.jpg", "sub/deep/3.tif")
    assert listing.ignored == (f"{tree}/notes.txt: not an image by its extension",)


def test_not_recursive_stays_on_top(tree) -> None:
    assert list_images(tree, recursive=False).names == ("1.png",)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ("1.png",)),
        ("**/*.jpg", ("sub/2.jpg",)),
        ("sub/**", ("2.jpg", "deep/3.tif")),  # names start below the folder before the wildcard
        ("**/[23].*", ("sub/2.jpg", "sub/deep/3.tif")),
        ("**/[!23].png", ("1.png", "out/6.png")),
        ("?.png", ("1.png",)),
        ("**/**/1.png", ("1.png",)),
        ("**/3.*", ("sub/deep/3.tif",)),
    ],
)
def test_globs(tree, pattern, expected) -> None:
    assert list_images(tree / pattern).names == expected


def test_single_file_is_a_list_of_one(tree) -> None:
    assert list_images(tree / "sub" / "2.jpg").names == ("2.jpg",)


def test_missing_folder_empty_match_and_folder_without_images_are_refused(tree, tmp_path) -> None:
    with pytest.raises(BatchError, match="no such folder"):
        list_images(tree / "nowhere")
    with pytest.raises(BatchError, match="no images"):
        list_images(tree / "*.bmp")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("")
    with pytest.raises(BatchError, match="none of its 1 files"):
        list_images(tmp_path / "texts")


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_broken_links_are_kept_and_every_folder_is_listed_once(tree, tmp_path_factory) -> None:
    (tree / "broken.png").symlink_to(tree / "nothing.png")
    for name, leads_to in (("loop", tree), ("again", tree / "sub"), ("all", Path("/"))):
        (tree / name).symlink_to(leads_to)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "day").mkdir()
    (elsewhere / "day" / "4.png").write_bytes(b"")
    (elsewhere / "back").symlink_to(tree)
    (tree / "more").symlink_to(elsewhere)
    found = list_images(tree, skip=[tree / "out"])
    assert found.names == ("1.png", "broken.png", "more/day/4.png", "sub/2.jpg", "sub/deep/3.tif")
    left_out = [line.partition(": leads to")[0] for line in found.ignored if "leads to" in line]
    assert left_out == [str(tree / name) for name in ("again", "all", "loop", "more/back")]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_links_into_what_is_skipped_and_out_of_a_linked_folder_are_not_entered(
    tree, tmp_path_factory
) -> None:
    (tree / "out" / "sub").mkdir(parents=True, exist_ok=True)
    (tree / "out" / "sub" / "5.png").write_bytes(b"")
    (tree / "latest").symlink_to(tree / "out" / "sub")
    assert not any(name.startswith("latest") for name in list_images(tree, skip=[tree / "out"]).names)
    linked = tmp_path_factory.mktemp("w") / "in"
    linked.symlink_to(tree / "sub")
    (tree / "sub" / "up").symlink_to(tree)
    assert list_images(linked).names == ("2.jpg", "deep/3.tif")


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need POSIX")
def test_a_loop_of_links_is_one_unreadable_file_and_pipes_are_left_out(tree) -> None:
    (tree / "loop.png").symlink_to(tree / "loop.png")
    os.mkfifo(tree / "pipe.png")
    (tree / "to pipe.png").symlink_to(tree / "pipe.png")
    assert list_images(tree, recursive=False).names == ("1.png", "loop.png")


@pytest.mark.parametrize(
    "pattern", ["[z-a].png", "[.png", "\\", "a\\[", "[!]", "[]a", "**[", "x" * 300, "a\0*"]
)
def test_odd_globs_match_nothing_or_what_they_say(tree, pattern) -> None:
    with pytest.raises(BatchError, match=r"no images|no such folder"):
        list_images(f"{tree}/{pattern}")


def test_files_are_left_out_like_folders(tree) -> None:
    whole = list_images(tree)
    left = list_images(f"{tree}/.", skip=[tree / whole.names[0]])
    assert (left.names, left.ignored) == (whole.names[1:], whole.ignored)


def test_only_what_is_named_is_skipped(tree) -> None:
    for name in ("a*.png", "abc.png", "abc_mask.png"):
        picture(tree / "odd" / name)
    assert list_images(tree / "odd", skip=[tree / "odd" / "a*.png"]).names == ("abc.png", "abc_mask.png")
    assert list_images(tree / "odd", masks=False).names == ("a*.png", "abc.png")


def test_brackets_may_be_part_of_a_folder_that_exists(tree) -> None:
    picture(tree / "scan [1]" / "x.png")
    assert list_images(f"{tree}/scan [1]/*.png").names == ("x.png",)
