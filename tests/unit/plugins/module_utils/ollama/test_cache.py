# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller that fetches once for the hosts that arrive at the same moment."""

from __future__ import annotations

import functools
import hashlib
import http.server
import itertools
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama import cache, release
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.archives import Archive, Request
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.download import Progress
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.unpack import ReleaseError

QUIET = Progress(None)
CONTENT = {"base.tar.zst": b"base" * 1000, "rocm.tar.zst": b"rocm" * 1000}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


class Slow(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, asked: list[str], **options: object) -> None:
        self.asked = asked
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        time.sleep(0.2)
        super().do_GET()


class Mirror:
    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.folder = folder
        folder.mkdir()
        for name, content in CONTENT.items():
            (folder / name).write_bytes(content)
        (folder / "sha256sum.txt").write_text("".join(f"{SHA256[name]}  ./{name}\n" for name in CONTENT))
        handler = functools.partial(Slow, directory=str(folder), asked=self.asked)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    mirror = Mirror(tmp_path / "mirror")
    yield mirror
    mirror.server.shutdown()
    mirror.server.server_close()


def request(tmp_path: Path, mirror: Mirror, *names: str) -> Request:
    archives = [Archive(name, f"{mirror.url}/{name}") for name in names or CONTENT]
    return Request(
        str(tmp_path / "cache"), "0.32.15", archives, checksums_url=f"{mirror.url}/sha256sum.txt", unpack=False
    )


def names(archives: list[Archive]) -> list[str]:
    return [archive.name for archive in archives]


def test_hosts_that_arrive_together_fetch_once(tmp_path: Path, mirror: Mirror) -> None:
    def host(number: int) -> list[str]:
        # One of them has no AMD GPU.
        wanted = ["base.tar.zst"] if number == 0 else list(CONTENT)
        return names(cache.run(request(tmp_path, mirror, *wanted), QUIET, check_mode=False).missing)

    with ThreadPoolExecutor(6) as hosts:
        fetched = list(hosts.map(host, range(6)))
    assert sorted(path for path in mirror.asked if path.endswith(".zst")) == ["/base.tar.zst", "/rocm.tar.zst"]
    assert sorted(itertools.chain(*fetched)) == sorted(CONTENT), "who waited has fetched nothing"
    folder = tmp_path / "cache/downloads/0.32.15"
    assert {name: (folder / name).read_bytes() for name in os.listdir(folder)} == CONTENT


def test_what_is_fetched_stays(tmp_path: Path, mirror: Mirror) -> None:
    assert names(cache.run(request(tmp_path, mirror), QUIET, check_mode=True).missing) == list(CONTENT)
    assert not (tmp_path / "cache").exists()
    state = cache.run(request(tmp_path, mirror), QUIET, check_mode=False)
    assert state.sha256 == SHA256
    for check_mode in (True, False):
        state = cache.run(request(tmp_path, mirror), QUIET, check_mode)
        assert state.satisfied("0.32.15")
        assert state.sha256 == SHA256


def test_a_damaged_archive_is_fetched_again(tmp_path: Path, mirror: Mirror) -> None:
    cache.run(request(tmp_path, mirror), QUIET, check_mode=False)
    damaged = tmp_path / "cache/downloads/0.32.15/rocm.tar.zst"
    damaged.write_bytes(b"r0cm" * 1000)
    assert names(cache.run(request(tmp_path, mirror), QUIET, check_mode=True).missing) == ["rocm.tar.zst"]
    assert names(cache.run(request(tmp_path, mirror), QUIET, check_mode=False).missing) == ["rocm.tar.zst"]
    assert damaged.read_bytes() == CONTENT["rocm.tar.zst"]


def test_an_interrupted_download_is_continued(tmp_path: Path, mirror: Mirror) -> None:
    folder = tmp_path / "cache/downloads/0.32.15"
    folder.mkdir(parents=True)
    (folder / "base.tar.zst.part").write_bytes(CONTENT["base.tar.zst"])
    # This server knows no ranges: it sends the whole, which is taken as such.
    cache.run(request(tmp_path, mirror, "base.tar.zst"), QUIET, check_mode=False)
    assert os.listdir(folder) == ["base.tar.zst"]


def test_a_copy_that_came_damaged_is_refused_and_not_fetched_from_the_host(tmp_path: Path, mirror: Mirror) -> None:
    copied = request(tmp_path, mirror, "base.tar.zst")
    copied.unpack, copied.fetch = True, False
    folder = Path(copied.downloads)
    folder.mkdir(parents=True)
    (folder / "base.tar.zst").write_bytes(b"cut")
    with pytest.raises(ReleaseError, match="it was removed, place it again"):
        release.run(copied, QUIET, check_mode=False)
    assert os.listdir(folder) == []
    assert mirror.asked == ["/sha256sum.txt"]


def test_a_version_that_leads_elsewhere_is_refused(tmp_path: Path, mirror: Mirror) -> None:
    wanted = request(tmp_path, mirror)
    wanted.version = "../../elsewhere"
    with pytest.raises(ReleaseError, match="is not a version"):
        cache.run(wanted, QUIET, check_mode=False)


ROOM = 30_000


@pytest.mark.parametrize(
    ("unpack", "arrived", "fits"),
    [
        (True, 0, False),  # 8 kB to come, and 24 kB unpacked
        (True, 4000, True),  # what has arrived takes no room any more
        (False, 0, True),  # nothing is unpacked
    ],
)
def test_room(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, unpack: bool, arrived: int, fits: bool
) -> None:
    wanted = request(tmp_path, mirror)
    wanted.unpack = unpack
    Path(wanted.downloads).mkdir(parents=True)
    if arrived:
        (Path(wanted.downloads) / "base.tar.zst.part").write_bytes(CONTENT["base.tar.zst"][:arrived])
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result((1, 1, 0, 0, ROOM, 0, 0, 0, 0, 255)))
    run = cache.run if not unpack else release.run
    if fits:
        run(wanted, QUIET, check_mode=True)
    else:
        with pytest.raises(ReleaseError, match="needs 32 kB free"):
            run(wanted, QUIET, check_mode=True)


def test_without_a_list_of_checksums_one_can_pin(tmp_path: Path, mirror: Mirror) -> None:
    wanted = request(tmp_path, mirror, "base.tar.zst")
    wanted.checksums_url = f"{mirror.url}/none.txt"
    with pytest.raises(ReleaseError, match=r"404.*or pin the sha256 of base\.tar\.zst"):
        cache.run(wanted, QUIET, check_mode=True)
