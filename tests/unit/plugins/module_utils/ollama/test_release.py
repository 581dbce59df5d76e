# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import urllib.request
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama import download, release
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.release import Archive, ReleaseError, Request

QUIET = Progress(None)


class Host:
    """A directory for a host and a mirror of file:// addresses."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "opt"
        self.mirror = folder / "mirror"
        self.link = folder / "bin" / "ollama"

    def publish(self, version: str, **files: str) -> None:
        """Archives base.tgz and rocm.tgz of a version, with their list of checksums."""
        folder = self.mirror / version
        folder.mkdir(parents=True, exist_ok=True)
        contents = {"base": {"bin/ollama": version, "lib/ollama/v.so": "v"}, "rocm": {"lib/ollama/rocm/r.so": "r"}}
        contents["base"].update(files)
        sums = ""
        for name, members in contents.items():
            path = folder / f"{name}.tgz"
            with tarfile.open(path, "w:gz") as tar:
                for member, text in members.items():
                    info = tarfile.TarInfo(member)
                    info.size, info.mode = len(text), 0o755
                    tar.addfile(info, io.BytesIO(text.encode()))
            sums += f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.name}\n"
        (folder / "sha256sum.txt").write_text(sums)

    def request(self, version: str, *names: str, keep: int = 1, sha256: str | None = None) -> Request:
        base = f"file://{self.mirror}/{version}"
        return Request(
            root=str(self.root),
            version=version,
            archives=[Archive(f"{name}.tgz", f"{base}/{name}.tgz", sha256) for name in names or ("base",)],
            checksums_url=f"{base}/sha256sum.txt",
            link=str(self.link),
            keep=keep,
        )

    def run(self, version: str, *names: str, check_mode: bool = False, keep: int = 1) -> bool:
        """Runs once; tells whether something changed."""
        request = self.request(version, *names, keep=keep)
        return not release.run(request, QUIET, check_mode).satisfied(version)

    def versions(self) -> list[str]:
        return sorted(os.listdir(self.root / "versions"))

    def engine(self) -> str:
        return self.link.read_text()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    # The mirror is a folder here; Ansible's own opener would read the certificates for every file.
    monkeypatch.setattr(download, "open_url", lambda url, **_options: urllib.request.urlopen(url))
    host = Host(tmp_path)
    for version in ("0.1.0", "0.2.0", "0.3.0", "0.4.0"):
        host.publish(version)
    return host


def test_install_and_nothing_more_to_do(host: Host) -> None:
    assert host.run("0.1.0")
    assert host.engine() == "0.1.0"
    assert sorted(os.listdir(host.root)) == [".lock", "current", "versions"]
    shutil.rmtree(host.mirror)
    assert not host.run("0.1.0")


def test_on_a_host_with_selinux_each_file_gets_its_label_before_it_is_used(host: Host, tmp_path: Path) -> None:
    host.publish("1.0.0")
    tool = tmp_path / "restorecon"
    tool.write_text(f'#!/bin/sh\n[ "$1" = -R ] && [ ! -e {host.root}/current ] && cp -r "$2" {tmp_path}/labelled\n')
    tool.chmod(0o755)
    request = host.request("1.0.0")
    request.restorecon = str(tool)
    release.run(request, QUIET, check_mode=False)
    assert (tmp_path / "labelled/bin/ollama").is_file()
    tool.write_text("#!/bin/sh\nexit 1\n")
    host.publish("2.0.0")
    request = host.request("2.0.0")
    request.restorecon = str(tool)
    with pytest.raises(ReleaseError, match="SELinux"):
        release.run(request, QUIET, check_mode=False)
    assert os.readlink(host.root / "current") == "versions/1.0.0"


def test_check_mode_writes_nothing(host: Host) -> None:
    assert host.run("0.1.0", check_mode=True)
    assert not host.root.exists()


def test_the_change_is_shown(host: Host) -> None:
    request = host.request("0.1.0", "base", "rocm")
    state = release.run(request, QUIET, check_mode=True)
    shown = release.difference(request, state)
    assert shown["before"] == "version: none\n"
    assert shown["after"].startswith("version: 0.1.0\nfetched: base.tgz (")
    assert "fetched: rocm.tgz (" in shown["after"]


def test_an_archive_added_later_shares_what_is_there(host: Host) -> None:
    host.run("0.1.0")
    inode = (host.root / "current/bin/ollama").stat().st_ino
    assert host.run("0.1.0", "base", "rocm")
    assert (host.root / "current/lib/ollama/rocm/r.so").read_text() == "r"
    assert (host.root / "current/bin/ollama").stat().st_ino == inode
    assert not host.run("0.1.0", "base", "rocm")
    assert not host.run("0.1.0")


def test_going_back_needs_no_mirror(host: Host) -> None:
    host.run("0.1.0")
    host.run("0.2.0")
    shutil.rmtree(host.mirror)
    assert host.run("0.1.0")
    assert host.engine() == "0.1.0"
    assert host.versions() == ["0.1.0", "0.2.0"]


PRUNED: list[tuple[int, list[str]]] = [
    (0, ["0.3.0", "0.4.0"]),
    (1, ["0.3.0", "0.4.0"]),
    (2, ["0.2.0", "0.3.0", "0.4.0"]),
    (9, ["0.1.0", "0.2.0", "0.3.0", "0.4.0"]),
]


@pytest.mark.parametrize(("keep", "left"), PRUNED)
def test_old_versions_are_pruned_but_never_the_one_before(host: Host, keep: int, left: list[str]) -> None:
    for version in ("0.1.0", "0.2.0", "0.3.0", "0.4.0"):
        host.run(version, keep=keep)
    assert host.versions() == left
    assert not host.run("0.4.0", keep=keep)


def test_a_damaged_installation_is_repaired(host: Host) -> None:
    host.run("0.1.0")
    (host.root / "current/lib/ollama/v.so").write_text("too long")
    assert host.run("0.1.0")
    assert (host.root / "current/lib/ollama/v.so").read_text() == "v"


def test_another_pinned_checksum_installs_anew(host: Host) -> None:
    host.run("0.1.0")
    host.publish("0.1.0", **{"lib/ollama/new.so": "n"})
    digest = hashlib.sha256((host.mirror / "0.1.0/base.tgz").read_bytes()).hexdigest()
    release.run(host.request("0.1.0", sha256=digest), QUIET, check_mode=False)
    assert (host.root / "current/lib/ollama/new.so").read_text() == "n"


@pytest.mark.parametrize("target", ["a file", "a link"])
def test_a_foreign_command_is_left_alone(host: Host, target: str) -> None:
    host.link.parent.mkdir()
    if target == "a file":
        host.link.write_text("theirs")
    else:
        host.link.symlink_to("/elsewhere/ollama")
    state = release.run(host.request("0.1.0"), QUIET, check_mode=False)
    assert state.link_foreign
    assert os.path.islink(host.link) == (target == "a link")
    assert not host.run("0.1.0")


def test_a_wrong_checksum_touches_nothing(host: Host) -> None:
    host.run("0.1.0")
    with pytest.raises(ReleaseError, match="nothing was installed"):
        release.run(host.request("0.2.0", sha256="0" * 64), QUIET, check_mode=False)
    assert host.engine() == "0.1.0"
    assert host.versions() == ["0.1.0"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_refusals(host: Host, monkeypatch: pytest.MonkeyPatch, check_mode: bool) -> None:
    def refuse(request: Request, message: str) -> None:
        with pytest.raises(ReleaseError, match=message):
            release.run(request, QUIET, check_mode)
        assert not (host.root / "current").exists()

    refuse(host.request("../0.1.0"), "is not a version")
    refuse(host.request("0.9.0"), "cannot fetch")
    refuse(host.request("0.1.0", "base", "jetpack"), "has no sha256 for jetpack.tgz")
    unlisted = host.request("0.1.0")
    unlisted.checksums_url = None
    refuse(unlisted, "no sha256 is known for base.tgz")
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result((512, 512, 0, 0, 0, 0, 0, 0, 0, 255)))
    refuse(host.request("0.1.0"), r"needs \d+ B free .* but .* has 0 B")


def test_an_archive_without_the_engine_is_refused(host: Host) -> None:
    with pytest.raises(ReleaseError, match="hold no executable bin/ollama"):
        host.run("0.1.0", "rocm")
    assert host.versions() == []


def test_without_fetching_the_archives_must_be_there(host: Host) -> None:
    request = host.request("0.1.0")
    request.fetch = False
    with pytest.raises(ReleaseError, match="may not be fetched"):
        release.run(request, QUIET, check_mode=False)
    Path(request.downloads).mkdir(parents=True, exist_ok=True)
    shutil.copy(host.mirror / "0.1.0/base.tgz", request.downloads)
    release.run(request, QUIET, check_mode=False)
    assert host.engine() == "0.1.0"


def test_a_version_being_exchanged_comes_back_without_the_mirror(host: Host) -> None:
    host.run("0.1.0")
    os.rename(host.root / "versions/0.1.0", host.root / "versions/.0.1.0.old")
    shutil.rmtree(host.mirror)
    assert host.run("0.1.0")
    assert host.engine() == "0.1.0"
    assert host.versions() == ["0.1.0"]


def test_the_switch_has_no_moment_without_a_current_version(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("0.1.0")
    host.run("0.2.0")
    monkeypatch.setattr(os, "unlink", lambda path, **_options: pytest.fail(f"{path} was removed"))
    host.run("0.1.0")
    assert host.engine() == "0.1.0"


class Killed(BaseException):
    """The process is gone: no clean-up of ours may run, as after SIGKILL."""


STEPS: list[tuple[str, Callable]] = [
    ("rename", os.rename),
    ("symlink", os.symlink),
    ("replace", os.replace),
    ("mkdir", os.mkdir),
    ("unlink", os.unlink),
]


@pytest.mark.parametrize("before", [None, "0.1.0", "0.2.0"], ids=["virgin", "older", "rocm added"])
@pytest.mark.parametrize(("name", "real"), STEPS, ids=[name for name, _real in STEPS])
def test_killed_anywhere_converges(
    host: Host, monkeypatch: pytest.MonkeyPatch, name: str, real: Callable, before: str | None
) -> None:
    """Kills the installation before its n-th step of a kind, for every n, and runs it again."""
    for count in range(50):
        shutil.rmtree(host.root, ignore_errors=True)
        host.link.unlink(missing_ok=True)
        if before:
            host.run(before)
        left = count

        def step(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, step)
            patch.setattr(release.shutil, "rmtree", lambda *_a, **_o: None)
            try:
                host.run("0.2.0", "base", "rocm")
                return
            except Killed:
                pass
        current = release.linked_version(str(host.root), "current")
        if current and (host.root / "current").exists():
            assert release.read_manifest(str(host.root / "current")), f"half-installed in use after {name} {count}"
        host.run("0.2.0", "base", "rocm")
        assert host.engine() == "0.2.0"
        assert (host.root / "current/lib/ollama/rocm/r.so").exists()
        assert [entry for entry in host.versions() if entry.startswith(".")] == []
    pytest.fail("the installation never ran through")


@pytest.mark.parametrize(
    ("made", "left"),
    [
        (["llama-b1/llama-server", "llama-b1/lib.so"], ["lib.so", "llama-server"]),
        (["build/bin/llama-server", "build/bin/lib.so"], ["lib.so", "llama-server"]),
        (["llama-b1/llama-b1", "llama-b1/lib.so"], ["lib.so", "llama-b1"]),
        (["bin/ollama", "lib/ollama/v.so"], ["bin", "lib"]),
        (["llama-server"], ["llama-server"]),
    ],
)
def test_folders_that_hold_all_the_rest_are_left_out(tmp_path: Path, made: list[str], left: list[str]) -> None:
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    release.flatten(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == left


def test_a_build_of_llama_cpp_is_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "open_url", lambda url, **_options: urllib.request.urlopen(url))
    packed = tmp_path / "llama-b10488-bin-ubuntu-x64.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        info = tarfile.TarInfo("llama-b10488/llama-server")
        info.mode = 0o755
        tar.addfile(info, io.BytesIO(b""))
    version = "b10488-ubuntu-x64"
    request = Request(
        root=str(tmp_path / "opt"),
        version=version,
        archives=[Archive(packed.name, packed.as_uri(), hashlib.sha256(packed.read_bytes()).hexdigest())],
        binary="llama-server",
        flatten=True,
    )
    assert not release.run(request, QUIET, check_mode=False).satisfied(version)
    assert os.access(tmp_path / "opt/versions" / version / "llama-server", os.X_OK)
    assert release.run(request, QUIET, check_mode=False).satisfied(version)
