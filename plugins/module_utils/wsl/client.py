# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a WSL2 host has already: shells to wire, and OLLAMA_HOST as somebody else set it."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

# Files that give processes their environment. In ENVIRONMENT the last value counts, and ours is the last.
ENVIRONMENT = "etc/environment"
SYSTEM_FILES = ("etc/profile", "etc/bash.bashrc", "etc/zsh/zshenv", "etc/zshenv", "etc/fish/config.fish")
SYSTEM_FOLDERS = ("etc/profile.d", "etc/environment.d", "etc/fish/conf.d", "etc/systemd/system.conf.d")
HOME_FILES = (
    *(".bashrc", ".bash_profile", ".bash_login", ".profile", ".zshenv", ".zprofile", ".zshrc", ".pam_environment"),
    *(".config/fish/config.fish", ".config/environment.d/ollama.conf"),
)
_BLOCK = re.compile(r"^# BEGIN lamplighter.*?^# END lamplighter[^\n]*$", re.MULTILINE | re.DOTALL)
# NAME=value with or without export, fish's set -gx NAME value, systemd's DefaultEnvironment=NAME=value.
_VALUE = re.compile(
    r"^[ \t]*(?:export[ \t]+|set[ \t]+(?:-[\w-]+[ \t]+)*|DefaultEnvironment=[\"']?)?"
    r"OLLAMA_HOST(?:=|[ \t]+)[\"']?([^\"'\s#;]+)",
    re.MULTILINE,
)
_REPLACED = re.compile(r"^(?:: )?# lamplighter: ", re.MULTILINE)
_PROXY = re.compile(r"^[ \t]*(?:export[ \t]+)?((?:https?|all)_proxy)=[\"']?([^\"'\s#]+)", re.MULTILINE | re.IGNORECASE)


def own_values(text: str) -> list[str]:
    """What somebody else than this collection sets OLLAMA_HOST to in the text of a file."""
    return [match.strip() for match in _VALUE.findall(_BLOCK.sub("", text)) if not match.startswith("$lamplighter")]


def gather(sysroot: Sysroot) -> dict[str, Any]:
    """Only reads. Paths are those of the host."""
    values, replaced, proxies = [], [], []
    for path in [ENVIRONMENT, *_files(sysroot)]:
        text = sysroot.read(path) or ""
        values += [
            {"path": f"/{path}", "value": value, "said": f"/{path} says OLLAMA_HOST={value}"}
            for value in own_values(text)
        ]
        replaced += [f"/{path}"] if _REPLACED.search(text) else []
        # A proxy's password stays where it is.
        proxies += [re.sub(r"//[^/@]*@", "//", value) for _name, value in _PROXY.findall(text)]
    return {
        "others": values,
        "replaced": replaced,
        "proxies": list(dict.fromkeys(proxies)),
        "bashrc": _first(sysroot, ("etc/bash.bashrc",)),
        "zshenv": _zshenv(sysroot),
        "fish": sysroot.exists("usr/bin/fish") or sysroot.exists("usr/local/bin/fish"),
        "podman": sysroot.exists("usr/bin/podman"),
        "docker": sysroot.exists("usr/bin/docker"),
        "ollama_host_of_unit": _unit_sets_host(sysroot),
    }


def _files(sysroot: Sysroot) -> list[str]:
    folders = [f"{folder}/{name}" for folder in SYSTEM_FOLDERS for name in sysroot.listdir(folder)]
    homes = ["root", *(f"home/{name}" for name in sysroot.listdir("home"))]
    paths = [*SYSTEM_FILES, *folders, *(f"{home}/{name}" for home in homes for name in HOME_FILES)]
    return [path for path in paths if sysroot.exists(path)]


def _first(sysroot: Sysroot, paths: tuple[str, ...]) -> str | None:
    return next((f"/{path}" for path in paths if sysroot.exists(path)), None)


def _zshenv(sysroot: Sysroot) -> str | None:
    """Debian's zsh reads /etc/zsh/zshenv, Fedora's /etc/zshenv; the file itself need not be there."""
    if not any(sysroot.exists(path) for path in ("usr/bin/zsh", "bin/zsh", "usr/local/bin/zsh")):
        return None
    return "/etc/zsh/zshenv" if sysroot.exists("etc/zsh") else "/etc/zshenv"


def _unit_sets_host(sysroot: Sysroot) -> bool:
    """Whether an ollama.service of this system says itself where it listens."""
    paths = [f"{folder}/ollama.service" for folder in ("etc/systemd/system", "usr/lib/systemd/system")]
    drop_ins = "etc/systemd/system/ollama.service.d"
    ours = "05-lamplighter-windows.conf"
    paths += [f"{drop_ins}/{name}" for name in sysroot.listdir(drop_ins) if name != ours]
    return any(re.search(r"^Environment=.*OLLAMA_HOST=", sysroot.read(path) or "", re.MULTILINE) for path in paths)
