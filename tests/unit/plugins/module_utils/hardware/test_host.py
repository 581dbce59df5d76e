# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host around its GPUs: platform, processor, memory module, ROCm, device nodes."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware import hidden, host, nvidia
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.counters import read_counters, uevent_value
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.facts import gpu_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.gpus import read_gpus
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.kfd import parse_properties
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.names import from_amdgpu_ids, from_pci_ids
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot, to_int
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.machines import GIB, HOST, KFD, MINIPC, Link, Tree, device_directory, drm_card, pci_device, write

RELEASE = "proc/sys/kernel/osrelease"
DMI = "sys/class/dmi/id"
GUEST_CPU = "processor : 0\nflags : fpu hypervisor avx2\n"
PLATFORMS: list[tuple[str, Tree, str]] = [
    ("bare metal", {**HOST, f"{DMI}/sys_vendor": "LENOVO", f"{DMI}/product_name": "21J5"}, "bare_metal"),
    ("nothing known", {}, "bare_metal"),
    ("Surface", {f"{DMI}/sys_vendor": "Microsoft Corporation", f"{DMI}/product_name": "Surface"}, "bare_metal"),
    ("Hyper-V", {f"{DMI}/sys_vendor": "Microsoft Corporation", f"{DMI}/product_name": "Virtual Machine"}, "vm"),
    ("QEMU", {f"{DMI}/sys_vendor": "QEMU", f"{DMI}/product_name": "Standard PC (Q35 + ICH9, 2009)"}, "vm"),
    ("EC2", {f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "g4ad.xlarge"}, "vm"),
    (
        "EC2 metal with its size",
        {f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "c7g.metal-48xl"},
        "bare_metal",
    ),
    ("Mac", {f"{DMI}/sys_vendor": "Apple Inc.", f"{DMI}/product_name": "Apple Virtualization Generic Platform"}, "vm"),
    ("Nutanix", {f"{DMI}/sys_vendor": "Nutanix", f"{DMI}/product_name": "AHV"}, "vm"),
    ("ARM by its device tree", {"proc/device-tree/hypervisor/compatible": "linux,kvm"}, "vm"),
    ("Xen", {"sys/hypervisor/type": "xen"}, "vm"),
    ("LXC of old", {"proc/1/cgroup": "9:cpuset:/lxc/web\n1:name=systemd:/lxc/web/init.scope\n"}, "container"),
    ("systemd in docker of old", {"proc/1/cgroup": "1:name=systemd:/system.slice/docker-0a1b2c.scope\n"}, "container"),
    ("a host of containers", {"proc/1/cgroup": "0::/init.scope\n"}, "bare_metal"),
    ("EC2 metal", {f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "m5.metal"}, "bare_metal"),
    ("guest by its processor", {"proc/cpuinfo": GUEST_CPU}, "vm"),
    ("control domain of Xen", {"proc/cpuinfo": GUEST_CPU, "proc/xen/capabilities": "control_d\n"}, "bare_metal"),
    ("docker", {".dockerenv": ""}, "container"),
    ("podman", {"run/.containerenv": ""}, "container"),
    ("nspawn", {"run/systemd/container": "systemd-nspawn\n"}, "container"),
    ("environment of init", {"proc/1/environ": "PATH=/bin\0container=lxc\0"}, "container"),
    ("kubernetes", {"proc/1/environ": "KUBERNETES_SERVICE_HOST=10.0.0.1\0"}, "container"),
    ("another word in the environment", {"proc/1/environ": "mycontainer=lxc\0"}, "bare_metal"),
    ("WSL2", {RELEASE: "6.6.87.2-microsoft-standard-WSL2\n", "proc/cpuinfo": GUEST_CPU}, "wsl2"),
    ("WSL2 with systemd", {RELEASE: "6.6.87.2-microsoft-standard-WSL2", "run/systemd/container": "wsl\n"}, "wsl2"),
    ("WSL2, own kernel", {RELEASE: "6.12.0-mine", "proc/sys/fs/binfmt_misc/WSLInterop": "enabled"}, "wsl2"),
    ("container on WSL2", {RELEASE: "6.6.87.2-microsoft-standard-WSL2", ".dockerenv": ""}, "container"),
]


