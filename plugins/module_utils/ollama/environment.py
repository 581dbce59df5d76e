# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What must not be shown: values of variables with such a name, and passwords within an address.
SECRET_NAME = re.compile(r"(?i)token|secret|passw|api_?key|credential|private_?key")
PASSWORD = re.compile(r"(://[^/@:\s]*:)[^/@\s]+(?=@)")
HIDDEN = "(hidden)"
SPECIFIERS = {"%": "%", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "t": "/run", "E": "/etc", "h": "/root"}
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}


class VariableError(ValueError):
    """A variable that must not reach a unit file."""


def environment_value(name: str, value: object) -> str:
    """The text of one value as an engine reads it: booleans are 1 and 0, lists are joined by commas."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return ",".join(environment_value(name, item) for item in value)
    if isinstance(value, str):
        return value
    raise VariableError(f"the environment variable {name} is {value!r}: give a text, a number, a boolean or a list")


def checked_value(name: str, value: object) -> str:
    """The text of one value, refused where it could get out of the quotes of a unit or an environment file."""
    if not NAME.fullmatch(name):
        raise VariableError(f"{name!r} is not the name of an environment variable: use letters, digits and underscores")
    text = environment_value(name, value)
    bad = next((c for c in text if c in "\"'" or ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000), "")
    if bad:
        raise VariableError(
            f"the environment variable {name} holds the character {bad!r}: "
            "quotes, newlines and control characters are refused, remove it"
        )
    return text


def environment_line(name: str, value: object) -> str:
    """One line Environment= for a unit file, from which systemd reads exactly this name and value."""
    escaped = checked_value(name, value).replace("\\", "\\\\").replace("%", "%%")
    return f'Environment="{name}={escaped}"'


def environment_file_line(name: str, value: object) -> str:
    """One line of a file for EnvironmentFile=, where nothing but the quote ends a value in single quotes."""
    return f"{name}='{checked_value(name, value)}'"


def environment_lines(
    environment: Mapping[str, object], line: Callable[[str, object], str] = environment_line
) -> list[str]:
    """Lines for every variable that has a value, sorted by name so that the file is always the same."""
    return [line(name, environment[name]) for name in sorted(environment) if environment[name] is not None]


def without_secrets(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The environment as it may be shown and logged."""
    return {
        name: HIDDEN
        if value and SECRET_NAME.search(name)
        else PASSWORD.sub(rf"\1{HIDDEN}", value)
        if isinstance(value, str)
        else value
        for name, value in environment.items()
    }


def logical_lines(text: str) -> Iterator[str]:
    """The lines of a unit file without comments, continuations joined (systemd.syntax(7))."""
    pending = ""
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not pending):
            continue
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        yield pending + line
        pending = ""
    if pending:
        yield pending


def service_settings(text: str, *keys: str) -> list[tuple[str, str]]:
    """Key and value of these settings in the section [Service], in order."""
    section = ""
    found = []
    for line in logical_lines(text):
        if line.startswith("["):
            section = line
            continue
        key, separator, value = line.partition("=")
        if separator and section == "[Service]" and key.strip() in keys:
            found.append((key.strip(), value.strip()))
    return found


def split_words(text: str) -> list[str]:
    """Words of a setting with systemd's quotes and C escapes; never raises."""
    words: list[str] = []
    word = ""
    started = False
    quote = ""
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\" and position < len(text):
            word += ESCAPES.get(text[position], text[position])
            position += 1
            started = True
        elif quote and char == quote:
            quote = ""
        elif not quote and char in "\"'" and not word:
            quote = char
            started = True
        elif not quote and char.isspace():
            if started:
                words.append(word)
            word, started = "", False
        else:
            word += char
            started = True
    return [*words, word] if started else words


def expanded(text: str) -> str:
    """With the specifiers that say where a service of the system keeps what it has; others are kept as written."""
    return re.sub(r"%(.)", lambda found: SPECIFIERS.get(found[1], found[0]), text)


def parse_environment(value: str) -> list[tuple[str, str]]:
    """The assignments of one Environment= value."""
    pairs = []
    for word in split_words(value):
        name, separator, text = word.partition("=")
        if separator and NAME.fullmatch(name):
            pairs.append((name, expanded(text)))
    return pairs


def parse_environment_file(text: str) -> list[tuple[str, str]]:
    """The assignments of a file for EnvironmentFile=, where specifiers mean nothing."""
    pairs = []
    for line in logical_lines(text):
        name, separator, value = (part.strip() for part in line.partition("="))
        if separator and NAME.fullmatch(name):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            pairs.append((name, value[1:-1] if quoted else value))
    return pairs
