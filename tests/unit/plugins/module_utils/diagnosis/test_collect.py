# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils import process
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis import collect, probes
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.bundle import bundle_files
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.collect import Collector
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.sources import LogError
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import _entries, load

from tests.unit.doctor_hosts import healthy


def test_properties_that_come_several_times_are_lists():
    text = "PrivateDevices=no\nDeviceAllow=char-drm rw\nDeviceAllow=/dev/kfd rw\nDropInPaths=\nUser=\n"
    assert probes.parse_properties(text) == {
        "PrivateDevices": "no",
        "DeviceAllow": ["char-drm rw", "/dev/kfd rw"],
        "DropInPaths": [],
        "User": "",
    }


def test_variables_of_logins_are_those_of_the_engine(tmp_path: Path):
    (tmp_path / "environment").write_text('PATH=/bin\nOLLAMA_HOST="10.0.0.1"\n# OLLAMA_DEBUG=1\n')
    (tmp_path / "x.sh").write_text("  export HSA_OVERRIDE_GFX_VERSION=10.3.0 # for the card\n")
    assert probes.login_environment([str(tmp_path / "environment"), str(tmp_path / "*.sh")]) == [
        {"path": str(tmp_path / "environment"), "name": "OLLAMA_HOST", "value": "10.0.0.1"},
        {"path": str(tmp_path / "x.sh"), "name": "HSA_OVERRIDE_GFX_VERSION", "value": "10.3.0"},
    ]


