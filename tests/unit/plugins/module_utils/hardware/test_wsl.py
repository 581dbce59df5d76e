# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WSL's version, networking mode, gateway and interop, and the GPUs of the Windows host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware import wsl
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.facts import gpu_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.machines import Tree, write

RELEASE = "proc/sys/kernel/osrelease"
INTEROP = "proc/sys/fs/binfmt_misc/WSLInterop"
HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
NAT_ROUTE = HEADER + "eth0\t00000000\t011016AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
NAT_ROUTE += "eth0\t001016AC\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n"
DEVICES = "Inter-|   Receive\n face |bytes    packets\n    lo:  1 2 3\n{}"
WSL2: Tree = {RELEASE: "5.15.167.4-microsoft-standard-WSL2\n", INTEROP: "enabled\ninterpreter /init\n"}
POWERSHELL = "c/Windows/System32/WindowsPowerShell/v1.0/powershell.exe"


def facts(tmp_path: Path, tree: Tree, **options: Any) -> dict[str, Any]:
    return wsl.wsl_facts(Sysroot(write(tmp_path, {**WSL2, **tree})), **options)


VERSIONS = [
    ("5.15.167.4-microsoft-standard-WSL2", 2),
    ("4.19.128-microsoft-standard", 2),
    ("6.12.0-mine", 2),
    ("4.4.0-19041-Microsoft", 1),
]


@pytest.mark.parametrize(("release", "version"), VERSIONS)
def test_version(tmp_path: Path, release: str, version: int) -> None:
    assert facts(tmp_path, {RELEASE: release})["version"] == version


def test_elsewhere_there_are_no_such_facts(tmp_path: Path) -> None:
    assert gpu_facts(write(tmp_path, {RELEASE: "6.12.57+deb13-amd64"}))["wsl"] is None


def test_a_container_on_wsl_is_no_wsl(tmp_path: Path) -> None:
    assert gpu_facts(write(tmp_path, {**WSL2, ".dockerenv": ""}))["wsl"] is None


MODES: list[tuple[str, Tree, str | None]] = [
    ("NAT", {"proc/net/route": NAT_ROUTE, "proc/net/dev": DEVICES.format("  eth0: 1\n")}, "nat"),
    ("mirrored", {"proc/net/dev": DEVICES.format("  eth0: 1\nloopback0: 1\n")}, "mirrored"),
    ("none", {"proc/net/dev": DEVICES.format("")}, "none"),
    ("a gateway of a LAN", {"proc/net/route": NAT_ROUTE.replace("011016AC", "0101A8C0")}, None),
    ("172, but no private network", {"proc/net/route": NAT_ROUTE.replace("011016AC", "010120AC")}, None),
    ("nothing known", {}, None),
]


@pytest.mark.parametrize(("tree", "mode"), [row[1:] for row in MODES], ids=[row[0] for row in MODES])
def test_mode_by_files(tmp_path: Path, tree: Tree, mode: str | None) -> None:
    assert facts(tmp_path, tree)["networking_mode"] == mode


ANSWERS = [
    (0, "mirrored\n", "mirrored", 0),
    (0, "consomme\r\n", "consomme", 0),
    (0, "v\0i\0r\0t\0i\0o\0p\0r\0o\0x\0y\0", "virtioproxy", 0),
    (0, "something new", "nat", 1),
    (124, "wslinfo did not end within 5 s", "nat", 1),
]


@pytest.mark.parametrize(("code", "answer", "mode", "warnings"), ANSWERS)
def test_mode_by_wslinfo(tmp_path: Path, code: int, answer: str, mode: str, warnings: int) -> None:
    root = Sysroot(write(tmp_path, {**WSL2, "proc/net/route": NAT_ROUTE, "usr/bin/wslinfo": ""}))
    found = wsl.wsl_facts(root, interop=True, run=lambda command, seconds: (code, answer))
    assert (found["networking_mode"], len(root.warnings)) == (mode, warnings)


def test_without_interop_no_program_runs(tmp_path: Path) -> None:
    def never(*_arguments: Any, **_options: Any) -> Any:
        raise AssertionError("a program was run")

    tree = {"usr/bin/wslinfo": "", f"mnt/{POWERSHELL}": ""}
    assert facts(tmp_path, tree, run=never, ask_gpus=never)["windows_gpus"] is None


