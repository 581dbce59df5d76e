# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.address import api_url

HOSTS: list[tuple[str | None, str]] = [
    (None, "http://127.0.0.1:11434"),
    ("", "http://127.0.0.1:11434"),
    ("127.0.0.1:11434", "http://127.0.0.1:11434"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:8000", "http://127.0.0.1:8000"),
    ("[::]:8000", "http://127.0.0.1:8000"),
    ("::", "http://127.0.0.1:11434"),
    (":8000", "http://127.0.0.1:8000"),
    ("[fd00::7]", "http://[fd00::7]:11434"),
    ("fd00::7", "http://[fd00::7]:11434"),
    ("[fd00::7]:8000", "http://[fd00::7]:8000"),
    ("halo.lan", "http://halo.lan:11434"),
    ("http://halo.lan", "http://halo.lan:80"),
    ("https://halo.lan/ollama", "http://halo.lan:443"),
    ("http://0.0.0.0:8000/", "http://127.0.0.1:8000"),
    (' "192.0.2.7" ', "http://192.0.2.7:11434"),
    ("192.0.2.7:70000", "http://192.0.2.7:11434"),
]


@pytest.mark.parametrize(("host", "url"), HOSTS)
def test_api_url(host: str | None, url: str) -> None:
    assert api_url(host) == url
