# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same host under Ollama and back: each time it ends proven, and the engine that is not wanted holds nothing."""

from __future__ import annotations


def active(fleet):
    units = fleet.do("forky", "systemctl list-units --quiet --plain --state=active 'llama-server-*' ollama.service")
    return {line.split()[0] for line in units.splitlines() if line}


def verdicts(run):
    return [result["proof"]["verdict"] for result in run.of("forky", action="lamplighter.fleet.inference_proof")]


def test_ollama_and_back(fleet):
    # Ollama is a stand-in, whose hardware is a tree of files.
    there = fleet.play({"forky": {"inference_engine": "ollama", "inference_sysroot": "/srv/machine"}})
    assert there.code == 0, there.output
    assert verdicts(there)[-1] == "proven"
    assert active(fleet) == {"ollama.service"}
    back = fleet.play({"forky": {"inference_backend": "cpu"}})
    assert back.code == 0, back.output
    assert verdicts(back)[-1] == "proven"
    assert active(fleet) == {"llama-server-toy.service"}
    assert fleet.do("forky", "systemctl is-enabled ollama.service || true") == "disabled"
