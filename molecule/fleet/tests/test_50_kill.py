# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A play that is killed at the worst moments, and the plain run after it; then other versions and back, and secrets.

tower: during a download, the play and the module on the host. halo: during a download, the play alone.
minipc: all is unpacked, nothing is switched. desktop: between two rungs.
"""

from __future__ import annotations

import time

import pytest

OLD, NEW = "0.32.14", "0.32.15"
# Unpacks, says so, and does not end: as good as a machine that is slow at the right moment.
SLOW_ZSTD = r"""printf '#!/bin/sh\n/usr/bin/zstd "$@"\ntouch /run/unpacked\nexec sleep 600\n' > /usr/local/bin/zstd
chmod 755 /usr/local/bin/zstd"""
# The process that holds the lock of the installation.
HOLDERS = "ls -l /proc/[0-9]*/fd 2>/dev/null | awk -F/ '/^.proc/ {pid = $3} /ollama.\\.lock$/ {print pid}'"
SECRET = "hunter2-never-to-be-seen"
SECRETS = {
    "tower": {"ollama_https_proxy": f"http://reader:{SECRET}@proxy.example:3128"},
    "nvidia": {"ollama_environment": {"HF_TOKEN": SECRET}},
    "xeon": {"inference_environment": {"HTTPS_PROXY": f"http://reader:{SECRET}@proxy.example:3128"}},
}


def version_in_use(fleet, host):
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:11434/api/version').read().decode())"
    return fleet.machine(host).check_output("python3 -c %s", ask)


@pytest.fixture(scope="module")
def killed(fleet, mirror, tmp_path_factory):
    mirror.start(bytes_per_second=400_000)
    fleet.do("minipc", SLOW_ZSTD)
    fleet.scenarios({"desktop": {"rocm": "crash_on_load", "vulkan": "hang_on_load"}})
    fleet.do("desktop", "systemctl restart ollama")
    slow = {"ollama_version": OLD, "ollama_release_url": mirror.url}
    play = fleet.start({"tower": slow, "halo": slow, "minipc": {"ollama_version": OLD}, "desktop": {}})
    for host in ("tower", "halo"):
        fleet.wait_for(host, f"ls /opt/ollama/downloads/{OLD}/*.part")
    fleet.wait_for("minipc", "test -e /run/unpacked")
    fleet.wait_for("desktop", "grep -q OLLAMA_LLM_LIBRARY=vulkan /etc/systemd/system/ollama.service.d/override.conf")
    play.kill()
    for host in ("tower", "minipc"):
        fleet.do(host, f"kill -9 $({HOLDERS})")
    fleet.do("minipc", "rm /usr/local/bin/zstd /run/unpacked")
    return play


def test_nothing_half_installed_is_in_use(killed, fleet):
    for host in ("tower", "halo", "minipc", "desktop"):
        assert fleet.do(host, "readlink /opt/ollama/current") == f"versions/{NEW}", host
        assert fleet.do(host, "systemctl is-active ollama") == "active", host
    assert fleet.do("halo", HOLDERS), "the module of the killed play should still be at work"
    assert fleet.do("tower", f"ls /opt/ollama/downloads/{OLD}").endswith(".part")
    assert fleet.do("minipc", "ls -A /opt/ollama/versions").split() == [f".{OLD}.partial", NEW]


@pytest.fixture(scope="module")
def next_run(killed, fleet, mirror, tmp_path_factory):
    """A plain run, with the mirror as fast as ever; nvidia and xeon get the same version from the controller."""
    mirror.start()
    fleet.scenarios({"desktop": None})
    of_mirror = {"ollama_version": OLD, "ollama_release_url": mirror.url}
    cache = {"ollama_download_from": "controller", "ollama_download_cache": str(tmp_path_factory.mktemp("cache"))}
    run = fleet.play(
        {
            "tower": of_mirror,
            "halo": of_mirror,
            "minipc": of_mirror,
            "desktop": {},
            "nvidia": {**of_mirror, **cache},
            "xeon": {**of_mirror, **cache},
        }
    )
    assert run.code == 0, run.output
    return run


def test_the_next_run_converges(next_run, fleet):
    for host in ("tower", "halo", "minipc", "nvidia", "xeon"):
        assert fleet.do(host, "readlink /opt/ollama/current") == f"versions/{OLD}", host
        assert fleet.do(host, "ls -A /opt/ollama/versions").split() == [OLD, NEW], host
        assert not fleet.machine(host).file("/opt/ollama/downloads").exists, host
        assert OLD in version_in_use(fleet, host)
    assert "rocm" in fleet.do("desktop", "cat /etc/ansible/facts.d/lamplighter.fact")


def test_a_download_that_was_killed_is_continued(next_run, mirror):
    # A whole archive is asked for with 200, the rest of one with 206.
    assert '" 206 ' in mirror.log.read_text()


def test_only_the_controller_fetches_for_hosts_without_a_way_out_and_only_once(next_run, mirror):
    """Both arrive at the same moment; `throttle` would not keep them apart under the strategy free."""
    log = [line for line in mirror.log.read_text().splitlines() if "GET" in line]
    subnet = mirror.address.rsplit(".", 1)[0]
    assert not {line.split()[0] for line in log} & {f"{subnet}.15", f"{subnet}.16"}
    fetched = [line for line in log if line.startswith(f"{mirror.address} ") and f"v{OLD}/ollama-linux" in line]
    assert len(fetched) == 1, log


@pytest.fixture(scope="module")
def way_back(next_run, fleet, mirror):
    """To the version before, without a mirror; and with secrets, as loud as it gets."""
    mirror.stop()
    begin = time.monotonic()
    of_mirror = {"ollama_version": NEW, "ollama_release_url": mirror.url}
    hosts = ("tower", "halo", "minipc", "nvidia", "xeon")
    run = fleet.play({host: {**of_mirror, **SECRETS.get(host, {})} for host in hosts}, "--diff", "-vv")
    print(f"{time.monotonic() - begin:.0f} s")
    assert run.code == 0, run.output
    return run


def test_the_version_before_needs_no_download(way_back, fleet):
    for host in ("tower", "halo", "minipc", "nvidia", "xeon"):
        assert [result["downloaded"] for result in way_back.of(host, action="lamplighter.fleet.engine_release")] == [[]]
        assert fleet.do(host, "readlink /opt/ollama/current") == f"versions/{NEW}", host
        assert NEW in version_in_use(fleet, host)


def in_use(fleet, host):
    return fleet.do(host, "tr '\\0' '\\n' < /proc/$(systemctl show --value --property=MainPID ollama)/environ")


def open_to_all(fleet, host):
    return fleet.do(host, "systemctl show ollama; find /etc/systemd /etc/ansible -type f -perm /004 -exec cat {} +")


def test_a_secret_reaches_the_engine_and_nobody_else(way_back, fleet):
    for host in SECRETS:
        assert SECRET in in_use(fleet, host), host
        assert SECRET not in open_to_all(fleet, host), host
    assert SECRET not in way_back.output
    without = fleet.play(SECRETS.keys(), "--diff", "-vv")
    assert without.code == 0, without.output
    assert SECRET not in without.output
    for host in SECRETS:
        assert SECRET not in in_use(fleet, host), host
        assert "secrets.env" not in fleet.do(host, "ls /etc/systemd/system/ollama.service.d"), host
