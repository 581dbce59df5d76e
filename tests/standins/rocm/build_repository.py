# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build stand-ins for AMD's apt repositories: the layout, names, dependencies, alternatives and files are theirs.

usage: build_repository.py FOLDER

    FOLDER/repository/rocm/core/packages/debian13/  the 10.x line (suite stable); rocm/gpg/packages.gpg is its key
    FOLDER/repository/rocm/apt/7.2.4/               the legacy line (suite noble); rocm/rocm.gpg.key is the same key
    FOLDER/repository/{expired,wrong-key}/          the 10.x line, out of date, and signed with another key
    FOLDER/fingerprint                              of the throw-away key, which is made here and kept in FOLDER/gnupg

The packages hold a few bytes instead of gigabytes: Tensile files and libraries are there by name only. `rocminfo` tells
the agents of the stand-in's own topology.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

GFX = ("gfx1101", "gfx1151")
NEW = ("10.0", "10.1")
ROCBLAS = {"10.0": "5.4.0", "10.1": "5.5.0", "7.2.4": "5.2.70204"}
ROCMINFO = r"""#!/bin/sh
# A stand-in: the agents of the machine's (or the stand-in machine's) KFD topology, in rocminfo's format.
for root in /srv/machine ''; do
  nodes=$root/sys/class/kfd/kfd/topology/nodes
  [ -d "$nodes" ] || continue
  cat "$nodes"/*/properties | awk '$1 == "gfx_target_version" && $2 > 0 {
    printf "  Name:                    gfx%d%x%x\n", $2 / 10000, $2 / 100 % 100, $2 % 100; found = 1
  } END { exit !found }'
  exit
done
echo 'ROCk module is NOT loaded, possibly no GPU devices'
exit 1
"""
# What AMD's own scripts register (ROCm/TheRock build_tools/packaging/linux/template/scripts).
DIRECTORIES = ("bin", "lib")
POSTINST = """#!/bin/sh -e
[ "$1" = configure ] || exit 0
update-alternatives --install /opt/rocm/core core {prefix} {score}
for name in {directories}; do update-alternatives --install /opt/rocm/$name rocm-$name {prefix}/$name {score}; done
update-alternatives --install /usr/bin/rocminfo rocminfo {prefix}/bin/rocminfo {score}
"""
PRERM = """#!/bin/sh
[ "$1" = remove ] || exit 0
update-alternatives --remove core {prefix}
for name in {directories}; do update-alternatives --remove rocm-$name {prefix}/$name; done
update-alternatives --remove rocminfo {prefix}/bin/rocminfo
"""
LEGACY_POSTINST = """#!/bin/sh -e
[ "$1" = configure ] || exit 0
update-alternatives --install /opt/rocm rocm {prefix} {score}
update-alternatives --install /usr/bin/rocminfo rocminfo {prefix}/bin/rocminfo {score}
"""
LEGACY_PRERM = """#!/bin/sh
[ "$1" = remove ] || exit 0
update-alternatives --remove rocm {prefix}
update-alternatives --remove rocminfo {prefix}/bin/rocminfo
"""


