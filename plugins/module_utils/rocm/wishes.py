# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory wants of ROCm, checked: nothing of it may bring a line of its own into a repository file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.support import LINES

CHOICES = ("auto", "none", "amd", "legacy", "distribution")
_NAME = r"[a-z0-9][a-z0-9+._-]{1,127}"


class RocmError(ValueError):
    """What is wanted cannot be had; the message says what would."""


@dataclass(frozen=True)
class Wishes:
    source: str = "auto"
    version: str = ""
    mirror: str = ""
    key_url: str = ""
    key_fingerprint: str = ""
    packages: tuple = ()
    accept_unsupported: bool = False
    dkms: bool = False
    active_version: str = ""
    tensile_libpath: str = ""
    users: tuple = ()

    @property
    def line(self) -> dict[str, Any]:
        """The line of AMD's own packages that is wanted; the current one where it does not matter."""
        return LINES.get(self.source, LINES["amd"])


def _text(raw: dict, name: str, pattern: str, example: str) -> str:
    value = raw.get(name)
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise RocmError(f"rocm_{name} is {re.sub('://.*@', '://(hidden)@', repr(value))}. Write {example}.")
    return value


def _flag(raw: dict, name: str) -> bool:
    value = raw.get(name)
    known = {"true": True, "yes": True, "false": False, "no": False, "none": False, "": False}
    if str(value).lower() not in known:
        raise RocmError(f"rocm_{name} is {value!r}. Write true or false.")
    return known[str(value).lower()]


def read_wishes(raw: dict) -> Wishes:
    source = raw.get("source") or "auto"
    if source not in CHOICES:
        raise RocmError(f"rocm_source is {source!r}. Allowed: {', '.join(CHOICES)}.")
    line = LINES.get(source, LINES["amd"])
    version = _text(raw, "version", r"\d{1,2}(\.\d{1,2}){1,2}", f'a version in quotes, such as "{line["example"]}"')
    if version and source in ("auto", *LINES) and not re.fullmatch(line["version"], version):
        other = "legacy" if source == "amd" else "amd"
        raise RocmError(
            f"rocm_version is {version!r}, which is not of {line['title']} (rocm_source: {source}). "
            f'Write one such as "{line["example"]}", or set rocm_source to {other}.'
        )
    if source == "legacy" and version.count(".") == 1:
        version += ".0"
    packages, users = raw.get("packages") or [], raw.get("users") or []
    if not isinstance(packages, (list, tuple)) or not all(
        re.fullmatch(_NAME, str(name), re.ASCII) for name in packages
    ):
        raise RocmError(f"rocm_packages is {packages!r}. It must be a list of names of packages.")
    if not isinstance(users, (list, tuple)) or not all(
        re.fullmatch(r"[A-Za-z_][\w.-]*", str(u), re.ASCII) for u in users
    ):
        raise RocmError(f"rocm_users is {users!r}. It must be a list of names of users.")
    # No password: everybody may read a repository's files. apt has /etc/apt/auth.conf.d for them.
    url = r"https?://[A-Za-z0-9._~:/%+=\[\]-]+"
    fingerprint = _text(
        raw, "key_fingerprint", r"([0-9A-Fa-f] ?){39,79}", "the 40 hexadecimal digits of gpg --show-keys"
    )
    return Wishes(
        source=str(source),
        version=version or (line["default"] if source in ("auto", "amd", "legacy") else ""),
        mirror=_text(
            raw, "mirror", url, "the URL of a mirror, such as https://mirror.example.org, without a password"
        ).rstrip("/"),
        key_url=_text(raw, "key_url", url, "the URL of a key, without a password"),
        key_fingerprint=fingerprint.replace(" ", "").upper(),
        packages=tuple(packages),
        users=tuple(users),
        accept_unsupported=_flag(raw, "accept_unsupported"),
        dkms=_flag(raw, "dkms"),
        active_version=_text(
            raw, "active_version", r"\d{1,2}\.\d{1,2}(\.\d{1,2})?", 'a version in quotes, such as "10.0"'
        ),
        tensile_libpath=_text(raw, "tensile_libpath", r"/[A-Za-z0-9._/+@-]+", "an absolute path without spaces"),
    )
