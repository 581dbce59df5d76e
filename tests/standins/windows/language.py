# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of PowerShell's language that Lamplighter writes: anything else is a ParserError.

A statement is a tuple: ("restricted", text), ("set", name, value), ("store", key, expression),
("wait", key, expression), ("do", expression), ("error", key), ("try", statements, statements) or ("print",).
An expression is ("call", method, arguments), ("elevated",) or ("pipe", [(name, {parameter: value})]); a value is a
text, a list of texts, True, False or ("expand", text).
"""

from __future__ import annotations

import re
from typing import Any

QUOTES = "'\u2018\u2019\u201a\u201b"
ELEVATED = (
    "([Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent())"
    ".IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)"
)
PRINT = (
    " + [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes("
    "(ConvertTo-Json -InputObject $out -Depth '6' -Compress))) + "
)
MODE = "$ExecutionContext.SessionState.LanguageMode"


class ParserError(Exception):
    pass


class Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def blank(self, lines: bool = False) -> None:
        while self.at < len(self.text) and self.text[self.at] in (" \n\r;" if lines else " "):
            self.at += 1

    def has(self, text: str) -> bool:
        self.blank()
        if not self.text.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def need(self, text: str) -> None:
        if not self.has(text):
            raise self.wrong(f"missing {text!r}")

    def wrong(self, why: str) -> ParserError:
        line = self.text.count("\n", 0, self.at) + 1
        return ParserError(f"ParserError: {why} in line {line}, at {self.text[self.at : self.at + 40]!r}")

    def matches(self, pattern: str) -> str | None:
        self.blank()
        found = re.compile(pattern, re.ASCII).match(self.text, self.at)
        if not found:
            return None
        self.at = found.end()
        return found[0]

    def string(self) -> str:
        """Every kind of single quote opens and closes, and two of them are one."""
        self.blank()
        if self.at >= len(self.text) or self.text[self.at] not in QUOTES:
            raise self.wrong("a value that is not one single-quoted string")
        self.at += 1
        value = ""
        while self.at < len(self.text):
            character = self.text[self.at]
            if character in QUOTES:
                if self.text[self.at + 1 : self.at + 2] not in tuple(QUOTES):
                    self.at += 1
                    return value
                self.at += 1
                character = self.text[self.at]
            value += character
            self.at += 1
        raise self.wrong("the string is missing its terminator")


def parse(text: str) -> list[tuple]:
    reader = Reader(text)
    found = _statements(reader)
    if reader.at < len(text):
        raise reader.wrong("unexpected token")
    return found


def _statements(reader: Reader) -> list[tuple]:
    found = []
    reader.blank(lines=True)
    while reader.at < len(reader.text) and reader.text[reader.at] != "}":
        start = reader.at
        found.append(_statement(reader))
        end = reader.at
        reader.blank(lines=True)
        ended = end == len(reader.text) or reader.text[end:].lstrip(" ")[:1] in ("\n", ";", "}", "\r")
        # What a block ends on needs no separator.
        if not ended or reader.at == start:
            raise reader.wrong("unexpected token")
    return found


def _statement(reader: Reader) -> tuple:
    if reader.has(f"if ({MODE} -ne 'FullLanguage') {{"):
        told = reader.string()
        reader.need(f"+ {MODE}; return }}")
        return ("restricted", told)
    for name in ("$ErrorActionPreference", "$ProgressPreference", "[Net.ServicePointManager]::SecurityProtocol"):
        if reader.has(name):
            reader.need("=")
            return ("set", name, reader.string())
    if reader.has("$null"):
        reader.need("=")
        return ("do", _expression(reader))
    if reader.has("$process"):
        return _wait(reader)
    if reader.has("$out"):
        if reader.has("["):
            return _store(reader)
        reader.need("=")
        reader.need("[ordered]@{}")
        return ("set", "$out", "")
    if reader.has("try {"):
        tried = _statements(reader)
        reader.need("}")
        reader.need("catch {")
        caught = _statements(reader)
        reader.need("}")
        return ("try", tried, caught)
    if reader.text[reader.at : reader.at + 1] in tuple(QUOTES):
        before = reader.string()
        if not reader.text.startswith(PRINT, reader.at):
            raise reader.wrong("unexpected token")
        reader.at += len(PRINT)
        return ("print", before, reader.string())
    return ("do", _expression(reader))


def _wait(reader: Reader) -> tuple:
    """Without the handle there is no exit code, and before the end of the process neither."""
    reader.need("=")
    started = _expression(reader)
    for text in (";", "$null = $process.Handle", ";", "$process.WaitForExit()", ";", "$out["):
        reader.need(text)
    key = reader.string()
    reader.need("] = @($process.ExitCode)")
    return ("wait", key, started)


def _store(reader: Reader) -> tuple:
    key = reader.string()
    reader.need("]")
    reader.need("=")
    if reader.has("[string]$_"):
        return ("error", key)
    reader.need("@(")
    value = _expression(reader)
    reader.need(")")
    return ("store", key, value)


def _expression(reader: Reader) -> tuple:
    if reader.has(ELEVATED):
        return ("elevated",)
    if reader.has("[Environment]::"):
        method = reader.matches("[A-Za-z]+") or ""
        reader.need("(")
        arguments = [_argument(reader)]
        while reader.has(","):
            arguments.append(_argument(reader))
        reader.need(")")
        return ("call", method, arguments)
    commands = [_command(reader)]
    while reader.has("|"):
        commands.append(_command(reader))
    return ("pipe", commands)


def _argument(reader: Reader) -> str | None:
    return None if reader.has("[NullString]::Value") else reader.string()


def _command(reader: Reader) -> tuple[str, dict[str, Any]]:
    name = reader.matches(r"[A-Za-z]+-[A-Za-z]+(?=[ \n;)}|]|$)")
    if not name:
        raise reader.wrong("no command")
    parameters: dict[str, Any] = {}
    while key := reader.matches(r"-[A-Za-z]+"):
        if key[1:] in parameters:
            raise reader.wrong(f"the parameter {key} is given twice")
        parameters[key[1:]] = _value(reader)
    return name, parameters


def _value(reader: Reader) -> Any:
    if reader.has(":$false"):
        return False
    if reader.has("([Environment]::ExpandEnvironmentVariables("):
        value = reader.string()
        reader.need("))")
        return ("expand", value)
    reader.blank()
    if reader.text[reader.at : reader.at + 1] not in tuple(QUOTES):
        return True
    values = [reader.string()]
    while reader.has(","):
        values.append(reader.string())
    return values if len(values) > 1 else values[0]