@pytest.mark.parametrize(("tree", "platform"), [row[1:] for row in PLATFORMS], ids=[row[0] for row in PLATFORMS])
def test_platform(tmp_path: Path, tree: Tree, platform: str) -> None:
    assert host.platform(Sysroot(write(tmp_path, tree))) == platform


def test_wsl_1_is_a_warning(tmp_path: Path) -> None:
    facts = gpu_facts(write(tmp_path, {RELEASE: "4.4.0-19041-Microsoft\n"}))
    assert (facts["platform"], "WSL 1" in facts["warnings"][0]) == ("wsl2", True)


MODULES: list[tuple[str, Tree, str | None]] = [
    ("in the kernel", {"sys/module/ttm/holders/amdgpu": ""}, "ttm"),
    (
        "both loaded, dkms holds amdgpu",
        {"sys/module/ttm/holders/drm_ttm_helper": "", "sys/module/amdttm/holders/amdgpu": ""},
        "amdttm",
    ),
    (
        "both loaded, the kernel's holds amdgpu",
        {"sys/module/amdttm/refcnt": "1", "sys/module/ttm/holders/amdgpu": ""},
        "ttm",
    ),
    ("new dkms", {"sys/module/amd_ttm/holders/amdgpu": "", "sys/module/ttm/refcnt": "1"}, "amd_ttm"),
    (
        "by /proc/modules",
        {
            "sys/module/ttm/refcnt": "1",
            "sys/module/amdttm/refcnt": "2",
            "proc/modules": "amdttm 143360 2 amdgpu,amddrm_ttm_helper, Live 0x0\nttm 1 1 drm_ttm_helper, Live 0x0\n",
        },
        "amdttm",
    ),
    ("by use", {"sys/module/ttm/refcnt": "0", "sys/module/amdttm/refcnt": "2"}, "amdttm"),
    ("built in", {"sys/module/ttm/parameters/pages_limit": "1"}, "ttm"),
    (
        "a copy without holders, of a machine with dkms",
        {f"sys/module/{m}": t for m, t in (("ttm/refcnt", "1"), ("amdttm/refcnt", "2"), ("amdgpu/version", "6.14.14"))},
        "amdttm",
    ),
    ("undecided", {"sys/module/ttm/refcnt": "1", "sys/module/amdttm/refcnt": "2"}, None),
    ("none", {}, None),
]


@pytest.mark.parametrize(("tree", "module"), [row[1:] for row in MODULES], ids=[row[0] for row in MODULES])
def test_memory_module(tmp_path: Path, tree: Tree, module: str | None) -> None:
    assert host.memory_module(Sysroot(write(tmp_path, tree))) == module


def test_kernel(tmp_path: Path) -> None:
    assert host.kernel(Sysroot(write(tmp_path, HOST))) == {
        "release": "6.12.48+deb13-amd64",
        "cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet",
        "memory_module": "ttm",
        "pages_limit": 4045000,
        "page_pool_size": 4045000,
        "amdgpu_version": None,
        "parameters": [],
    }


def test_the_kernel_release_of_a_tree_without_sysctl(tmp_path: Path) -> None:
    sysroot = Sysroot(write(tmp_path, {"proc/version": "Linux version 6.8.0-45-generic (buildd@x) #45-Ubuntu"}))
    assert host.kernel_release(sysroot) == "6.8.0-45-generic"


CPUS: list[tuple[str, str, tuple[int | None, int | None, str | None, list[str]]]] = [
    (
        "laptop",
        str(HOST["proc/cpuinfo"]),
        (8, 16, "AMD Ryzen 7 7840U", ["avx", "avx2", "avx512_bf16", "avx512f", "f16c", "fma"]),
    ),
    (
        "two sockets",
        "".join(f"processor : {n}\nphysical id : {n}\ncore id : 0\nflags : amx_tile fma\n" for n in range(2)),
        (2, 2, None, ["amx_tile", "fma"]),
    ),
    ("ARM", "processor : 0\nFeatures : fp asimd sve\n\nprocessor : 1\n", (2, 2, None, ["asimd", "sve"])),
    ("nothing", "", (None, None, None, [])),
]
ARCHITECTURES = [
    ("flags\t\t: fpu lm avx2\n", "x86_64"),
    ("Features\t: fp asimd sve\n", "aarch64"),
    ("Features\t: half thumb vfpv4\n", "arm"),
    ("isa\t\t: rv64imafdc_zba\n", "riscv64"),
    ("isa\t\t: rv32imac\n", None),
    ("cpu\t\t: POWER9, altivec supported\n", None),
]


