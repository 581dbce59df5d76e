# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repository files: deb822 and apt's pin, dnf's and zypper's. Texts only; repository.py writes them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

MARKER = "Managed by Lamplighter"
FOLDERS = {"dnf": "/etc/yum.repos.d", "zypper": "/etc/zypp/repos.d"}


def _apt(name: str, url: str, suite: str, keyring: str) -> str:
    fields = {
        "X-Repo-Id": name,
        "Types": "deb",
        "URIs": url,
        "Suites": suite,
        "Components": "main",
        "Architectures": "amd64",
        "Signed-By": keyring,
        "Enabled": "yes",
    }
    return f"# {MARKER}\n" + "".join(f"{field}: {value}\n" for field, value in fields.items())


def _pin(url: str, packages: str) -> str:
    """Above the distribution's 500, and below 1000: nothing is ever downgraded. A mirror counts by its own name."""
    return f'# {MARKER}\nPackage: {packages}\nPin: origin "{urlsplit(url).hostname}"\nPin-Priority: 600\n'


def _rpm(name: str, title: str, url: str, keyring: str, family: str) -> str:
    lines = [f"# {MARKER}", f"[{name}]", f"name={title}", f"baseurl={url}", "enabled=1", "gpgcheck=1"]
    # dnf's default is 99, zypper's too: a smaller number comes first.
    lines += [f"gpgkey=file://{keyring}", "priority=50" if family == "dnf" else "priority=90\nautorefresh=1"]
    return "\n".join(lines) + "\n"


def repository(
    name: str, title: str, family: str, url: str, key: dict[str, str], suite: str = "", pinned: str = "*"
) -> dict[str, Any]:
    """One repository as module rocm_repository takes it."""
    if family == "apt":
        keyring = f"/etc/apt/keyrings/{name.split('-')[0]}.gpg"
        files = [
            {"path": f"/etc/apt/sources.list.d/{name}.sources", "content": _apt(name, url, suite, keyring)},
            {"path": f"/etc/apt/preferences.d/{name}", "content": _pin(url, pinned)},
        ]
    else:
        keyring = f"/etc/pki/rpm-gpg/RPM-GPG-KEY-{name.split('-')[0]}"
        text = _rpm(name, title, url, keyring, family)
        files = [{"path": f"{FOLDERS[family]}/{name}.repo", "content": text}]
    return {
        "name": name,
        "url": url,
        "key_url": key["url"],
        "fingerprint": key["fingerprint"],
        "keyring": keyring,
        "files": files,
    }
