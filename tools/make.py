"""Set up glualign in a virtual environment of its own, then use it. Needs Python 3.10 or newer, nothing else.

    python3.11 tools/make.py demo     set up, then align an example pair with the embedded weights
    python3.11 tools/make.py test     set up, then run the tests (more arguments go to pytest)
    python3.11 tools/make.py check    set up, then check style, types and documentation
    python3.11 tools/make.py docs     set up, then write the generated pages of the documentation anew
    python3.11 tools/make.py lowest   set up with the lowest versions promised, then test what depends on them
    python3.11 tools/make.py imports  import every module on the other Pythons that are installed
    python3.11 tools/make.py setup    set up only

The environment is `.venv` beside this repository's README unless `--venv DIR` names another place. Setting up
again is skipped while pyproject.toml and constraints.txt stay the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("out") / "demo"
LOWEST_TESTS = ("tests/images", "tests/flow", "tests/cli", "tests/batch")
OTHER_PYTHONS = ("3.10", "3.13")

# Scripts that write pages of the documentation; with --check they compare instead.
GENERATED = (
    ("CLI reference", "tools/build_cli_reference.py"),
    ("recipe reference", "tools/build_recipe_reference.py"),
    ("benchmark tables", "tools/build_benchmark_tables.py"),
)
# What CI runs.
CHECKS = (
    ("lint", ["-m", "ruff", "check", "."]),
    ("format", ["-m", "ruff", "format", "--check", "."]),
    ("types", ["-m", "mypy"]),
    *((name, [script, "--check"]) for name, script in GENERATED),
    ("links", ["tools/check_links.py"]),
)


@dataclass
class Environment:
    """A virtual environment with this repository installed in editable mode."""

    folder: Path
    constraints: str = "constraints.txt"  # file of the exact versions to install
    base: str = sys.executable  # the Python that makes the environment

    def __post_init__(self) -> None:
        self.bin = self.folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.bin / ("python.exe" if os.name == "nt" else "python")

    def install(self, extra: str) -> None:
        """Create the environment and install glualign with one extra, unless that is done already."""
        stamp = self.folder / f"glualign-{extra}.stamp"
        state = self._state()
        if stamp.is_file() and stamp.read_text() == state and self.python.exists():
            return
        started = time.monotonic()
        print(f"Setting up {self.folder} (the first time downloads PyTorch, a few minutes) ...", flush=True)
        if not self.python.exists():
            self.create()
        self.pip("install", "--constraint", self.constraints, "--editable", f".[{extra}]")
        self._make_opencv_importable()
        stamp.write_text(state)
        print(f"Ready in {time.monotonic() - started:.0f} s.", flush=True)

    def create(self) -> None:
        """Make the environment, with nothing installed in it."""
        subprocess.run([self.base, "-m", "venv", "--clear", str(self.folder)], check=True)

    def pip(self, *arguments: str) -> None:
        """Run pip quietly, from the root of the repository."""
        self.run("-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)

    def run(self, *arguments: str) -> None:
        """Run the environment's Python in the repository's root; a failure ends this script with its code."""
        # Modules of the caller's own environment must not leak into ours.
        variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        finished = subprocess.run([str(self.python), *arguments], cwd=ROOT, env=variables)
        if finished.returncode:
            sys.exit(finished.returncode)

    def _make_opencv_importable(self) -> None:
        # opencv-python links against the system's libGL, which servers and containers lack; the headless
        # build of the same version has the same functions without windows.
        probe = subprocess.run([str(self.python), "-c", "import cv2"], capture_output=True, text=True)
        if probe.returncode == 0:
            return
        if "lib" not in probe.stderr:
            sys.exit(f"OpenCV cannot be imported:\n{probe.stderr}")
        print("This machine has no libGL: taking OpenCV's headless build instead.", flush=True)
        # Both packages own the folder cv2: whichever is there goes before the headless one comes.
        self.pip("uninstall", "--yes", "opencv-python", "opencv-python-headless")
        self.pip("install", "--no-deps", "--constraint", self.constraints, "opencv-python-headless")

    def _state(self) -> str:
        digest = hashlib.sha256()
        for name in ("pyproject.toml", self.constraints):
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()


def demo(environment: Environment) -> None:
    """Align the painted wall of the examples and say where the results are."""
    environment.install("report")
    pair = ("examples/graf1.png", "examples/graf3.png")
    command = ["warp", *pair, "--output", str(RESULTS), "--report", str(RESULTS / "report.html")]
    print(f"\n$ glualign {' '.join(command)}", flush=True)
    environment.run("-m", "glualign", *command)
    print(f"\nResults are in {ROOT / RESULTS}:")
    print(f"open graf1_warped.png beside {pair[1]}, or report.html in a browser.")
    print(f"To go on: {environment.bin / 'glualign'} --help")


def test(environment: Environment, arguments: list[str]) -> None:
    """Run the tests; what pytest prints last is the summary."""
    environment.install("dev")
    environment.run("-m", "pytest", *arguments)


def check(environment: Environment) -> None:
    """Style, types and documentation; the first failure ends the run."""
    environment.install("dev")
    for name, command in CHECKS:
        started = time.monotonic()
        environment.run(*command)
        print(f"{name}: ok ({time.monotonic() - started:.0f} s)", flush=True)


def docs(environment: Environment) -> None:
    """Write the generated pages of the documentation anew."""
    environment.install("dev")
    for _, script in GENERATED:
        environment.run(script)


def lowest(environment: Environment) -> None:
    """Run the tests that depend on other libraries, with the lowest versions that pyproject.toml promises."""
    folder = environment.folder
    lowest = Environment(folder.with_name(f"{folder.name}-lowest"), "constraints-lowest.txt")
    lowest.install("dev")
    lowest.run("-m", "pytest", *LOWEST_TESTS)


def imports(environment: Environment) -> None:
    """Import every module, and read every help text, with the other Pythons that this machine has.

    PyTorch is left out, because it is large: modules that need it are only compiled.
    """
    for version in OTHER_PYTHONS:
        base = find_python(version)
        if base is None:
            print(f"Python {version}: not installed, not checked", flush=True)
            continue
        folder = environment.folder
        other = Environment(folder.with_name(f"{folder.name}-{version}"), base=base)
        other.create()
        light = [line for line in requirements() if not line.startswith("torch")]
        other.pip("install", *light)
        other.pip("install", "--no-deps", "--editable", ".")
        other._make_opencv_importable()
        other.run("tools/check_imports.py")


def setup(environment: Environment) -> None:
    """Set up only."""
    environment.install("dev")


def requirements() -> list[str]:
    """The dependencies of the package, as pyproject.toml lists them."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = text.split("\ndependencies = [", 1)[1].split("]\n", 1)[0]
    return [line.strip().rstrip(",").strip('"') for line in listed.splitlines() if line.strip()]


def find_python(version: str) -> str | None:
    """A Python of this version that starts; None if there is none."""
    managed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (f"python{version}", *map(str, managed)):
        try:
            if subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
                return candidate
        except OSError:
            continue
    return None


TARGETS = {each.__name__: each for each in (demo, check, docs, lowest, imports, setup)}


def main() -> None:
    """Parse the arguments and run the target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=["test", *TARGETS])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the virtual environment")
    options, rest = parser.parse_known_args()
    if rest and options.target != "test":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    environment = Environment(options.venv.absolute())
    if options.target == "test":
        test(environment, rest)
    else:
        TARGETS[options.target](environment)


if __name__ == "__main__":
    main()
