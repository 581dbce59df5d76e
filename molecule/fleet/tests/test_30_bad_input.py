# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be done stops the host with one message that says what to write instead, before anything is changed.

Each host of a batch has another mistake, so that a batch costs one play.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile

import pytest

OTHER = "0.32.14"  # not installed, so that it has to come from the mirror
ARCHIVE = "ollama-linux-amd64.tar.zst"
# host: (variables, what the one message must hold)
IN_THE_INVENTORY = {
    "minipc": ({"inference_backend": "cuda"}, ["cuda", "inference_backend", "rocm, vulkan, cpu"]),
    "desktop": ({"ollama_models": "/srv/none/models"}, ["ollama_models", "/srv/none/models", "parent"]),
    "tower": ({"inference_environment": {"OLLAMA_NUM_GPU": "-1"}}, ["OLLAMA_NUM_GPU", "-1", "num_gpu"]),
    "halo": (
        {"inference_environment": {"HSA_OVERRIDE_GFX_VERSION": "11.0.0"}},
        ["HSA_OVERRIDE_GFX_VERSION", "11.0.0", "gfx1151"],
    ),
    "nvidia": ({"ollama_version": "latest"}, ["ollama_version", "latest", "0.32.15"]),
    "xeon": ({"ollama_num_paralel": 2}, ["ollama_num_paralel", "ollama_num_parallel"]),
}
IN_VALUES = {
    "minipc": ({"inference_backend": "rcom"}, ["inference_backend", "rcom", "rocm"]),
    "desktop": ({"ollama_environment": {"OLLAMA_ORIGINS": 'a"b'}}, ["OLLAMA_ORIGINS", "quote"]),
    "tower": ({"ollama_environment": {"OLLAMA_REMOTES": "a\nEvil=1"}}, ["OLLAMA_REMOTES", "line break"]),
    "halo": ({"ollama_num_parallel": "many"}, ["ollama_num_parallel", "many", "int"]),
    "nvidia": ({"inference_accept": ["gpu"]}, ["inference_accept", "gpu", "cpu"]),
    "xeon": ({"inference_backend": "rocm"}, ["rocm", "inference_backend"]),
}


def stops_with_one_message(fleet, batch):
    before = fleet.trees(batch)
    run = fleet.play({host: variables for host, (variables, _said) in batch.items()})
    after = fleet.trees(batch)
    assert run.code == 2, run.output
    wrong = []
    for host, (_variables, said) in batch.items():
        messages, end = run.failed(host), run.end(host)
        print(f"{host}: {end}")
        changes = set(after[host].splitlines()) ^ set(before[host].splitlines())
        if len(messages) != 1 or run.changed(host) or changes:
            wrong.append((host, messages, run.changed(host), changes))
        wrong += [(host, f"{word} is not in: {end}") for word in [host, *said] if word not in end]
        wrong += [(host, f"Ansible's own words: {end}")] if "filter plugin" in end else []
    assert not wrong


def test_wrong_variables(fleet):
    stops_with_one_message(fleet, IN_THE_INVENTORY)


def test_wrong_values(fleet):
    stops_with_one_message(fleet, IN_VALUES)


@pytest.fixture(scope="module")
def spoilt_mirror(mirror):
    """A release whose archive reaches out of its folder, with a right checksum."""
    folder = mirror.folder / "evil" / f"v{OTHER}"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "evil.tar", "w") as archive:
        member = tarfile.TarInfo("lib/../../../../etc/evil")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    subprocess.run(["zstd", "-q", folder / "evil.tar", "-o", folder / ARCHIVE], check=True)
    checksum = hashlib.sha256((folder / ARCHIVE).read_bytes()).hexdigest()
    (folder / "sha256sum.txt").write_text(f"{checksum}  ./{ARCHIVE}\n")
    return mirror


@pytest.fixture
def unlike_debian(fleet):
    fleet.do("desktop", "cp -P /etc/os-release /root/os-release; rm /etc/os-release")
    fleet.do("desktop", "printf 'ID=gentoo\nNAME=Gentoo\nVERSION_ID=2.17\n' > /etc/os-release")
    yield
    fleet.do("desktop", "rm /etc/os-release; mv /root/os-release /etc/os-release")


@pytest.fixture
def small_disk(fleet):
    fleet.do("nvidia", "mkdir /mnt/small; mount -t tmpfs -o size=8m tmpfs /mnt/small")
    yield
    fleet.do("nvidia", "umount /mnt/small; rmdir /mnt/small")


@pytest.mark.usefixtures("unlike_debian", "small_disk")
def test_wrong_world(fleet, spoilt_mirror):
    closed = spoilt_mirror.url.rsplit(":", 1)[0] + ":9"
    other = {"ollama_version": OTHER, "ollama_release_url": spoilt_mirror.url}
    stops_with_one_message(
        fleet,
        {
            "tower": ({**other, "ollama_release_url": closed}, [f"{closed}/v{OTHER}", "Connection refused", "mirror"]),
            "desktop": ({}, ["gentoo", "Debian"]),
            "nvidia": ({**other, "ollama_root": "/mnt/small"}, ["/mnt/small", "free", "MB"]),
            "xeon": (
                {**other, "ollama_release_url": spoilt_mirror.url + "/none"},
                [f"none/v{OTHER}/sha256sum.txt", "404", "version"],
            ),
        },
    )


def test_wrong_archives(fleet, spoilt_mirror):
    """These are known only when they are there, but nothing of them stays or is in use."""
    other = {"ollama_version": OTHER, "ollama_release_url": spoilt_mirror.url}
    batch = {
        "minipc": {**other, "ollama_release_sha256": {ARCHIVE: "0" * 64}},
        "xeon": {**other, "ollama_release_url": spoilt_mirror.url + "/evil"},
    }
    before = fleet.trees(batch)
    run = fleet.play(batch)
    after = fleet.trees(batch)
    assert run.code == 2, run.output
    said = {host: run.failed(host) for host in batch}
    assert [len(messages) for messages in said.values()] == [1, 1], said
    assert all(word in said["minipc"][0] for word in (ARCHIVE, "0" * 64, "expected", "removed")), said
    assert all(word in said["xeon"][0] for word in (ARCHIVE, "etc/evil", "leaves the archive's root")), said
    assert {host: run.changed(host) for host in batch} == {host: [] for host in batch}
    for host in batch:
        new = set(after[host].splitlines()) - set(before[host].splitlines())
        assert not [line for line in new if not line.startswith("/opt/ollama ") and "/opt/ollama/downloads" not in line]
