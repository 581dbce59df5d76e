# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host around its GPUs: platform, processor, memory, kernel, ROCm, device nodes, distribution."""

from __future__ import annotations

import os
import re
import stat
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.memory import memory_module
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.remembered import standing
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot

CPU_FLAGS = re.compile(r"avx.*|amx_.*|f16c|fma|bmi2|sse4_2|hypervisor|asimd.*|neon|sve.*|i8mm|bf16")
GUEST = re.compile(
    r"qemu|kvm|vmware|virtualbox|innotek|xen|bochs|bhyve|parallels|openstack|ovirt|rhev|red hat|"
    r"google compute engine|amazon ec2|alibaba|virtual machine|standard pc|apple virtualization|nutanix|kubevirt",
    re.IGNORECASE,
)
LIBRARY_DIRECTORIES = ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib", "usr/lib64/rocm/lib64")


def platform(sysroot: Sysroot) -> str:
    """bare_metal, vm, container or wsl2."""
    container = sysroot.read("run/systemd/container")
    # systemd counts WSL among the containers.
    if container != "wsl" and (container or _has_container_marks(sysroot)):
        return "container"
    release = (kernel_release(sysroot) or "").lower()
    marked = any(sysroot.exists(f"proc/sys/fs/binfmt_misc/{name}") for name in ("WSLInterop", "WSLInterop-late"))
    if "microsoft" in release or marked or container == "wsl":
        if "wsl2" not in release and re.match(r"4\.4\.", release):
            sysroot.warnings.append("This is WSL 1, which has no GPU: convert it with wsl --set-version <distro> 2.")
        return "wsl2"
    return "vm" if _is_guest(sysroot) else "bare_metal"


def _has_container_marks(sysroot: Sysroot) -> bool:
    marks = (".dockerenv", "run/.containerenv", "run/secrets/kubernetes.io", "var/run/secrets/kubernetes.io")
    if any(sysroot.exists(mark) for mark in marks):
        return True
    # The control groups of old kernels have the container's name; the host's first process is in none like it.
    if re.search(
        r":/(docker|lxc|libpod|kubepods|ecs)[/.-]|/(docker|libpod|crio|cri-containerd)-[0-9a-f]",
        sysroot.read("proc/1/cgroup") or "",
    ):
        return True
    # Only root may read it; that a plain user may not is nothing to warn of.
    environment = "proc/1/environ"
    return os.access(sysroot.path(environment), os.R_OK) and bool(
        re.search(r"(?:^|\0)(?:container=(?!wsl)|KUBERNETES_SERVICE_HOST=)", sysroot.read(environment) or "")
    )


def _is_guest(sysroot: Sysroot) -> bool:
    if "control_d" in (sysroot.read("proc/xen/capabilities") or ""):
        return False  # the control domain of Xen owns the hardware
    vendor, product = (sysroot.read(f"sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name"))
    if ".metal" in product:  # m5.metal, c7g.metal-48xl
        return False
    # On ARM without DMI the device tree tells.
    marked = sysroot.exists("proc/device-tree/hypervisor") or sysroot.exists("sys/hypervisor/type")
    return bool(marked or GUEST.search(f"{vendor} {product}") or "hypervisor" in cpu(sysroot)["flags"])


def cpu(sysroot: Sysroot) -> dict[str, Any]:
    return parse_cpuinfo(sysroot.read("proc/cpuinfo"))


def parse_cpuinfo(text: str | None) -> dict[str, Any]:
    """/proc/cpuinfo: one block of `key : value` lines per logical processor. ARM shows no cores: all are physical."""
    text = text or ""

    def values(key: str) -> list[str]:
        return re.findall(rf"^{key}\s*:[ \t]*(.*)$", text, re.MULTILINE)

    logical = len(values("processor"))
    packages, cores = values("physical id"), values("core id")
    model = [*values("model name"), *values("Model"), *values("cpu")]
    flags = [*values("flags"), *values("Features")]
    return {
        "architecture": _architecture(values),
        "model": model[0].strip() if model and model[0].strip() else None,
        "logical_cores": logical or None,
        "physical_cores": len(set(zip(packages, cores))) or logical or None,
        "flags": sorted({flag for flag in flags[0].split() if CPU_FLAGS.fullmatch(flag)}) if flags else [],
    }


def _architecture(values: Callable[[str], list[str]]) -> str | None:
    """As uname calls it, by what only its kernel writes into /proc/cpuinfo."""
    if values("flags"):
        return "x86_64"
    if values("Features"):
        return "aarch64" if "asimd" in values("Features")[0].split() else "arm"
    isa = values("isa")
    return "riscv64" if isa and isa[0].startswith("rv64") else None


