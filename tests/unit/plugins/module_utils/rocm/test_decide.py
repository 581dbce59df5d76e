# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ROCm a host gets, and what is refused with what would work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.catalogue.arches import ARCHES
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.build import make_plan
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.policy import PlanError
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.decide import is_legacy
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.support import DISTRIBUTIONS, find_distribution
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.wishes import RocmError, read_wishes

from tests.unit.plan_hosts import amd, desktop, halo, machine, minipc, xeon
from tools.rocm_page import page

AMD_KEY = "D0F004A0025A1145C7807FCD0701EAC4D5E02107"
LEGACY_KEY = "CA8BB4727A47B4D09B4EE8969386B48A1A693C5C"


def on(facts: dict[str, Any], distribution: str, **more: Any) -> dict[str, Any]:
    name, _space, version = distribution.partition(" ")
    return {**facts, "distribution": {"id": name, "version_id": version, "id_like": []}, **more}


def rocm(facts: dict[str, Any], engine: str = "ollama", **wishes: Any) -> dict[str, Any]:
    return make_plan(facts, {"engine": engine, "rocm": wishes})["rocm"]


def instinct() -> dict[str, Any]:
    return machine(amd("gfx942", 192, product="Instinct MI300X"))


# host, engine, wishes: source, packages
DECIDED: list[tuple[dict[str, Any], str, dict[str, Any], str, list[str]]] = [
    (on(halo(), "ubuntu 26.04"), "ollama", {}, "none", []),
    (on(halo(), "ubuntu 26.04"), "llama_server", {}, "amd", ["amdrocm10.1-gfx1151"]),
    (on(halo(), "ubuntu 26.04"), "llama_server", {"source": "none"}, "none", []),
    (on(halo(), "debian 13"), "llama_server", {}, "none", []),
    (on(desktop(), "debian 13"), "llama_server", {}, "distribution", ["rocminfo", "librocblas0", "libhipblas0"]),
    (on(desktop(), "fedora 44"), "llama_server", {}, "distribution", ["rocminfo", "rocblas", "hipblas"]),
    (on(desktop(), "gentoo 2"), "llama_server", {}, "none", []),
    (on(instinct(), "debian 12"), "llama_server", {}, "amd", ["amdrocm10.1-gfx942"]),
    (on(desktop(), "rhel 9.8"), "ollama", {"source": "amd", "version": "10.0"}, "amd", ["amdrocm10.0-gfx1101"]),
    (on(desktop(), "ubuntu 24.04"), "ollama", {"source": "legacy"}, "legacy", ["rocm7.2.4"]),
    (on(desktop(), "ubuntu 24.04"), "ollama", {"source": "legacy", "version": "7.1"}, "legacy", ["rocm7.1.0"]),
    (
        on(machine(amd("gfx1030", 16)), "ubuntu 22.04"),
        "ollama",
        {"source": "legacy", "version": "6.3.4"},
        "legacy",
        ["rocm6.3.4"],
    ),
    (on(xeon(), "debian 13"), "ollama", {"source": "distribution"}, "distribution", ["rocminfo"]),
    (on(xeon(), "debian 13"), "ollama", {"source": "amd"}, "amd", ["amdrocm10.1"]),
    (
        on(desktop(), "ubuntu 24.04"),
        "ollama",
        {"dkms": True},
        "driver",
        ["linux-headers-6.18.13-amd64", "amdgpu-dkms"],
    ),
    (
        on(desktop(), "ubuntu 24.04"),
        "ollama",
        {"source": "amd", "packages": ["amdrocm-opencl10.1"]},
        "amd",
        ["amdrocm10.1-gfx1101", "amdrocm-opencl10.1"],
    ),
]


@pytest.mark.parametrize(("facts", "engine", "wishes", "source", "install"), DECIDED)
def test_what_is_installed(facts, engine, wishes, source, install):
    decided = rocm(facts, engine, **wishes)
    assert (decided["source"], decided["install"]) == (source, install)
    assert decided["reason"]
    if source == "legacy":
        assert decided["prefix"] == install[0].replace("rocm", "/opt/rocm-")