def package(folder: Path, name: str, version: str, files: dict[str, str], depends: str = "", **scripts: str) -> None:
    """One .deb; files that begin with #! are executable."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made, name)
        (root / "DEBIAN").mkdir(parents=True)
        root.chmod(0o755)
        control = {
            "Package": name,
            "Version": version,
            "Architecture": "amd64",
            "Maintainer": "A stand-in <nobody@localhost>",
            "Depends": depends,
            "Description": "stand-in for AMD's package of this name",
        }
        text = "".join(f"{field}: {value}\n" for field, value in control.items() if value)
        (root / "DEBIAN/control").write_text(text)
        for script, content in scripts.items():
            (root / "DEBIAN" / script).write_text(content)
            (root / "DEBIAN" / script).chmod(0o755)
        for path, content in files.items():
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
            target.chmod(0o755 if content.startswith("#!") else 0o644)
        command = [
            "dpkg-deb",
            "--root-owner-group",
            "-Znone",
            "--build",
            str(root),
            str(folder / f"{name}_{version}_amd64.deb"),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def kernels(prefix: str, gfx: str) -> dict[str, str]:
    library = f"{prefix}/lib/rocblas/library"
    names = (
        f"TensileLibrary_lazy_{gfx}.dat",
        f"Kernels.so-000-{gfx}.hsaco",
        f"TensileLibrary_Type_HH_Contraction_{gfx}.co",
    )
    return {f"{library}/{name}": "stand-in" for name in names}


def new_line(pool: Path) -> None:
    for at, version in enumerate(NEW):
        prefix, full = f"/opt/rocm/core-{version}", f"{version}.0-1"
        texts = {"prefix": prefix, "directories": " ".join(DIRECTORIES), "score": 100 + at}
        base = {
            f"{prefix}/.info/version": f"{version}.0\n",
            f"{prefix}/bin/rocminfo": ROCMINFO,
            f"{prefix}/lib/libhsa-runtime64.so.1": "stand-in",
        }
        scripts = {"postinst": POSTINST.format(**texts), "prerm": PRERM.format(**texts)}
        package(pool, f"amdrocm-base{version}", full, base, **scripts)
        library = {f"{prefix}/lib/librocblas.so.{ROCBLAS[version]}": "stand-in"}
        package(pool, f"amdrocm-blas{version}", full, library, f"amdrocm-base{version} (= {full})")
        for gfx in GFX:
            own = f"amdrocm-blas{version}-{gfx}"
            package(pool, own, full, kernels(prefix, gfx), f"amdrocm-blas{version} (= {full})")
            package(pool, f"amdrocm{version}-{gfx}", full, {}, f"{own} (= {full})")
        everything = ", ".join(f"amdrocm{version}-{gfx} (= {full})" for gfx in GFX)
        package(pool, f"amdrocm{version}", full, {}, everything)


def legacy_line(pool: Path) -> None:
    version, full = "7.2.4", "7.2.4.70204-93~24.04"
    prefix = f"/opt/rocm-{version}"
    texts = {"prefix": prefix, "score": 70204}
    core = {f"{prefix}/.info/version": f"{version}-93\n"}
    scripts = {"postinst": LEGACY_POSTINST.format(**texts), "prerm": LEGACY_PRERM.format(**texts)}
    package(pool, f"rocm-core{version}", full, core, **scripts)
    package(pool, f"rocminfo{version}", full, {f"{prefix}/bin/rocminfo": ROCMINFO}, f"rocm-core{version}")
    blas = {f"{prefix}/lib/librocblas.so.{ROCBLAS[version]}": "stand-in"}
    for gfx in GFX:
        blas.update(kernels(prefix, gfx))
    package(pool, f"rocblas{version}", full, blas, f"rocm-core{version}")
    package(pool, f"rocm{version}", full, {}, f"rocblas{version}, rocminfo{version}")


def index(folder: Path, suite: str, gpg: list[str], user: str, valid: timedelta = timedelta(days=3650)) -> None:
    """Packages, Release and InRelease of what lies in pool/main, as apt-ftparchive would write them."""
    binary = folder / "dists" / suite / "main/binary-amd64"
    binary.mkdir(parents=True)
    stanzas = []
    for deb in sorted((folder / "pool/main").glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True).stdout
        data = deb.read_bytes()
        stanzas.append(
            f"{control}Filename: pool/main/{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
    (binary / "Packages").write_text("\n".join(stanzas))
    (binary / "Packages.gz").write_bytes(gzip.compress((binary / "Packages").read_bytes(), mtime=0))
    made = datetime.now(timezone.utc) - timedelta(days=30)
    lines = [
        "Origin: A stand-in",
        f"Suite: {suite}",
        f"Codename: {suite}",
        f"Date: {format_datetime(made, usegmt=True)}",
        f"Valid-Until: {format_datetime(made + valid, usegmt=True)}",
        "Architectures: amd64",
        "Components: main",
        "SHA256:",
    ]
    for path in sorted(binary.iterdir()):
        data = path.read_bytes()
        lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/{path.name}")
    release = folder / "dists" / suite / "Release"
    release.write_text("\n".join(lines) + "\n")
    sign = [*gpg, "--local-user", user, "--clearsign", "--output", str(release.with_name("InRelease")), str(release)]
    subprocess.run(sign, check=True)


def make_key(gpg: list[str], user: str) -> str:
    """The fingerprint of the user's key, which is made where there is none."""
    listing = [*gpg, "--with-colons", "--list-keys", user]
    found = subprocess.run(listing, check=False, capture_output=True, text=True)
    if found.returncode:
        make = [*gpg, "--passphrase", "", "--quick-generate-key", user, "rsa3072", "sign", "never"]
        subprocess.run(make, check=True, capture_output=True)
        found = subprocess.run(listing, check=True, capture_output=True, text=True)
    return re.findall(r"^fpr:+([0-9A-F]{40}):", found.stdout, re.MULTILINE)[0]


def build(folder: Path) -> None:
    home, stamp = folder / "gnupg", folder / "fingerprint"
    stamp.unlink(missing_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--yes"]
    ours, others = "Stand-in of AMD <standin@localhost>", "Somebody else <other@localhost>"
    fingerprint = make_key(gpg, ours)
    make_key(gpg, others)
    folder = folder / "repository"
    shutil.rmtree(folder, ignore_errors=True)
    new, old = folder / "rocm/core/packages/debian13", folder / "rocm/apt/7.2.4"
    for tree, fill in ((new, new_line), (old, legacy_line)):
        (tree / "pool/main").mkdir(parents=True)
        fill(tree / "pool/main")
    variants = {"expired": (timedelta(days=7), ours), "wrong-key": (timedelta(days=3650), others)}
    for variant, (valid, user) in variants.items():
        tree = folder / variant / "rocm/core/packages/debian13"
        shutil.copytree(new, tree)
        index(tree, "stable", gpg, user, valid)
    index(new, "stable", gpg, ours)
    index(old, "noble", gpg, ours)
    key = subprocess.run([*gpg, "--export", "--armor", fingerprint], check=True, capture_output=True).stdout
    for name in (
        "rocm/gpg/packages.gpg",
        "rocm/rocm.gpg.key",
        "expired/rocm/gpg/packages.gpg",
        "wrong-key/rocm/gpg/packages.gpg",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(key)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=False)
    # Named last: an interrupted build is not taken for a finished one.
    stamp.write_text(fingerprint)


def main(folder: Path) -> None:
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    stamp = folder / "made-from"
    if stamp.exists() and stamp.read_text() == source:
        return
    build(folder)
    stamp.write_text(source)
    print(f"packed {folder}")


if __name__ == "__main__":
    os.umask(0o022)
    main(Path(sys.argv[1]))