@pytest.mark.parametrize(("text", "architecture"), ARCHITECTURES)
def test_architecture(text: str, architecture: str | None) -> None:
    assert host.parse_cpuinfo(f"processor\t: 0\n{text}")["architecture"] == architecture


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in CPUS], ids=[row[0] for row in CPUS])
def test_cpu(text: str, expected: tuple[int | None, int | None, str | None, list[str]]) -> None:
    cpu = host.parse_cpuinfo(text)
    assert (cpu["physical_cores"], cpu["logical_cores"], cpu["model"], cpu["flags"]) == expected


ROCM: list[tuple[str, Tree, str | None, str | None]] = [
    (
        "legacy",
        {"opt/rocm-6.2.4/.info/version": "6.2.4-120\n", "opt/rocm": Link("opt/rocm-6.2.4")},
        "6.2.4",
        "/opt/rocm",
    ),
    (
        "legacy without the link",
        {"opt/rocm-7.2.0/bin/x": "", "opt/rocm-7.10.0/bin/x": ""},
        "7.10.0",
        "/opt/rocm-7.10.0",
    ),
    ("new layout", {"opt/rocm/core-10.0/bin/x": "", "opt/rocm/core-10.1/bin/x": ""}, "10.1", "/opt/rocm/core-10.1"),
    ("Debian", {"usr/lib/x86_64-linux-gnu/libamdhip64.so.5.7.31921": ""}, "5.7", "/usr"),
    ("Fedora", {"usr/lib64/libamdhip64.so.7.1.52802": "", "usr/lib64/libhsa-runtime64.so.1.18.0": ""}, "7.1", "/usr"),
    ("runtime alone", {"usr/lib/x86_64-linux-gnu/libhsa-runtime64.so.1": ""}, None, "/usr"),
    ("an empty folder", {"opt/rocm/bin/x": ""}, None, "/opt/rocm"),
    ("none", {}, None, None),
]


@pytest.mark.parametrize(("tree", "version", "path"), [row[1:] for row in ROCM], ids=[row[0] for row in ROCM])
def test_rocm(tmp_path: Path, tree: Tree, version: str | None, path: str | None) -> None:
    assert host.rocm(Sysroot(write(tmp_path, tree))) == {"version": version, "path": path}


def test_device_nodes(tmp_path: Path) -> None:
    root = write(tmp_path, {**MINIPC, "dev/null": "", "dev/kfd": "", "dev/dri/renderD128": "", "dev/dri/card0": ""})
    (tmp_path / "dev/kfd").chmod(0o660)
    (tmp_path / "dev/dri/renderD128").chmod(0o666)
    facts = gpu_facts(root)
    group = "root" if (tmp_path / "dev/kfd").stat().st_gid == 0 else None
    assert facts["kfd"] == {
        "present": True,
        "group": group,
        "gid": (tmp_path / "dev/kfd").stat().st_gid,
        "mode": "0660",
    }
    assert [(n["path"], n["mode"]) for n in facts["device_nodes"]] == [
        ("/dev/kfd", "0660"),
        ("/dev/dri/renderD128", "0666"),
    ]
    assert facts["gpus"][0]["hidden_reason"] is None


@pytest.mark.parametrize(
    ("tree", "present"),
    [({"dev/null": "", f"{KFD}/0/properties": "x"}, False), ({f"{KFD}/0/properties": "x"}, True), ({}, False)],
)
def test_kfd_without_its_node(tmp_path: Path, tree: Tree, present: bool) -> None:
    assert gpu_facts(write(tmp_path, tree))["kfd"] == {"present": present, "group": None, "gid": None, "mode": None}


def test_names_of_groups_are_the_trees_own(tmp_path: Path) -> None:
    group = f"video:x:1:\nlamps:x:{tmp_path.stat().st_gid}:someone\n"
    (node,) = host.device_nodes(Sysroot(write(tmp_path, {"dev/kfd": "", "etc/group": group})))
    assert (node["group"], node["owner"]) == ("lamps", None)


