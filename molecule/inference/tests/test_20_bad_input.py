# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything is touched. Each case is the host under a name of its own, all in one play."""

from __future__ import annotations

import pytest

MODELS = "/etc/standin/models"
TOY = {"name": "toy", "model": f"{MODELS}/toy.gguf", "port": 8099}

CASES = {
    "two_on_one_port": ([TOY, {**TOY, "name": "other"}], "toy, other listen on port 8099: give each its own."),
    "port_of_somebody_else": ([{**TOY, "port": 22}], "port 22 is taken by sshd"),
    "missing_model": ([{**TOY, "model": f"{MODELS}/none.gguf"}], f"the model {MODELS}/none.gguf does not exist"),
    "no_gguf": ([{**TOY, "model": "/srv/text.gguf"}], "/srv/text.gguf cannot be loaded: it is not a GGUF file"),
    "cut_model": (
        [{**TOY, "model": "/srv/cut.gguf"}],
        "/srv/cut.gguf cannot be loaded: it is cut: it has 500000",
    ),
    "closed_model": ([{**TOY, "model": "/root/toy.gguf"}], "cannot be read by llama-server: /root is closed to it."),
    "removed_option": (
        [{**TOY, "arguments": ["--draft-max", 4]}],
        "--draft-max, which llama-server b11669 has removed: use --spec-draft-n-max",
    ),
    "unknown_option": ([{**TOY, "arguments": ["--no-mapp"]}], "--no-mapp, which llama-server b11669 does not know"),
    "wrong_type_of_cache": ([{**TOY, "cache_type_k": "q3_x"}], "cache_type_k is 'q3_x'; llama-server b11669 takes f32"),
    "key_with_a_newline": ([{**TOY, "api_key": "a\nb"}], "api_key is not shown here: write printable ASCII"),
    "line_in_a_name": ([{**TOY, "name": "a\nExecStart=/bin/sh"}], "write up to 40 lower-case letters"),
}


@pytest.fixture(scope="module")
def refused(fleet):
    fleet.do(
        "forky",
        f"echo 'no model at all' > /srv/text.gguf; head -c 500000 {MODELS}/toy.gguf > /srv/cut.gguf;"
        f"cp {MODELS}/toy.gguf /root/toy.gguf; chmod 644 /srv/*.gguf",
    )
    before = fleet.do("forky", "cat /etc/systemd/system/llama-server-*; systemctl show -p MainPID llama-server-toy")
    hosts = {
        name: {"ansible_host": "{{ hostvars['forky'].ansible_host }}", "llama_server_instances": case[0]}
        for name, case in CASES.items()
    }
    run = fleet.play(with_connection(hosts), playbook="molecule/inference/tests/role.yml")
    after = fleet.do("forky", "cat /etc/systemd/system/llama-server-*; systemctl show -p MainPID llama-server-toy")
    return run, before == after


def with_connection(hosts):
    names = ["ansible_user", "ansible_python_interpreter", "ansible_ssh_private_key_file", "ansible_ssh_common_args"]
    same = {name: f"{{{{ hostvars['forky'].{name} }}}}" for name in names}
    return {host: {**same, **variables} for host, variables in hosts.items()}


@pytest.mark.parametrize("name", CASES)
def test_refusal(refused, name):
    run, _untouched = refused
    (message,) = run.failed(name)
    assert CASES[name][1] in message
    assert run.changed(name) == []


def test_the_running_service_was_not_touched(refused):
    assert refused[1]