# host, wishes, what the message says
REFUSED: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (on(halo(), "debian 13"), {"source": "amd"}, ["ROCm 10", "Ryzen", "gfx1151", "debian 13", "Ubuntu 26.04"]),
    (on(desktop(), "debian 13"), {"source": "amd"}, ["Radeon", "rocm_source: distribution here", "RHEL 9"]),
    (on(minipc(), "ubuntu 24.04"), {"source": "legacy"}, ["gfx1103 is not on AMD's list", "rocm_source: amd here"]),
    (on(desktop(), "arch "), {"source": "amd"}, ["no packages of ROCm 10 for arch"]),
    (on(desktop(), "ubuntu 26.04"), {"source": "legacy"}, ["no packages of ROCm 7.2", "ubuntu 26.04", "Ubuntu 24.04"]),
    (on(halo(), "debian 13"), {"source": "distribution"}, ["ROCm 5.7 of debian 13 has no code for gfx1151"]),
    (on(desktop(), "debian 12"), {"source": "distribution"}, ["debian 12", "of its own"]),
    (on(machine(amd("gfx1010", 8)), "rhel 10.2"), {"source": "amd"}, ["gfx1010 is not on AMD's list", "Vulkan"]),
    (
        on(halo(), "ubuntu 24.04"),
        {"source": "legacy", "version": "7.1"},
        ["gfx1151 is not on AMD's list for ROCm 7.1.0"],
    ),
    (on(machine(amd("gfx1200", 16)), "ubuntu 24.04"), {"source": "legacy", "version": "6.3.4"}, ["ROCm 6.3.4"]),
    (on(halo(), "ubuntu 24.04", platform="wsl2"), {"source": "amd"}, ["WSL2", "librocdxg"]),
    (on(halo(), "ubuntu 24.04"), {"dkms": True}, ["rocm_dkms", "gfx1151", "Ryzen APU"]),
    (on(desktop(), "debian 13"), {"dkms": True}, ["rocm_dkms", "debian 13", "Ubuntu and RHEL"]),
    (on(instinct(), "sles 16.0"), {"dkms": True}, ["rocm_dkms", "sles 16.0", "Ubuntu and RHEL"]),
    (on(desktop(), "ubuntu 24.04", platform="container"), {"dkms": True}, ["rocm_dkms", "container"]),
    (on(desktop(), "gentoo 2"), {"source": "amd", "accept_unsupported": True}, ["nothing to install from"]),
    (
        on(desktop(), "ubuntu 24.04", rocm={"version": "10.1.0", "path": "/opt/rocm/core-10.1"}),
        {"source": "legacy"},
        ["10.1.0", "/opt/rocm/core-10.1", "uninstall"],
    ),
]


@pytest.mark.parametrize(("facts", "wishes", "said"), REFUSED)
def test_what_is_refused_names_what_would_work(facts, wishes, said):
    with pytest.raises(PlanError) as refusal:
        rocm(facts, **wishes)
    assert [word for word in said if word not in str(refusal.value)] == [], str(refusal.value)


# What the inventory may not write: the variable's name, its value, what the message says
BAD: list[tuple[str, Any, str]] = [
    ("source", "rocm", "Allowed: auto"),
    ("version", 10.1, "in quotes"),
    ("version", "10.1; rm", "in quotes"),
    ("mirror", "https://a b", "URL"),
    ("mirror", "https://a\nTrusted: yes", "URL"),
    ("mirror", "ftp://a", "URL"),
    ("mirror", "https://me:word@a", "'https://(hidden)@a'. Write the URL of a mirror"),
    ("key_url", "https://me:word@a/key", "without a password"),
    ("key_url", "https://a\\", "URL"),
    ("key_fingerprint", "1A693C5C", "40 hexadecimal digits"),
    ("key_fingerprint", f"{AMD_KEY}\n", "40 hexadecimal digits"),
    ("packages", "one", "list"),
    ("packages", ["--reinstall"], "list"),
    ("packages", ["a b"], "list"),
    ("packages", 5, "list"),
    ("accept_unsupported", "perhaps", "true or false"),
    ("dkms", 2, "true or false"),
    ("users", "alice", "list"),
    ("users", ["-a"], "list"),
    ("active_version", "new", "in quotes"),
    ("tensile_libpath", "relative/path", "absolute path"),
    ("tensile_libpath", "/a\nb", "absolute path"),
]


