# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package repository that is in place whole, with a key of the right fingerprint, or not at all.

Everything is tried in a folder of its own first: apt itself says whether the signature, the date and the packages are
as they should be. Only then is the host changed. What was at a path before is kept and comes back.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from typing import Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.process import started
from ansible_collections.lamplighter.fleet.plugins.module_utils.rocm.openpgp import KeyFormatError, armor, public_keys

Fetch = Callable[[str], bytes]


class RepositoryError(Exception):
    """One message; nothing was changed."""


@dataclass
class Wanted:
    key_url: str
    fingerprint: str
    keyring: str
    files: list
    packages: list


@dataclass
class Result:
    changed: bool = False
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)


def read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except OSError:
        return None


def fingerprints(data: bytes | None) -> list[str]:
    try:
        return list(public_keys(data)) if data else []
    except KeyFormatError:
        return []


def _spaced(fingerprint: str) -> str:
    return " ".join(re.findall(".{1,4}", fingerprint))


def verified_key(data: bytes, wanted: Wanted) -> bytes:
    """The pinned key alone, in the form that the package manager reads."""
    try:
        keys = public_keys(data)
    except KeyFormatError as error:
        raise RepositoryError(f"What {wanted.key_url} gives is not taken for a key: {error}.") from error
    if wanted.fingerprint not in keys:
        found = " and ".join(_spaced(name) for name in keys)
        raise RepositoryError(
            f"The key at {wanted.key_url} has the fingerprint {found}, not {_spaced(wanted.fingerprint)}. It is not "
            "installed. If AMD has a new key, compare it with their documentation and set rocm_key_fingerprint."
        )
    packets = keys[wanted.fingerprint]
    return packets if wanted.keyring.endswith(".gpg") else armor(packets).encode()


def _ask(command: list[str]) -> tuple[int, str]:
    """Return code and everything that is said, complaints included."""
    try:
        with started(command) as running:
            output = running.stdout.read().decode("utf-8", "replace")
            code, complaints = running.finish()
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    return code, f"{output}\n{complaints}"


_CAUSES = (
    (
        r"is expired|no longer valid|not valid yet",
        "it is out of date: its Release file has expired, or the host's clock is wrong",
    ),
    (
        r"NO_PUBKEY|not signed|Missing key|not verified|[Ss]igature|[Ss]ignature|OpenPGP|sqv",
        "it is not signed with the pinned key",
    ),
    (r"does not have a Release file|404", "there is no such repository"),
    (r"Could not (resolve|connect)|Connection|timed out|Temporary failure", "it cannot be reached"),
)


def _cause(text: str) -> str:
    return next((cause for pattern, cause in _CAUSES if re.search(pattern, text)), "apt refuses it")


