# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models: pulled and fetched, cut and continued, on a full disk, once for the fleet, refused, shared, removed.

xeon has them in Ollama, tower as files, too. The registry is files on the tests' mirror.
"""

from __future__ import annotations

import pytest

from tests.standins.ollama import registry

PLAY = "molecule/fleet/models.yml"
FILES = "/var/lib/lamplighter/models"
STORE = "/usr/share/ollama/.ollama/models"
SHAPE = {"layers": 4, "width": 512, "words": 2000}


def requests(mirror, what, status):
    """Who asked the mirror for it and got this status."""
    lines = mirror.log.read_text().splitlines()
    return [line.split()[0] for line in lines if f'GET {what} HTTP/1.1" {status} ' in line]


@pytest.fixture(scope="module")
def published(fleet, mirror):
    """Models of the registry and a file; the engines pull from that registry."""
    weights = {name: registry.publish(mirror.folder, name, **SHAPE, **more) for name, more in
               {"cut:1b": {"context_length": 4096}, "once:1b": {"context_length": 8192}}.items()}  # fmt: skip
    registry.publish(mirror.folder, "huge:70b", layers=80, width=32768, heads=64, kv_heads=8, words=128000)
    weights["file"] = registry.write_gguf(mirror.folder / "file.gguf", padding=4_000_000, **SHAPE)
    fleet.scenarios({host: {"registry": mirror.url} for host in ("xeon", "tower")})
    fleet.on(("xeon", "tower"), lambda host: fleet.do(host, "systemctl restart ollama"))
    return weights


def wanted(mirror, *models, **more):
    return {"models_list": list(models), "models_registry_url": mirror.url, "models_timeout": 10, **more}


def a_file(mirror, published, **more):
    return {"name": "file", "url": f"{mirror.url}/file.gguf", "sha256": published["file"], "context": 1024, **more}


@pytest.fixture(scope="module")
def cut(fleet, mirror, published):
    """Every answer ends after 2 MB."""
    mirror.start(cut_after=2_000_000)
    both = a_file(mirror, published, engines=["ollama", "llama_server"])
    return fleet.play({"xeon": wanted(mirror, {"name": "cut:1b"}), "tower": wanted(mirror, both)}, playbook=PLAY)


def test_a_cut_pull_is_reported_and_nothing_of_it_accepted(cut, fleet):
    assert "max retries exceeded" in cut.failed("xeon")[0]
    assert "the connection ended after" in cut.failed("tower")[0]
    assert "cut" not in fleet.do("xeon", "ollama list")
    assert not fleet.machine("tower").file(f"{FILES}/file.gguf").exists
    assert fleet.do("xeon", f"stat -c %s {STORE}/blobs/*-partial") == "2000000"
    assert int(fleet.do("tower", f"stat -c %s {FILES}/.arriving/*.part")) == 8_000_000


@pytest.fixture(scope="module")
def continued(cut, fleet, mirror, published):
    mirror.log.write_text("")
    mirror.start()
    both = a_file(mirror, published, engines=["ollama", "llama_server"])
    run = fleet.play({"xeon": wanted(mirror, {"name": "cut:1b"}), "tower": wanted(mirror, both)}, playbook=PLAY)
    assert run.code == 0, run.output
    return run


def test_the_next_run_continues(continued, fleet, mirror, published):
    blob = f"/v2/library/cut/blobs/sha256:{published['cut:1b']}"
    # The rest was asked for, never the whole.
    assert not requests(mirror, blob, 200)
    assert not requests(mirror, "/file.gguf", 200)
    assert requests(mirror, "/file.gguf", 206)
    assert "cut:1b" in fleet.do("xeon", "ollama list")
    assert fleet.do("xeon", f"sha256sum {STORE}/blobs/sha256-{published['cut:1b']}").startswith(published["cut:1b"])


def test_both_engines_share_the_file(continued, fleet, published):
    inodes = fleet.do("tower", f"stat -c %i {FILES}/file.gguf {STORE}/blobs/sha256-{published['file']}").split()
    assert len(set(inodes)) == 1
    assert "file:latest" in fleet.do("tower", "ollama list")


@pytest.fixture(scope="module")
def once(continued, fleet, mirror, published, tmp_path_factory):
    """Both hosts want one more, through the controller; nothing else changes."""
    mirror.log.write_text("")
    more = {"models_download_from": "controller", "models_download_cache": str(tmp_path_factory.mktemp("cache"))}
    both = a_file(mirror, published, engines=["ollama", "llama_server"])
    variables = {
        "xeon": wanted(mirror, {"name": "cut:1b"}, {"name": "once:1b"}, **more),
        "tower": wanted(mirror, both, {"name": "once:1b"}, **more),
    }
    runs = [fleet.play(variables, playbook=PLAY) for _ in range(2)]
    assert [run.code for run in runs] == [0, 0], runs[0].output + runs[1].output
    return runs


def test_the_fleet_downloads_once(once, fleet, mirror, published):
    blob = f"/v2/library/once/blobs/sha256:{published['once:1b']}"
    assert requests(mirror, blob, 200) == [mirror.address]
    callers = {line.split()[0] for line in mirror.log.read_text().splitlines() if "GET" in line}
    assert callers == {mirror.address}
    for host in ("xeon", "tower"):
        assert "once:1b" in fleet.do(host, "ollama list"), host
        fleet.do(host, "systemctl restart ollama")
        fleet.do(host, f"test -e {STORE}/blobs/sha256-{published['once:1b']}")
        assert fleet.do(host, f"stat -c %U {STORE}/blobs/sha256-{published['once:1b']}") == "ollama", host


def test_a_second_run_changes_nothing_and_is_short(once):
    for host in ("xeon", "tower"):
        assert once[1].changed(host) == [], host
        print(len(once[1].of(host, status="ok")))


@pytest.fixture(scope="module")
def refused(once, fleet, mirror, published):
    """What does not fit, what is no model, a disk that fills in the middle."""
    (mirror.folder / "page.gguf").write_text("<html>not found</html>")
    mirror.start(bytes_per_second=1_500_000)
    fleet.do("tower", f"rm -rf {FILES}; mkdir {FILES}; mount -t tmpfs -o size=40m none {FILES}")
    page = {"name": "page", "url": f"{mirror.url}/page.gguf", "sha256": "0" * 64}
    both = a_file(mirror, published, engines=["llama_server"])
    play = fleet.start(
        {
            "xeon": wanted(mirror, {"name": "huge:70b", "context": 32768}, page, {"name": "no-such"}),
            "tower": wanted(mirror, both),
        },
        playbook=PLAY,
    )
    fleet.wait_for("tower", f"test $(stat --format=%s {FILES}/.arriving/*.part) -gt 500000")
    fleet.machine("tower").run(f"dd if=/dev/zero of={FILES}/filling bs=1M")
    return play.wait()


def test_what_does_not_fit_or_is_no_model_is_refused_before_it_is_fetched(refused, fleet, mirror):
    (message,) = refused.failed("xeon")
    assert "huge:70b does not fit: it takes" in message
    assert "of weights" in message
    assert "Whether page fits is not known" in message
    assert "it is not a GGUF file: it begins with b'<htm'" in message
    assert "no-such:latest: " in message
    assert "404" in message
    assert refused.changed("xeon") == []


def test_a_disk_that_fills_is_reported_and_nothing_of_it_accepted(refused, fleet):
    assert f"{FILES}/.arriving has no room left for file.gguf" in refused.failed("tower")[0]
    assert not fleet.machine("tower").file(f"{FILES}/file.gguf").exists


def test_when_there_is_room_again_it_goes_on(refused, fleet, mirror, published):
    fleet.do("tower", f"rm {FILES}/filling; mount -o remount,size=60m {FILES}")
    mirror.log.write_text("")
    mirror.start()
    gone = [
        {"name": "cut:1b", "state": "absent"},
        {"name": "once:1b", "state": "absent"},
        {"name": "never", "state": "absent"},
    ]
    file = a_file(mirror, published, engines=["llama_server"])
    run = fleet.play({"xeon": wanted(mirror, *gone), "tower": wanted(mirror, file)}, playbook=PLAY)
    assert run.code == 0, run.output
    assert not requests(mirror, "/file.gguf", 200)
    assert fleet.do("tower", f"sha256sum {FILES}/file.gguf").startswith(published["file"])
    # What nobody called absent stays.
    assert "once:1b" in fleet.do("tower", "ollama list")
    left = fleet.do("xeon", "ollama list")
    assert "cut:1b" not in left
    assert "once:1b" not in left
    fleet.do("tower", f"umount {FILES}")
    fleet.scenarios(dict.fromkeys(("xeon", "tower")))
