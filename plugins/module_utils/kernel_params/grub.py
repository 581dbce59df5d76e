# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB by its own grub-mkconfig: a drop-in where it reads /etc/default/grub.d, else its one settings file.

Source: grub-mkconfig of Debian's grub-common 2.12 and of upstream; /etc/grub.d/10_linux.
"""

from __future__ import annotations

import os
import re

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import words
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError

SETTINGS = "/etc/default/grub"
ASSIGNMENT = re.compile(
    r"""^(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)=(?:"((?:[^"\\$`]|\\.)*)"|'([^']*)'|([^\s"'$`]*))[ \t]*$""", re.M
)
# The words after the image, if any. A memory test is started in the same way, and is no Linux.
LINUX = re.compile(r"^[ \t]*linux(?:efi|16)?[ \t]+(?!\S*(?:memtest|mt86))\S+(?:[ \t]+(.*))?$", re.M)
# Only 10_linux and its like (10_linux_zfs, 20_linux_xen, 11_linux_proxy) write entries from the settings: what
# os-prober, 40_custom, memtest86+ or ipxe add has arguments of its own.
OTHERS = re.compile(r"^### BEGIN (\S+/\d+_(?!linux)\S*) ###$.*?### END \1 ###$", re.M | re.S)
# As 10_linux writes them, and nothing of ours belongs there: a way in when a parameter is wrong.
RECOVERY = {"single", "recovery"}


class Grub:
    name = "grub"
    drop_in = "/etc/default/grub.d/zz-lamplighter.cfg"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.tool, self.config = next(found for found in _pairs(host))
        prefix = self.tool.partition("-")[0]
        self.checker = f"{prefix}-script-check"
        with open(host.which(self.tool), encoding="utf-8", errors="replace") as script:
            self.own_file = self.drop_in if "default/grub.d" in script.read() else None
        self.shared_file = None if self.own_file else SETTINGS

    @staticmethod
    def present(host: Host) -> bool:
        return any(True for _found in _pairs(host))

    def lines(self) -> list[list[str]]:
        return linux_lines(self.host.text(self.config) or "")

    def space(self) -> list[tuple[str, int]]:
        return [(os.path.dirname(self.config), 1 << 20), ("/etc/default", 1 << 20)]

    def apply(self, managed: dict, restored: dict, exact: dict) -> None:
        """A new configuration takes the old one's place only after it has passed every check."""
        path = self.own_file or SETTINGS
        before = self.host.text(path)
        if self.own_file:
            self.host.write(path, drop_in(managed))
        else:
            self.host.write(path, exact["text"] if exact else edit_settings(before or "", {**restored, **managed}))
        full = os.path.realpath(self.host.sysroot.path(self.config))
        fresh = f"{full}.lamplighter"
        try:
            self.host.command(self.tool, "-o", fresh)
            self.host.command(self.checker, fresh)
            with open(fresh, encoding="utf-8") as handle:
                self._verify(linux_lines(handle.read()), managed)
        except (KernelParamsError, OSError) as error:
            self.host.write(path, before)
            if os.path.exists(fresh):
                os.unlink(fresh)
            raise KernelParamsError(f"{self.config} and {path} are as they were: {error}") from error
        os.chmod(fresh, os.stat(full).st_mode & 0o7777)
        self.host.publish(fresh, full)

    def _verify(self, lines: list[list[str]], wanted: dict) -> None:
        if not lines:
            raise KernelParamsError(f"{self.tool} made a configuration without any Linux entry")
        for key, fresh in wanted.items():
            for line in lines:
                got = words.of_key(line, key)
                if got != fresh:
                    raise KernelParamsError(
                        f"{self.tool} made an entry with {' '.join(got) or 'no ' + key} instead of "
                        f"{' '.join(fresh) or 'none'}: another file below /etc/default or /etc/grub.d has the last word"
                    )


def _pairs(host: Host):
    for tool, config in (("grub-mkconfig", "/boot/grub/grub.cfg"), ("grub2-mkconfig", "/boot/grub2/grub.cfg")):
        if host.which(tool) and host.sysroot.exists(config):
            yield tool, config


def linux_lines(text: str) -> list[list[str]]:
    """The words of each normal entry of a grub.cfg for a kernel of this system."""
    found = [words.split(line.replace('\\"', '"')) for line in LINUX.findall(OTHERS.sub("", text))]
    return [line for line in found if not RECOVERY.intersection(line)]


def drop_in(wanted: dict) -> str | None:
    """Shell for grub-mkconfig: what other files set for our keys gives way, ours follows. None: no file needed."""
    if not wanted:
        return None
    keys = "|".join(re.escape(key).replace("_", "[-_]") for key in sorted(wanted))
    ours = " ".join(word.replace('"', '\\"') for _key, fresh in sorted(wanted.items()) for word in fresh)
    return f"""\
# Written by Lamplighter (kernel_params), anew with every change. To undo: delete it, run update-grub.
lamplighter_others() {{
    printf '%s' "$1" | sed -E ':again
s/(^|[[:space:]])({keys})(=("[^"]*"|[^[:space:]"])*)?([[:space:]]|$)/ /
tagain'
}}
GRUB_CMDLINE_LINUX="$(lamplighter_others "$GRUB_CMDLINE_LINUX")"
GRUB_CMDLINE_LINUX_DEFAULT="$(lamplighter_others "$GRUB_CMDLINE_LINUX_DEFAULT"){" " + ours if ours else ""}"
"""


def edit_settings(text: str, wanted: dict) -> str:
    """/etc/default/grub with our keys replaced, for a grub-mkconfig that reads nothing else (SUSE, Arch)."""
    assignments = {match.group(1): match for match in ASSIGNMENT.finditer(text)}
    if "GRUB_CMDLINE_LINUX_DEFAULT" not in assignments:
        if re.search(r"^\s*GRUB_CMDLINE_LINUX_DEFAULT\b", text, re.M):
            raise KernelParamsError(
                f"GRUB_CMDLINE_LINUX_DEFAULT in {SETTINGS} is computed by shell code. Make it one quoted text first."
            )
        text = text.rstrip("\n") + '\nGRUB_CMDLINE_LINUX_DEFAULT=""\n'

    def edited(match: re.Match) -> str:
        name = match.group(1)
        line = words.split((match.group(2) or match.group(3) or match.group(4) or "").replace('\\"', '"'))
        for key, fresh in wanted.items():
            line = words.replace(line, key, fresh if name.endswith("DEFAULT") else [])
        escaped = " ".join(line).replace('"', '\\"')
        return f'{name}="{escaped}"'

    return ASSIGNMENT.sub(edited, text)
