# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys by their fingerprints, and repositories that are in place whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.openpgp import (
    KeyFormatError,
    armor,
    dearmor,
    public_keys,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.repository import (
    RepositoryError,
    Wanted,
    converge,
    fingerprints,
    try_apt,
    verified_key,
)
from hypothesis import given
from hypothesis import strategies as st

# Two keys that gpg 2.2 made (ed25519; the first with a subkey), and what it says of them.
ONE = "4CEF1A3EA816ECBC2BED22F8D92D21E307A0817B"
TWO = "0D34C27F7C0231EA4C2170F8E69CC80862E3BBBE"
BOTH = b"""\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawEzZhYJKwYBBAHaRw8BAQdAVjCfvOIZ01zx98vdRd0tyLLue//eLMtxCf8i
2kCC43q0E29uZSA8b25lQGxvY2FsaG9zdD6IkAQTFggAOBYhBEzvGj6oFuy8K+0i
+NktIeMHoIF7BQJrATNmAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJENkt
IeMHoIF7VtUA/i6kCEvQExsF94+i8zdFoKDDqXN75LlxftV8Ut39SqY1AQDbMiEC
qQxwaCYhNsXaBB8YIO0Zqy8ceUlNC97hElUBB7g4BGsBM2YSCisGAQQBl1UBBQEB
B0BZFODUc7cv131tyr+E8ROhfn+ONWSSE2t18MSVByyVEgMBCAeIeAQYFggAIBYh
BEzvGj6oFuy8K+0i+NktIeMHoIF7BQJrATNmAhsMAAoJENktIeMHoIF7xJoA/0eh
uABqxxa6bz0s1Y3ekdGpBI2+GxBoOH9E4TcTtz94AQDKmFCAqB34mol/XGILut1P
uFCtqiHfTWDwzwz3IL/gDJgzBGsBM2YWCSsGAQQB2kcPAQEHQMONs4qRdnoTPCWf
vQPLLyxZODM6w9ikHIXajYKjoQzTtBN0d28gPHR3b0Bsb2NhbGhvc3Q+iJAEExYI
ADgWIQQNNMJ/fAIx6kwhcPjmnMgIYuO7vgUCawEzZgIbAwULCQgHAgYVCgkICwIE
FgIDAQIeAQIXgAAKCRDmnMgIYuO7vgJTAP44RU7ToNduURSV9FGyI9YtHpRD9jC7
5gSpQxD1OFxinwD+Ktskjy1rSoEmJhAquSyBnPjPa5gXl11EhDDo2G9REwo=
=xSLW
-----END PGP PUBLIC KEY BLOCK-----
"""
OTHER = "0123456789ABCDEF0123456789ABCDEF01234567"


def test_fingerprints_are_those_that_gpg_says():
    assert list(public_keys(BOTH)) == [ONE, TWO]
    assert list(public_keys(dearmor(BOTH))) == [ONE, TWO]
    assert list(public_keys(BOTH.replace(b"\n", b"\r\n"))) == [ONE, TWO]
    assert b"".join(public_keys(BOTH).values()) == dearmor(BOTH)


def test_armor_has_the_checksum_that_gpg_writes():
    assert armor(dearmor(BOTH)).splitlines()[-2:] == BOTH.decode().splitlines()[-2:]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no OpenPGP key"),
        (b"<html>404</html>", "no OpenPGP key"),
        (BOTH.replace(b"mDME", b"mD!E"), "armor is broken"),
        (dearmor(BOTH)[:40], "cut off"),
        (dearmor(BOTH)[:1], "cut off"),
        (b"\xb4\x00", "does not begin with a public key"),
        (b"\x98\x01\x03", "version 3"),
        (b"\x9b\x00", "unknown length"),
        (b"\xc6\xe1\x00", "partial length"),
        (dearmor(BOTH) + b"\x01", "does not consist of"),
    ],
)
def test_what_is_no_key_is_said_so(data, said):
    with pytest.raises(KeyFormatError, match=said):
        public_keys(data)


@given(st.binary(max_size=200), st.booleans())
def test_nothing_else_is_raised(data, marked):
    with contextlib.suppress(KeyFormatError):
        public_keys(b"\x98" + data if marked else data)


