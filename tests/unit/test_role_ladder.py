# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one engine takes over from another, as the roles' variables tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).parents[2] / "roles"
INSTANCES = [{"name": "chat"}, {"name": "code", "port": 8081, "host": "::"}]


def load(path: str) -> Any:
    return DataLoader().load_from_file(str(ROLES / path), trusted_as_template=True)


def told(role: str, expression: str, **given: Any) -> Any:
    names = {**load(f"{role}/vars/main.yml"), **given}
    return Templar(DataLoader(), variables=names).template(trust_as_template(expression))


def ladder(expression: str, engine: str, had: Any = None, **given: Any) -> Any:
    facts = {} if had is None else {"ollama_facts": had}
    given = {"llama_server_instances": INSTANCES, "inference_plan": {"engine": engine}, "ansible_facts": facts, **given}
    return told("ladder", f"{{{{ {expression} }}}}", **given)


ACTIVE, STOPPED = {"active": "active"}, {"active": "inactive"}
CHAT, CODE = "llama-server-chat.service", "llama-server-code.service"
# (engine, what the host had, units of this engine that leave again if it fails)
NEW: list[tuple[str, Any, list[str]]] = [
    ("ollama", None, ["ollama.service"]),
    ("ollama", {"service": STOPPED, "llama_server_units": [CHAT]}, ["ollama.service"]),
    ("ollama", {"service": {"active": None}}, ["ollama.service"]),
    ("ollama", {"service": ACTIVE, "llama_server_units": [CHAT]}, []),
    ("llama_server", {"service": ACTIVE, "llama_server_units": []}, [CHAT, CODE]),
    ("llama_server", {"service": ACTIVE, "llama_server_units": [CHAT]}, [CODE]),
]


@pytest.mark.parametrize(("engine", "had", "units"), NEW)
def test_what_ran_before_stays_if_the_new_engine_leaves(engine: str, had: Any, units: list[str]) -> None:
    assert ladder("__ladder_new", engine, had) == units


def test_who_stands_down_is_the_plans_word_and_none_has_where_none_did() -> None:
    assert ladder("__ladder_others", "ollama", inference_plan={"engine": "ollama", "replaces": [CHAT]}) == [CHAT]
    assert ladder("__ladder_others", "ollama") == ladder("__ladder_left", "ollama") == []
    item = {"item": CHAT, "status": {"ActiveState": "active"}}
    stood_down = {"results": [item]}
    assert ladder("__ladder_left", "ollama", __ladder_stood_down=stood_down) == [item]
    assert ladder("__ladder_known.stood_down", "ollama", __ladder_stood_down=stood_down) == [CHAT]


def test_a_service_comes_back_as_it_was() -> None:
    task = load("ladder/tasks/bring_back.yml")[1]["ansible.builtin.systemd_service"]

    def state(**status: str) -> tuple[bool, str]:
        return tuple(ladder(task[key][2:-2], "ollama", item={"status": status}) for key in ("enabled", "state"))  # type: ignore[return-value]

    assert state(ActiveState="active", UnitFileState="enabled") == (True, "started")
    assert state(ActiveState="inactive", UnitFileState="enabled") == (True, "stopped")
    assert state(ActiveState="activating", UnitFileState="disabled") == (False, "started")
    assert state() == (False, "stopped")


def test_a_secret_of_other_hands_is_not_repeated() -> None:
    had = {"unit": {"environment": {"HTTPS_PROXY": "http://(hidden)@proxy", "OLLAMA_DEBUG": "1"}}}
    assert ladder("__ladder_held_secret", "ollama", had) is True
    assert ladder("__ladder_held_secret", "ollama", {"unit": {"environment": {"OLLAMA_DEBUG": "1"}}}) is False
    assert ladder("__ladder_held_secret", "ollama") is False


def test_only_llama_server_is_asked_what_is_installed() -> None:
    facts = {"ansible_facts": {"llama_server_facts": {"version": "b1"}}}
    assert ladder("__ladder_known.installed", "llama_server", **facts) == {"version": "b1"}
    assert ladder("__ladder_known.installed", "ollama", **facts) == {}


