# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ollama_model as Ansible runs it."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.modules import ollama_model

from tests.unit.ollama_api import Engine


def run(capsys: pytest.CaptureFixture[str], **args: Any) -> dict[str, Any]:
    with patch_module_args(args), pytest.raises(SystemExit):
        ollama_model.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_model_is_pulled_once(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {"name": "tiny", "url": f"http://127.0.0.1:{engine.server_port}"}
    assert run(capsys, **wanted, _ansible_check_mode=True)["changed"] is True
    assert engine.models == {}
    assert run(capsys, **wanted) == {**run(capsys, **wanted), "changed": True}
    assert run(capsys, **wanted)["changed"] is False
    assert engine.models == {"tiny:latest": "d1"}


def test_a_registry_without_tls(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{engine.server_port}"
    engine.registry["registry.lan:5000/house/tiny:1"] = "d3"
    assert run(capsys, name="tiny", url=url)["changed"] is True
    assert engine.insecure is False
    assert run(capsys, name="registry.lan:5000/house/tiny:1", url=url, insecure=True)["digest"] == "d3"
    assert engine.insecure is True


def test_an_error_inside_http_200_is_a_failure(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, name="no-such-model", url=f"http://127.0.0.1:{engine.server_port}")
    assert result["failed"] is True
    assert "model no-such-model:latest: " in result["msg"]
    assert "file does not exist" in result["msg"]


def test_an_engine_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = run(capsys, name="tiny", url=f"http://127.0.0.1:{port}", start_timeout=0)
    assert result["failed"] is True
    assert f"127.0.0.1:{port}" in result["msg"]


def test_a_file_needs_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, name="tiny", source="gguf")
    assert result["failed"] is True
    assert "path" in result["msg"]
