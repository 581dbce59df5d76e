# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every PowerShell text that Lamplighter can produce, listed, and read by a grammar that is not ours.

The texts come from all operations on all kinds of hosts. `powershell_texts.txt` lists them with their values taken out;
a text that is not in it is a new one, to be looked at and added. PowerShell itself is not to be had here.
"""

from __future__ import annotations

import ast
import base64
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_powershell
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import powershell
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import Call, Command, Expanded
from hypothesis import example, given
from hypothesis import strategies as st
from tree_sitter import Language, Node, Parser

from tests.standins.windows import language
from tests.standins.windows.parameters import CHOICES, PARAMETERS, SWITCHES
from tests.unit.windows_host import Windows

PARSER = Parser(Language(tree_sitter_powershell.language()))
LISTED = Path(__file__).parent / "powershell_texts.txt"
SOURCES = Path(__file__).parents[2] / "plugins/module_utils/windows"
NASTY = [
    "'; Remove-Item C:\\ -Recurse; '",
    "\u2019; Stop-Computer; \u2018",
    "$(Stop-Computer)",
    '"`$x\\',
    "a'b\u201ac\u201bd",
    "-Force",
    ") } catch { exit } #",
    "@'x'@ ${x} %TEMP% & | ; , ü 李",
]
INSTALL = {"url": "https://example.com/OllamaSetup.exe", "sha256": "0" * 64, "version": "0.33.0"}
ENVIRONMENT = {f"OLLAMA_{number}": value for number, value in enumerate(NASTY)}


@functools.cache
def produced(folder: Path) -> tuple[str, ...]:
    """What is sent, what is told to be entered, and what the task of the system runs."""
    texts: set[str] = set()
    kinds: list[dict] = [
        {"elevated": True},
        {"elevated": False},
        {"elevated": True, "service": "ollama 's"},
        {"elevated": True, "user": "Jörg O\u2019Neil 'x'; y"},
        {"elevated": True, "ollama": None, "web": {INSTALL["url"]: {"content": "OllamaSetup 0.33.0"}}},
        {"elevated": True, "mode": "mirrored", "alias": "vEthernet (WSL)"},
    ]
    for kind in kinds:
        windows = Windows(folder, **kind)
        for operation in ("state", "gpus", "firewall", "log"):
            windows.run(operation)
        for arguments in (
            {"bind": "auto", "environment": ENVIRONMENT, "hyperv_ports": [80, 443], "hyperv_remote": ["10.0.0.0/8"]},
            {"bind": "vethernet" if kind.get("mode") != "mirrored" else "auto", "firewall_scope": "subnet"},
            {"environment": {"OLLAMA_MODELS": "D:\\it's"}, "scope": "machine", "hyperv_ports": []},
            {"install": INSTALL},
            {"firewall": "absent"},
        ):
            try:
                windows.run("apply", **arguments)
            except powershell.WindowsError:
                # The checksum is wrong, or there is nothing to be fetched.
                assert "install" in arguments
        if kind.get("web"):
            right = hashlib.sha256(b"OllamaSetup 0.33.0").hexdigest()
            windows.run("apply", install={**INSTALL, "sha256": right})
        windows.run("undo")
        texts |= {*windows.texts, *(text for text in windows.pending if "-" in text.split()[0])}
    renewing = [re.search(r"-EncodedCommand ([A-Za-z0-9+/=]+)", text) for text in texts]
    texts |= {base64.b64decode(found[1]).decode("utf-16-le") for found in renewing if found}
    return tuple(sorted(texts))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return produced(tmp_path_factory.mktemp("windows"))


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def shape(text: str) -> Iterator[str]:
    """The statements of a text, with its values taken out."""
    for line in text.splitlines():
        yield re.sub(r"'(''|[^'])*'", "'…'", line).replace("'…','…'", "'…'").replace(",'…'", "")


def own(value: str) -> str:
    """The value of a literal, read without the code that wrote it."""
    assert value[0] == value[-1] == "'"
    return re.sub(f"([{language.QUOTES}])\\1", r"\1", value[1:-1])


def commands(text: str) -> list[tuple[str, dict[str, list[str]]]]:
    """The commands of a text, by the foreign grammar: name, and the literals of each parameter."""
    tree = PARSER.parse(text.encode())
    assert not tree.root_node.has_error, text
    found = []
    for node in walk(tree.root_node):
        if node.type != "command":
            continue
        name = (node.child_by_field_name("command_name") or node.children[0]).text
        parameters: dict[str, list[str]] = {}
        for part in node.children[1].children if len(node.children) > 1 else []:
            if part.type == "command_parameter":
                key = (part.text or b"").decode().lstrip("-").rstrip(":")
                parameters[key] = []
            elif part.type != "command_argument_sep":
                literals = [one for one in walk(part) if one.type == "verbatim_string_characters"]
                kinds = {one.type for one in walk(part)} & {
                    "expandable_string_literal",
                    "sub_expression",
                    "generic_token",
                }
                assert not kinds, text
                parameters[key] += [own((one.text or b"").decode()) for one in literals]
        found.append(((name or b"").decode(), parameters))
    return found


def flat(statements: list[tuple]) -> Iterator[tuple[str, dict]]:
    """The commands as the stand-in reads them."""
    for statement in statements:
        if statement[0] == "pipe":
            yield from statement[1]
        else:
            for part in statement[1:]:
                yield from (
                    flat(part if isinstance(part, list) and statement[0] == "try" else [part])
                    if isinstance(part, (list, tuple))
                    else ()
                )


def as_values(value: object) -> list[str]:
    if isinstance(value, tuple):
        return [value[1]]
    return [] if isinstance(value, bool) else value if isinstance(value, list) else [str(value)]


def test_two_grammars_read_every_text_alike(texts: tuple[str, ...]) -> None:
    for text in texts:
        ours = [
            (name, {key: as_values(value) for key, value in parameters.items()})
            for name, parameters in flat(language.parse(text))
        ]
        # What the frame of a script runs is no part of ours.
        theirs = [one for one in commands(text) if one[0] != "ConvertTo-Json"]
        assert theirs == ours, text


def test_every_cmdlet_and_parameter_is_one_that_microsoft_documents(texts: tuple[str, ...]) -> None:
    for text in texts:
        for name, parameters in commands(text):
            if name == "ConvertTo-Json":
                continue
            assert name in PARAMETERS, text
            assert set(parameters) <= PARAMETERS[name], text
            for key, values in parameters.items():
                # An off switch has its $false, no literal.
                assert bool(values) is (key not in SWITCHES), text
                assert set(values) <= CHOICES.get(key, set(values)), text


def test_every_text_is_listed(texts: tuple[str, ...]) -> None:
    shapes = sorted({line for text in texts for line in shape(text)})
    if shapes != LISTED.read_text(encoding="utf-8").splitlines():
        new = sorted(set(shapes) - set(LISTED.read_text(encoding="utf-8").splitlines()))
        old = sorted(set(LISTED.read_text(encoding="utf-8").splitlines()) - set(shapes))
        raise AssertionError("not listed:\n" + "\n".join(new) + "\nlisted, and not produced:\n" + "\n".join(old))


def test_every_command_in_the_sources_is_produced(texts: tuple[str, ...]) -> None:
    written = set()
    for path in SOURCES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Command" and node.args:
                name = node.args[0]
                written.add(name.value if isinstance(name, ast.Constant) else "Get-NetFirewall")
    seen = {name for text in texts for name, _parameters in commands(text)}
    assert {name for name in written if not any(one.startswith(name) for one in seen)} == set()


def test_no_text_is_written_but_by_the_builder() -> None:
    # A cmdlet's name may be in a Command, and in what a person is told.
    for path in SOURCES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                pieces = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
                assert not re.search(r"\b(Get|Set|New|Remove|Start|Stop|Invoke)-[A-Z]\w+ ", pieces), f"{path}: {pieces}"


VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029"), max_size=60)


@given(VALUES, VALUES)
@example(NASTY[0], NASTY[1])
@example(NASTY[2], NASTY[6])
@example("'", "''")
def test_whatever_the_value_it_is_one_token(first: str, second: str) -> None:
    command = Command("New-NetFirewallRule", {"DisplayName": first, "LocalPort": [second, first], "Force": True})
    text = powershell.script(
        [
            powershell.doing([command]),
            powershell.doing([Command("Set-Content", {"LiteralPath": Expanded(first), "Value": second})]),
            powershell.doing(Call("SetEnvironmentVariable", (first, second, "User"))),
        ]
    )
    found = [one for one in commands(text) if one[0] != "ConvertTo-Json"]
    assert found == [
        ("New-NetFirewallRule", {"DisplayName": [first], "LocalPort": [second, first], "Force": []}),
        ("Set-Content", {"LiteralPath": [first], "Value": [second]}),
    ]
    invoked = [node for node in walk(PARSER.parse(text.encode()).root_node) if node.type == "invokation_expression"]
    calls = [node for node in invoked if b"::SetEnvironmentVariable" in (node.text or b"")]
    literals = [(one.text or b"").decode() for one in walk(calls[0]) if one.type == "verbatim_string_characters"]
    assert [own(one) for one in literals] == [first, second, "User"]


@pytest.mark.parametrize(
    "text",
    [
        "Get-Item -Path 'a'b'",
        "Get-Item -Path 'a",
        "$out['x'] = @(Get-Item",
    ],
)
def test_the_foreign_grammar_sees_what_is_broken(text: str) -> None:
    tree = PARSER.parse(powershell.script([text]).encode())
    assert tree.root_node.has_error or len(commands(powershell.script([text]))) != 2
