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
_ZSH = ("zshenv", "zprofile", "zshrc", "zlogin")
SYSTEM_FILES = (
    *("etc/profile", "etc/bash.bashrc", "etc/fish/config.fish"),
    *(f"{folder}/{name}" for folder in ("etc/zsh", "etc") for name in _ZSH),
)
SYSTEM_FOLDERS = ("etc/profile.d", "etc/environment.d", "etc/fish/conf.d", "etc/systemd/system.conf.d")
HOME_FILES = (
    *(".bashrc", ".bash_aliases", ".bash_profile", ".bash_login", ".profile", *(f".{name}" for name in _ZSH)),
    *(".pam_environment", ".config/fish/config.fish", ".config/fish/fish_variables"),
)
HOME_FOLDERS = (".config/environment.d", ".config/fish/conf.d")
_BLOCK = re.compile(r"^# BEGIN lamplighter.*?^# END lamplighter[^\n]*$", re.MULTILINE | re.DOTALL)
# What has no say in where a command begins: quoted text, and a comment.
_QUOTED = re.compile(r"""\\.|"(?:\\.|[^"\\])*"|'[^']*'|(?:^|(?<=[\s;]))#.*""")
# NAME=value with or without export, fish's set -gx NAME value, .pam_environment's NAME DEFAULT=value: at the start of a
# line, or of a command within it.
_SETS = re.compile(
    r"""(?:^[ \t]*|[;&|(){][ \t]*|\b(?:then|else|do|and|or|begin)[ \t]+)"""
    r"""(?P<how>(?:export|declare|typeset|readonly|set)[ \t]+(?:-[\w-]+[ \t]+|\w+=\S*[ \t]+)*)?"""
    r"""OLLAMA_HOST(?:=|[ \t]+)"""
)
_VALUE = re.compile(r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|\$?\([^()]*\)|`[^`]*`|[^\s;&|<>()"'`\\#])+""")
# fish keeps what `set -U` has set, of all shells, in a file of its own.
_UNIVERSAL = re.compile(r"SETUVAR (?:--\w+ )*OLLAMA_HOST:(\S+)")
_OF_SYSTEMD = re.compile(r"""[ \t]*DefaultEnvironment=(.*["' \t])?["']?OLLAMA_HOST=([^"'\s]+)["']?(.*)""")
_REPLACED = re.compile(r"^(?:: )?# lamplighter: ", re.MULTILINE)
_PROXY = re.compile(r"^[ \t]*(?:export[ \t]+)?((?:https?|all)_proxy)=[\"']?([^\"'\s#]+)", re.MULTILINE | re.IGNORECASE)


def own_values(text: str) -> list[dict[str, Any]]:
    """What somebody else than this collection sets OLLAMA_HOST to in the text of a file: `value`, `line` (its number),
    and `alone`: whether the line does nothing else, so that it can be taken out of the file; then `text` is the line.
    Of others it is not told: they may hold secrets."""
    found, continued = [], False
    without_ours = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    for number, line in enumerate(without_ours.split("\n"), 1):
        for value, whole in _values(line):
            alone = whole and not continued
            found.append({"value": value, "line": number, "text": line if alone else None, "alone": alone})
        continued = line.endswith("\\")
    return found


def _values(line: str) -> list[tuple[str, bool]]:
    universal, of_systemd = _UNIVERSAL.match(line), _OF_SYSTEMD.match(line)
    if universal:
        return [(universal[1].replace("\\x3a", ":"), False)]
    if of_systemd:
        before, value, after = of_systemd.groups(default="")
        return [(value, not f"{before}{after}".strip("\"' \t\r"))]
    code = _QUOTED.sub(lambda quoted: "_" * len(quoted[0]), line)
    found = []
    for match in _SETS.finditer(code):
        value_found, how = _VALUE.match(line, match.end()), match["how"] or ""
        if not value_found:
            continue
        rest = code[value_found.end() :].strip("_ \t\r")
        # NAME=value command: for this command alone.
        if how or not rest or rest[0] in ";&|)}":
            before = line[: match.start()].strip()
            found.append((value_found[0].strip("\"'"), not (rest or before or "=" in how)))
    return found


def gather(sysroot: Sysroot) -> dict[str, Any]:
    """Only reads. Paths are those of the host."""
    values, replaced, proxies = [], [], []
    for path in [ENVIRONMENT, *_files(sysroot)]:
        text = sysroot.read(path) or ""
        values += [{"path": f"/{path}", "said": _said(f"/{path}", one), **one} for one in own_values(text)]
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


def _said(path: str, one: dict[str, Any]) -> str:
    said = f"{path} says OLLAMA_HOST={one['value']} in line {one['line']}"
    if path.endswith("/fish_variables"):
        return f"{said}: set -e -U OLLAMA_HOST in fish takes it out"
    return said if one["alone"] else f"{said}, beside other things: change that line by hand"


def _files(sysroot: Sysroot) -> list[str]:
    homes = ["root", *(f"home/{name}" for name in sysroot.listdir("home"))]
    all_folders = [*SYSTEM_FOLDERS, *(f"{home}/{folder}" for home in homes for folder in HOME_FOLDERS)]
    folders = [f"{folder}/{name}" for folder in all_folders for name in sysroot.listdir(folder)]
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
