# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ROCm from a stand-in of AMD's repositories: the legacy line, the new one, side by side, and gone without a trace.

In the order of the file: each test goes on where the one before has left the hosts. The role is run without the engine,
and `xeon` walks along with what wants a host without an AMD GPU.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
CACHE = PROJECT / ".cache/rocm"
PLAY = "molecule/fleet/plays/rocm.yml"
ADMIN_GROUP = "ollama-gpu-105"
UNINSTALL = "--extra-vars=fleet_rocm_tasks=uninstall"


@pytest.fixture(scope="module")
def amd(mirror):
    """What makes a host take the stand-in for AMD: the URL and the fingerprint of its key."""
    subprocess.run([sys.executable, "tests/standins/rocm/build_repository.py", str(CACHE)], cwd=PROJECT, check=True)
    (mirror.folder / "amd").symlink_to(CACHE / "repository")
    return {"rocm_mirror": f"{mirror.url}/amd", "rocm_key_fingerprint": (CACHE / "fingerprint").read_text()}


@pytest.fixture(scope="module")
def new_line(amd):
    return {**amd, "rocm_source": "amd", "rocm_accept_unsupported": True}


def play(fleet, batch, *arguments):
    return fleet.play(batch, *arguments, playbook=PLAY)


def converges(fleet, batch, *arguments):
    run = play(fleet, batch, *arguments)
    assert run.code == 0, run.output
    return run


def packages(fleet, host="halo"):
    return set(
        fleet.do(host, "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' | sed -n 's/^installed //p'").split()
    )


def refused(fleet, batch):
    """One message with these words for each host, and nothing is changed."""
    before = fleet.trees(batch), fleet.on(batch, lambda host: packages(fleet, host))
    run = play(fleet, {host: variables for host, (variables, _said) in batch.items()})
    assert run.code == 2, run.output
    for host, (_variables, said) in batch.items():
        messages = run.failed(host)
        assert len(messages) == 1, messages
        assert [word for word in said if word not in messages[0]] == [], messages
        assert run.changed(host) == []
    assert (fleet.trees(batch), fleet.on(batch, lambda host: packages(fleet, host))) == before


def test_combinations_that_amd_does_not_support(fleet, amd):
    elsewhere = ["ROCm 10", "Ryzen", "gfx1151", "debian 13", "Ubuntu 26.04", "rocm_accept_unsupported"]
    old = {**amd, "rocm_source": "amd", "rocm_version": "7.2.4"}
    batch = {
        "halo": ({**amd, "rocm_source": "amd"}, elsewhere),
        "xeon": (old, ["rocm_version", "7.2.4", "10.1", "legacy"]),
    }
    refused(fleet, batch)


def test_dkms_on_an_apu_and_an_expired_repository(fleet, new_line):
    expired = {**new_line, "rocm_mirror": f"{new_line['rocm_mirror']}/expired"}
    dkms = {**new_line, "rocm_dkms": True}
    batch = {
        "halo": (dkms, ["rocm_dkms", "gfx1151", "Ryzen APU", "kernel's own amdgpu"]),
        "xeon": (expired, ["out of date", "expired", "clock"]),
    }
    refused(fleet, batch)


def test_a_key_that_is_not_the_pinned_one_and_a_signature_of_another(fleet, new_line):
    wrong = {**new_line, "rocm_key_fingerprint": "0123456789ABCDEF0123456789ABCDEF01234567"}
    shown = re.sub("(.{4})(?!$)", r"\1 ", new_line["rocm_key_fingerprint"])
    other = {**new_line, "rocm_mirror": f"{new_line['rocm_mirror']}/wrong-key"}
    batch = {
        "halo": (wrong, ["fingerprint", shown, "0123 4567", "packages.gpg"]),
        "xeon": (other, ["not signed with the pinned key", "wrong-key"]),
    }
    refused(fleet, batch)


def test_the_legacy_line_and_the_distribution_s_own(fleet, new_line):
    """Debian's rocminfo is really Debian's; on a host without an AMD GPU no library goes with it."""
    before = packages(fleet), packages(fleet, "xeon")
    converges(fleet, {"halo": {**new_line, "rocm_source": "legacy"}, "xeon": {"rocm_source": "distribution"}})
    assert {"rocm7.2.4", "rocblas7.2.4", "rocminfo7.2.4"} <= packages(fleet) - before[0]
    assert fleet.do("halo", "readlink -f /opt/rocm") == "/opt/rocm-7.2.4"
    assert "rocminfo" in packages(fleet, "xeon") - before[1]


def test_the_plan_tells_the_upgrade_beforehand(fleet, new_line):
    run = fleet.play({"halo": new_line}, playbook="playbooks/plan.yml")
    assert run.code == 0, run.output
    text = " ".join(str(run.of("halo", task="What would be done, and why")[0]["msg"]).split())
    assert "First removed: ROCm 7.2.4 at /opt/rocm" in text
    assert "Installed: amdrocm10.1-gfx1151." in text
    assert new_line["rocm_key_fingerprint"] in text
    assert "accepted by the inventory: AMD does not support ROCm 10 for Ryzen GPUs" in text


