# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.environment import (
    VariableError,
    environment_file_line,
    environment_line,
    environment_lines,
    parse_environment,
    service_settings,
    without_secrets,
)
from hypothesis import given
from hypothesis import strategies as st

LINES: list[tuple[object, str]] = [
    ("plain", 'Environment="A=plain"'),
    ("with space", 'Environment="A=with space"'),
    ("100%n", 'Environment="A=100%%n"'),
    ("back\\slash", 'Environment="A=back\\\\slash"'),
    ("$HOME ${X} `x`;#", 'Environment="A=$HOME ${X} `x`;#"'),
    ("", 'Environment="A="'),
    ("größe", 'Environment="A=größe"'),
    (True, 'Environment="A=1"'),
    (False, 'Environment="A=0"'),
    (7, 'Environment="A=7"'),
    (["a", "b"], 'Environment="A=a,b"'),
]


@pytest.mark.parametrize(("value", "line"), LINES)
def test_environment_line(value: object, line: str) -> None:
    assert environment_line("A", value) == line


def test_a_file_takes_every_character_as_it_is() -> None:
    """systemd.exec(5): within single quotes only the quote has a meaning, and it is refused."""
    lines = environment_lines({"A": "100%n $HOME ${X} `x`;# back\\slash", "B": True}, environment_file_line)
    assert lines == ["A='100%n $HOME ${X} `x`;# back\\slash'", "B='1'"]
    with pytest.raises(VariableError, match="environment variable A"):
        environment_lines({"A": "it's"}, environment_file_line)


@pytest.mark.parametrize("value", ['a"b', "a'b", "a\nb", "a\rb", "a\x00b", "a\x85b", "a\x7fb", "\ud800", {"a": 1}])
def test_refused_values(value: object) -> None:
    with pytest.raises(VariableError, match="environment variable A"):
        environment_line("A", value)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A\n", "Ä", "A-B"])
def test_refused_names(name: str) -> None:
    with pytest.raises(VariableError, match="is not the name"):
        environment_line(name, "x")


def test_environment_lines_are_sorted_and_leave_out_what_is_unset() -> None:
    assert environment_lines({"B": 1, "A": None, "C": False}) == ['Environment="B=1"', 'Environment="C=0"']


@given(st.text())
def test_a_value_is_read_back_as_it_was_or_refused(value: str) -> None:
    try:
        line = environment_line("A", value)
    except VariableError:
        return
    assert "\n" not in line
    assert service_settings(f"[Service]\n{line}\n", "Environment") == [("Environment", line.partition("=")[2].strip())]
    assert parse_environment(line.partition("=")[2]) == [("A", value)]


PARSED: list[tuple[str, list[tuple[str, str]]]] = [
    ("A=1 B=2", [("A", "1"), ("B", "2")]),
    ('"A=one two" \'B=x "y"\'', [("A", "one two"), ("B", 'x "y"')]),
    (r'"A=q\"uote\\" B=\x', [("A", 'q"uote\\'), ("B", "x")]),
    ("A=", [("A", "")]),
    ("A=a=b", [("A", "a=b")]),
    ("loose 1=2", []),
    ('"A=open', [("A", "open")]),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), PARSED)
def test_parse_environment(text: str, expected: list[tuple[str, str]]) -> None:
    assert parse_environment(text) == expected


UNIT = """\
# comment
[Unit]
Environment=NOT=here
[Service]
; comment
Environment=A=1 \\
  B=2
ExecStart=/bin/true

Environment = "C=3"
"""


def test_service_settings_joins_lines_and_keeps_to_the_section() -> None:
    assert service_settings(UNIT, "Environment") == [("Environment", "A=1  B=2"), ("Environment", '"C=3"')]


@given(st.text(alphabet="[]=\\\"'\n #;%AbService ", max_size=80))
def test_reading_never_fails(text: str) -> None:
    for _key, value in service_settings(text, "Environment"):
        parse_environment(value)


SHOWN: list[tuple[str, object, object]] = [
    ("HTTPS_PROXY", "http://reader:pass@proxy:3128", "http://reader:(hidden)@proxy:3128"),
    ("HTTPS_PROXY", "http://reader:p:a%2Fss@proxy:3128", "http://reader:(hidden)@proxy:3128"),
    ("NO_PROXY", "http://a:1@x,http://b:2@y", "http://a:(hidden)@x,http://b:(hidden)@y"),
    ("HTTPS_PROXY", "http://proxy:3128/a@b", "http://proxy:3128/a@b"),
    ("HTTPS_PROXY", "http://[::1]:3128", "http://[::1]:3128"),
    ("HF_TOKEN", "hf_abc", "(hidden)"),
    ("OPENAI_API_KEY", "sk", "(hidden)"),
    ("HF_TOKEN", None, None),
    ("OLLAMA_KEEP_ALIVE", "5m", "5m"),
    ("OLLAMA_NUM_PARALLEL", 2, 2),
]


@pytest.mark.parametrize(("name", "value", "shown"), SHOWN)
def test_without_secrets(name: str, value: object, shown: object) -> None:
    assert without_secrets({name: value}) == {name: shown}
