# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people attach: bundles of ours, and folders and archives of logs and outputs under any name."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.attached import AttachedError, read_attached
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.bundle import write_archive
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import load
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.doctor_hosts import healthy
from tests.unit.machines import cpu_node, kfd_node, write

ENGINE = """\
time=2026-06-20T10:00:00.000Z level=INFO source=routes.go:1 msg="Listening on 127.0.0.1:11434 (version 0.32.15)"
time=2026-06-20T10:00:01.000Z level=INFO source=types.go:42 msg="inference compute" id=0 library=ROCm compute=gfx1100 \
name=ROCm0 description="AMD Radeon RX 7900 XTX" type=discrete total="24.0 GiB" available="23.0 GiB"
time=2026-06-20T10:00:02.000Z level=INFO source=server.go:2 msg="starting llama-server" cmd="llama-server --model x"
rocBLAS error: Cannot read /usr/lib/ollama/rocm/rocblas/library/TensileLibrary.dat: Illegal seek for GPU arch : gfx1100
"""
KERNEL = """\
[    0.000000] Linux version 6.12.57 (gcc) #1 SMP
[  100.000000] amdgpu 0000:03:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=3
"""
LSPCI = """\
03:00.0 VGA compatible controller [0300]: Advanced Micro Devices, Inc. [AMD/ATI] Navi 31 [1002:744c] (rev c8)
0e:00.0 Display controller [0380]: Advanced Micro Devices, Inc. [AMD/ATI] Raphael [1002:164e] (rev c4)
"""
UNIT = "[Unit]\nDescription=Ollama Service\n[Service]\nExecStart=/bin/ollama serve\nEnvironment=OLLAMA_NUM_GPU=-1\n"
DROP_IN = '[Service]\nEnvironment="HSA_OVERRIDE_GFX_VERSION=10.3.0"\n'


def read(path: Path) -> dict[str, Any]:
    return read_attached(str(path), load(), {})


def codes(evidence: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in diagnose(evidence)["findings"]]


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


LOOSE = {"my notes.txt": ENGINE, "output.log": KERNEL, "lspci": LSPCI, "ollama.service": UNIT, "override.conf": DROP_IN}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_files_are_known_by_what_is_in_them(tmp_path: Path, packed: bool):
    path = folder(tmp_path / "from a user", LOOSE)
    if packed:
        archive = tmp_path / "attached.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(path, "from a user")
        path = archive
    evidence = read(path)
    assert evidence["engine_log"]["version"] == "0.32.15"
    assert [gpu["pci_id"] for gpu in evidence["gpu_facts"]["gpus"]] == ["1002:744c", "1002:164e"]
    found = codes(evidence)
    wanted = {"ring_timeout", "rocblas_tensile_missing", "environment_never_read", "override_two_architectures"}
    assert wanted <= set(found)
    assert found[0] == "ring_timeout"


def test_one_file_alone_is_read(tmp_path: Path):
    (tmp_path / "server.log").write_text(ENGINE)
    assert codes(read(tmp_path / "server.log"))[0] == "rocblas_tensile_missing"


def test_a_log_tells_of_the_environment(tmp_path: Path):
    config = '''level=INFO source=routes.go:1 msg="server config" env="map[CUDA_VISIBLE_DEVICES: \
HSA_OVERRIDE_GFX_VERSION:gfx1030 OLLAMA_HOST:http://0.0.0.0:11434 OLLAMA_ORIGINS:[http://localhost app://*]]"'''
    (tmp_path / "server.log").write_text(f"time=2026-06-20T09:59:59.000Z {config}\n{ENGINE}")
    found = codes(read(tmp_path / "server.log"))
    assert {"environment_bad_value", "api_exposed"} <= set(found)
    assert "engine_missing" not in found


def test_of_several_logs_the_one_that_tells_more_counts(tmp_path: Path):
    later = ENGINE.splitlines()[0].replace("0.32.15", "0.32.14") + "\n"
    evidence = read(folder(tmp_path, {"a.log": ENGINE, "b.log": later}))
    assert evidence["engine_log"]["version"] == "0.32.15"


