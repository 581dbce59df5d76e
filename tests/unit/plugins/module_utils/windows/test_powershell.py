# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import powershell
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import (
    Call,
    Command,
    Expanded,
    WindowsError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standins.windows.language import parse

# Without what is refused: control characters, line separators, lone surrogates.
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "'plain'"),
        ("", "''"),
        ("it's", "'it''s'"),
        ("C:\\Users\\Jörg O\u2019Neil", "'C:\\Users\\Jörg O\u2019\u2019Neil'"),
        ("\u2018\u201a\u201b", "'\u2018\u2018\u201a\u201a\u201b\u201b'"),
        ('$(Remove-Item C:\\)`n"; x', "'$(Remove-Item C:\\)`n\"; x'"),
    ],
)
def test_a_value_is_one_literal(value: str, text: str) -> None:
    assert powershell.literal(value) == text


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\x7fb", "a\u2028b", "a\x85b", "\ud800"])
def test_a_value_that_splits_a_line_is_refused(value: str) -> None:
    with pytest.raises(WindowsError, match="control character"):
        powershell.literal(value)


@settings(deadline=None)
@given(WORDS)
def test_every_value_comes_out_as_it_went_in(value: str) -> None:
    command = Command("Set-Content", {"LiteralPath": Expanded(value), "Value": [value, value], "Force": True})
    found = parse(command.text())
    assert found == [
        ("do", ("pipe", [("Set-Content", {"LiteralPath": ("expand", value), "Value": [value] * 2, "Force": True})]))
    ]


@settings(deadline=None)
@given(WORDS)
def test_no_value_of_a_call_breaks_out(value: str) -> None:
    call = Call("SetEnvironmentVariable", (value, None, "User"))
    assert parse(call.text()) == [("do", ("call", "SetEnvironmentVariable", [value, None, "User"]))]


@pytest.mark.parametrize("name", ["Get-Item; x", "i ex", "Get Item", "", "Get-Item\n"])
def test_a_command_has_a_name(name: str) -> None:
    with pytest.raises(WindowsError, match="no command of ours"):
        Command(name).text()
    with pytest.raises(WindowsError, match="no command of ours"):
        Command("Get-Item", {name: "x"}).text()


def test_a_switch_is_on_or_off() -> None:
    text = Command("Unregister-ScheduledTask", {"Confirm": False, "PassThru": True}).text()
    assert text == "Unregister-ScheduledTask -Confirm:$false -PassThru"


def test_the_command_line_is_that_of_windows_powershell() -> None:
    command = powershell.command_line("/mnt/c/powershell.exe", "'ä'")
    options = ["-NoProfile", "-NonInteractive", "-InputFormat", "None", "-EncodedCommand"]
    assert command[:-1] == ["/mnt/c/powershell.exe", *options]
    assert base64.b64decode(command[-1]) == "'ä'".encode("utf-16-le")


def test_a_command_line_that_windows_cuts_is_refused() -> None:
    powershell.command_line("p", "x" * 11_900)
    with pytest.raises(WindowsError, match="fewer variables"):
        powershell.command_line("p", "x" * 12_100)


def printed(document: object) -> str:
    return f"Lamplighter:{base64.b64encode(json.dumps(document).encode()).decode()}:end"


ANSWER = printed({"a": ["Jörg"]})


@pytest.mark.parametrize(
    "output",
    [
        ANSWER,
        ANSWER + "\r\n",
        "\ufeff" + ANSWER,
        "\r\n".join([ANSWER[:20], ANSWER[20:40], ANSWER[40:]]),
        "#< CLIXML\r\n<Objs/>\r\n" + ANSWER,
        "\0".join(ANSWER) + "\0\r\0\n\0",
        "\ufffd\ufffd" + "\0".join(ANSWER),
    ],
)
def test_an_answer_is_read_whatever_the_console_makes_of_it(output: str) -> None:
    assert powershell.answer(output) == {"a": ["Jörg"]}


def test_arrays_and_texts_that_windows_powershell_writes_as_objects_are_plain_again() -> None:
    text = {"value": "line", "PSPath": "C:\\x", "ReadCount": 1}
    document = {"a": [{"LocalPort": {"value": ["1", "2"], "Count": 2}}, text], "b": {"value": 1}}
    assert powershell.answer(printed(document)) == {"a": [{"LocalPort": ["1", "2"]}, "line"], "b": {"value": 1}}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "printed nothing"),
        ("Der Befehl\r\n wurde  nicht gefunden", "did not answer: Der Befehl wurde nicht gefunden"),
        ("Lamplighter:e30", "did not answer"),
        ("Lamplighter:e30=x:end", "damaged"),
        ("Lamplighter:4444:end", "damaged"),
        (printed([1]), "no JSON object"),
        (printed({"error": "Zugriff verweigert"}), "Windows says: Zugriff verweigert"),
    ],
)
def test_what_is_no_answer_is_told(output: str, message: str) -> None:
    with pytest.raises(WindowsError, match=message):
        powershell.answer(output)


@settings(deadline=None)
@given(st.text())
def test_reading_an_answer_never_fails_in_another_way(output: str) -> None:
    with pytest.raises(WindowsError):
        powershell.answer(output)
