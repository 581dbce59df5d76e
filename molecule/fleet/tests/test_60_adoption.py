# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking everything away again; an installation made by hand, adopted and given back; GPUs that come late at boot."""

from __future__ import annotations

import json

import pytest

UNINSTALL = "playbooks/uninstall.yml"
# What the installer script leaves, what somebody added, and what an earlier release left behind.
BY_HAND = r"""
useradd --system --user-group --shell /bin/false --create-home --home-dir /usr/share/ollama ollama
mkdir -p /usr/local/lib/ollama/rocm /usr/local/lib/ollama/rocm.bak /etc/systemd/system/ollama.service.d
zstd -dcq /root/base.tar.zst | tar -x -C /usr/local
touch /usr/local/lib/ollama/rocm/libggml-hip.so /usr/local/lib/ollama/rocm.bak/libggml-hip.so
cat > /etc/systemd/system/ollama.service <<UNIT
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=3
Environment="PATH=/usr/local/bin:/usr/bin:/bin"

[Install]
WantedBy=default.target
UNIT
cat > /etc/systemd/system/ollama.service.d/override.conf <<DROPIN
[Service]
Environment="OLLAMA_NUM_GPU=-1"
Environment="HSA_OVERRIDE_GFX_VERSION=10.3.0"
Environment="OLLAMA_KEEP_ALIVE=30m"
DROPIN
systemctl daemon-reload
systemctl enable --quiet --now ollama
"""
OURS = (
    "/opt/ollama",
    "/usr/local/bin/ollama",
    "/etc/systemd/system/ollama.service",
    "/etc/systemd/system/ollama.service.d/override.conf",
    "/etc/ansible/facts.d/lamplighter.fact",
)


@pytest.fixture(scope="module")
def uninstalled(fleet):
    hosts = ("tower", "halo")
    foretold = fleet.play(hosts, "--check", playbook=UNINSTALL)
    run = fleet.play(hosts, playbook=UNINSTALL)
    assert (foretold.code, run.code) == (0, 0), foretold.output + run.output
    return foretold, run


def test_uninstalling_takes_what_was_made_and_leaves_the_models(uninstalled, fleet):
    foretold, run = uninstalled
    for host in ("tower", "halo"):
        assert foretold.changed(host) == run.changed(host)
        assert [path for path in OURS if fleet.machine(host).file(path).exists] == []
        assert not fleet.machine(host).user("ollama").exists
        assert not fleet.machine(host).group("ollama-gpu-105").exists
        assert fleet.machine(host).file("/usr/share/ollama/.ollama/models/manifests").exists
        assert "ollama" not in fleet.do(host, "systemctl list-units --all --plain --no-legend")


def test_uninstalling_twice_changes_nothing(uninstalled, fleet):
    again = fleet.play(["halo"], playbook=UNINSTALL)
    assert (again.code, again.changed("halo")) == (0, []), again.output


@pytest.fixture(scope="module")
def by_hand(uninstalled, fleet, mirror):
    fleet.do("tower", "rm -rf /usr/share/ollama")
    url = f"{mirror.url}/v0.32.15/ollama-linux-amd64.tar.zst"
    fleet.do("tower", f'python3 -c \'import urllib.request as u; u.urlretrieve("{url}", "/root/base.tar.zst")\'')
    fleet.do("tower", BY_HAND)
    fleet.wait_for("tower", "ollama list")
    fleet.do("tower", "ollama pull qwen3:0.6b; rm /root/base.tar.zst")
    before = fleet.trees(["tower"])["tower"]
    models = fleet.do("tower", "find /usr/share/ollama -type f -path '*blobs*' | sort")
    assert models
    plan = fleet.play(["tower"], playbook="playbooks/plan.yml")
    run = fleet.play(["tower"])
    assert (plan.code, run.code) == (0, 0), plan.output + run.output
    return before, models, plan, run


def test_the_plan_tells_what_was_found(by_hand):
    _before, _models, plan, _run = by_hand
    told = next(result["msg"] for result in plan.of("tower", task="What would be done, and why"))
    for word in ("OLLAMA_NUM_GPU", "rocm.bak", "HSA_OVERRIDE_GFX_VERSION"):
        assert word in told, told


def test_it_is_adopted_with_its_unit_its_settings_and_its_models(by_hand, fleet):
    before, models, _plan, _run = by_hand
    unit = [line for line in before.splitlines() if "ollama.service " in line or line.endswith("ollama.service")]
    after = fleet.trees(["tower"])["tower"].splitlines()
    assert [line for line in unit if line not in after] == []
    assert fleet.do("tower", "find /usr/share/ollama -type f -path '*blobs*' | sort") == models
    pid = fleet.do("tower", "systemctl show --property=MainPID --value ollama")
    environment = fleet.do("tower", f"tr '\\0' '\\n' < /proc/{pid}/environ")
    assert "OLLAMA_KEEP_ALIVE=30m" in environment
    assert "HSA_OVERRIDE_GFX_VERSION" not in environment
    fact = json.loads(fleet.do("tower", "cat /etc/ansible/facts.d/lamplighter.fact"))
    assert fact["proven"]["backend"] == "vulkan"


def test_adopting_again_changes_nothing(by_hand, fleet):
    again = fleet.play(["tower"])
    assert (again.code, again.changed("tower")) == (0, []), again.output


def test_uninstalling_gives_the_old_installation_back(by_hand, fleet):
    before, models, _plan, _run = by_hand
    run = fleet.play(["tower"], playbook=UNINSTALL)
    assert run.code == 0, run.output
    after = fleet.trees(["tower"])["tower"]
    assert set(after.splitlines()) ^ set(before.splitlines()) == set()
    assert fleet.do("tower", "find /usr/share/ollama -type f -path '*blobs*' | sort") == models
    assert fleet.do("tower", "systemctl is-active ollama") == "active"


@pytest.fixture
def late_driver(fleet):
    """The driver of desktop makes its device nodes ten seconds after everything else has started."""
    unit = "/etc/systemd/system/standin-hardware.service.d"
    fleet.do("desktop", "systemctl stop ollama standin-hardware; rm -rf /dev/kfd /dev/dri")
    fleet.do(
        "desktop",
        f"mkdir {unit}; printf '[Service]\nExecStartPre=/bin/sleep 10\nTimeoutStartSec=60\n' > {unit}/late.conf",
    )
    yield
    fleet.do("desktop", f"rm -r {unit}; systemctl daemon-reload")


@pytest.mark.usefixtures("late_driver")
def test_a_boot_waits_for_the_gpu(fleet):
    fleet.do("desktop", "systemctl daemon-reload; systemctl start --no-block standin-hardware ollama; sleep 2")
    assert fleet.do("desktop", "systemctl is-active ollama || true") == "activating"
    assert not fleet.machine("desktop").file("/dev/kfd").exists
    fleet.wait_for("desktop", "systemctl is-active ollama")
    fleet.wait_for("desktop", "ollama list")
    start = fleet.do("desktop", "systemctl show --property=InvocationID --value ollama")
    log = fleet.do("desktop", f"journalctl _SYSTEMD_INVOCATION_ID={start} --output=cat --no-pager")
    assert "library=ROCm" in log
    assert "library=cpu" not in log