SETTINGS: list[tuple[str, Tree, dict[str, Any]]] = [
    ("as it comes", {}, {"interop": True, "automount_root": "/mnt/"}),
    ("late", {INTEROP: None, f"{INTEROP}-late": "enabled\n"}, {"interop": True}),
    ("no handler", {INTEROP: None}, {"interop": False}),
    ("handler off", {INTEROP: "disabled\n"}, {"interop": False}),
    ("switched off", {"etc/wsl.conf": "[interop]\r\nenabled = False\r\n"}, {"interop": False}),
    ("root", {"etc/wsl.conf": '[automount]\nroot = "/windows/" # mine\n'}, {"automount_root": "/windows/"}),
    ("root of all", {"etc/wsl.conf": "[automount]\nroot = /\n"}, {"automount_root": "/"}),
    ("nonsense", {"etc/wsl.conf": "root = /x\n"}, {"automount_root": "/mnt/", "interop": True}),
    ("PowerShell", {f"mnt/{POWERSHELL}": ""}, {"powershell": f"/mnt/{POWERSHELL}"}),
    ("systemd", {"proc/1/comm": "systemd\n"}, {"systemd": True}),
    ("no systemd", {"proc/1/comm": "init(Debian)\n"}, {"systemd": False}),
    ("dxg", {"dev/dxg": "", "opt/rocm/lib/librocdxg.so": ""}, {"dxg": True, "rocdxg": True}),
]


@pytest.mark.parametrize(("tree", "told"), [row[1:] for row in SETTINGS], ids=[row[0] for row in SETTINGS])
def test_settings(tmp_path: Path, tree: Tree, told: dict[str, Any]) -> None:
    tree = {path: text for path, text in {**WSL2, **tree}.items() if text is not None}
    found = wsl.wsl_facts(Sysroot(write(tmp_path, tree)))
    assert {key: found[key] for key in told} == told


def route(interface: str, gateway: str, flags: str = "0003", metric: int = 0, mask: str = "00000000") -> str:
    return f"{interface}\t00000000\t{gateway}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"


GATEWAYS = [
    (NAT_ROUTE, "172.22.16.1"),
    (HEADER + route("eth0", "0140A8C0", metric=20) + route("eth1", "01401EAC", metric=10), "172.30.64.1"),
    (HEADER + route("tun0", "0100000A") + route("eth0", "011016AC", metric=50), "172.22.16.1"),
    (HEADER + route("eth0", "00000000", flags="0001"), None),
    (HEADER + route("eth0", "011016AC", flags="0002"), None),
    (HEADER + route("eth0", "011016AC", mask="000000FF"), None),
    (HEADER, None),
    (None, None),
]


@pytest.mark.parametrize(("text", "address"), GATEWAYS)
def test_gateway(text: str | None, address: str | None) -> None:
    assert wsl.gateway(text) == address


@given(st.text(alphabet="eth0123456789ABCDEF\t\n GZ", max_size=200))
def test_gateway_of_any_text(text: str) -> None:
    assert wsl.gateway(text) is None or wsl.gateway(text).count(".") == 3  # type: ignore[union-attr]


def test_gpus_of_windows() -> None:
    found = wsl.windows_gpus(
        [
            {
                "Name": "AMD Radeon RX 5700 XT",
                "PNPDeviceID": r"PCI\VEN_1002&DEV_731F&SUBSYS_E4101DA2&REV_C1\6&1A2B&0&000019",
                "DriverVersion": "32.0.21025.1024",
            },
            {"Name": "NVIDIA GeForce RTX 3070", "PNPDeviceID": r"PCI\VEN_10DE&DEV_2484&SUBSYS_1&REV_A1\4"},
            {"Name": "Microsoft Remote Display Adapter", "PNPDeviceID": r"SWD\REMOTEDISPLAYENUM\RDPIDD"},
            {"Name": "nameless", "PNPDeviceID": None},
        ],
        {},
    )
    assert [(gpu["vendor"], gpu["pci_id"], gpu["gfx"], gpu["integrated"]) for gpu in found] == [
        ("amd", "1002:731f", "gfx1010", False),
        ("nvidia", "10de:2484", None, None),
    ]
    assert found[0]["pci_revision"] == "c1"
    assert found[0]["driver_version"] == "32.0.21025.1024"


def test_a_windows_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    def fails(_powershell: str) -> Any:
        raise OSError("Exec format error")

    root = Sysroot(write(tmp_path, {**WSL2, f"mnt/{POWERSHELL}": ""}))
    assert wsl.wsl_facts(root, interop=True, ask_gpus=fails)["windows_gpus"] is None
    assert root.warnings == ["Windows did not tell its GPUs: Exec format error"]
