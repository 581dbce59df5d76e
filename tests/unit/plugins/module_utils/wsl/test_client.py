# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there before the wiring: shells, values of others, proxies."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.client import gather, own_values
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.machines import Tree, write

OURS = "# BEGIN lamplighter: written\nOLLAMA_HOST=http://172.22.16.1:11434\n# END lamplighter\n"
ALONE = [
    ("export OLLAMA_HOST=172.17.0.1", "172.17.0.1"),
    ("OLLAMA_HOST='http://desk:11434' # mine", "http://desk:11434"),
    ("declare -x OLLAMA_HOST=desk\r", "desk"),
    ("  set -gx OLLAMA_HOST http://desk", "http://desk"),
    ("set --global --export OLLAMA_HOST desk", "desk"),
    ("set -gx OLLAMA_HOST (ip route | string match desk)", "(ip route | string match desk)"),
    ('DefaultEnvironment="OLLAMA_HOST=desk"', "desk"),
    ("OLLAMA_HOST DEFAULT=desk", "DEFAULT=desk"),
    ("OLLAMA_HOST=$(ip route show default | awk '{print $3}')", "$(ip route show default | awk '{print $3}')"),
    ('export OLLAMA_HOST="${OLLAMA_HOST:-desk}"', "${OLLAMA_HOST:-desk}"),
]
BESIDE = [
    ("if [ -e /x ]; then export OLLAMA_HOST=desk; fi", "desk"),
    ("[ -e /x ] && export OLLAMA_HOST=desk", "desk"),
    ('[ -n "$OLLAMA_HOST" ] || OLLAMA_HOST="desk"', "desk"),
    ("export OLLAMA_HOST=desk; fi", "desk"),
    ("export OLLAMA_HOST=desk && ollama list", "desk"),
    ("wired() { export OLLAMA_HOST=desk; }", "desk"),
    ("case $HOST in a) OLLAMA_HOST=desk;; esac", "desk"),
    ("export OLLAMA_DEBUG=1 OLLAMA_HOST=desk", "desk"),
    ("export OLLAMA_HOST=desk OLLAMA_DEBUG=1", "desk"),
    ("export OLLAMA_HOST=desk \\", "desk"),
    ("set -q OLLAMA_HOST; or set -gx OLLAMA_HOST desk", "desk"),
    ("if test -e /x; set -gx OLLAMA_HOST desk; end", "desk"),
    ('DefaultEnvironment="A=1" "OLLAMA_HOST=desk"', "desk"),
    ("DefaultEnvironment=OLLAMA_HOST=desk A=1", "desk"),
    ("SETUVAR --export OLLAMA_HOST:http\\x3a//desk", "http://desk"),
]
NONE = [
    "# export OLLAMA_HOST=desk",
    "# if true; then export OLLAMA_HOST=desk; fi",
    "true # ; export OLLAMA_HOST=desk",
    "# lamplighter: export OLLAMA_HOST=desk",
    ": # lamplighter: export OLLAMA_HOST=desk",
    "OLLAMA_HOST=desk ollama list",
    "alias o='true; OLLAMA_HOST=desk ollama'",
    "if [ $OLLAMA_HOST = desk ]; then true; fi",
    "set -e OLLAMA_HOST",
    "export OLLAMA_HOST",
    "unset OLLAMA_HOST",
    "MY_OLLAMA_HOST=desk",
    "OLLAMA_HOSTS=desk",
    OURS,
    "",
]


@pytest.mark.parametrize(("line", "value"), ALONE)
def test_a_line_that_does_nothing_else_can_be_taken_out(line: str, value: str) -> None:
    assert own_values(line) == [{"value": value, "line": 1, "text": line, "alone": True}]


@pytest.mark.parametrize(("line", "value"), BESIDE)
def test_a_line_that_does_other_things_is_seen_and_left(line: str, value: str) -> None:
    assert own_values(line) == [{"value": value, "line": 1, "text": None, "alone": False}]


@pytest.mark.parametrize("text", NONE)
def test_what_sets_nothing_for_a_session(text: str) -> None:
    assert own_values(text) == []


def test_lines_are_counted_with_ours() -> None:
    found = own_values(f"OLLAMA_HOST=a\n{OURS}export A=1 \\\n  OLLAMA_HOST=b\n")
    assert [(one["value"], one["line"], one["alone"]) for one in found] == [("a", 1, True), ("b", 6, False)]


