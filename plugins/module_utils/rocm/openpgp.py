# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprints of OpenPGP keys, without gpg: a minimal Debian has none, and a check must not install one.

Nothing is verified by these functions but the fingerprint; signatures are the package manager's to check.
Format: https://www.rfc-editor.org/rfc/rfc9580 (packets: section 4.2, fingerprints: 5.5.4, armor: 6).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import textwrap
from collections.abc import Iterator

_PUBLIC_KEY = 6


class KeyFormatError(ValueError):
    """This is no OpenPGP public key."""


def _crc24(data: bytes) -> int:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _bit in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc & 0xFFFFFF


def dearmor(data: bytes) -> bytes:
    """The packets of an armored or a binary key."""
    if data[:1] and data[0] & 0x80:
        return data
    text = data.decode("ascii", "replace").replace("\r\n", "\n")
    found = re.search(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", text, re.DOTALL)
    if not found:
        raise KeyFormatError("it is no OpenPGP key")
    body = re.sub(r"\A(?:[\w-]+: .*\n)*\n", "", found[1])
    try:
        return base64.b64decode(re.sub(r"^=.*", "", body, flags=re.MULTILINE).replace("\n", ""), validate=True)
    except binascii.Error as error:
        raise KeyFormatError(f"its armor is broken: {error}") from error


def armor(packets: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(packets).decode(), 64))
    check = base64.b64encode(_crc24(packets).to_bytes(3, "big")).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}\n={check}\n-----END PGP PUBLIC KEY BLOCK-----\n"


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A new-format length and where the body begins."""
    first = data[at]
    if first < 192:
        return first, at + 1
    if first < 224:
        return (first - 192 << 8) + data[at + 1] + 192, at + 2
    if first == 255:
        return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    raise KeyFormatError("it has a packet of partial length")


def _packets(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, body, the packet as it stands)."""
    at = 0
    while at < len(data):
        start, first = at, data[at]
        if not first & 0x80:
            raise KeyFormatError("it does not consist of OpenPGP packets")
        try:
            if first & 0x40:
                tag = first & 0x3F
                size, at = _length(data, at + 1)
            else:
                tag, octets = first >> 2 & 0x0F, (1, 2, 4, 0)[first & 3]
                if not octets:
                    raise KeyFormatError("it has a packet of unknown length")
                size, at = int.from_bytes(data[at + 1 : at + 1 + octets], "big"), at + 1 + octets
        except IndexError as error:
            raise KeyFormatError("it is cut off") from error
        body, at = data[at : at + size], at + size
        if at > len(data):
            raise KeyFormatError("it is cut off")
        yield tag, body, data[start:at]


def _fingerprint(body: bytes) -> str:
    version = body[0] if body else 0
    if version == 4:
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()
    if version == 6:
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise KeyFormatError(f"its version {version} is not one that is in use")


def public_keys(data: bytes) -> dict[str, bytes]:
    """The packets of each primary key with all that belongs to it, by fingerprint."""
    keys: dict[str, bytes] = {}
    current = ""
    for tag, body, whole in _packets(dearmor(data)):
        if tag == _PUBLIC_KEY:
            current = _fingerprint(body)
            keys[current] = b""
        if not current:
            raise KeyFormatError("it does not begin with a public key")
        keys[current] += whole
    if not keys:
        raise KeyFormatError("it holds no key")
    return keys
