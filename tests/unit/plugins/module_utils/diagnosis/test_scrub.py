# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import time

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.diagnose import diagnose
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.scrub import Scrubber
from ansible_collections.lamplighter.fleet.plugins.plugin_utils.signatures import _entries
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.unit.doctor_hosts import healthy

PEOPLE = ["annabel", "ann", "tower7.lan", "Ann Miller"]

# what a line holds, and what must be gone from it
SECRETS: list[tuple[str, str]] = [
    ("from 192.168.1.17:51234 to", "192.168.1.17"),
    ("addr=[2001:db8::17]:11434", "2001:db8::17"),
    ("link fe80::1ff:fe23:4567:890a%eth0 up", "4567:890a"),
    ("ether 52:54:00:12:34:56 brd", "52:54:00:12:34:56"),
    ("/home/carol/.ollama/models", "carol"),
    (r"C:\Users\carol\AppData\Local\Ollama", "carol"),
    ("user annabel logged in", "annabel"),
    ("mail to carol.smith@example.org", "carol"),
    ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
    ("HF_TOKEN=hf_abcdefghijklmnop", "abcdefghijklmnop"),
    ("DB_PASSWORD: hunter2", "hunter2"),
    ('"api_key": "s3cr3t-value"', "s3cr3t-value"),
    ("https://carol:hunter2@proxy.example:3128", "hunter2"),
    ("key sk-abcdefghijklmnopqrst used", "abcdefghijklmnopqrst"),
    ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI carol@laptop", "AAAAC3Nza"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY-----", "b3BlbnNz"),
    ("Nov 21 03:12:01 laptop7 ollama[123]: time=x", "laptop7"),
    ("2026-11-21T03:12:01+0000 laptop7 kernel: amdgpu", "laptop7"),
    ("unique_id 8d1f6a2b3c4d5e6f", "8d1f6a2b3c4d5e6f"),
    ("on TOWER7.lan", "TOWER7"),
    ("filter_id=GPU-8d1f6a2b3c4d5e6f", "8d1f6a2b"),
    ("GPU-1a2b3c4d-0000-1111-2222-333344445555", "1a2b3c4d"),
    ("root=UUID=0a1b2c3d-1111-2222-3333-444455556666", "0a1b2c3d"),
]
# What must stay, for the logs to be of use.
KEPT = [
    "amdgpu 0000:c5:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=3",
    "Listening on 127.0.0.1:11434 (version 0.32.15)",
    "listen tcp [::1]:11434 and [::]:11434 and 0.0.0.0:11434",
    'time=2026-11-21T03:12:01.000Z level=INFO source=types.go:42 msg="inference compute" pci_id=0000:03:00.0',
    "load_tensors: offloaded 33/33 layers to GPU",
    "print_info: BOS token        = 1 '<s>'",
    "n_tokens = 640, special_eos_id is not in special_eog_ids",
    "HSA_OVERRIDE_GFX_VERSION=11.0.2 OLLAMA_HOST=127.0.0.1",
    "driver 550.54.14 kernel 6.12.57+deb13-amd64 annex",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_what_tells_who_and_where_is_taken_out(text: str, secret: str):
    assert secret.lower() not in Scrubber(PEOPLE).text(text).lower()


@pytest.mark.parametrize("text", KEPT)
def test_what_a_diagnosis_needs_stays(text: str):
    assert Scrubber(PEOPLE).text(text) == text


def test_a_name_that_the_logs_need_is_left_alone():
    text = "library=nvidia name=desktop"
    assert Scrubber(["nvidia", "root", "ollama"]).text(text) == text


def test_the_same_address_gets_the_same_word():
    scrubbed = Scrubber([]).text("10.0.0.1 10.0.0.2 10.0.0.1").split()
    assert scrubbed[0] == scrubbed[2] != scrubbed[1]


@settings(deadline=None)
@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.text(max_size=20), st.text(max_size=20))
def test_no_address_gets_through(four, six, before: str, after: str):
    assume(not (four.is_loopback or six.is_loopback or str(four) == "0.0.0.0" or str(six) == "::"))
    for address in (str(four), str(six)):
        # It stands by itself; digits of a neighbour would make another address of it.
        assert address not in Scrubber([]).text(f"{before} {address} {after}").split(" ")


@settings(deadline=None)
@given(st.from_regex(r"[a-z]{3,12}[0-9]{0,3}", fullmatch=True), st.text(alphabet=" /=:\"'\n,", min_size=1, max_size=3))
def test_no_name_gets_through(name: str, between: str):
    scrubber = Scrubber([name])
    assume(scrubber.known)
    text = f"start{between}{name}{between}{name.upper()}{between}end"
    assume(name not in ("start", "end") and "name" not in name)
    assert name not in scrubber.text(text).lower().replace("[secret]", "").replace("[mail]", "")


@settings(deadline=None)
@given(st.text())
def test_any_text_is_scrubbed_and_a_second_time_changes_nothing(text: str):
    once = Scrubber(PEOPLE).text(text)
    assert Scrubber([]).text(once) == once


@settings(deadline=None)
@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_tree_keeps_its_shape(tree):
    scrubbed = Scrubber(PEOPLE).tree(tree)
    assert type(scrubbed) is type(tree)
    if isinstance(tree, dict):
        assert set(scrubbed) == set(tree)


def test_a_variable_that_is_named_for_a_secret_loses_its_value():
    assert Scrubber([]).tree({"OPENAI_API_KEY": "abc", "OLLAMA_HOST": "127.0.0.1"}) == {
        "OPENAI_API_KEY": "[secret]",
        "OLLAMA_HOST": "127.0.0.1",
    }


def test_a_scrubbed_host_has_the_same_diagnosis():
    evidence = healthy()
    evidence["ollama_facts"]["listener"]["addresses"] = ["192.168.1.5"]
    evidence["service"]["PrivateDevices"] = "yes"
    scrubbed = Scrubber([*PEOPLE, "box"]).tree(evidence)
    assert "192.168" not in json.dumps(scrubbed)
    codes = [[finding["code"] for finding in diagnose(one)["findings"]] for one in (evidence, scrubbed)]
    assert codes[0] == codes[1]


@pytest.mark.parametrize("entry", _entries(), ids=lambda entry: f"{entry['log']}-{entry['code']}")
def test_the_examples_of_the_signatures_are_still_seen(entry):
    """No pattern of a fault is scrubbed away: the texts that its rule looks for are still there."""
    for example in entry.get("positive", []):
        scrubbed = Scrubber(PEOPLE).text(example)
        wanted = [part for form in entry["match"] for part in form["contains"]]
        assert [part for part in wanted if part in example] == [part for part in wanted if part in scrubbed]


@pytest.mark.parametrize("text", ["a.", "1.", "a:", "/home/", "token=", "x-y.", "::", "://", "Nov 21 ", "AAAA"])
def test_the_time_is_linear(text: str):
    began = time.process_time()
    Scrubber(PEOPLE).text(text * 50_000)
    # Far less than a second; a quadratic pattern takes half a minute.
    assert time.process_time() - began < 5