URLS = [({}, "127.0.0.1:8080"), ({"port": None, "host": None}, "127.0.0.1:8080"), ({"port": "81"}, "127.0.0.1:81")]


@pytest.mark.parametrize(("instance", "address"), URLS)
def test_where_an_instance_is_asked(instance: dict[str, Any], address: str) -> None:
    given = {"__ladder_at": 0, "llama_server_instances": [{"name": "chat", **instance}]}
    assert ladder("__ladder_target.url", "llama_server", **given) == f"http://{address}"
    expression = "{{ __llama_server_ports }}"
    assert told("llama_server", expression, **given) == [instance.get("port") or 8080]


# (source, binary, what is asked for its build, version that is the inventory's word)
SOURCES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "/usr/bin/llama-server", ""),
    ({"llama_server_source": "binary", "llama_server_binary": "/x/llama-server"}, "/x/llama-server", ""),
    ({"llama_server_source": "release"}, "", "b10488"),
]


@pytest.mark.parametrize(("given", "binary", "version"), SOURCES)
def test_the_build_of_a_release_is_the_inventorys_word(given: dict[str, Any], binary: str, version: str) -> None:
    names = {"inference_engine": "llama_server", "llama_server_version": "b10488", **given}
    assert told("inference", "{{ __inference_llama_server }}", **names) == binary
    assert told("inference", "{{ __inference_policy.engine_version }}", **names) == version
    ollama = {**names, "inference_engine": "ollama", "ollama_version": "0.32.15"}
    assert told("inference", "{{ __inference_llama_server }}", **ollama) == ""
    assert told("inference", "{{ __inference_model_files }}", **ollama) == []
    assert told("inference", "{{ __inference_model_files }}", **ollama, ladder_proof_model_path="/m.gguf") == [
        "/m.gguf"
    ]
    assert told("inference", "{{ __inference_policy.engine_version }}", **ollama) == "0.32.15"


PORTS = [("ollama.service", True), (CHAT, True), (CODE, False), ("nginx.service", False)]


@pytest.mark.parametrize(("unit", "free"), PORTS)
def test_a_port_of_a_unit_that_stands_down_is_free_for_ollama(unit: str, free: bool) -> None:
    task = load("ollama/tasks/preflight.yml")[-1]
    (problem,) = [text for text in task["vars"]["__ollama_problems"] if "is taken by" in text]
    listener = {"pid": 7, "command": "who", "unit": unit}
    given = {"__ollama_url": "http://127.0.0.1:8080", "ollama_plan": {"replaces": [CHAT]}}
    said = told("ollama", problem, **given, __ollama_found={"listener": listener, "service": {"main_pid": None}})
    assert said == (
        "" if free else f"Port 8080 is taken by who (process 7, {unit}): stop it, or set ollama_host to another port."
    )


def test_the_port_that_is_looked_at_is_the_one_that_is_wanted() -> None:
    calls = [
        task["lamplighter.fleet.ollama_facts"]
        for path in ROLES.glob("*/tasks/*.yml")
        for task in load(str(path.relative_to(ROLES)))
        if "lamplighter.fleet.ollama_facts" in task
    ]
    assert len(calls) == 3
    assert [call for call in calls if "port" not in call] == []


def test_what_stops_the_host_is_told_for_each_item_of_a_loop() -> None:
    rescue = load("ladder/tasks/rung.yml")[0]["rescue"]
    task = next(task for task in rescue if "ansible.builtin.fail" in task)
    items = [{"failed": True, "msg": "One."}, {"failed": False}, {"failed": True, "msg": "Two."}]

    def said(result: dict[str, Any]) -> str:
        given = {"ansible_failed_result": result, "ansible_failed_task": {"name": "Proof"}, **task["vars"]}
        return str(told("ladder", task["ansible.builtin.fail"]["msg"], **given))

    assert said({"failed": True, "msg": "One or more items failed", "results": items}) == "Proof: One. Two."
    assert said({"failed": True, "msg": "No room."}) == "Proof: No room."
