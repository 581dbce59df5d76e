# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import os
import posixpath
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import (
    ReleaseError,
    link_problem,
    name_problem,
    unpack,
)
from hypothesis import given
from hypothesis import strategies as st

ZSTD = shutil.which("zstd")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def archive(path: Path, members: list[tarfile.TarInfo], content: bytes = b"content") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info in members:
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


REFUSED = {
    "absolute": ([member("/etc/passwd")], "is an absolute path"),
    "parent": ([member("lib/../../x")], "leaves the archive's root"),
    "link outside": ([member("lib/x", tarfile.SYMTYPE, "../../etc")], "leaves the archive's root"),
    "absolute link": ([member("x", tarfile.SYMTYPE, "/etc")], "absolute path /etc"),
    "hard link outside": ([member("x", tarfile.LNKTYPE, "../x")], "leaves the archive's root"),
    "absolute hard link": ([member("x", tarfile.LNKTYPE, "/etc/passwd")], "is an absolute path"),
    "character device": ([member("x", tarfile.CHRTYPE)], "device file or a FIFO"),
    "block device": ([member("x", tarfile.BLKTYPE)], "device file or a FIFO"),
    "fifo": ([member("x", tarfile.FIFOTYPE)], "device file or a FIFO"),
    "through a link": (
        [member("a", tarfile.DIRTYPE, mode=0o755), member("b", tarfile.SYMTYPE, "a"), member("b/x")],
        "through a link",
    ),
    "directory over a link": (
        [member("a", tarfile.DIRTYPE, mode=0o755), member("b", tarfile.SYMTYPE, "a"), member("b", tarfile.DIRTYPE)],
        "through a link",
    ),
    "climbing after descending": ([member("a/b/c", tarfile.SYMTYPE, "d/../../x")], "leaves the archive's root"),
}


@pytest.mark.parametrize(("members", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, members: list[tarfile.TarInfo], message: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ReleaseError, match=message):
        unpack(str(archive(tmp_path / "evil.tgz", members)), str(target), None)
    assert not (tmp_path / "x").exists()


def test_unpacks_files_links_and_modes(tmp_path: Path) -> None:
    members = [
        member("./", tarfile.DIRTYPE, mode=0o700),
        member("./bin/ollama", mode=0o4755),
        member("lib/a.so.1", mode=0o600),
        member("lib/a.so", tarfile.SYMTYPE, "a.so.1"),
        member("lib/v/b.so", tarfile.SYMTYPE, "../a.so"),
        member("lib/c.so", tarfile.LNKTYPE, "lib/a.so.1"),
    ]
    target = tmp_path / "target"
    target.mkdir()
    unpack(str(archive(tmp_path / "good.tgz", members)), str(target), None)
    assert (target / "bin/ollama").stat().st_mode & 0o7777 == 0o755
    assert (target / "lib/a.so.1").stat().st_mode & 0o7777 == 0o644
    assert (target / "lib/v/b.so").read_bytes() == b"content"
    assert (target / "lib/c.so").samefile(target / "lib/a.so.1")


def test_a_shared_file_is_replaced_not_written(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "in-use").write_bytes(b"old")
    os.link(tmp_path / "in-use", target / "x")
    unpack(str(archive(tmp_path / "a.tgz", [member("x")])), str(target), None)
    assert (tmp_path / "in-use").read_bytes() == b"old"
    assert (target / "x").read_bytes() == b"content"


@pytest.mark.skipif(not ZSTD, reason="the program zstd is not installed")
@pytest.mark.parametrize("cut", [0, 10], ids=["whole", "cut"])
def test_zstd(tmp_path: Path, cut: int) -> None:
    plain = tmp_path / "a.tar"
    with tarfile.open(plain, "w") as tar:
        info = member("x")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(os.urandom(100_000)))
    subprocess.run([str(ZSTD), "-q", plain], check=True)
    packed = tmp_path / "a.tar.zst"
    target = tmp_path / "target"
    target.mkdir()
    if cut:
        packed.write_bytes(packed.read_bytes()[: -cut * 1000])
        with pytest.raises(ReleaseError, match="cannot be unpacked"):
            unpack(str(packed), str(target), ZSTD)
    else:
        unpack(str(packed), str(target), ZSTD)
        assert (target / "x").stat().st_size == 100_000


def test_zstd_missing(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="install the package zstd"):
        unpack(str(tmp_path / "a.tar.zst"), str(tmp_path), None)


PATHS = st.lists(st.sampled_from(["..", ".", "", "a", "b"]), min_size=1, max_size=6).map("/".join)


@given(PATHS, PATHS)
def test_no_accepted_link_points_outside(name: str, target: str) -> None:
    if name_problem(name) or link_problem(name, target):
        return
    resolved = posixpath.normpath(posixpath.join("/root", posixpath.dirname(posixpath.normpath(name)), target))
    assert resolved == "/root" or resolved.startswith("/root/")