def test_secrets_of_the_environment_are_not_collected(tmp_path: Path):
    variables = {"OLLAMA_API_KEY": "0123", "OLLAMA_HOST": "http://me:0123@10.0.0.1"}
    (tmp_path / "environment").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    found = {item["name"]: item["value"] for item in probes.login_environment([str(tmp_path / "environment")])}
    assert found == {"OLLAMA_API_KEY": "(hidden)", "OLLAMA_HOST": "http://me:(hidden)@10.0.0.1"}
    with subprocess.Popen(["cat"], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x")
        process.stdout.read(1)
        assert probes.process_environment(process.pid) == found
        process.kill()


def test_the_file_in_force_of_a_variable_is_the_last_one(tmp_path: Path):
    (tmp_path / "x.service").write_text("[Service]\nEnvironment=A=1 B=1\n")
    (tmp_path / "y.conf").write_text("[Service]\nEnvironment=B=2\n")
    unit = {"path": str(tmp_path / "x.service"), "drop_ins": [{"path": str(tmp_path / "y.conf"), "ours": False}]}
    assert probes.variable_files(unit) == {"A": str(tmp_path / "x.service"), "B": str(tmp_path / "y.conf")}


def test_module_options_and_what_is_in_force(tmp_path: Path):
    folder = tmp_path / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (folder / "gpu.conf").write_text(
        "# options ttm pages_limit=1\noptions ttm pages_limit=7 page_pool_size=8\noptions snd x=1\n"
    )
    (folder / "gpu.conf.bak").write_text("options ttm pages_limit=9\n")
    parameters = tmp_path / "sys/module/ttm/parameters"
    parameters.mkdir(parents=True)
    (parameters / "pages_limit").write_text("5\n")
    root = Sysroot(str(tmp_path))
    options = probes.modprobe_options(root)
    assert [(item["name"], item["value"]) for item in options] == [
        ("ttm.pages_limit", "7"),
        ("ttm.page_pool_size", "8"),
    ]
    names = [*(item["name"] for item in options), "quiet", "ttm.../../x", "snd.x"]
    assert probes.module_parameters(root, names) == {"ttm.pages_limit": "5"}


def test_only_the_last_boot_of_a_log_file_counts():
    lines = ["[ 0.0] Linux version 6.1\n", "old\n", "Nov 1 kernel: Linux version 6.2\n", "new\n"]
    assert probes.of_last_boot(lines) == lines[2:]


def test_a_long_log_keeps_its_head_and_its_tail():
    kept = probes.Kept()
    count = 60_000
    assert sum(1 for _code in kept(f"line {number} {'x' * 90}\n" for number in range(count))) == count
    assert kept.text.startswith("line 0 ")
    assert f"\nline {count - 1} " in kept.text
    assert len(kept.text) < 4 << 20


def test_credentials_of_a_unit_count_its_supplementary_groups():
    found = probes.unit_credentials({"User": "root", "Group": "", "SupplementaryGroups": "4242 nosuchgroup"})
    assert (found["uid"], found["user"]) == (0, "root")
    assert 4242 in found["groups"]
    assert probes.unit_credentials({"User": "no-such-user"}) == {}


def test_credentials_of_a_process():
    found = probes.process_credentials(os.getpid())
    assert found["uid"] == os.geteuid()
    assert probes.process_credentials(2**22 + 1) == {}


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collector:
    """A host with a /sys of its own, no systemd, no logs."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text("quiet\n")
    monkeypatch.setattr(collect, "run", lambda *_arguments, **_options: (127, ""))
    monkeypatch.setattr(probes, "run", lambda *_arguments, **_options: (127, ""))
    monkeypatch.setattr(collect, "find_listener", lambda _port: None)
    return Collector(str(tmp_path), "ollama.service", load(), {})


def test_a_host_with_nothing_is_collected_and_judged(collector: Collector):
    evidence = collector.collect()
    assert evidence["service"] == {}
    assert evidence["engine_log"] is None
    assert evidence["kernel_log"] is None
    assert any("kernel log" in text for text in evidence["unread"])
    json.dumps(evidence)
    assert not diagnose(evidence)["count"]["error"]


def test_a_log_that_may_not_be_read_is_told(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    def refuse(_unit: str) -> Any:
        raise LogError("This user cannot see the journal of ollama.service.")

    monkeypatch.setattr(collect, "unit_lines", refuse)
    assert collector._engine_log({"unit": {"path": "/x.service"}}, []) is None
    assert collector.unread == ["This user cannot see the journal of ollama.service."]


def test_a_unit_that_is_named_is_read_without_any_ollama(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(collect, "unit_lines", lambda unit: [unit])
    assert collector._engine_lines({}, []) is None
    collector.unit = "llama-server-chat.service"
    assert collector._engine_lines({}, []) == ["llama-server-chat.service"]


def test_the_log_of_a_container_is_what_it_wrote_to_either_stream(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(collect, "run", process.run)
    tool = tmp_path / "docker"
    tool.write_text('#!/bin/sh\necho "$*"\necho a complaint >&2\necho an answer\n')
    tool.chmod(0o755)
    lines = collector._engine_lines({}, [{"tool": str(tool), "id": "0af", "image": "ollama/ollama"}])
    assert list(lines or []) == ["logs --tail 50000 0af\n", "a complaint\n", "an answer\n"]


def test_a_hardware_that_cannot_be_read_does_not_stop_the_rest(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    def broken(_root: str, _catalogue: Any, _interop: bool) -> Any:
        raise OSError("input/output error")

    monkeypatch.setattr(collect, "gpu_facts", broken)
    evidence = collector.collect()
    assert evidence["gpu_facts"] == {}
    assert "the hardware: input/output error" in evidence["unread"]


def test_a_bundle_has_the_logs_and_files_and_no_names(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    list(collector.engine_text(["user carol at 192.168.1.7\n", 'msg="inference compute" library=ROCm\n']))
    kernel = ["amdgpu 0000:03:00.0: amdgpu: ring gfx timeout\n", "wlan0: associated with my network\n"]
    list(collector.kernel_text(kernel))
    evidence = healthy()
    evidence["ollama_facts"]["models"]["path"] = "/home/carol/models"
    files = bundle_files(evidence, collector, ["carol"])
    assert set(files) >= {"evidence.json", "engine.log", "proc/cmdline"}
    everything = "".join(files.values())
    assert "carol" not in everything
    assert "192.168" not in everything
    assert "library=ROCm" in files["engine.log"]
    assert files["kernel.log"] == kernel[0]
    assert json.loads(files["evidence.json"])["ollama_facts"]["current"] == "0.32.15"


@pytest.mark.parametrize("entry", [entry for entry in _entries() if entry["log"] == "kernel"], ids=lambda e: e["code"])
def test_the_kernels_log_in_a_bundle_keeps_every_fault(collector: Collector, entry: dict[str, Any]):
    lines = [f"{example}\n" for example in entry["positive"]]
    list(collector.kernel_text(lines))
    assert bundle_files(healthy(), collector, [])["kernel.log"].count("\n") == "".join(lines).count("\n")