def memory_bytes(sysroot: Sysroot) -> int | None:
    match = re.search(r"^MemTotal:\s*(\d{1,15}) kB$", sysroot.read("proc/meminfo") or "", re.ASCII | re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def kernel(sysroot: Sysroot) -> dict[str, Any]:
    module = memory_module(sysroot)
    parameters = f"sys/module/{module}/parameters"
    return {
        "release": kernel_release(sysroot),
        "cmdline": sysroot.read("proc/cmdline"),
        "memory_module": module,
        "pages_limit": sysroot.read_int(f"{parameters}/pages_limit") if module else None,
        "page_pool_size": sysroot.read_int(f"{parameters}/page_pool_size") if module else None,
        # Only the out-of-tree (dkms) driver has a version of its own.
        "amdgpu_version": sysroot.read("sys/module/amdgpu/version"),
        "parameters": standing(sysroot),
    }


def kernel_release(sysroot: Sysroot) -> str | None:
    release = sysroot.read("proc/sys/kernel/osrelease")
    match = re.match(r"Linux version (\S+)", sysroot.read("proc/version") or "")
    return release or (match[1] if match else None)


def rocm(sysroot: Sysroot) -> dict[str, str | None]:
    """Where ROCm is and its version, newest first: AMD's packages below /opt, else the distribution's libraries."""
    named = [f"opt/{name}" for name in sysroot.listdir("opt") if name.startswith("rocm-")]
    named += [f"opt/rocm/{name}" for name in sysroot.listdir("opt/rocm") if name.startswith("core-")]
    for path in ["opt/rocm", *sorted(named, key=_version_key, reverse=True)]:
        version = sysroot.read(f"{path}/.info/version") or re.sub(r"^.*?-", "", os.path.basename(path))
        if re.match(r"\d+\.\d+", version):
            return {"version": version.split("-")[0], "path": f"/{path}"}
    # The HIP library carries the version of the ROCm release that it is from.
    for directory in LIBRARY_DIRECTORIES:
        names = sysroot.listdir(directory)
        versions = [m[1] for m in (re.match(r"libamdhip64\.so\.(\d+\.\d+)\.", name) for name in names) if m]
        if versions or any(name.startswith("libhsa-runtime64.so.") for name in names):
            return {"version": max(versions, key=_version_key, default=None), "path": "/usr"}
    return {"version": None, "path": "/opt/rocm" if sysroot.exists("opt/rocm") else None}


def _version_key(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]{1,9}", text)]


def device_nodes(sysroot: Sysroot) -> list[dict[str, Any]]:
    """/dev/kfd and the render nodes: who may open them. Names are of the tree's own passwd and group."""
    names = [name for name in sysroot.listdir("dev/dri") if name.startswith("renderD")]
    users, groups = (_names(sysroot.read(f"etc/{file}")) for file in ("passwd", "group"))
    nodes = []
    for path in ["/dev/kfd", *(f"/dev/dri/{name}" for name in names)]:
        status = sysroot.stat(path)
        if status:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            nodes.append(
                {
                    "path": path,
                    "owner": users.get(status.st_uid),
                    "uid": status.st_uid,
                    "group": groups.get(status.st_gid),
                    "gid": status.st_gid,
                    "mode": mode,
                }
            )
    return nodes


def _names(text: str | None) -> dict[int, str]:
    """Number to name, of /etc/passwd or /etc/group."""
    return {int(number): name for name, number in re.findall(r"^([^:\n]+):[^:\n]*:([0-9]{1,10}):", text or "", re.M)}


def kfd(sysroot: Sysroot, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The node of ROCm's kernel interface. A copy of /sys alone has no /dev: there the topology stands for it."""
    node = next((node for node in nodes if node["path"] == "/dev/kfd"), {})
    present = bool(node) if sysroot.exists("dev/null") else bool(node) or sysroot.exists("sys/class/kfd/kfd")
    return {"present": present, **{key: node.get(key) for key in ("group", "gid", "mode")}}


def distribution(sysroot: Sysroot) -> dict[str, Any]:
    """https://www.freedesktop.org/software/systemd/man/latest/os-release.html"""
    text = sysroot.read("etc/os-release") or sysroot.read("usr/lib/os-release") or ""
    values = {key: value.strip("\"'") for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)}
    return {
        "id": values.get("ID"),
        "version_id": values.get("VERSION_ID"),
        "id_like": values.get("ID_LIKE", "").split(),
    }


def vulkan_icds(sysroot: Sysroot) -> list[str]:
    """Vulkan drivers that the loader finds."""
    directories = ("usr/share/vulkan/icd.d", "etc/vulkan/icd.d")
    return sorted({name for path in directories for name in sysroot.listdir(path) if name.endswith(".json")})
