# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.api import Api, ApiError
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress, sha256_of

REGISTRY = "registry.ollama.ai"
# What the engine leaves out of the names that it lists.
OWN_REGISTRY = re.compile(r"^(registry\.ollama\.ai/)?library/(?=[^/]*$)|^registry\.ollama\.ai/(?=[^/]*/[^/]*$)", re.I)


@dataclass
class Wanted:
    name: str
    state: str
    source: str
    path: str | None
    sha256: str | None
    store: str | None
    link: bool = False
    insecure: bool = False

    @property
    def tag(self) -> str:
        """The name as the engine lists it: latest without a tag, and without what is its own registry anyway."""
        name = self.name if ":" in self.name.rsplit("/", 1)[-1] else f"{self.name}:latest"
        return OWN_REGISTRY.sub("", name)


def listed(models: dict[str, str], tag: str) -> tuple[str | None, str]:
    """The name under which the engine has the model, and its digest; upper and lower case are the same to it."""
    return next((found for found in models.items() if found[0].lower() == tag.lower()), (None, ""))


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


def change_needed(api: Api, wanted: Wanted, there: bool) -> bool:
    if wanted.state == "absent":
        return there
    if not there or wanted.state == "latest":
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


def apply(api: Api, wanted: Wanted, progress: Progress) -> None:
    if wanted.state == "absent":
        api.json("DELETE", "/api/delete", {"model": wanted.tag})
    elif wanted.source == "registry":
        pull(api, wanted, progress)
    elif wanted.source == "gguf":
        create_from_gguf(api, wanted)
    else:
        copy_from_store(wanted)


def pull(api: Api, wanted: Wanted, progress: Progress) -> None:
    """From the registry. Weights that are here already, as a file for another engine, are not fetched again."""
    if wanted.link and wanted.path and os.path.isfile(wanted.path):
        link_blob(wanted, file_digest(wanted))

    def watch(record: dict[str, Any]) -> None:
        if record.get("total"):
            progress.report("download", wanted.tag, int(record.get("completed") or 0), int(record["total"]))

    try:
        api.stream("/api/pull", {"model": wanted.tag, "insecure": wanted.insecure}, watch)
    except ApiError as error:
        if "no space left" not in str(error):
            raise
        raise ApiError(f"{error}; what has come stays for the next run: free some space") from error


def link_blob(wanted: Wanted, digest: str) -> bool:
    """Puts the file at `path` among the engine's blobs as a hard link; False where that cannot be."""
    blob = os.path.join(str(wanted.store), "blobs", f"sha256-{digest}")
    path = str(wanted.path)
    try:
        if os.path.lexists(blob) or not os.stat(path).st_mode & 0o004:
            return False
        os.link(path, blob)
    except OSError:
        return False
    return True


def verify_blobs(wanted: Wanted, progress: Progress) -> bool:
    """Reads every blob of the model, as Ollama does not for those that it had; False where they cannot be seen.

    A blob with other content than its name says is removed, so that the next pull fetches it.
    """
    store = str(wanted.store)
    try:
        with open(os.path.join(store, manifest_path(wanted.tag)), encoding="utf-8") as handle:
            digests = manifest_digests(json.load(handle))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    for digest in digests:
        blob = os.path.join(store, "blobs", f"sha256-{digest}")
        progress.report("verify", wanted.tag, 0, None)
        if sha256_of(blob) != digest:
            os.unlink(blob)
            raise ApiError(f"{blob} had not the content that its name promises and was removed: run this again")
    return True


def manifest_digests(manifest: Any) -> list[str]:
    """The sha256 of each blob that a manifest names, its configuration first."""
    named = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    for digest in named:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest)):
            raise ValueError(f"it names {digest!r}, which is no sha256")
    return [digest[len("sha256:") :] for digest in named]


def create_from_gguf(api: Api, wanted: Wanted) -> None:
    path = str(wanted.path)
    digest = sha256_of(path)
    if wanted.sha256 and wanted.sha256 != digest:
        raise ApiError(f"{path} has the sha256 {digest}, expected {wanted.sha256}: nothing was created")
    if wanted.link:
        link_blob(wanted, digest)
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
            digests = manifest_digests(json.load(handle))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ApiError(f"{source} holds no model {wanted.tag}: {error!r}") from error
    owner = os.stat(target)
    for digest in digests:
        copy_file(source, target, os.path.join("blobs", f"sha256-{digest}"), owner, digest)
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
    try:
        shutil.copyfile(os.path.join(source, name), temporary)
        if digest and sha256_of(temporary) != digest:
            raise ApiError(f"{os.path.join(source, name)} has not the content that its name promises")
        os.chmod(temporary, 0o644)
        os.chown(temporary, owner.st_uid, owner.st_gid)
        os.replace(temporary, destination)
    except BaseException:
        # A full disk gets back what it gave.
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def ensure(
    api: Api, wanted: Wanted, start_timeout: int, check_mode: bool, progress: Progress | None = None
) -> tuple[bool, str, bool]:
    """Makes the model what it should be; returns whether anything changed, its digest, and whether it was verified."""
    progress = progress or Progress(None)
    try:
        api.wait(0 if check_mode else start_timeout)
        before = api.models()
    except ApiError:
        if check_mode:
            # Nothing is installed yet, or Ollama is stopped: what it has is on the disk.
            manifest = os.path.join(wanted.store or "", manifest_path(wanted.tag))
            return wanted.state != "absent" or os.path.exists(manifest), "", False
        raise
    name, digest = listed(before, wanted.tag)
    wanted.name = name or wanted.name
    if not change_needed(api, wanted, name is not None):
        return False, digest, False
    if check_mode:
        # Whether the registry has a newer one is known only after pulling it.
        return name is None or wanted.state != "latest", digest, False
    apply(api, wanted, progress)
    now, made = listed(api.models(), wanted.tag)
    if (now is not None) == (wanted.state == "absent"):
        raise ApiError(f"{wanted.tag} is {'still' if now else 'not'} there although the engine agreed")
    verified = wanted.state != "absent" and verify_blobs(wanted, progress)
    return (name, digest) != (now, made), made, verified
