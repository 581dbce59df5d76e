# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.api import Api, ApiError
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import sha256_of

REGISTRY = "registry.ollama.ai"


@dataclass
class Wanted:
    name: str
    state: str
    source: str
    path: str | None
    sha256: str | None
    store: str | None

    @property
    def tag(self) -> str:
        """The name as the engine lists it: without a tag it is latest."""
        return self.name if ":" in self.name.rsplit("/", 1)[-1] else f"{self.name}:latest"


def manifest_path(tag: str) -> str:
    """Where a models directory keeps the manifest of a model (Ollama's HOST/NAMESPACE/MODEL/TAG)."""
    model, _colon, version = tag.rpartition(":")
    parts = model.split("/")
    if len(parts) == 1:
        parts = [REGISTRY, "library", *parts]
    elif len(parts) == 2:
        parts = [REGISTRY, *parts]
    if any(part in ("", ".", "..") for part in [*parts, version]):
        raise ApiError(f"{tag!r} is not the name of a model")
    return os.path.join("manifests", *parts, version)


def made_from(api: Api, tag: str) -> str | None:
    """The sha256 of the GGUF file that a model was made from, as its Modelfile tells."""
    modelfile = str(api.json("POST", "/api/show", {"model": tag}).get("modelfile") or "")
    found = re.search(r"^FROM\s+\S*sha256[-:]([0-9a-f]{64})\s*$", modelfile, re.MULTILINE)
    return found.group(1) if found else None


def change_needed(api: Api, wanted: Wanted, present: dict[str, str]) -> bool:
    if wanted.state == "absent":
        return wanted.tag in present
    if wanted.tag not in present or wanted.state == "latest":
        return True
    if wanted.source != "gguf":
        return False
    recorded = made_from(api, wanted.tag)
    return recorded is not None and recorded != file_digest(wanted)


def file_digest(wanted: Wanted) -> str:
    """The sha256 of the GGUF file; a given one saves reading gigabytes where nothing is to be done."""
    if not wanted.sha256:
        wanted.sha256 = sha256_of(str(wanted.path))
    return wanted.sha256


def apply(api: Api, wanted: Wanted) -> None:
    if wanted.state == "absent":
        api.json("DELETE", "/api/delete", {"model": wanted.tag})
    elif wanted.source == "registry":
        api.stream("/api/pull", {"model": wanted.tag})
    elif wanted.source == "gguf":
        create_from_gguf(api, wanted)
    else:
        copy_from_store(wanted)


def create_from_gguf(api: Api, wanted: Wanted) -> None:
    path = str(wanted.path)
    digest = sha256_of(path)
    if wanted.sha256 and wanted.sha256 != digest:
        raise ApiError(f"{path} has the sha256 {digest}, expected {wanted.sha256}: nothing was created")
    if not api.has_blob(digest):
        api.put_blob(path, digest)
    api.stream("/api/create", {"model": wanted.tag, "files": {os.path.basename(path): f"sha256:{digest}"}})


def copy_from_store(wanted: Wanted) -> None:
    """Copies a model out of another models directory: verified blobs first, the manifest that names them last.

    The copies get the time of now, as the engine removes old blobs without a manifest when it starts.
    """
    source, target = str(wanted.path), str(wanted.store)
    manifest = os.path.join(source, manifest_path(wanted.tag))
    try:
        with open(manifest, encoding="utf-8") as handle:
            content = json.load(handle)
        digests = [content["config"]["digest"], *(layer["digest"] for layer in content["layers"])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ApiError(f"{source} holds no model {wanted.tag}: {error!r}") from error
    owner = os.stat(target)
    for digest in digests:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest)):
            raise ApiError(f"{manifest} names {digest!r}, which is no sha256")
        copy_file(source, target, os.path.join("blobs", digest.replace(":", "-")), owner, digest[len("sha256:") :])
    copy_file(source, target, manifest_path(wanted.tag), owner, None)


def copy_file(source: str, target: str, name: str, owner: os.stat_result, digest: str | None) -> None:
    destination = os.path.join(target, name)
    if digest and os.path.exists(destination):
        os.utime(destination)
        return
    folder = target
    for part in os.path.dirname(name).split(os.sep):
        folder = os.path.join(folder, part)
        if not os.path.isdir(folder):
            os.mkdir(folder, 0o755)
            os.chown(folder, owner.st_uid, owner.st_gid)
    temporary = f"{destination}.lamplighter-partial"
    shutil.copyfile(os.path.join(source, name), temporary)
    if digest and sha256_of(temporary) != digest:
        os.unlink(temporary)
        raise ApiError(f"{os.path.join(source, name)} has not the content that its name promises")
    os.chmod(temporary, 0o644)
    os.chown(temporary, owner.st_uid, owner.st_gid)
    os.replace(temporary, destination)


def ensure(api: Api, wanted: Wanted, start_timeout: int, check_mode: bool) -> tuple[bool, str]:
    """Makes the model what it should be; returns whether anything changed, and its digest."""
    try:
        api.wait(0 if check_mode else start_timeout)
        before = api.models()
    except ApiError:
        if check_mode:
            # A host on which nothing is installed yet: the model will be missing.
            return wanted.state != "absent", ""
        raise
    if not change_needed(api, wanted, before):
        return False, before.get(wanted.tag, "")
    if check_mode:
        # Whether the registry has a newer one is known only after pulling it.
        return wanted.tag not in before or wanted.state != "latest", before.get(wanted.tag, "")
    apply(api, wanted)
    after = api.models()
    if (wanted.tag in after) == (wanted.state == "absent"):
        raise ApiError(f"{wanted.tag} is {'still' if wanted.tag in after else 'not'} there although the engine agreed")
    return before.get(wanted.tag) != after.get(wanted.tag), after.get(wanted.tag, "")
