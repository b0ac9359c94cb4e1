"""The scripts of benchmarks run, and their results say where they were measured."""

import json
import subprocess
import sys

import numpy as np

from tests.evaluation.fakes import texture, write_image


def run(root, *arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=root, capture_output=True, text=True)


def test_a_set_of_pairs_becomes_an_hpatches_sequence(root, tmp_path):
    from glualign.evaluation.datasets import open_dataset

    matrix = np.array([[0.9, 0.05, 4.0], [-0.04, 1.1, 3.0], [1e-4, 0, 1.0]])
    for k in (2, 3):
        folder = tmp_path / "scene" / f"1_{k}"
        write_image(folder / "source.png", texture(40, 60, 1))
        write_image(folder / "target.png", texture(40, 60, k))
        np.savetxt(folder / "H_target_to_source.txt", matrix)
    result = run(root, "benchmarks/hpatches_from_pairs.py", tmp_path / "scene", tmp_path / "hp")
    assert result.returncode == 0, result.stderr
    pair = open_dataset("hpatches", tmp_path / "hp").pairs[0]
    (original,) = (p for p in open_dataset("pairs", tmp_path / "scene").pairs if p.name == "1_2")
    sample, expected = pair.load(), original.load()
    np.testing.assert_array_equal(sample.target, expected.target)
    np.testing.assert_array_equal(sample.truth.mask, expected.truth.mask)
    np.testing.assert_allclose(sample.truth.flow, expected.truth.flow, atol=1e-3)


def test_results_carry_machine_versions_and_commit(root):
    paths = sorted((root / "benchmarks" / "results").glob("*.json"))
    assert paths
    for path in paths:
        content = json.loads(path.read_text())
        assert content["machine"]["cpu"], path
        assert content["machine"]["versions"]["torch"], path
        assert content["machine"]["commit"], path
        assert content["rows"], path


def test_the_commit_of_another_checkout_is_not_named(tmp_path, monkeypatch):
    """An environment often lies in the checkout of somebody else's project."""
    from glualign.evaluation import provenance

    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    (tmp_path / "venv" / "glualign").mkdir(parents=True)
    (tmp_path / "venv" / "glualign" / "__init__.py").write_text("")
    monkeypatch.setattr("glualign.__file__", str(tmp_path / "venv" / "glualign" / "__init__.py"))
    assert provenance.machine()["commit"] is None


def test_aligned_pairs_are_registered(root, tmp_path):
    write_image(tmp_path / "set" / "x_a.png", texture(96, 128, 1))
    write_image(tmp_path / "set" / "x_b.png", texture(96, 128, 1))
    result = run(root, "benchmarks/registration.py", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "in the median of 4" in result.stdout
