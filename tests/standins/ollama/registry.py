# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry of models as files, for the mirror to serve: v2/library/MODEL/manifests/TAG and blobs/sha256:HEX."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.standins.gguf_files import header, llama

MODEL_TYPE = "application/vnd.ollama.image.model"


def write_gguf(file: Path, padding: int = 0, **shape: Any) -> str:
    """A GGUF file of noise with the header of a model; its data beyond the header is a hole. Returns its sha256."""
    content, data = header(*llama(**shape))
    with file.open("wb") as output:
        output.write(content)
        output.truncate(len(content) + data + padding)
    if data > 1 << 30:
        return "0" * 64  # nobody will fetch it
    return hashlib.sha256(file.read_bytes()).hexdigest()


def publish(folder: Path, tag: str, **shape: Any) -> str:
    """Puts a model into the registry below the folder; returns the sha256 of its weights."""
    model, _colon, version = tag.partition(":")
    base = folder / "v2/library" / model
    (base / "blobs").mkdir(parents=True, exist_ok=True)
    (base / "manifests").mkdir(exist_ok=True)
    weights = base / "weights"
    digest = write_gguf(weights, **shape)
    layers = [{"mediaType": MODEL_TYPE, "digest": f"sha256:{digest}", "size": weights.stat().st_size}]
    weights.rename(base / f"blobs/sha256:{digest}")
    small = json.dumps({"model_format": "gguf", "model_family": "llama", "name": tag}).encode()
    config = hashlib.sha256(small).hexdigest()
    (base / f"blobs/sha256:{config}").write_bytes(small)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": f"sha256:{config}",
            "size": len(small),
        },
        "layers": layers,
    }
    (base / "manifests" / version).write_text(json.dumps(manifest))
    return digest