def test_a_copy_of_sys_tells_the_hardware(tmp_path: Path):
    write(tmp_path, {**cpu_node(), **kfd_node(1, 110003, 0x15BF, 0xC500, bank=8 << 30)})
    write(tmp_path, {"etc/modprobe.d/x.conf": "options amdttm pages_limit=7\n", "proc/cmdline": "quiet\n"})
    evidence = read(tmp_path)
    assert [gpu["gfx"] for gpu in evidence["gpu_facts"]["gpus"]] == ["gfx1103"]
    assert "amdttm_without_dkms" in codes(evidence)


def test_a_bundle_of_ours_is_judged_as_its_host(tmp_path: Path):
    evidence = healthy()
    evidence["service"]["PrivateDevices"] = "yes"
    path = tmp_path / "box.tar.gz"
    write_archive(str(path), {"evidence.json": json.dumps(evidence), "unit/etc/x.service": UNIT})
    assert path.stat().st_mode & 0o777 == 0o600
    assert codes(read(path)) == codes(evidence) == ["sandbox_hides_gpu"]


# Name -> where a link leads; None for a file.
EVIL: dict[str, list[tuple[str, str | None]]] = {
    "above": [("../outside", None)],
    "absolute": [("/../../outside", None)],
    "a link out": [("link", "/etc/passwd")],
    "a file through a link": [("link", ".."), ("link/outside", None)],
    "a link through a link": [("link", ".."), ("link/outside", "server.log")],
    "two links that are harmless alone": [("a/b/x", "../../d"), ("d/y", "../e"), ("z", "a/b/x/../../../outside")],
}


@pytest.mark.parametrize("members", EVIL.values(), ids=EVIL)
def test_an_archive_cannot_reach_out_of_its_folder(
    tmp_path: Path, members: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        for name, leads in [*members, ("server.log", None)]:
            member, content = tarfile.TarInfo(name), ENGINE.encode()
            member.type, member.linkname = (tarfile.SYMTYPE, leads) if leads else (tarfile.REGTYPE, "")
            member.size = 0 if leads else len(content)
            tar.addfile(member, io.BytesIO(content))
    evidence = read(path)
    assert evidence["engine_log"]["version"] == "0.32.15"
    assert evidence["unread"]
    assert os.listdir(tmp_path) == ["evil.tar"]


def test_links_that_stay_inside_are_followed(tmp_path: Path):
    write(tmp_path / "host", {**cpu_node(), **kfd_node(1, 110003, 0x15BF, 0xC500, bank=8 << 30), "proc/cmdline": ""})
    (tmp_path / "host/sys/class/kfd").rename(tmp_path / "host/sys/devices")
    (tmp_path / "host/sys/class/kfd").symlink_to("../devices")
    with tarfile.open(tmp_path / "host.tgz", "w:gz") as tar:
        tar.add(tmp_path / "host", ".")
    evidence = read(tmp_path / "host.tgz")
    assert ([gpu["gfx"] for gpu in evidence["gpu_facts"]["gpus"]], evidence["unread"]) == (["gfx1103"], [])


def test_an_archive_is_read_without_the_filters_of_newer_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def extract(self, member, path="", set_attrs=True, *, numeric_owner=False):
        raise AssertionError("not reached")

    # As in Python 3.11.2.
    monkeypatch.setattr(tarfile.TarFile, "extract", extract)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(folder(tmp_path / "x", LOOSE), "x")
    assert read(tmp_path / "a.tar")["engine_log"]["version"] == "0.32.15"


def test_of_an_archive_that_is_cut_the_beginning_is_read(tmp_path: Path):
    (tmp_path / "server.log").write_text(ENGINE)
    (tmp_path / "noise").write_bytes(os.urandom(1 << 20))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "server.log", "server.log")
        tar.add(tmp_path / "noise", "noise")
    (tmp_path / "a.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:500_000])
    evidence = read(tmp_path / "a.tar.gz")
    assert evidence["engine_log"]["version"] == "0.32.15"
    assert "damaged" in evidence["unread"][0]


def test_what_cannot_be_read_says_why(tmp_path: Path):
    with pytest.raises(AttachedError, match="/none on this machine"):
        read(tmp_path / "none")
    with pytest.raises(AttachedError, match="Nothing in"):
        read(folder(tmp_path, {"holiday.txt": "sun\n"}))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b.log", "evidence.json"]), st.binary(max_size=200), min_size=1))
def test_any_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]):
    path = tmp_path_factory.mktemp("any")
    for name, content in files.items():
        (path / name).write_bytes(content)
    with contextlib.suppress(AttachedError):
        diagnose(read(path))