@given(st.text("OLLAMA_HOST=export set -gx;&|(){}\"'`$#\\\n\t then", max_size=80))
def test_no_text_of_a_file_is_too_much(text: str) -> None:
    lines = text.split("\n")
    for one in own_values(f"{text}\nOLLAMA_HOST=a"):
        assert one["text"] in [None, *lines, "OLLAMA_HOST=a"]


def test_what_there_is(tmp_path: Path) -> None:
    tree: Tree = {
        "etc/environment": f'http_proxy="http://me:secret@proxy:3128"\n{OURS}',
        "etc/bash.bashrc": "",
        "etc/zsh/zshenv": "",
        "usr/bin/zsh": "",
        "usr/bin/fish": "",
        "usr/bin/podman": "",
        "home/ada/.bashrc": "export OLLAMA_HOST=172.17.0.1\n",
        "home/ada/.config/fish/conf.d/a.fish": "test -e /x; and set -gx OLLAMA_HOST desk\n",
        "home/ada/.config/fish/fish_variables": "# VERSION\nSETUVAR --export OLLAMA_HOST:desk\n",
        "root/.config/fish/config.fish": ": # lamplighter: set -gx OLLAMA_HOST desk\n",
        "home/ada/.pam_environment": "# lamplighter: OLLAMA_HOST=desk\n",
        "etc/systemd/system/ollama.service": "[Service]\nEnvironment=OLLAMA_HOST=0.0.0.0\n",
    }
    assert gather(Sysroot(write(tmp_path, tree))) == {
        "others": [
            {
                "path": "/home/ada/.config/fish/conf.d/a.fish",
                "value": "desk",
                "line": 1,
                "text": None,
                "alone": False,
                "said": "/home/ada/.config/fish/conf.d/a.fish says OLLAMA_HOST=desk in line 1, beside other things: "
                "change that line by hand",
            },
            {
                "path": "/home/ada/.bashrc",
                "value": "172.17.0.1",
                "line": 1,
                "text": "export OLLAMA_HOST=172.17.0.1",
                "alone": True,
                "said": "/home/ada/.bashrc says OLLAMA_HOST=172.17.0.1 in line 1",
            },
            {
                "path": "/home/ada/.config/fish/fish_variables",
                "value": "desk",
                "line": 2,
                "text": None,
                "alone": False,
                "said": "/home/ada/.config/fish/fish_variables says OLLAMA_HOST=desk in line 2: set -e -U OLLAMA_HOST "
                "in fish takes it out",
            },
        ],
        "replaced": ["/root/.config/fish/config.fish", "/home/ada/.pam_environment"],
        "proxies": ["http://proxy:3128"],
        "bashrc": "/etc/bash.bashrc",
        "zshenv": "/etc/zsh/zshenv",
        "fish": True,
        "podman": True,
        "docker": False,
        "ollama_host_of_unit": True,
    }


def test_a_bare_system(tmp_path: Path) -> None:
    found = gather(Sysroot(str(tmp_path)))
    assert not any(found.values())


UNITS: list[tuple[Tree, bool]] = [
    ({"etc/systemd/system/ollama.service": "[Service]\nExecStart=x\n"}, False),
    ({"etc/systemd/system/ollama.service.d/05-lamplighter-windows.conf": "Environment=OLLAMA_HOST=x\n"}, False),
    ({"etc/systemd/system/ollama.service.d/override.conf": 'Environment="OLLAMA_HOST=x"\n'}, True),
]


@pytest.mark.parametrize(("tree", "sets"), UNITS)
def test_a_server_of_this_host(tmp_path: Path, tree: Tree, sets: bool) -> None:
    assert gather(Sysroot(write(tmp_path, tree)))["ollama_host_of_unit"] is sets


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"etc/zsh/zshrc": ""}, None),
        ({"usr/bin/zsh": "", "etc/zsh/zshrc": ""}, "/etc/zsh/zshenv"),
        ({"usr/bin/zsh": ""}, "/etc/zshenv"),
    ],
)
def test_the_file_that_every_zsh_reads(tmp_path: Path, tree: Tree, path: str | None) -> None:
    assert gather(Sysroot(write(tmp_path, tree)))["zshenv"] == path
