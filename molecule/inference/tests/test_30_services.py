# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several servers on a host: keys, a user's own settings, those that are wanted no more, and a release of llama.cpp."""

from __future__ import annotations

import pytest

ROLE = "molecule/inference/tests/role.yml"
TOY = {"name": "toy", "model": "/etc/standin/models/toy.gguf", "port": 8080, "parallel": 1, "context": 512}
KEYED = {**TOY, "name": "keyed", "port": 8081, "api_key": "not-for-everybody"}
DRAFT = {"speculative": {"model": "/etc/standin/models/draft.gguf", "n_max": 2}}


def main_pid(fleet, name):
    return fleet.do("forky", f"systemctl show --value --property=MainPID llama-server-{name}")


@pytest.fixture(scope="module")
def two(fleet):
    fleet.do(
        "forky",
        "mkdir -p /etc/systemd/system/llama-server-toy.service.d;"
        "printf '[Service]\nEnvironment=MINE=1\n' > /etc/systemd/system/llama-server-toy.service.d/mine.conf",
    )
    return fleet.play({"forky": {"llama_server_instances": [{**TOY, **DRAFT}, KEYED]}}, playbook=ROLE)


def test_two_servers_and_a_key_that_nobody_sees(two, fleet, ask):
    assert two.code == 0, two.output
    assert "not-for-everybody" not in two.output
    shown = fleet.do("forky", "systemctl cat llama-server-keyed; systemctl show llama-server-keyed; ps axww")
    assert "not-for-everybody" not in shown
    assert ask("/v1/models", port=8081) == "401"
    assert "toy.gguf" in ask("/v1/models", port=8081, key="not-for-everybody")


def test_settings_of_ones_own_stay(two, fleet):
    assert "MINE=1" in fleet.do("forky", "systemctl show --property=Environment llama-server-toy")


def test_only_what_changed_restarts_and_what_left_the_list_is_gone(two, fleet):
    before = main_pid(fleet, "toy")
    run = fleet.play({"forky": {"llama_server_instances": [{**TOY, **DRAFT}]}}, playbook=ROLE)
    assert run.code == 0, run.output
    assert main_pid(fleet, "toy") == before
    assert (
        fleet.do("forky", "cd /etc/systemd/system; find . -name '*keyed*' -type f; systemctl list-units -q '*keyed*'")
        == ""
    )


def test_a_release_of_llama_cpp(fleet):
    """Debian's own program, packed and named as llama.cpp's releases are."""
    name = "llama-b11669-bin-ubuntu-x64.tar.gz"
    folder = "/opt/llama.cpp/downloads/b11669-ubuntu-x64"
    packed = f"{folder}/{name}"
    pack = f"tar --create --gzip --file={packed} --transform=s,^,llama-b11669/, --directory=/usr/bin llama-server"
    sha256 = fleet.do("forky", f"mkdir -p {folder} && {pack} && sha256sum {packed}").split()[0]
    release = {
        "llama_server_instances": [TOY],
        "llama_server_source": "release",
        "llama_server_version": "b11669",
        "llama_server_release_sha256": {name: sha256},
    }
    run = fleet.play({"forky": release}, playbook=ROLE)
    assert run.code == 0, run.output
    running = fleet.do("forky", f"readlink /proc/{main_pid(fleet, 'toy')}/exe")
    assert running == "/opt/llama.cpp/versions/b11669-ubuntu-x64/llama-server"
    assert fleet.play({"forky": release}, playbook=ROLE).changed("forky") == []
