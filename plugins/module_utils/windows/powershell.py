# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that writes PowerShell: commands with named parameters, and every value one single-quoted literal.

A script prints one JSON document, in base64 between two marks, so that neither the code page of the console, UTF-16,
CRLF nor CLIXML on the same stream can damage it. It is written for Windows PowerShell 5.1, which every Windows has.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any, Union

# All of them open and close a string: https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules
QUOTES = "'\u2018\u2019\u201a\u201b"
# CreateProcess takes 32,767 characters for the whole command line.
LONGEST_COMMAND = 32000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)?", re.ASCII)
_MARKS = ("Lamplighter:", ":end")
_RESTRICTED = "Lamplighter is in "
_ANSWER = re.compile(_MARKS[0] + r"([A-Za-z0-9+/=\s]+)" + _MARKS[1])

PROLOGUE = (
    # AppLocker or App Control: no method of .NET may be called, so that no answer in base64 is possible.
    "if ($ExecutionContext.SessionState.LanguageMode -ne 'FullLanguage') "
    f"{{ '{_RESTRICTED}' + $ExecutionContext.SessionState.LanguageMode; return }}",
    "$ErrorActionPreference = 'Stop'",
    "$ProgressPreference = 'SilentlyContinue'",
    "$out = [ordered]@{}",
    "try {",
)
EPILOGUE = (
    "} catch {",
    "$out['error'] = [string]$_",
    "}",
    f"'{_MARKS[0]}' + [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes("
    f"(ConvertTo-Json -InputObject $out -Depth '6' -Compress))) + '{_MARKS[1]}'",
)
IS_ELEVATED = (
    "([Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent())"
    ".IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)"
)
NEW_TLS = "[Net.ServicePointManager]::SecurityProtocol = 'Tls12'"


class WindowsError(Exception):
    """Windows, or the way to it, does not do what is asked; the text says what to do about it."""


@dataclass(frozen=True)
class Expanded:
    """A path in which Windows replaces %NAMES%, such as that of the user's folder."""

    path: str


Value = Union[str, Expanded, "list[str]", bool]


def literal(value: str) -> str:
    """'it''s': no text can end it early. Control characters are nobody's value, and may split a line elsewhere."""
    if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]", value):
        raise WindowsError(f"{value!r} holds a line break or another control character: write it without.")
    return "'" + "".join(character * 2 if character in QUOTES else character for character in value) + "'"


@dataclass(frozen=True)
class Command:
    """One cmdlet. True is a switch, False one that is switched off, a list is several literals."""

    name: str
    parameters: dict[str, Value] = field(default_factory=dict)

    def text(self) -> str:
        if not all(map(_NAME.fullmatch, (self.name, *self.parameters))):
            raise WindowsError(f"{self.name} with {list(self.parameters)} is no command of ours.")
        return " ".join([self.name, *(f"-{name}{_argument(value)}" for name, value in self.parameters.items())])


def _argument(value: Value) -> str:
    if isinstance(value, bool):
        return "" if value else ":$false"
    if isinstance(value, Expanded):
        return f" ([Environment]::ExpandEnvironmentVariables({literal(value.path)}))"
    return " " + (literal(value) if isinstance(value, str) else ",".join(map(literal, value)))


@dataclass(frozen=True)
class Call:
    """A static method of [Environment]; None is the null that removes a variable."""

    method: str
    arguments: tuple

    def text(self) -> str:
        texts = ("[NullString]::Value" if value is None else literal(value) for value in self.arguments)
        return f"[Environment]::{self.method}({', '.join(texts)})"


# Commands one after the other with their results handed on, a call, or one of the fixed texts above.
Expression = Union["list[Command]", Call, str]


def expression(what: Expression) -> str:
    if isinstance(what, str):
        return what
    return what.text() if isinstance(what, Call) else " | ".join(command.text() for command in what)


def reading(key: str, what: Expression) -> str:
    """A list under this key, or the text of the error: one thing that Windows lacks does not hide the others."""
    name = literal(key)
    return f"try {{ $out[{name}] = @({expression(what)}) }} catch {{ $out[{name}] = [string]$_ }}"


def doing(what: Expression) -> str:
    """The first one that fails ends the script. An assignment keeps what it returns out of the answer."""
    return what if what == NEW_TLS else f"$null = {expression(what)}"


def asking(key: str, what: Expression) -> str:
    """Something done whose result is wanted."""
    return f"$out[{literal(key)}] = @({expression(what)})"


def waiting(key: str, what: Expression) -> str:
    """The exit code of a process that is started here. Start-Process -Wait would wait for what it starts, too.

    The exit code is known only where the handle was taken while it ran.
    """
    taken = "$null = $process.Handle; $process.WaitForExit()"
    return f"$process = {expression(what)}; {taken}; $out[{literal(key)}] = @($process.ExitCode)"


def script(lines: list[str]) -> str:
    return "\n".join([*PROLOGUE, *lines, *EPILOGUE])


def encoded(text: str) -> str:
    """For -EncodedCommand."""
    return base64.b64encode(text.encode("utf-16-le")).decode("ascii")


def command_line(powershell: str, text: str) -> list[str]:
    # Without InputFormat it waits for the end of a standard input that is no console.
    options = ["-NoProfile", "-NonInteractive", "-InputFormat", "None"]
    command = [powershell, *options, "-EncodedCommand", encoded(text)]
    if sum(len(part) + 1 for part in command) > LONGEST_COMMAND:
        raise WindowsError("More is asked at once than one command line of Windows holds: set fewer variables at once.")
    return command


def answer(output: str) -> dict[str, Any]:
    """What the script printed, whatever else is on the stream: NULs of UTF-16, a byte order mark, CRLF, CLIXML."""
    found = _ANSWER.search(output.replace("\0", ""))
    restricted = re.search(_RESTRICTED + r"(\w+)", output.replace("\0", ""))
    if restricted:
        raise WindowsError(
            f"Windows restricts PowerShell (language mode {restricted[1]}, by AppLocker or App Control), so it cannot "
            "be asked or set up from here. Without wsl_client_windows, and with wsl_client_interop: false, the rest "
            "works."
        )
    if not found:
        shown = " ".join(output.replace("\0", "").split())[:300]
        raise WindowsError(f"PowerShell did not answer{': ' + shown if shown else ', it printed nothing'}.")
    try:
        result = json.loads(base64.b64decode(re.sub(r"\s", "", found[1]), validate=True).decode("utf-8"))
    except (binascii.Error, ValueError) as error:
        raise WindowsError(f"PowerShell's answer is damaged: {error}.") from error
    if not isinstance(result, dict):
        raise WindowsError("PowerShell's answer is no JSON object.")
    if result.get("error"):
        raise WindowsError(f"Windows says: {result['error']}")
    plain: dict[str, Any] = _plain(result)
    return plain


def _plain(value: Any) -> Any:
    """ConvertTo-Json of 5.1 writes some arrays and texts as objects: https://github.com/PowerShell/PowerShell/issues/5579"""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"value", "Count"} or {"value", "PSPath"} <= set(value):
        return _plain(value["value"])
    return {key: _plain(one) for key, one in value.items()}
