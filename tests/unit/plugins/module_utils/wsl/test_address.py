# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses that an inventory may give, and what each way to Windows makes of them."""

from __future__ import annotations

import shlex

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.address import AddressError, read_host, resolve
from hypothesis import given
from hypothesis import strategies as st

READ = [
    ("192.0.2.7", "http://192.0.2.7:11434"),
    ("192.0.2.7:8080", "http://192.0.2.7:8080"),
    (" desk.example.org ", "http://desk.example.org:11434"),
    ("http://desk", "http://desk:80"),
    ("https://ollama.example/api/", "https://ollama.example:443/api"),
    ("https://ollama.example:8443", "https://ollama.example:8443"),
    ("[2001:db8::7]:11435", "http://[2001:db8::7]:11435"),
    ("2001:db8::7", "http://[2001:db8::7]:11434"),
    ("::1", "http://[::1]:11434"),
    ("http://[fe80::1]", "http://[fe80::1]:80"),
]


@pytest.mark.parametrize(("value", "url"), READ)
def test_an_address_is_read_as_ollama_reads_it(value: str, url: str) -> None:
    assert resolve("gateway", value, 11434, "172.22.16.1")["url"] == url


REFUSED = [
    ("11434", "is a port"),
    (":11434", "is a port"),
    ("0.0.0.0", "to listen on"),
    ("http://[::]:11434", "to listen on"),
    ("999.1.1.1", "no address"),
    ("1.2.3", "no address"),
    ("[nonsense]", "no address"),
    ("2001:db8:::7", "no address"),
    ("ftp://desk", "no address"),
    ("desk:0", "no port"),
    ("desk:65536", "no port"),
    ("desk; rm -rf /", "no address"),
    ("$(reboot)", "no address"),
    ("desk'", "no address"),
    ("desk\nOLLAMA_DEBUG=1", "no address"),
    ("http://user:secret@desk", "no address"),
    ("http://", "no address"),
]


@pytest.mark.parametrize(("value", "why"), REFUSED)
def test_what_is_no_address_of_a_server_is_refused_with_what_is(value: str, why: str) -> None:
    with pytest.raises(AddressError, match=why) as caught:
        read_host(value)
    assert repr(value) in str(caught.value)


@given(st.text(max_size=60))
def test_no_address_needs_quotes_in_a_shell(value: str) -> None:
    try:
        parts = read_host(value)
    except AddressError:
        return
    for part in (parts["scheme"], parts["host"].strip("[]"), parts["path"]):
        assert not part or shlex.quote(part.replace("~", "")) == part.replace("~", "")
    assert 0 < parts["port"] < 65536


WAYS = [
    ("gateway", "172.22.16.1", "http://172.22.16.1:11434"),
    ("gateway", None, None),
    ("loopback", "172.22.16.1", "http://127.0.0.1:11434"),
    ("auto", "172.22.16.1", None),
    ("none", "172.22.16.1", None),
]


@pytest.mark.parametrize(("way", "gateway", "url"), WAYS)
def test_way(way: str, gateway: str | None, url: str | None) -> None:
    assert resolve(way, "", 11434, gateway)["url"] == url
    assert resolve(way, "desk", 11434, gateway)["way"] == "given"
