# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One powershell.exe: a script, executed against a machine."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.standins.windows.cmdlets import CMDLETS
from tests.standins.windows.language import ParserError, parse
from tests.standins.windows.machine import CmdletError, Machine
from tests.standins.windows.parameters import CHOICES, PARAMETERS, SWITCHES

STORES = {"User": "user", "Machine": "machine"}


class Session:
    def __init__(self, machine: Machine, elevated: bool | None = None) -> None:
        self.machine = machine
        self.elevated = machine.state["elevated"] if elevated is None else elevated
        self.environment: dict[str, str] = dict(machine.state["session"])
        self.out: dict[str, Any] = {}
        self.printed: list[str] = []
        # Processes that were told to end and may not have done so.
        self.ending: set[int] = set()
        self.message = ""

    def run(self, script: str) -> dict[str, Any]:
        """As the process ends: a text that is no PowerShell runs nothing of it."""
        try:
            statements = parse(script)
            restricted = self.machine.state["language"] != "FullLanguage"
            if restricted and statements[0][0] == "restricted":
                self.printed.append(statements[0][1] + self.machine.state["language"])
            else:
                self.statements(statements)
        except (ParserError, CmdletError) as problem:
            return {"stdout": "", "stderr": str(problem), "code": 1}
        finally:
            self.machine.effects.lay(self.machine.state)
            self.machine.save()
        return {"stdout": "".join(f"{line}\n" for line in self.printed), "stderr": "", "code": 0}

    def statements(self, statements: list[tuple]) -> None:
        for statement in statements:
            self.statement(*statement)

    def statement(self, kind: str, *parts: Any) -> None:
        if kind == "try":
            try:
                self.statements(parts[0])
            except CmdletError as problem:
                self.message = str(problem)
                self.statements(parts[1])
        elif kind == "store":
            self.out[parts[0]] = self.value(parts[1])
        elif kind == "wait":
            self.out[parts[0]] = [one["ExitCode"] for one in self.value(parts[1])]
        elif kind == "error":
            self.out[parts[0]] = self.message
        elif kind == "do":
            self.value(parts[0])
        elif kind == "print":
            if self.machine.state["language"] != "FullLanguage":
                raise CmdletError("Cannot invoke method. Method invocation is supported only on core types.")
            document = json.dumps(self.out, separators=(",", ":"))
            self.printed.append(parts[0] + base64.b64encode(document.encode()).decode() + parts[1])

    def value(self, expression: tuple) -> list[Any]:
        if expression[0] == "elevated":
            return [self.elevated]
        if expression[0] == "call":
            return self.call(expression[1], expression[2])
        items: list[Any] = []
        for position, (name, parameters) in enumerate(expression[1]):
            items = self.command(name, parameters, items if position else None)
        return items

    def call(self, method: str, arguments: list[str | None]) -> list[Any]:
        if method == "ExpandEnvironmentVariables" and len(arguments) == 1:
            return [self.machine.expand(str(arguments[0]))]
        if method == "SetEnvironmentVariable" and len(arguments) == 3:
            name, value, target = arguments
            if target == "Process":
                self.environment.pop(str(name), None)
                if value:
                    self.environment[str(name)] = value
            elif target in STORES:
                if target == "Machine":
                    self.administrator("Requested registry access is not allowed.")
                self.machine.set_variable(STORES[target], str(name), value)
            else:
                raise CmdletError(f'Cannot convert value "{target}" to type "System.EnvironmentVariableTarget".')
            return []
        raise CmdletError(f"Method invocation failed because [System.Environment] has no method named '{method}'.")

    def administrator(self, message: str = "Access is denied.") -> None:
        if not self.elevated:
            raise CmdletError(message)

    def command(self, name: str, given: dict[str, Any], items: list[Any] | None) -> list[Any]:
        if name not in PARAMETERS or name not in CMDLETS or name in self.machine.state["missing"]:
            raise CmdletError(
                f"The term '{name}' is not recognized as the name of a cmdlet, function, script file, "
                "or operable program."
            )
        parameters = {}
        for key, value in given.items():
            if key not in PARAMETERS[name]:
                raise CmdletError(f"A parameter cannot be found that matches parameter name '{key}'.")
            if (key in SWITCHES) != isinstance(value, bool):
                raise CmdletError(f"Missing an argument for parameter '{key}', or one too many.")
            texts = value if isinstance(value, list) else [value]
            if key in CHOICES and not set(texts) <= CHOICES[key]:
                raise CmdletError(f"Cannot bind parameter '{key}': unable to match the identifier name {value}.")
            parameters[key] = self.machine.expand(value[1]) if isinstance(value, tuple) else value
        try:
            return CMDLETS[name](self, parameters, items)
        except LookupError as problem:
            # What is not there is an error that a caller may silence; a refusal is not.
            if parameters.get("ErrorAction") in ("SilentlyContinue", "Ignore"):
                return []
            raise CmdletError(f"{name} : {problem.args[0]}") from problem