def test_a_check_of_the_upgrade_changes_nothing_and_tells_all(fleet, new_line):
    before, there = fleet.trees(["halo"]), packages(fleet)
    run = converges(fleet, {"halo": {**new_line, "rocm_version": "10.0"}}, "--check")
    assert (fleet.trees(["halo"]), packages(fleet)) == (before, there)
    assert any("would be removed" in task for task in run.changed("halo"))
    assert any("would be installed" in task for task in run.changed("halo"))


def test_the_legacy_line_goes_before_the_new_one_comes(fleet, new_line):
    run = converges(fleet, {"halo": {**new_line, "rocm_version": "10.0", "rocm_users": ["admin"]}})
    there = packages(fleet)
    assert {"amdrocm10.0-gfx1151", "amdrocm-blas10.0-gfx1151"} <= there
    assert "amdrocm-blas10.0-gfx1101" not in there
    assert not {name for name in there if name.endswith("7.2.4")}
    tasks = run.changed("halo")
    removed = next(at for at, task in enumerate(tasks) if "legacy line are gone" in task)
    assert removed < next(at for at, task in enumerate(tasks) if "Packages are installed" in task)
    assert fleet.do("halo", "find /etc/apt -name 'rocm*'") == ""
    assert "admin" in fleet.do("halo", f"getent group {ADMIN_GROUP}")


def test_versions_lie_side_by_side_and_the_active_one_is_chosen(fleet, new_line):
    """Kernels of one's own for the installed rocBLAS 5.4 are taken in the same breath."""
    for version in ("4.3.0", "5.4.9"):
        folder = f"/srv/rocblas-{version}/lib"
        files = f"{folder}/librocblas.so.{version} {folder}/rocblas/library/TensileLibrary_lazy_gfx1151.dat"
        fleet.do("halo", f"mkdir -p {folder}/rocblas/library; touch {files}")
    older = {
        **new_line,
        "rocm_active_version": "10.0",
        "rocm_hold": True,
        "rocm_users": ["admin"],
        "rocm_tensile_libpath": "/srv/rocblas-5.4.9/lib/rocblas/library",
    }
    converges(fleet, {"halo": older})
    assert {"amdrocm10.0-gfx1151", "amdrocm10.1-gfx1151"} <= packages(fleet)
    assert fleet.do("halo", "readlink -f /opt/rocm/core /opt/rocm/lib /usr/bin/rocminfo").split() == [
        "/opt/rocm/core-10.0",
        "/opt/rocm/core-10.0/lib",
        "/opt/rocm/core-10.0/bin/rocminfo",
    ]
    assert fleet.do("halo", "apt-mark showhold") == "amdrocm10.1-gfx1151"
    for arguments in ([], ["--check"]):
        again = converges(fleet, {"halo": older, "xeon": {"rocm_source": "distribution"}}, *arguments)
        assert (again.changed("halo"), again.changed("xeon")) == ([], [])


def test_kernels_of_another_rocblas_are_refused(fleet, new_line):
    with_kernels = {**new_line, "rocm_tensile_libpath": "/srv/rocblas-4.3.0/lib/rocblas/library"}
    refused(fleet, {"halo": (with_kernels, ["rocm_tensile_libpath", "4.3.0", "5.4.0", "5.5.0"])})
    fleet.do("halo", "rm -r /srv/rocblas-*")


def test_files_that_are_missing_fail_the_host_whatever_the_package_manager_says(fleet, new_line):
    """The wanted version is the active one again, and that is seen before."""
    kernels = "/opt/rocm/core-10.1/lib/rocblas/library"
    fleet.do("halo", f"mv {kernels} {kernels}.away")
    run = play(fleet, {"halo": new_line})
    fleet.do("halo", f"mv {kernels}.away {kernels}")
    assert run.code == 2
    assert "Tensile files for no architecture, not for gfx1151" in run.failed("halo")[0]
    assert fleet.do("halo", "readlink -f /opt/rocm/core") == "/opt/rocm/core-10.1"


def test_a_removal_leaves_nothing_of_it(fleet):
    before = packages(fleet)
    converges(fleet, ["halo", "xeon"], UNINSTALL)
    assert {name for name in packages(fleet) if "rocm" in name} == set()
    assert before - packages(fleet) == {name for name in before if "rocm" in name}
    assert "rocminfo" not in packages(fleet, "xeon")
    assert fleet.do("halo", "find /opt/rocm* /etc/apt /var/lib/lamplighter -name '*rocm*' || true") == ""
    assert ADMIN_GROUP not in fleet.do("halo", "id -nG admin")
    again = converges(fleet, ["halo", "xeon"], UNINSTALL)
    assert (again.changed("halo"), again.changed("xeon")) == ([], [])


def test_where_the_engine_brings_its_own_it_is_one_skipped_task(fleet):
    run = converges(fleet, ["halo"])
    skipped = run.of("halo", status="skipped")
    assert [result["task"] for result in skipped] == ["ROCm is as the plan says"]
    assert run.changed("halo") == []
