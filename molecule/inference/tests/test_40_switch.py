# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same host under Ollama and back, on one port: it ends proven, or with the engine that it had."""

from __future__ import annotations

import json

# Ollama is a stand-in, whose hardware is a tree of files.
OLLAMA = {"inference_engine": "ollama", "inference_sysroot": "/srv/machine", "ollama_host": "127.0.0.1:8080"}
LLAMA = {"inference_backend": "cpu"}
TOY = {"name": "toy", "model": "/etc/standin/models/toy.gguf", "context": 512, "parallel": 1}
NEVER = {**LLAMA, "llama_server_instances": [{**TOY, "arguments": ["--chat-template-file", "/nowhere"]}]}
STANDS_DOWN = "Stand down | The other engine holds neither GPU nor port"


def active(fleet):
    units = fleet.do("forky", "systemctl list-units --quiet --plain --state=active 'llama-server-*' ollama.service")
    return {line.split()[0] for line in units.splitlines() if line}


def enabled(fleet):
    return fleet.do("forky", "systemctl is-enabled ollama llama-server-toy || true").split()


def verdicts(run):
    return [result["proof"]["verdict"] for result in run.of("forky", action="lamplighter.fleet.inference_proof")]


def foretold(fleet, variables):
    run = fleet.play({"forky": variables}, "--check", "--diff")
    assert run.code == 0, run.output
    return run.changed("forky")


def test_ollama_takes_over(fleet):
    assert STANDS_DOWN in foretold(fleet, OLLAMA)
    assert active(fleet) == {"llama-server-toy.service"}
    there = fleet.play({"forky": OLLAMA})
    assert there.code == 0, there.output
    assert verdicts(there)[-1] == "proven"
    assert active(fleet) == {"ollama.service"}


def test_a_new_engine_that_never_starts_gives_the_old_one_back(fleet):
    run = fleet.play({"forky": NEVER})
    assert run.code == 2, run.output
    assert set(verdicts(run)) == {"failed"}
    assert "What was there before is as it was: ollama.service." in "".join(run.failed("forky"))
    assert (active(fleet), enabled(fleet)) == ({"ollama.service"}, ["enabled", "disabled"])
    remembered = json.loads(fleet.do("forky", "cat /etc/ansible/facts.d/lamplighter.fact"))
    assert remembered["proven"]["engine"] == "ollama"


def test_and_back(fleet):
    assert STANDS_DOWN in foretold(fleet, LLAMA)
    assert active(fleet) == {"ollama.service"}
    back = fleet.play({"forky": LLAMA})
    assert back.code == 0, back.output
    assert verdicts(back)[-1] == "proven"
    assert (active(fleet), enabled(fleet)) == ({"llama-server-toy.service"}, ["disabled", "enabled"])