@pytest.mark.parametrize(("name", "value", "said"), BAD)
def test_a_bad_value_is_refused_with_its_variable(name, value, said):
    with pytest.raises(RocmError, match=re.escape(said)) as refusal:
        read_wishes({name: value})
    assert f"rocm_{name}" in str(refusal.value)


@pytest.mark.parametrize(
    ("source", "version", "other"), [("amd", "7.2.4", "legacy"), ("legacy", "10.1", "amd"), ("auto", "7.2.4", "amd")]
)
def test_a_version_belongs_to_its_line(source, version, other):
    with pytest.raises(RocmError, match=other):
        read_wishes({"source": source, "version": version})


def test_what_is_accepted_is_kept_in_mind():
    decided = rocm(on(halo(), "debian 13"), source="amd", accept_unsupported="yes")
    assert decided["install"] == ["amdrocm10.1-gfx1151"]
    assert len(decided["unsupported"]) == 1


def test_the_files_for_apt():
    (repository,) = rocm(on(halo(), "ubuntu 26.04"), source="amd")["repositories"]
    sources, pin = repository["files"]
    assert (repository["fingerprint"], repository["keyring"]) == (AMD_KEY, "/etc/apt/keyrings/amdrocm.gpg")
    assert repository["packages"] == ["amdrocm10.1-gfx1151"]
    assert sources["path"] == "/etc/apt/sources.list.d/amdrocm-stable.sources"
    assert "\nURIs: https://stable.repo.amd.com/rocm/core/packages/ubuntu2604/\nSuites: stable\n" in sources["content"]
    assert "\nSigned-By: /etc/apt/keyrings/amdrocm.gpg\n" in sources["content"]
    assert pin["content"].endswith('Package: amdrocm*\nPin: origin "stable.repo.amd.com"\nPin-Priority: 600\n')


def test_the_files_of_the_legacy_line_and_the_driver():
    decided = rocm(on(desktop(), "ubuntu 24.04"), source="legacy", version="7.1.0", dkms=True)
    line, driver = decided["repositories"]
    assert "\nURIs: https://repo.radeon.com/rocm/apt/7.1\nSuites: noble\n" in line["files"][0]["content"]
    assert "\nURIs: https://repo.radeon.com/amdgpu/30.30/ubuntu\nSuites: noble\n" in driver["files"][0]["content"]
    assert {line["fingerprint"], driver["fingerprint"]} == {LEGACY_KEY}
    assert decided["reboot"]


@pytest.mark.parametrize(
    ("distribution", "source", "folder", "url"),
    [
        ("rhel 10.2", "amd", "/etc/yum.repos.d", "https://stable.repo.amd.com/rocm/core/packages/rhel10/x86_64/"),
        ("rocky 9.8", "amd", "/etc/yum.repos.d", "https://stable.repo.amd.com/rocm/core/packages/rhel9/x86_64/"),
        ("sles 16.0", "amd", "/etc/zypp/repos.d", "https://stable.repo.amd.com/rocm/core/packages/sles16/x86_64/"),
        ("rhel 9.7", "legacy", "/etc/yum.repos.d", "https://repo.radeon.com/rocm/el9/7.2.4/main"),
        ("sles 15.7", "legacy", "/etc/zypp/repos.d", "https://repo.radeon.com/rocm/zyp/7.2.4/main"),
    ],
)
def test_the_files_for_rpm(distribution, source, folder, url):
    (repository,) = rocm(on(instinct(), distribution), source=source)["repositories"]
    (file,) = repository["files"]
    assert file["path"].startswith(folder)
    assert f"\nbaseurl={url}\n" in file["content"]
    assert f"\ngpgcheck=1\ngpgkey=file://{repository['keyring']}\n" in file["content"]
    assert repository["keyring"].startswith("/etc/pki/rpm-gpg/RPM-GPG-KEY-")


def test_a_mirror_has_amd_s_paths_and_amd_s_key():
    (repository,) = rocm(on(halo(), "ubuntu 26.04"), source="amd", mirror="https://mirror.example.org:8443/amd/")[
        "repositories"
    ]
    assert repository["url"] == "https://mirror.example.org:8443/amd/rocm/core/packages/ubuntu2604/"
    assert repository["key_url"] == "https://mirror.example.org:8443/amd/rocm/gpg/packages.gpg"
    assert repository["fingerprint"] == AMD_KEY
    assert 'Pin: origin "mirror.example.org"' in repository["files"][1]["content"]


