"""``python -m glualign`` is the same as ``glualign``."""

from glualign.cli.main import main

main()