def try_apt(wanted: Wanted, key: bytes, ask: Callable[[list[str]], tuple[int, str]] = _ask) -> None:
    """Have apt read the repository into a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="lamplighter-") as folder:
        os.chmod(folder, 0o755)  # apt's downloads run as _apt
        for name in ("sources", "lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(folder, name))
        keyring = os.path.join(folder, "key.gpg")
        with open(keyring, "wb") as handle:
            handle.write(key)
        os.chmod(keyring, 0o644)
        for item in wanted.files:
            if item["path"].endswith(".sources"):
                with open(
                    os.path.join(folder, "sources", os.path.basename(item["path"])), "w", encoding="utf-8"
                ) as handle:
                    handle.write(item["content"].replace(wanted.keyring, keyring))
        options = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": f"{folder}/sources",
            "Dir::State::Lists": f"{folder}/lists",
            "Dir::Cache": f"{folder}/cache",
            "APT::Update::Error-Mode": "any",
            "APT::Sandbox::User": "root",
            "Acquire::http::Timeout": "30",
            "Acquire::https::Timeout": "30",
            "Acquire::Retries": "1",
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        url = next(re.findall(r"^URIs: (.*)$", item["content"], re.MULTILINE) for item in wanted.files)[0]
        code, said = ask(["apt-get", *flags, "update"])
        wrong = re.findall(r"^(?:E|W|Err:\d+): ?(.*)$", said, re.MULTILINE)
        if code != 0 or any("Failed to fetch" in line for line in wrong):
            raise RepositoryError(
                f"The repository {url} is not used: {_cause(said)}. apt says: {' '.join(wrong) or said.strip()[-300:]}"
            )
        _code, said = ask(["apt-cache", *flags, "policy", *wanted.packages]) if wanted.packages else (0, "")
        offered = set(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))", said, re.MULTILINE))
        missing = [name for name in wanted.packages if name not in offered]
        if missing:
            raise RepositoryError(
                f"The repository {url} has no package {', '.join(missing)}. Check rocm_version, and that the line has "
                "packages for this GPU."
            )


class Record:
    """Which files are ours, and what was at their places before."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "files.json")
        self.before = os.path.join(folder, "before")
        try:
            found = json.loads(read(self.path) or b"[]")
        except ValueError:
            found = []
        self.files = [str(path) for path in found] if isinstance(found, list) else []

    def _kept(self, path: str) -> str:
        return os.path.join(self.before, path.strip("/").replace("/", "_"))

    def add(self, paths: list[str]) -> None:
        """Before anything is written: what an interrupted run leaves behind is known as ours."""
        os.makedirs(self.before, mode=0o755, exist_ok=True)
        for path in paths:
            if path not in self.files and os.path.lexists(path):
                shutil.copy2(path, self._kept(path))
        self.files = sorted({*self.files, *paths})
        _put(self.path, json.dumps(self.files).encode())

    def take_away(self, paths: list[str]) -> None:
        # Sources before the keyrings that they name.
        for path in sorted(paths, key=_is_key):
            kept = self._kept(path)
            if os.path.exists(kept):
                shutil.move(kept, path)
            elif os.path.lexists(path):
                os.unlink(path)
        self.files = [path for path in self.files if path not in paths]
        if self.files:
            _put(self.path, json.dumps(self.files).encode())
        else:
            shutil.rmtree(self.before, ignore_errors=True)
            os.unlink(self.path)


def _is_key(path: str) -> bool:
    return path.endswith(".gpg") or os.path.basename(path).startswith("RPM-GPG-KEY-")


def _put(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    temporary = f"{path}.lamplighter-new"
    with open(temporary, "wb") as handle:
        handle.write(content)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def _key(wanted: Wanted, fetch: Fetch) -> bytes:
    there = read(wanted.keyring)
    if there and fingerprints(there) == [wanted.fingerprint]:
        return there
    try:
        data = fetch(wanted.key_url)
    except Exception as error:
        raise RepositoryError(f"The key at {wanted.key_url} cannot be had: {error}") from error
    return verified_key(data, wanted)


def converge(
    repositories: list[Wanted], folder: str, fetch: Fetch, check_mode: bool, trial: Callable[[Wanted, bytes], None]
) -> Result:
    """Have these repositories and no others of ours. All of them are tried before any is written."""
    record, contents = Record(folder), {}
    for wanted in repositories:
        own = {item["path"]: item["content"].encode() for item in wanted.files}
        own[wanted.keyring] = _key(wanted, fetch)
        if any(read(path) != content for path, content in own.items()):
            trial(wanted, own[wanted.keyring])
        contents.update(own)
    changes = {path: content for path, content in contents.items() if read(path) != content}
    superfluous = [path for path in record.files if path not in contents]
    result = Result(changed=bool(changes or superfluous))
    for path in [path for path in (*changes, *superfluous) if not _is_key(path)]:
        result.before[path] = (read(path) or b"").decode("utf-8", "replace")
        result.after[path] = contents.get(path, b"").decode()
    if result.changed and not check_mode:
        if superfluous:
            record.take_away(superfluous)
        if changes:
            record.add(list(changes))
        # The keyring comes first: sources that name a missing one would break every apt-get update.
        for path in sorted(changes, key=_is_key, reverse=True):
            _put(path, changes[path])
    return result
