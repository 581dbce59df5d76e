# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which ROCm a host gets: by its GPUs, its distribution, what its engine needs and what the inventory wants."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.support import (
    LINES,
    NEW_LAYOUT,
    find_distribution,
    gpu_class,
    objection,
    supported_on,
    title,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.texts import repository
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.wishes import RocmError, Wishes


@dataclass(frozen=True)
class Chip:
    gfx: str
    name: str
    integrated: bool | None
    official: dict


@dataclass(frozen=True)
class Host:
    platform: str | None
    distribution: dict
    chips: tuple
    rocm_version: str | None = None
    rocm_path: str | None = None
    kernel_release: str | None = None


def version_key(text: str) -> tuple:
    return tuple(int(number) for number in re.findall(r"\d{1,9}", text))


def is_legacy(version: str, path: str) -> bool:
    """Packages of the old line, which AMD wants removed first."""
    return path.startswith("/opt/rocm") and "/core" not in path and version_key(version)[:2] < NEW_LAYOUT


def _named(host: Host) -> str:
    name, version = host.distribution.get("id") or "an unknown distribution", host.distribution.get("version_id") or ""
    return f"{name} {version}".strip()


def _objections(source: str, host: Host, version: str = "") -> list[str]:
    known = find_distribution(host.distribution)
    if host.platform == "wsl2":
        return ["ROCm sees the GPU of a WSL2 host through librocdxg only, which AMD calls a preview"]
    if source == "distribution":
        own = known.get("distribution")
        if not own:
            return [f"{_named(host)} is not known to have ROCm packages of its own that are current enough"]
        missing = [chip.gfx for chip in host.chips if own["gfx"] is not None and chip.gfx not in own["gfx"]]
        return [f"ROCm {own['version']} of {_named(host)} has no code for {gfx}" for gfx in missing]
    if not known.get(source):
        return [f"AMD publishes no packages of {title(source, version)} for {_named(host)}"]
    found = [objection(source, chip.gfx, chip.official, chip.integrated, known, version) for chip in host.chips]
    return [reason.replace("this distribution", _named(host)) for reason in dict.fromkeys(found) if reason]


def _alternatives(source: str, host: Host, version: str = "") -> str:
    """What would work: another source here, or the same one elsewhere."""
    here = [other for other in ("amd", "legacy", "distribution") if other != source and not _objections(other, host)]
    offers = [f"rocm_source: {other} here" for other in here]
    if source in LINES:
        chips = [supported_on(source, chip.gfx, chip.official, chip.integrated, version) for chip in host.chips]
        common = [name for name in (chips[0] if chips else []) if all(name in others for others in chips)]
        offers += [f"{title(source, version)} on {', '.join(common)}"] if common else []
    return "; ".join(offers) or "Vulkan, which needs no ROCm"


def _choose(host: Host, wishes: Wishes, refused: list) -> str:
    """For `auto`, where the engine needs the host's libraries: the first source that is supported."""
    for source in ("amd", "distribution", "legacy"):
        reasons = _objections(source, host)
        if not reasons:
            return source
        refused.append({"option": f"rocm_source: {source}", "reason": "; ".join(reasons)})
    return "none"


def _key(line: dict, wishes: Wishes) -> dict[str, str]:
    return {
        "url": wishes.key_url or f"{wishes.mirror or line['base']}{line['key']}",
        "fingerprint": wishes.key_fingerprint or line["fingerprint"],
    }


def _amd(known: dict, wishes: Wishes) -> dict[str, Any]:
    line, base = LINES["amd"], wishes.mirror or LINES["amd"]["base"]
    url = f"{base}/rocm/core/packages/{known['amd']['path']}/" + ("" if known["family"] == "apt" else "x86_64/")
    return repository("amdrocm-stable", "AMD ROCm", known["family"], url, _key(line, wishes), "stable", "amdrocm*")


def _legacy(known: dict, wishes: Wishes) -> dict[str, Any]:
    line, base, path = LINES["legacy"], wishes.mirror or LINES["legacy"]["base"], known["legacy"]["path"]
    # AMD's directory names drop a last .0.
    version = re.sub(r"^(\d+\.\d+)\.0$", r"\1", wishes.version)
    if known["family"] == "apt":
        return repository("rocm", "ROCm", "apt", f"{base}/rocm/apt/{version}", _key(line, wishes), path)
    url = f"{base}/rocm/{path}/{version}/main" if known["family"] == "dnf" else f"{base}/rocm/zyp/{version}/main"
    return repository("rocm", "ROCm", known["family"], url, _key(line, wishes))


def _driver(known: dict, host: Host, wishes: Wishes) -> dict[str, Any]:
    line, base, version = LINES["legacy"], wishes.mirror or LINES["legacy"]["base"], wishes.line["driver"]
    key = _key(line, Wishes(mirror=wishes.mirror, key_fingerprint=wishes.key_fingerprint))
    if known["family"] == "apt":
        url = f"{base}/amdgpu/{version}/ubuntu"
        return repository("amdgpu", "amdgpu", "apt", url, key, known["codename"], "amdgpu*")
    url = f"{base}/amdgpu/{version}/el/{host.distribution.get('version_id')}/main/x86_64/"
    return repository("amdgpu", "amdgpu", "dnf", url, key)