@given(st.binary(min_size=1, max_size=300).map(lambda data: b"\x99" + data))
def test_armor_comes_off_again(data):
    assert dearmor(armor(data).encode()) == data


def wanted(tmp_path: Path, **more: Any) -> Wanted:
    sources = tmp_path / "etc/apt/sources.list.d/amdrocm-stable.sources"
    keyring = tmp_path / "etc/apt/keyrings/amdrocm.gpg"
    text = f"Types: deb\nURIs: http://example.org/rocm\nSuites: stable\nSigned-By: {keyring}\n"
    given_ = {
        "key_url": "http://example.org/key",
        "fingerprint": ONE,
        "keyring": str(keyring),
        "files": [{"path": str(sources), "content": text}],
        "packages": ["amdrocm10.1-gfx1151"],
    }
    return Wanted(**{**given_, **more})


class Network:
    def __init__(self, data: bytes = BOTH) -> None:
        self.data, self.asked, self.tried = data, 0, 0

    def fetch(self, _url: str) -> bytes:
        self.asked += 1
        return self.data

    def trial(self, _wanted: Wanted, _key: bytes) -> None:
        self.tried += 1


def have(tmp_path: Path, repositories: list[Wanted], network: Network, check: bool = False) -> bool:
    return converge(repositories, str(tmp_path / "state"), network.fetch, check, network.trial).changed


