# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there before the wiring: shells, values of others, proxies."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.client import gather, own_values

from tests.unit.machines import Tree, write

OURS = "# BEGIN lamplighter: written\nOLLAMA_HOST=http://172.22.16.1:11434\n# END lamplighter\n"
VALUES = [
    ("export OLLAMA_HOST=172.17.0.1", ["172.17.0.1"]),
    ("OLLAMA_HOST='http://desk:11434' # mine", ["http://desk:11434"]),
    ("  set -gx OLLAMA_HOST http://desk", ["http://desk"]),
    ("set --global --export OLLAMA_HOST desk", ["desk"]),
    ('DefaultEnvironment="OLLAMA_HOST=desk"', ["desk"]),
    ("OLLAMA_HOST=$(ip route show default | awk '{print $3}')", ["$(ip"]),
    ("# export OLLAMA_HOST=desk", []),
    ("# lamplighter: export OLLAMA_HOST=desk", []),
    (": # lamplighter: export OLLAMA_HOST=desk", []),
    ("MY_OLLAMA_HOST=desk", []),
    ("OLLAMA_HOSTS=desk", []),
    (OURS, []),
    (f"OLLAMA_HOST=a\n{OURS}OLLAMA_HOST=b\n", ["a", "b"]),
    ("", []),
]


@pytest.mark.parametrize(("text", "values"), VALUES)
def test_values_of_others(text: str, values: list[str]) -> None:
    assert own_values(text) == values


def test_what_there_is(tmp_path: Path) -> None:
    tree: Tree = {
        "etc/environment": f'http_proxy="http://me:secret@proxy:3128"\n{OURS}',
        "etc/bash.bashrc": "",
        "etc/zsh/zshenv": "",
        "usr/bin/zsh": "",
        "usr/bin/fish": "",
        "usr/bin/podman": "",
        "home/ada/.bashrc": "export OLLAMA_HOST=172.17.0.1\n",
        "root/.config/fish/config.fish": ": # lamplighter: set -gx OLLAMA_HOST desk\n",
        "home/ada/.pam_environment": "# lamplighter: OLLAMA_HOST=desk\n",
        "etc/systemd/system/ollama.service": "[Service]\nEnvironment=OLLAMA_HOST=0.0.0.0\n",
    }
    assert gather(Sysroot(write(tmp_path, tree))) == {
        "others": [
            {
                "path": "/home/ada/.bashrc",
                "value": "172.17.0.1",
                "said": "/home/ada/.bashrc says OLLAMA_HOST=172.17.0.1",
            }
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
