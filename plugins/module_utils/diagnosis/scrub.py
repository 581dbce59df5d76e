# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes out of a text what tells who and where: names, addresses, secrets. The rest stays readable and diagnosable."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

# Words that the logs need; a host or a user that is named so cannot be told from them.
_WORDS = re.compile(
    "admin|amd|amdgpu|arch|bin|cpu|cuda|daemon|debian|dev|error|fedora|gpu|hip|host|info|kernel|kfd|level|lib|library|"
    "linux|local|localhost|main|model|msg|name|nvidia|ollama|proc|render|rocm|root|run|server|service|source|sys|"
    "system|systemd|time|tty|type|ubuntu|unit|user|usr|var|video|vulkan|warn"
)
_ADDRESSES_KEPT = ("0.0.0.0", "127.0.0.1", "::", "::1")

_SECRET_NAME = (
    r"[A-Za-z0-9_.-]{0,64}"
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY)(?:_[0-9]+)?"
)
# Logs name the tokens of a model, too: numbers and booleans are no secrets.
_ASSIGNED = re.compile(
    rf"(?i)(?<![A-Za-z0-9_.-])({_SECRET_NAME})(\"?'?\s{{0,9}}[=:]\s{{0,9}}\"?'?)(?!(?:\d{{1,5}}|true|false)\b)([^\s\"',;]+)"
)
_SECRETS = (
    (
        re.compile(
            r"(?i)\b(authorization\"?'?\s*[=:]\s*\"?'?(?:bearer|basic|token)?|bearer|basic)(\s+)[A-Za-z0-9+/=._~-]{8,}"
        ),
        r"\1\2[secret]",
    ),
    (re.compile(r"((?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,20}://)[^\s/@\"']{1,200}@"), r"\1[secret]@"),
    (re.compile(r"\b(?:hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[abp]-)[A-Za-z0-9_-]{8,}"), "[secret]"),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), "[secret]"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "[secret]"),
    (re.compile(r"\b(ssh-(?:rsa|ed25519)|ecdsa-sha2-\S+) AAAA[A-Za-z0-9+/=]+( \S+)?"), r"\1 [secret]"),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        "[secret]",
    ),
)
_MAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_MAC = re.compile(r"(?<![0-9A-Fa-f:.-])(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:-])")
_IPV4 = re.compile(r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?![0-9]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:%\w+)?(?![0-9A-Za-z:])")
_HOME = re.compile(r"((?:/home/|/Users/|[A-Za-z]:\\+Users\\+))([^/\\\s\"':;,]+)")
# A word in the place of a GPU's identity, which stays one that an engine would accept.
_GPU = re.compile(r"\b(GPU|MIG)-[0-9a-fA-F][0-9a-fA-F-]{11,40}\b")
_SERIAL = re.compile(r"(?i)\b((?:serial|unique_id|uuid|machine-id|product_uuid)\S{0,3}[=: ]\s*)([0-9a-fx-]{8,})\b")
# The host's name stands after the time in syslog and journal lines.
_PREFIX = re.compile(
    r"^(\S{0,4}(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*|[^\W\d]{3,5}\.? {1,2}\d{1,2} \d\d:\d\d:\d\d) )(\S+)"
    r"( [\w./@-]+(?:\[\d+\])?:)",
    re.MULTILINE,
)


class Scrubber:
    """Replaces the same name or address by the same word throughout a bundle."""

    def __init__(self, names: list[str]) -> None:
        words = {part for name in names if name for part in (name, name.split(".")[0])}
        known = [word for word in words if len(word) > 2 and not _WORDS.fullmatch(word.lower()) and not word.isdigit()]
        # The longest first: ann is part of annabel.
        self.known = {word.lower(): f"name{at}" for at, word in enumerate(sorted(known, key=lambda w: (-len(w), w)), 1)}
        self.names = (
            re.compile(rf"(?i)(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, self.known))})(?![A-Za-z0-9])")
            if self.known
            else None
        )
        self.addresses: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Secrets first: they may hold what looks like a name or an address."""
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
        text = _ASSIGNED.sub(r"\1\2[secret]", text)
        text = _MAIL.sub("[mail]", text)
        text = _PREFIX.sub(r"\1host\3", text)
        text = _HOME.sub(r"\1user", text)
        text = _GPU.sub(r"\1-scrubbed", text)
        text = _SERIAL.sub(r"\1[serial]", text)
        text = _MAC.sub("[mac]", text)
        text = _IPV4.sub(self._address, text)
        text = _IPV6.sub(self._address, text)
        return self.names.sub(lambda found: self.known[found.group().lower()], text) if self.names else text

    def _address(self, found: re.Match[str]) -> str:
        text = found.group()
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return text
        if str(address) in _ADDRESSES_KEPT or address.is_loopback:
            return text
        return self.addresses.setdefault(str(address), f"[address{len(self.addresses) + 1}]")

    def tree(self, value: Any) -> Any:
        """The same for every text in lists and dictionaries; a variable that is named for a secret loses its value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (list, tuple)):
            return [self.tree(item) for item in value]
        if isinstance(value, dict):
            return {
                key: "[secret]"
                if isinstance(item, str) and item and re.fullmatch(f"(?i){_SECRET_NAME}", str(key))
                else self.tree(item)
                for key, item in value.items()
            }
        return value
