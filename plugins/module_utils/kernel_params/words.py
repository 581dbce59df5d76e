# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel command lines by key: words with quotes, dashes that are underscores, the last value counts.

Source: Documentation/admin-guide/kernel-parameters.rst and lib/cmdline.c (next_arg) of Linux 6.12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
# These would end or change a quoted text on the way through GRUB's shell, modprobe.d or the kernel.
UNSAFE = re.compile(r"[\x00-\x1f\x7f\"'\\$`]")
STATES = ("present", "absent", "masked")


class KernelParamsError(Exception):
    """What is asked cannot be done; nothing was changed. The message says what to do instead."""


@dataclass(frozen=True)
class Param:
    name: str
    value: str | None = None
    state: str = "present"

    @property
    def key(self) -> str:
        return canonical(self.name)

    @property
    def module(self) -> str | None:
        """The module that a name such as ttm.pages_limit belongs to, as the kernel writes it."""
        return self.key.partition(".")[0] if "." in self.key else None

    @property
    def word(self) -> str:
        if self.value is None:
            return self.name
        return f'{self.name}="{self.value}"' if " " in self.value else f"{self.name}={self.value}"


def canonical(name: str) -> str:
    return name.replace("-", "_")


def check(param: Param) -> Param:
    """The same, or an error that names what is wrong with it."""
    if not NAME.fullmatch(param.name):
        raise KernelParamsError(
            f"{param.name!r} is no name of a kernel parameter: letters, digits and . _ - : only, such as "
            "ttm.pages_limit. The value goes into value."
        )
    if param.state not in STATES:
        raise KernelParamsError(f"state of {param.name} is {param.state!r}. Allowed: {', '.join(STATES)}.")
    if param.value is not None and (not param.value or UNSAFE.search(param.value)):
        raise KernelParamsError(
            f"the value of {param.name} is {param.value!r}: it must be one line without quotes, backslash, $ and "
            "backquote, and not empty. Leave value out for a parameter without one, such as quiet."
        )
    if param.value in ("True", "False"):
        # YAML's on and off, which the kernel knows under other names than Python.
        raise KernelParamsError(
            f"the value of {param.name} is {param.value}, which YAML made of a word such as on or off. Write it in "
            "quotes, as the kernel's documentation does."
        )
    return param


def split(line: str) -> list[str]:
    return WORD.findall(line)


def key_of(word: str) -> str:
    return canonical(word.lstrip('"').partition("=")[0])


def value_of(word: str) -> str | None:
    _name, equals, value = word.partition("=")
    return value.strip('"') if equals else None


def of_key(words: list[str], key: str) -> list[str]:
    return [word for word in words if key_of(word) == key]


def replace(words: list[str], key: str, wanted: list[str]) -> list[str]:
    """The words with those of a key replaced, at the place of the first of them or at the end."""
    places = [place for place, word in enumerate(words) if key_of(word) == key]
    at = places[0] if places else len(words)
    rest = [word for word in words[at:] if key_of(word) != key]
    return words[:at] + wanted + rest