def _refuse_dkms(host: Host, known: dict) -> None:
    apus = [chip for chip in host.chips if gpu_class(chip.gfx, chip.integrated) == "ryzen"]
    if apus:
        raise RocmError(
            f"rocm_dkms is true, but {apus[0].name} is a Ryzen APU: AMD supports those with the kernel's own amdgpu "
            "only, and amdgpu-dkms would take its place. Set rocm_dkms to false; a newer kernel brings a newer driver."
        )
    if host.platform in ("container", "wsl2"):
        raise RocmError(
            f"rocm_dkms is true, but the kernel of a {host.platform} is not its own. Set rocm_dkms to false."
        )
    if known.get("family") == "zypper" or (known.get("family") == "apt" and "codename" not in known) or not known:
        raise RocmError(
            f"rocm_dkms is true, but AMD publishes amdgpu-dkms for Ubuntu and RHEL, not for {_named(host)}. "
            "Set rocm_dkms to false: the kernel's own amdgpu is enough for ROCm."
        )


def _packages(source: str, host: Host, wishes: Wishes, known: dict) -> list[str]:
    gfx = list(dict.fromkeys(chip.gfx for chip in host.chips))
    if source == "amd":
        version = ".".join(wishes.version.split(".")[:2])
        own = [f"amdrocm{version}-{name}" for name in gfx] or [f"amdrocm{version}"]
    elif source == "legacy":
        own = [f"rocm{wishes.version}"]
    else:
        # Without a GPU the libraries would be hundreds of megabytes for nothing.
        own = list(known["distribution"]["packages"][: None if gfx else 1])
    return own


def _remove(source: str, host: Host) -> list[dict[str, str]]:
    version, path = host.rocm_version or "", host.rocm_path or ""
    if source == "legacy" and "/core" in path:
        raise RocmError(
            f"rocm_source is legacy, but ROCm {version} is installed at {path}, and AMD's two lines exclude each "
            "other. Take the new one away first (role rocm, tasks_from: uninstall), or set rocm_source to amd."
        )
    return [{"version": version, "path": path}] if source == "amd" and is_legacy(version, path) else []


def decide(host: Host, wishes: Wishes, engine_needs: str, bundled: str | None) -> dict[str, Any]:
    """`engine_needs` is why the engine wants ROCm of the host itself; empty if it does not."""
    known = find_distribution(host.distribution)
    refused: list[dict[str, str]] = []
    nothing: dict[str, Any] = {
        "source": "none",
        "install": [],
        "version": None,
        "family": known.get("family"),
        "repositories": [],
        "remove": [],
        "active": None,
        "prefix": None,
        "dkms": False,
        "reboot": False,
        "gfx": [chip.gfx for chip in host.chips],
        "users": list(wishes.users),
        "unsupported": [],
        "environment": {"ROCBLAS_TENSILE_LIBPATH": wishes.tensile_libpath} if wishes.tensile_libpath else {},
        "bundled": bundled,
        "refused": refused,
        "reason": "",
    }
    if wishes.dkms:
        _refuse_dkms(host, known)
    source = wishes.source
    if source == "none":
        return {**nothing, "reason": "the inventory wants none (rocm_source: none)"}
    if source == "auto" and engine_needs and host.rocm_version is None:
        source = _choose(host, wishes, refused)
        if source in LINES:
            wishes = replace(wishes, version=LINES[source]["default"] if source == "legacy" else wishes.version)
        if source == "none":
            return {**nothing, "reason": f"{engine_needs}, and none are supported here; {_alternatives('amd', host)}"}
    if source == "auto" and not wishes.dkms:
        return nothing
    reasons = [] if source == "auto" else _objections(source, host, wishes.version)
    if reasons and not wishes.accept_unsupported:
        raise RocmError(
            f"rocm_source is {source}, and {'; '.join(reasons)}. What would work: "
            f"{_alternatives(source, host, wishes.version)}. To try it all the same, set rocm_accept_unsupported to "
            "true."
        )
    if source != "auto" and not known.get(source):
        raise RocmError(f"rocm_source is {source}, and {reasons[0]}: there is nothing to install from.")
    repositories = {"amd": [_amd], "legacy": [_legacy]}.get(source, [])
    found = [make(known, wishes) for make in repositories]
    install = [] if source == "auto" else _packages(source, host, wishes, known)
    if found:
        found[0]["packages"] = list(install)
    if wishes.dkms:
        headers = {"apt": "linux-headers-", "dnf": "kernel-devel-"}[known["family"]]
        found.append({**_driver(known, host, wishes), "packages": ["amdgpu-dkms"]})
        install += [*([headers + host.kernel_release] if host.kernel_release else []), "amdgpu-dkms"]
    version = {"distribution": (known.get("distribution") or {}).get("version"), "auto": None}.get(
        source, wishes.version
    )
    what = f"ROCm {version}" if source in ("distribution", *LINES) else "amdgpu-dkms"
    return {
        **nothing,
        "source": "driver" if source == "auto" else source,
        "install": [*install, *wishes.packages],
        "version": version,
        "repositories": found,
        "remove": _remove(source, host),
        "active": wishes.active_version or version if source == "amd" else None,
        "prefix": {"amd": f"/opt/rocm/core-{version}", "legacy": f"/opt/rocm-{version}"}.get(source),
        "dkms": wishes.dkms,
        "reboot": wishes.dkms,
        "unsupported": reasons,
        "bundled": None,
        "reason": f"{engine_needs}; {what} is supported here"
        if wishes.source == "auto" and engine_needs
        else f"the inventory wants {what}",
    }
