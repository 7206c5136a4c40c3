"""Describe a loaded model for a transcript: adapters, device, fingerprint, libraries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from chatui.catalog.model_files import WEIGHT_SUFFIXES
from chatui.messages import Loaded, ModelSpec

_LIBRARIES = {"local": ("torch", "transformers"), "llama.cpp": ("llama-cpp-python",)}
_SAMPLES, _SAMPLE_BYTES = 16, 4096


def model_description(spec: ModelSpec, loaded: Loaded) -> dict[str, Any]:
    """Return the keys of a transcript's "model" event, without a server's address and key."""
    described: dict[str, Any] = {
        "name": loaded.name,
        "format": loaded.format,
        "adapters": [{"path": each.path, "scale": each.scale} for each in spec.adapters],
        "device": loaded.device,
        "dtype": loaded.dtype,
    }
    if spec.server is None:
        described["weights"] = weights_fingerprint(Path(spec.path))
    found = {name: installed_version(name) for name in _LIBRARIES.get(spec.backend, ())}
    libraries = {name: version for name, version in found.items() if version}
    return described | ({"libraries": libraries} if libraries else {})


def weights_fingerprint(path: Path) -> str:
    """Return "sha256:" and a digest of the weights in a file or folder; "" without weights.

    The digest covers the name, the size and 16 evenly spaced blocks of each file, which tells
    checkpoints apart without reading gigabytes.
    """
    try:
        files = [path] if path.is_file() else sorted(path.iterdir())
        digest = hashlib.sha256()
        found = False
        for file in files:
            if file.suffix in (*WEIGHT_SUFFIXES, ".gguf") and file.is_file():
                found = True
                size = file.stat().st_size
                digest.update(f"{file.name}\0{size}\0".encode("utf-8", "surrogateescape"))
                with file.open("rb") as stream:
                    for sample in range(_SAMPLES):
                        stream.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                        digest.update(stream.read(_SAMPLE_BYTES))
    except OSError:
        return ""
    return f"sha256:{digest.hexdigest()}" if found else ""


def installed_version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    # Slow to import, and only recordings need it.
    from importlib.metadata import distributions

    return next((found.version for found in distributions(name=package)), None)
