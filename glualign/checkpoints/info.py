"""What a checkpoint holds, as plain values for people and programs."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from typing import Any

from glualign.checkpoints.cache import read_note, sha256_of
from glualign.checkpoints.registry import (
    RegistryEntry,
    find_entry,
    find_weights,
    imported_files,
    load_registry,
    stem,
)


def describe(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Everything a file of weights says: file, hash, storage, configuration, metadata.

    The tensors are read but not put into a network; `glualign.checkpoints.fetch.verify` does that. Of a
    registered checkpoint that is not on this machine, what the registry says.

    Raises:
        CheckpointError: unknown name, or an unreadable file.
    """
    from glualign.checkpoints.read import CONFIG_KEY, read_checkpoint

    entry = find_entry(os.fspath(name_or_path))
    if entry is not None and (entry.source == "refused" or not entry.path.is_file()):
        return _registered(entry)
    weights = find_weights(name_or_path)
    checkpoint = read_checkpoint(weights.path)
    config, metadata = checkpoint.config, checkpoint.metadata
    if weights.entry is not None:
        config = weights.entry.configure(config)
        metadata = {**weights.entry.metadata(), **metadata}
    note = read_note(weights.path)
    types = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.state.values())
    return {
        "name": weights.name,
        "file": weights.path,
        "size": weights.path.stat().st_size,
        "sha256": sha256_of(weights.path),
        "storage": checkpoint.kind,
        "tensors": ", ".join(f"{count} {name}" for name, count in sorted(types.items())),
        "parameters": checkpoint.parameters,
        **({"origin": note["origin"]} if note else {}),
        "config": config.to_dict(),
        "metadata": {key: value for key, value in metadata.items() if key not in (CONFIG_KEY, "format")},
    }


def describe_all() -> list[dict[str, Any]]:
    """Every checkpoint of the registry, and every imported one, with its state on this machine."""
    known: list[dict[str, Any]] = []
    for entry in load_registry():
        there = entry.source != "refused" and entry.path.is_file()
        state = entry.source if entry.source != "drive" else "fetched" if there else "not fetched"
        known.append({**asdict(entry), "state": state, "path": entry.path if there else None})
    for path in imported_files():
        facts = {"name": stem(path), "aliases": (), "title": str(path), "path": path}
        known.append({**facts, "source": "imported", "state": "imported"})
    return known


def _registered(entry: RegistryEntry) -> dict[str, Any]:
    facts = {
        "name": entry.name,
        "state": "refused: " + entry.reason if entry.source == "refused" else "not on this machine",
        "model": entry.model,
        "address": entry.page,
        "sha256": entry.sha256,
        "sha256_evidence": entry.sha256_evidence,
        "code_licence": entry.code_licence,
    }
    return {**{key: value for key, value in facts.items() if value}, "metadata": entry.metadata()}
