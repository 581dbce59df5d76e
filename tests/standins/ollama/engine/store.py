# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on disk: blobs/sha256-<hex> and manifests/<host>/<namespace>/<model>/<tag>, as Ollama keeps them."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import gguf, registry
from .environ import Environment
from .log import log

MIB = 1024 * 1024
GRACE_SECONDS = 3600
MODEL_TYPE = "application/vnd.ollama.image.model"
PARAMS_TYPE = "application/vnd.ollama.image.params"
# What the stand-in's registry has: architecture, blocks, MiB of the real weights, parameters.
REGISTRY = {
    "smollm2:135m": ("llama", 30, 258, "134.52M"),
    "smollm2:360m": ("llama", 32, 691, "361.82M"),
    "qwen2.5:0.5b": ("qwen2", 24, 379, "494.03M"),
    "qwen3:0.6b": ("qwen3", 28, 498, "751.63M"),
    "qwen3:4b": ("qwen3", 36, 2381, "4.0B"),
    "llama3.2:1b": ("llama", 16, 1259, "1.2B"),
    "llama3.2:3b": ("llama", 28, 1925, "3.2B"),
    "llama3.1:8b": ("llama", 32, 4693, "8.0B"),
    "gpt-oss:20b": ("gptoss", 24, 13161, "20.9B"),
    "gpt-oss:120b": ("gptoss", 36, 62243, "116.8B"),
}


@dataclass(frozen=True)
class Name:
    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Name:
        text = re.sub(r"^https?://", "", text)
        path, _, tag = text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", "latest")
        parts = path.split("/")
        host, namespace = "registry.ollama.ai", "library"
        if len(parts) > 2:
            host = "/".join(parts[:-2])
        if len(parts) > 1:
            namespace = parts[-2]
        name = cls(host, namespace, parts[-1], tag)
        if not all(re.fullmatch(r"[\w][\w.:-]*", part) for part in (host, namespace, name.model, tag)):
            raise ValueError("invalid model name")
        return name

    def short(self) -> str:
        name = f"{self.model}:{self.tag}"
        if self.host != "registry.ollama.ai":
            return f"{self.host}/{self.namespace}/{name}"
        return name if self.namespace == "library" else f"{self.namespace}/{name}"


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        return self.root / "blobs" / digest.replace(":", "-")

    def manifest(self, name: Name) -> Path:
        return self.root / "manifests" / name.host / name.namespace / name.model / name.tag

    def add_blob(self, content: bytes) -> tuple[str, int]:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.blob(digest).write_bytes(content)
        return digest, len(content)

    def names(self) -> list[Name]:
        files = (self.root / "manifests").glob("*/*/*/*")
        return sorted((Name(*file.parts[-4:]) for file in files if file.is_file()), key=Name.short)

    def existing(self, name: Name) -> Name:
        """The name of the model that is there, whatever its upper and lower case."""
        return next((known for known in self.names() if str(known).lower() == str(name).lower()), name)

    def read(self, name: Name) -> dict[str, Any]:
        return json.loads(self.manifest(name).read_text())

    def weights(self, name: Name) -> Path:
        layer = next(layer for layer in self.read(name)["layers"] if layer["mediaType"] == MODEL_TYPE)
        return self.blob(layer["digest"])

    def layers(self, name: Name) -> set[str]:
        """File names of the model's blobs."""
        manifest = self.read(name)
        return {layer["digest"].replace(":", "-") for layer in [*manifest["layers"], manifest["config"]]}

    def parameters(self, name: Name) -> dict[str, Any]:
        for layer in self.read(name)["layers"]:
            if layer["mediaType"] == PARAMS_TYPE:
                return json.loads(self.blob(layer["digest"]).read_text())
        return {}

    def describe(self, name: Name) -> dict[str, Any]:
        file = self.manifest(name)
        manifest = self.read(name)
        architecture, _blocks, _weights = gguf.shape(self.weights(name))
        size = sum(layer["size"] for layer in [*manifest["layers"], manifest["config"]])
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(file.stat().st_mtime))
        return {
            "name": name.short(),
            "model": name.short(),
            "modified_at": stamp,
            "size": size,
            "digest": hashlib.sha256(file.read_bytes()).hexdigest(),
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": architecture,
                "families": [architecture],
                "parameter_size": REGISTRY.get(name.short(), (0, 0, 0, "unknown"))[3],
                "quantization_level": "Q4_K_M",
            },
        }

    def write_manifest(self, name: Name, weights: tuple[str, int], parameters: dict[str, Any]) -> None:
        layers = [{"mediaType": MODEL_TYPE, "digest": weights[0], "size": weights[1]}]
        if parameters:
            digest, size = self.add_blob(json.dumps(parameters, sort_keys=True).encode())
            layers.append({"mediaType": PARAMS_TYPE, "digest": digest, "size": size})
        digest, size = self.add_blob(json.dumps({"model_format": "gguf", "model_family": "llama"}).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest, "size": size},
            "layers": layers,
        }
        file = self.manifest(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(manifest))

    def delete(self, name: Name) -> None:
        layers = self.layers(name)
        self.manifest(name).unlink()
        for digest in layers - set().union(*map(self.layers, self.names())):
            (self.root / "blobs" / digest).unlink(missing_ok=True)

    def remove_unused(self, grace: float = GRACE_SECONDS) -> int:
        """What no manifest names and is older than the grace goes; so does a partial download, which none can name."""
        used = set().union(*map(self.layers, self.names()))
        old = time.time() - grace
        unused = [
            blob for blob in (self.root / "blobs").iterdir() if blob.name not in used and blob.stat().st_mtime <= old
        ]
        for blob in unused:
            blob.unlink()
        return len(unused)

    def prune_at_start(self, environment: Environment) -> None:
        log("INFO", "images.go:912", f"total blobs: {sum(1 for _ in (self.root / 'blobs').iterdir())}")
        if not environment.boolean("OLLAMA_NOPRUNE"):
            log("INFO", "images.go:919", f"total unused blobs removed: {self.remove_unused()}")

    def pull(self, text: str, fault: str | None, address: str | None = None) -> Iterator[dict[str, Any]]:
        """The lines of a pull; an error is a line, too."""
        yield {"status": "pulling manifest"}
        name = self.existing(Name.parse(text))
        if address:
            yield from registry.pull(self, name, address)
            return
        known = REGISTRY.get(name.short())
        if known is None or fault == "manifest":
            yield {"error": "pull model manifest: file does not exist"}
            return
        architecture, blocks, megabytes, _parameters = known
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model")
            gguf.write(file, name.model, architecture, blocks, megabytes * MIB, 64 * 1024)
            content = file.read_bytes()
        digest, total = "sha256:" + hashlib.sha256(content).hexdigest(), len(content)
        short = digest.removeprefix("sha256:")[:12]
        partial = self.root / "blobs" / f"{digest.replace(':', '-')}-partial"
        if not self.blob(digest).exists():
            for part in range(5):
                completed = total * part // 4
                if fault == "cut" and part == 2:
                    partial.write_bytes(content[:completed])
                    yield {"error": "max retries exceeded: unexpected EOF"}
                    return
                yield {"status": f"pulling {short}", "digest": digest, "total": total, "completed": completed}
                time.sleep(0.1)
            self.add_blob(content)
            partial.unlink(missing_ok=True)
        else:
            yield {"status": f"pulling {short}", "digest": digest, "total": total, "completed": total}
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        self.write_manifest(name, (digest, total), {"temperature": 0.2})
        yield {"status": "success"}