NVRM = [
    (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.154.05  Thu Dec 28 15:37:48 UTC 2023\n",
        "535.154.05",
    ),
    ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs@x)\n", "580.95.05"),
    ("something else 12.34\n", None),
]


@pytest.mark.parametrize(("text", "version"), NVRM)
def test_nvidia_driver(tmp_path: Path, text: str, version: str | None) -> None:
    assert nvidia.driver_version(Sysroot(write(tmp_path, {"proc/driver/nvidia/version": text}))) == version


RTX_3070: Tree = {
    **HOST,
    **pci_device("0000:01:00.0", "10de:2484", "a1", driver="nvidia"),
    "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA GeForce RTX 3070\nIRQ:   \t\t 90\n",
}


def test_nvidia_memory_is_unknown_without_nvidia_smi(tmp_path: Path) -> None:
    (gpu,) = gpu_facts(write(tmp_path, RTX_3070))["gpus"]
    assert (gpu["product"], gpu["vram_bytes"], gpu["usable_bytes"]) == ("NVIDIA GeForce RTX 3070", None, None)


@pytest.fixture
def as_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sysroot:
    """A tree that takes itself for the machine, on which nvidia-smi may be asked."""
    monkeypatch.setattr(nvidia.os.path, "realpath", lambda path: "/")
    monkeypatch.setattr(nvidia.shutil, "which", lambda name: f"/usr/bin/{name}")
    return Sysroot(write(tmp_path, {**RTX_3070, "proc/driver/nvidia/version": "x"}))


def test_nvidia_memory_of_nvidia_smi(as_this_machine: Sysroot, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "00000000:01:00.0, 8192, NVIDIA GeForce RTX 3070\n00000000:02:00.0, [N/A], Other\n"
    monkeypatch.setattr(nvidia, "run", lambda command, seconds: (0, lines))
    gpus: list[dict[str, Any]] = [
        {"vendor": "nvidia", "pci_address": f"0000:0{n}:00.0", "product": None} for n in (1, 2, 3)
    ]
    nvidia.complete(as_this_machine, gpus, nvidia.ask_nvidia_smi(as_this_machine))
    assert [(g["usable_by_backend"]["cuda"], g["vram_bytes"], g["product"]) for g in gpus] == [
        (8 * GIB, 8 * GIB, "NVIDIA GeForce RTX 3070"),
        (None, None, "Other"),
        (None, None, None),
    ]


def test_nvidia_smi_that_hangs_is_a_warning(as_this_machine: Sysroot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "run", lambda command, seconds: (124, "nvidia-smi did not end within 5 s"))
    assert nvidia.ask_nvidia_smi(as_this_machine) == []
    assert "nvidia-smi gave no answer" in as_this_machine.warnings[0]


def test_nvidia_in_wsl_is_what_nvidia_smi_shows(tmp_path: Path) -> None:
    sysroot = Sysroot(write(tmp_path, {"dev/dxg": ""}))
    answer = nvidia.parse_nvidia_smi("00000000:01:00.0, 24564, NVIDIA GeForce RTX 4090\n")
    gpus = read_gpus(sysroot, {}, None, nvidia.wsl_cards(sysroot, answer))
    nvidia.complete(sysroot, gpus, answer)
    assert [(g["vendor"], g["product"], g["usable_bytes"]) for g in gpus] == [
        ("nvidia", "NVIDIA GeForce RTX 4090", 24564 * 1024**2)
    ]
    assert nvidia.wsl_cards(Sysroot(str(tmp_path / "other")), answer) == []


def test_no_program_runs_for_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "run", lambda *args, **kwargs: pytest.fail("ran a program"))
    monkeypatch.setattr(nvidia.shutil, "which", lambda name: f"/usr/bin/{name}")
    gpu_facts(write(tmp_path, {**RTX_3070, "proc/driver/nvidia/version": "x"}))


