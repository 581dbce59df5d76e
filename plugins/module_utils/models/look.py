# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the wanted models is on this host, what each would take, and whether it may be fetched."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.models.files import (
    Request,
    free_bytes,
    known_sha256,
    leftovers,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.fit import (
    Use,
    estimate,
    largest_context,
    sensible_parallel,
    trained_context,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.gguf import GgufError, Metadata, read_file
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.remote import (
    REGISTRY_URL,
    Manifest,
    RemoteError,
    blob_url,
    fetch_manifest,
    parse_manifest,
    read_remote,
    shown,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.models.wanted import Entry
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import sha256_of
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.models import manifest_path

GIB = 1 << 30


@dataclass
class Host:
    """Where models lie on this host, and what it has for them. Unknown is None."""

    models_directory: str
    store: str
    available_bytes: int | None = None
    gpu: bool = True
    default_context: int = 4096
    default_parallel: int = 1
    default_cache_type: str = "f16"
    flash_attention: bool = True
    registry_url: str = REGISTRY_URL
    timeout: int = 30
    allow_oversize: bool = False
    share: bool = True
    engine: str = "ollama"


@dataclass
class Found:
    """What was learnt of a model; `problem` is why its need is not known."""

    bytes: int | None = None
    url: str | None = None
    sha256: str | None = None
    blobs: list[dict[str, Any]] = field(default_factory=list)
    manifest: str | None = None
    need: dict[str, Any] | None = None
    trained_context: int | None = None
    largest_context: int | None = None
    sensible_parallel: int | None = None
    problem: str | None = None


def use_of(entry: Entry, host: Host) -> Use:
    return Use(
        context=entry.context or host.default_context,
        parallel=entry.parallel or host.default_parallel,
        cache_type_k=entry.cache_type_k or host.default_cache_type,
        cache_type_v=entry.cache_type_v or host.default_cache_type,
        flash_attention=host.flash_attention,
        gpu=host.gpu,
    )


def measure(found: Found, metadata: Metadata, entry: Entry, host: Host) -> Found:
    if metadata.parts > 1:
        raise GgufError(
            f"it is one of {metadata.parts} parts: join them with `llama-gguf-split --merge` and use the whole"
        )
    use = use_of(entry, host)
    trained = trained_context(metadata)
    # No engine gives a model more context than it was trained for.
    use = replace(use, context=min(use.context, trained))
    found.need = estimate(metadata, use).as_dict()
    found.trained_context = trained
    if host.available_bytes is not None:
        found.largest_context = largest_context(metadata, use, host.available_bytes)
        found.sensible_parallel = sensible_parallel(metadata, use, host.available_bytes)
    return found


def look_remotely(entry: Entry, host: Host) -> Found:
    """As the server of the model tells it, or the controller's file."""
    found = Found(sha256=entry.sha256, url=entry.url)
    try:
        if entry.source == "file":
            found.bytes = os.path.getsize(str(entry.src))
            metadata = read_file(str(entry.src))
            found.sha256 = sha256_of(str(entry.src))
        elif entry.source == "url":
            metadata, size = read_remote(str(entry.url), host.timeout)
            found.bytes = size or metadata.file_bytes
        else:
            metadata = look_in_registry(found, entry, host)
        return measure(found, metadata, entry, host)
    except (GgufError, RemoteError, OSError) as error:
        found.problem = shown(f"{entry.url or entry.src or entry.tag}: {error}")
    return found


def look_in_registry(found: Found, entry: Entry, host: Host) -> Metadata:
    manifest = fetch_manifest(entry.tag, host.registry_url, host.timeout)
    found.bytes = manifest.bytes
    found.manifest = manifest.content.decode("utf-8", "replace")
    found.sha256 = manifest.weights.sha256
    found.url = blob_url(entry.tag, manifest.weights.digest, host.registry_url)
    found.blobs = [
        {
            "name": layer.blob,
            "sha256": layer.sha256,
            "bytes": layer.bytes,
            "url": blob_url(entry.tag, layer.digest, host.registry_url),
        }
        for layer in manifest.layers
    ]
    return read_remote(found.url, host.timeout)[0]


def stored(entry: Entry, host: Host) -> Manifest | None:
    """The model's manifest in Ollama's models directory, if every blob that it names is there in its size."""
    try:
        with open(os.path.join(host.store, manifest_path(entry.tag)), "rb") as source:
            manifest = parse_manifest(source.read())
        for layer in manifest.layers:
            if os.path.getsize(os.path.join(host.store, "blobs", layer.blob)) != layer.bytes:
                return None
        return manifest
    except (OSError, ValueError):
        return None


def look_locally(entry: Entry, host: Host) -> tuple[dict[str, bool], str | None, Found | None]:
    """For each engine whether it has the model; the path of its weights; what its file here tells, if it is the one."""
    there, weights, file = {}, None, None
    manifest = stored(entry, host)
    for engine in entry.engines:
        there[engine] = engine == "ollama" and manifest is not None
    if manifest is not None:
        weights = os.path.join(host.store, "blobs", manifest.weights.blob)
    if entry.file:
        path = os.path.join(host.models_directory, entry.file)
        known = known_sha256(Request(path))
        # A file that nobody has verified yet is verified, as if it were to be fetched.
        good = os.path.isfile(path) and (not entry.sha256 or known == entry.sha256)
        if good:
            weights = path
            file = Found(url=entry.url, sha256=known or entry.sha256)
        # A model for Ollama that is a file is made from that file.
        there = {engine: (good if engine == "llama_server" else there[engine] and good) for engine in there}
    return there, weights, file


def visible(folder: str) -> bool:
    """Whether this user may see what is in the directory. One that does not exist hides nothing."""
    try:
        os.listdir(folder)
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def removable(entry: Entry, host: Host) -> dict[str, str]:
    """What of a model that its engines shall not have is here: its manifest, its file. Other engines keep theirs."""
    manifest, file = os.path.join(host.store, manifest_path(entry.tag)), entry.file
    path = os.path.join(host.models_directory, file or "")
    names = {"ollama": manifest} if "ollama" in entry.engines and os.path.lexists(manifest) else {}
    # What came of a download that was cut is a part of it, too.
    return {**names, "file": path} if file and leftovers(Request(path)) else names


def judge(entry: Entry, host: Host, given: dict[str, Any] | None, ask: bool) -> dict[str, Any]:
    """All about one model. `given` was found elsewhere; without it, and if `ask`, its server is asked."""
    result: dict[str, Any] = {
        "name": entry.name,
        "tag": entry.tag,
        "state": entry.state,
        "source": entry.source,
        "engines": entry.engines,
        "path": os.path.join(host.models_directory, entry.file) if entry.file else None,
        "manifest_path": manifest_path(entry.tag),
        "removable": removable(entry, host) if entry.state == "absent" else {},
        "src": entry.src,
        "available_bytes": host.available_bytes,
        "refused": None,
    }
    there, weights, file = look_locally(entry, host)
    missing = not all(there.values())
    # A file that is here tells all that there is to know, also where Ollama has not been given it yet.
    local = weights if not missing or (file and file.sha256 and entry.source != "registry") else None
    found, asked = Found(), True
    if given is not None:
        found = Found(**given)
    elif local and entry.state == "present":
        found = file or Found(sha256=entry.sha256)
        try:
            found.bytes = os.path.getsize(local)
            found = measure(found, read_file(local), entry, host)
        except (GgufError, OSError) as error:
            found.problem = f"{local}: {error}"
    elif missing and entry.state == "present":
        asked = ask and entry.source != "file"
        if asked:
            found = look_remotely(entry, host)
    result.update(asdict(found), there=there, file_there=file is not None, missing=missing, asked=asked)
    result["seen"] = "ollama" not in entry.engines or visible(host.store)
    result["fits"] = fits(found, host)
    if entry.state == "present" and missing and asked:
        result["refused"] = refusal(entry, result, host)
    return result


def fits(found: Found, host: Host) -> bool | None:
    if found.need is None or host.available_bytes is None:
        return None
    return int(found.need["total"]) <= host.available_bytes


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / (1 << 20):.0f} MiB"


def in_words(need: dict[str, Any]) -> str:
    return (
        f"{gib(need['total'])} ({gib(need['weights'])} of weights, {gib(need['kv'])} for {need['parallel']} x "
        f"{need['context']} tokens of context, {gib(need['compute'])} to compute in)"
    )


def refusal(entry: Entry, result: dict[str, Any], host: Host) -> str | None:
    """Why the model is not fetched, and what to do; None where it may be."""
    if entry.sha256 and result["sha256"] not in (None, entry.sha256):
        return f"{entry.src or entry.name} has the sha256 {result['sha256']}, not {entry.sha256}: it is not taken."
    if host.allow_oversize or entry.allow_oversize:
        return None
    leave = "or have it all the same with allow_oversize: true"
    if result["fits"] is None:
        why = result["problem"] or "how much memory this host has for models is not known"
        return f"Whether {entry.name} fits is not known: {why}. Mend that, {leave}."
    if result["fits"]:
        return None
    smaller = result["largest_context"]
    hint = f"With a context of {smaller} it would fit" if smaller else "Choose a smaller model or quantisation"
    return (
        f"{entry.name} does not fit: it takes {in_words(result['need'])}, and {gib(result['available_bytes'])} are "
        f"free for it. {hint}, {leave}."
    )


def arrived(path: str) -> int:
    """Bytes of the file that are on the disk: Ollama gives a partial blob its whole length at once, with holes."""
    try:
        status = os.stat(path)
    except OSError:
        return 0
    return min(status.st_size, status.st_blocks * 512)


def still_needed(result: dict[str, Any], host: Host) -> dict[str, int]:
    """For each directory, what is yet to come of a model."""
    weights = {"name": f"sha256-{result['sha256']}", "sha256": result["sha256"], "bytes": result["bytes"]}
    blobs = result["blobs"] or [weights]
    needed = {}
    if result["path"] and not os.path.isfile(result["path"]):
        size = sum(blob["bytes"] for blob in blobs if blob["sha256"] == result["sha256"])
        needed[host.models_directory] = max(0, size - arrived(f"{Request(result['path']).arriving}.part"))
    if host.engine == "ollama" and "ollama" in result["engines"] and not result["there"].get("ollama"):
        # One file for both engines takes its place once, where a hard link can be made.
        linked = result["path"] and host.share and _device(host.models_directory) == _device(host.store)
        coming = [blob for blob in blobs if not (linked and blob["sha256"] == result["sha256"])]
        paths = {os.path.join(host.store, "blobs", blob["name"]): blob["bytes"] for blob in coming}
        needed[host.store] = sum(
            max(0, size - arrived(path) - arrived(f"{path}-partial")) for path, size in paths.items()
        )
    return needed


def space_problems(results: list[dict[str, Any]], host: Host) -> list[str]:
    """What the disks cannot hold of what is to be fetched, for each file system."""
    needed: dict[str, int] = {}
    for result in results:
        if result["state"] != "present" or not result["missing"] or not result["bytes"] or result["refused"]:
            continue
        for folder, size in still_needed(result, host).items():
            needed[folder] = needed.get(folder, 0) + size
    by_device: dict[int, list[str]] = {}
    for folder in needed:
        by_device.setdefault(_device(folder), []).append(folder)
    problems = []
    for folders in by_device.values():
        total, free = sum(needed[folder] for folder in folders), free_bytes(folders[0])
        if free is not None and total > free:
            problems.append(
                f"The models to fetch take {gib(total)}, and {' and '.join(sorted(folders))} "
                f"have {gib(free)} free: free some space, or choose another directory."
            )
    return problems


def _device(folder: str) -> int:
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return os.stat(folder).st_dev


def look(
    entries: list[Entry], host: Host, given: dict[str, Any] | None = None, ask: bool = True
) -> tuple[list[dict[str, Any]], list[str]]:
    """All about every model, and the reasons for which nothing may be done."""
    results = [judge(entry, host, (given or {}).get(entry.name), ask) for entry in entries]
    problems = [result["refused"] for result in results if result["refused"]]
    return results, problems + space_problems(results, host)