@pytest.mark.parametrize(
    ("version", "path", "legacy"),
    [
        ("7.2.4", "/opt/rocm-7.2.4", True),
        ("7.2.4", "/opt/rocm", True),
        ("6.4", "/opt/rocm-6.4.0", True),
        ("7.13.0", "/opt/rocm/core-7.13", False),
        ("7.9.0", "/opt/rocm-7.9.0", False),
        ("10.1.0", "/opt/rocm/core-10.1", False),
        ("7.2.0", "/opt/rocm/core-7.2", False),
        ("5.7", "/usr", False),
    ],
)
def test_the_legacy_line_is_told_by_version_and_place(version, path, legacy):
    assert is_legacy(version, path) is legacy
    facts = on(desktop(), "ubuntu 24.04", rocm={"version": version, "path": path})
    assert rocm(facts, source="amd")["remove"] == ([{"version": version, "path": path}] if legacy else [])


def test_the_inventory_may_know_a_gpu_that_only_the_legacy_line_has():
    known = {"arches": {"gfx1032": {"official": {"7.2": "yes"}, "backend": "rocm"}}}
    facts = on(machine(amd("gfx1032", 8)), "ubuntu 24.04")
    decided = make_plan(facts, {"engine": "llama_server", "catalogue": known})["rocm"]
    assert (decided["source"], decided["install"]) == ("legacy", ["rocm7.2.4"])


def test_the_legacy_line_is_not_removed_for_itself():
    facts = on(desktop(), "ubuntu 24.04", rocm={"version": "7.2.3", "path": "/opt/rocm-7.2.3"})
    assert rocm(facts, source="legacy")["remove"] == []


def test_installed_libraries_are_enough_for_auto():
    facts = on(desktop(), "ubuntu 24.04", rocm={"version": "10.0.0", "path": "/opt/rocm/core-10.0"})
    decided = rocm(facts, "llama_server")
    assert (decided["source"], decided["reason"]) == ("none", "ROCm 10.0.0 is installed")


def test_kernels_of_one_s_own_reach_the_rungs_on_rocm_alone():
    plan = make_plan(on(halo(), "debian 13"), {"rocm": {"tensile_libpath": "/srv/rocblas/library"}})
    with_it = {r["backend"] for r in plan["rungs"] if "ROCBLAS_TENSILE_LIBPATH" in r["environment"]}
    assert with_it == {"rocm"}
    assert plan["rocm"]["environment"] == {"ROCBLAS_TENSILE_LIBPATH": "/srv/rocblas/library"}


def test_kernels_of_one_s_own_are_not_for_a_gpu_in_disguise():
    """Without code for gfx1103 the rung on ROCm pretends a gfx1102, and would look for that one's kernels."""
    plan = make_plan(on(minipc(), "debian 13"), {"rocm": {"tensile_libpath": "/srv/rocblas/library"}})
    assert any("HSA_OVERRIDE_GFX_VERSION" in rung["environment"] for rung in plan["rungs"])
    assert not any("ROCBLAS_TENSILE_LIBPATH" in rung["environment"] for rung in plan["rungs"])
    assert plan["rocm"]["environment"] == {}
    assert plan["rocm"]["refused"][0]["option"] == "rocm_tensile_libpath"
    older = make_plan(
        on(minipc(), "debian 13"), {"engine_version": "0.20.7", "rocm": {"tensile_libpath": "/srv/rocblas/library"}}
    )
    assert any("ROCBLAS_TENSILE_LIBPATH" in rung["environment"] for rung in older["rungs"])


def test_the_table_of_distributions_is_whole():
    for (name, version), known in DISTRIBUTIONS.items():
        assert known["family"] in ("apt", "dnf", "zypper"), (name, version)
        gfx = [g for line in ("amd", "legacy", "distribution") for g in (known.get(line) or {}).get("gfx") or []]
        assert set(gfx) <= set(ARCHES)
    assert find_distribution({"id": "almalinux", "version_id": "10.1"})["amd"]["path"] == "rhel10"
    assert find_distribution({"id": "ubuntu", "version_id": "23.10"}) == {}
    assert find_distribution({}) == {}


def test_the_page_is_what_the_code_says():
    written = (Path(__file__).parents[5] / "docs/rocm.md").read_text()
    assert written == page(), "python tools/rocm_page.py"