def test_the_kernels_ring_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # EPIPE: records that were overwritten in the meantime; the last error is the end.
    answers: list[Any] = [b"6,1;one\n", OSError(errno.EPIPE, ""), b"6,9;two\n", BlockingIOError(errno.EAGAIN, "")]

    def read(handle: int, size: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    monkeypatch.setattr(hidden.os, "open", lambda *args: 99)
    monkeypatch.setattr(hidden.os, "close", lambda handle: None)
    monkeypatch.setattr(hidden.os, "read", read)
    assert hidden.kernel_log(Sysroot("/")) == "6,1;one\n6,9;two\n"
    # Of another machine's tree only its own files count.
    assert hidden.kernel_log(Sysroot(write(tmp_path, {"var/log/kern.log": "three\n"}))).strip() == "three"


def test_distribution_and_vulkan(tmp_path: Path) -> None:
    tree: Tree = {
        "usr/lib/os-release": "ID=ubuntu\nID_LIKE=debian\nVERSION_ID='26.04'\n",
        "etc/os-release": Link("usr/lib/os-release"),
        "usr/share/vulkan/icd.d/radeon_icd.json": "{}",
        "etc/vulkan/icd.d/README": "",
    }
    facts = gpu_facts(write(tmp_path, tree))
    assert facts["distribution"] == {"id": "ubuntu", "version_id": "26.04", "id_like": ["debian"]}
    assert facts["vulkan_icds"] == ["radeon_icd.json"]


def test_counters(tmp_path: Path) -> None:
    address = "0000:64:00.0"
    tree = {
        **pci_device(address, "1002:15bf"),
        **drm_card(address, vram=1),
        f"{device_directory(address)}/gpu_busy_percent": "97\n",
    }
    expected = {"vram_used": 0, "gtt_used": None, "busy_percent": 97}
    assert read_counters(Sysroot(write(tmp_path / "bus", tree)), address) == expected
    by_card = {path: text for path, text in tree.items() if not path.startswith("sys/bus")}
    assert read_counters(Sysroot(write(tmp_path / "drm", by_card)), address) == expected
    assert set(read_counters(Sysroot(str(tmp_path)), address).values()) == {None}


def test_an_empty_tree_is_all_unknown_and_no_error(tmp_path: Path) -> None:
    facts = gpu_facts(str(tmp_path / "missing"))
    assert (facts["gpus"], facts["memory_bytes"], facts["warnings"]) == ([], None, [])


def test_sysroot_reads_neither_pipes_nor_past_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_bytes(b" 0x1f \0\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    sysroot = Sysroot(str(tmp_path))
    assert [sysroot.read(name) for name in ("pipe", "none", "text/below", "bytes", "")] == [
        None,
        None,
        None,
        "\ufffd\ufffd",
        None,
    ]
    assert (sysroot.read_int("/text"), sysroot.read("text", last=4)) == (31, "f")
    assert sysroot.warnings == []
    assert sysroot.read("a\0b") is None
    assert len(sysroot.warnings) == 1


PARSERS = [
    parse_properties,
    host.parse_cpuinfo,
    nvidia.parse_nvidia_smi,
    to_int,
    lambda text: uevent_value(text, "PCI_ID"),
    lambda text: from_pci_ids(text, "1002", "747e"),
    lambda text: from_amdgpu_ids(text, "747e", "c8"),
    lambda text: hidden.atomics_reason(text, "747e"),
]
WORDS = st.sampled_from(
    [
        "simd_count ",
        "9" * 23,
        "processor\t: ",
        "flags : ",
        "\n",
        "PCI_ID=",
        "\n1002  ",
        "\t747e  ",
        "\u00b2",
        ", ",
        "0x",
        "1<2",
        "skipped device 1002:747e, PCI rejects atomics ",
    ]
)


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text() | st.lists(WORDS, max_size=12).map("".join))
def test_no_text_breaks_a_parser(parse: Any, text: str) -> None:
    parse(text)


@given(st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), st.integers(0, 2**64 - 1)))
def test_properties_read_back(values: dict[str, int]) -> None:
    assert parse_properties("".join(f"{key} {value}\n" for key, value in values.items())) == values


FILES = sorted(path for path, text in MINIPC.items() if isinstance(text, str) and re.search("kfd|08.1|proc|etc", path))


@given(st.dictionaries(st.sampled_from(FILES), st.binary(max_size=40), max_size=6))
def test_no_content_breaks_the_facts(tmp_path_factory: pytest.TempPathFactory, broken: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("tree", numbered=True)
    write(root, MINIPC)
    for path, content in broken.items():
        (root / path).write_bytes(content)
    assert set(gpu_facts(str(root))) >= {"gpus", "warnings"}