def tree(tmp_path: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_repository_comes_once_and_goes_without_a_trace(tmp_path):
    one, network = wanted(tmp_path), Network()
    assert have(tmp_path, [one], network, check=True)
    assert tree(tmp_path) == {}
    assert have(tmp_path, [one], network)
    assert fingerprints(Path(one.keyring).read_bytes()) == [ONE]
    assert Path(one.files[0]["path"]).read_text() == one.files[0]["content"]
    assert os.stat(one.keyring).st_mode & 0o777 == 0o644
    before = network.asked, network.tried
    assert before == (2, 2)
    assert not have(tmp_path, [one], network)
    assert (network.asked, network.tried) == before  # neither the network nor apt is asked again
    assert have(tmp_path, [], network, check=True)
    assert have(tmp_path, [], network)
    assert tree(tmp_path) == {}
    assert not have(tmp_path, [], network)


def test_what_was_there_before_comes_back(tmp_path):
    one, network = wanted(tmp_path), Network()
    path = Path(one.files[0]["path"])
    path.parent.mkdir(parents=True)
    path.write_text("somebody's own\n")
    assert have(tmp_path, [one], network)
    changed = {"path": str(path), "content": one.files[0]["content"] + "Enabled: yes\n"}
    assert have(tmp_path, [wanted(tmp_path, files=[changed])], network)  # our own text is not kept
    assert have(tmp_path, [], network)
    assert tree(tmp_path) == {"etc/apt/sources.list.d/amdrocm-stable.sources": b"somebody's own\n"}


def test_a_repository_that_is_wanted_no_more_makes_room(tmp_path):
    legacy = wanted(tmp_path, files=[{"path": str(tmp_path / "rocm.sources"), "content": "URIs: http://old\n"}])
    assert have(tmp_path, [legacy], Network())
    assert have(tmp_path, [wanted(tmp_path)], Network())
    assert not (tmp_path / "rocm.sources").exists()
    assert Path(legacy.keyring).exists()  # the new one has it, too


def test_a_wrong_key_in_the_keyring_is_replaced(tmp_path):
    one = wanted(tmp_path)
    have(tmp_path, [one], Network())
    Path(one.keyring).write_bytes(public_keys(BOTH)[TWO])
    assert have(tmp_path, [one], Network())
    assert fingerprints(Path(one.keyring).read_bytes()) == [ONE]
    Path(one.keyring).write_bytes(dearmor(BOTH))
    assert have(tmp_path, [one], Network())  # a second key in it would be trusted, too


@pytest.mark.parametrize(
    ("more", "data", "said"),
    [
        ({"fingerprint": OTHER}, BOTH, "4CEF 1A3E A816 ECBC 2BED 22F8 D92D 21E3 07A0 817B"),
        ({"fingerprint": OTHER}, BOTH, "not 0123 4567"),
        ({}, b"<html>", "is not taken for a key"),
    ],
)
def test_a_key_that_is_not_the_pinned_one_changes_nothing(tmp_path, more, data, said):
    with pytest.raises(RepositoryError, match=said):
        have(tmp_path, [wanted(tmp_path, **more)], Network(data))
    assert tree(tmp_path) == {}


def test_one_bad_repository_of_two_changes_nothing(tmp_path):
    second = wanted(tmp_path, keyring=str(tmp_path / "second.gpg"), fingerprint=OTHER)
    with pytest.raises(RepositoryError):
        have(tmp_path, [wanted(tmp_path), second], Network())
    assert tree(tmp_path) == {}


def test_a_network_that_is_away_is_said_so(tmp_path):
    def fetch(_url: str) -> bytes:
        raise OSError("Connection refused")

    with pytest.raises(RepositoryError, match=r"http://example.org/key cannot be had: Connection refused"):
        converge([wanted(tmp_path)], str(tmp_path / "state"), fetch, False, Network().trial)


def test_only_the_pinned_key_is_installed_in_the_form_that_is_read(tmp_path):
    assert verified_key(BOTH, wanted(tmp_path)) == public_keys(BOTH)[ONE]
    text = verified_key(BOTH, wanted(tmp_path, keyring="/etc/pki/rpm-gpg/RPM-GPG-KEY-amdrocm"))
    assert text.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    assert list(public_keys(text)) == [ONE]


def test_a_record_that_is_broken_is_none(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/files.json").write_text("{")
    assert have(tmp_path, [wanted(tmp_path)], Network())
    assert len(json.loads((tmp_path / "state/files.json").read_text())) == 2


POLICY = "{}:\n  Installed: (none)\n  Candidate: {}\n  Version table:\n"
# What apt says of update and of policy, and what is made of it.
APT: list[tuple[int, str, str, str]] = [
    (0, "Get:1 http://example.org/rocm stable InRelease", POLICY.format("amdrocm10.1-gfx1151", "10.1.0-1"), ""),
    (0, "", POLICY.format("amdrocm10.1-gfx1151", "(none)"), "has no package amdrocm10.1-gfx1151"),
    (0, "", "", "has no package amdrocm10.1-gfx1151"),
    (
        100,
        "E: Release file for http://example.org/rocm/dists/stable/InRelease is expired (invalid since 3d). Updates for "
        "this repository will not be applied.",
        "",
        "it is out of date",
    ),
    (
        100,
        "W: OpenPGP signature verification failed: http://example.org stable InRelease: Missing key 1234\n"
        "E: The repository 'http://example.org stable InRelease' is not signed.",
        "",
        "not signed with the pinned key",
    ),
    (
        100,
        "E: The repository 'http://example.org stable Release' does not have a Release file.",
        "",
        "no such repository",
    ),
    (100, "E: Failed to fetch http://example.org/  Could not connect to example.org:80", "", "cannot be reached"),
    (0, "W: Failed to fetch http://example.org/  Temporary failure resolving", "", "cannot be reached"),
    (127, "apt-get: No such file or directory", "", "apt refuses it"),
]


@pytest.mark.parametrize(("code", "update", "policy", "said"), APT)
def test_apt_is_asked_in_a_folder_of_its_own(tmp_path, code, update, policy, said):
    asked = []

    def ask(command: list[str]) -> tuple[int, str]:
        folder = next(part for part in command if part.startswith("Dir::Etc::SourceParts=")).partition("=")[2]
        (source,) = Path(folder).iterdir()
        asked.append((command, source.read_text(), Path(folder).parent))
        return (code, update) if command[0] == "apt-get" else (0, policy)

    if said:
        with pytest.raises(RepositoryError, match=said) as refusal:
            try_apt(wanted(tmp_path), b"key", ask)
        assert "http://example.org/rocm" in str(refusal.value)
    else:
        try_apt(wanted(tmp_path), b"key", ask)
    command, text, folder = asked[0]
    assert f"Signed-By: {folder}/key.gpg\n" in text
    assert f"Dir::State::Lists={folder}/lists" in command
    assert not folder.exists()
