# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import firewall
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import WindowsError
from hypothesis import given, settings
from hypothesis import strategies as st

WSL = {"alias": "vEthernet (WSL)", "address": "172.22.16.1", "prefix": 20}
# As ConvertTo-Json writes Inbound, True and Allow.
ADMITS = {"Direction": 1, "Enabled": 1, "Action": 2}


def parts(**filters: Any) -> dict[str, Any]:
    """One rule, which is of Any but for what is given."""
    known = {"Protocol": "TCP", "LocalPort": "11434", "RemoteAddress": "Any", "InterfaceAlias": "Any", "Program": "Any"}
    return {
        "rules": [{"InstanceID": "1", "Name": "1", "DisplayName": "Rule", **ADMITS}],
        "ports": [{"InstanceID": "1", **known, **filters}],
        "addresses": [{"InstanceID": "1", "LocalAddress": "Any"}],
        "interfaces": [],
        "programs": [{"InstanceID": "1", "Package": filters.get("Package")}],
    }


@pytest.mark.parametrize(
    ("filters", "admits"),
    [
        ({}, True),
        ({"LocalPort": ["80", "11434"]}, True),
        ({"LocalPort": "11000-12000"}, True),
        ({"LocalPort": "11434-11434"}, True),
        ({"LocalPort": "11435-12000"}, False),
        ({"LocalPort": "11435"}, False),
        ({"LocalPort": "RPC"}, False),
        ({"LocalPort": "Any", "Protocol": "Any"}, True),
        ({"Protocol": "6"}, True),
        ({"Protocol": "UDP"}, False),
        ({"Program": "C:\\Programs\\Ollama\\ollama.exe", "LocalPort": "Any"}, True),
        ({"Program": "C:\\Programs\\Ollama\\Ollama App.exe", "LocalPort": "Any"}, True),
        ({"Program": "C:\\Windows\\svchost.exe", "LocalPort": "Any"}, False),
        ({"Program": "C:\\not-ollama.exe.exe", "LocalPort": "Any"}, False),
        ({"Package": "S-1-15-2-1", "LocalPort": "Any"}, False),
        ({"Package": "Any"}, True),
        ({"Package": ""}, True),
    ],
)
def test_which_rules_let_somebody_reach_ollama(filters: dict[str, Any], admits: bool) -> None:
    assert bool(firewall.admitting(parts(**filters), 11434)) is admits


@pytest.mark.parametrize(
    ("kind", "admits", "blocks"),
    [
        ({}, True, False),
        ({"Direction": "Inbound", "Enabled": "True", "Action": "Allow"}, True, False),
        ({"Direction": 2}, False, False),
        ({"Enabled": 2}, False, False),
        ({"Action": 4}, False, True),
        ({"Action": "Block"}, False, True),
        ({"Action": 4, "Enabled": "False"}, False, False),
        ({"Action": None}, False, False),
    ],
)
def test_rules_are_told_apart_by_number_and_by_name(kind: dict[str, Any], admits: bool, blocks: bool) -> None:
    found = parts()
    found["rules"][0].update(kind)
    assert [bool(firewall.admitting(found, 11434, action)) for action in ("allow", "block")] == [admits, blocks]


def test_a_rule_is_put_together_of_all_its_filters() -> None:
    rules = firewall.admitting(
        {
            "rules": [
                {"InstanceID": "b", "Name": "b", "DisplayName": "B", **ADMITS},
                {"InstanceID": "c", "Name": "c", **ADMITS},
            ],
            "ports": [
                {"InstanceID": "b", "Protocol": "TCP", "LocalPort": "11434"},
                {"InstanceID": "c", "Protocol": "UDP"},
            ],
            "addresses": [{"InstanceID": "b", "LocalAddress": "10.0.0.1", "RemoteAddress": ["10.0.0.2", "10.0.0.3"]}],
            "interfaces": [{"InstanceID": "b", "InterfaceAlias": "vEthernet (WSL)"}],
            "programs": [{"InstanceID": "b", "Program": "C:\\ollama.exe", "Package": None}],
        },
        11434,
    )
    assert rules == [
        {
            "name": "b",
            "display_name": "B",
            "protocol": "TCP",
            "local_port": ["11434"],
            "local_address": ["10.0.0.1"],
            "remote_address": ["10.0.0.2", "10.0.0.3"],
            "interface_alias": ["vEthernet (WSL)"],
            "program": "C:\\ollama.exe",
        }
    ]


def test_a_narrow_rule_hides_no_wide_one() -> None:
    rules = [
        {"name": "a", "remote_address": ["Any"], "interface_alias": ["vEthernet (WSL)"]},
        {"name": "b", "remote_address": ["172.22.16.2"], "interface_alias": ["Any"]},
        {"name": "c", "remote_address": ["Any"], "interface_alias": ["Any"]},
    ]
    assert [rule["id"] for rule in firewall.wider_than_wsl(rules, WSL)] == ["c"]


def test_our_rules_say_all_that_they_mean() -> None:
    common = {
        "Name": "Lamplighter-Ollama-WSL",
        "DisplayName": "Ollama for WSL (Lamplighter)",
        "Direction": "Inbound",
        "Action": "Allow",
        "Enabled": "True",
        "Profile": "Any",
        "Protocol": "TCP",
        "LocalPort": ["12000"],
    }
    for scope, more in {
        "interface": {"RemoteAddress": ["LocalSubnet"], "InterfaceAlias": ["vEthernet (WSL)"]},
        "subnet": {"RemoteAddress": ["172.22.16.0/20"], "LocalAddress": ["172.22.16.1"]},
    }.items():
        rule = firewall.new_rule(firewall.wanted_rule(WSL, 12000, scope))
        assert (rule.name, rule.parameters) == ("New-NetFirewallRule", {**common, **more})
    rule = firewall.new_hyperv_rule([80], ["10.0.0.0/8"])
    assert (rule.name, rule.parameters) == (
        "New-NetFirewallHyperVRule",
        {
            "Name": "Lamplighter-WSL-Inbound",
            "DisplayName": "Inbound to WSL (Lamplighter)",
            "Direction": "Inbound",
            "VMCreatorId": "{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}",
            "Protocol": "TCP",
            "LocalPorts": ["80"],
            "RemoteAddresses": ["10.0.0.0/8"],
            "Action": "Allow",
            "Enabled": "True",
        },
    )


@pytest.mark.parametrize(
    ("rule", "wide"),
    [
        ({"remote_address": ["Any"], "interface_alias": ["Any"]}, True),
        ({"remote_address": ["LocalSubnet"], "interface_alias": ["Any"]}, True),
        ({"remote_address": ["172.16.0.0/12"], "interface_alias": ["Any"]}, True),
        ({"remote_address": ["172.22.16.0/20", "192.168.1.4"], "interface_alias": ["Any"]}, True),
        ({"remote_address": ["172.22.16.0-172.22.32.0"], "interface_alias": ["Any"]}, True),
        ({"remote_address": ["Any"], "interface_alias": ["vEthernet (WSL)", "Wi-Fi"]}, True),
        ({"remote_address": ["Any"], "interface_alias": ["vEthernet (Default Switch)"]}, True),
        ({"remote_address": [], "interface_alias": []}, True),
        ({"remote_address": ["172.22.16.0/255.255.240.0"], "interface_alias": ["Any"]}, False),
        ({"remote_address": ["172.22.16.2-172.22.31.254"], "interface_alias": ["Any"]}, False),
        ({"remote_address": ["172.22.16.2", "127.0.0.1", "::1"], "interface_alias": ["Any"]}, False),
        ({"remote_address": ["::1", "fe80::/10"], "interface_alias": ["Any"]}, True),
        ({"remote_address": ["Any"], "interface_alias": ["vEthernet (WSL (Hyper-V firewall))"]}, False),
    ],
)
def test_which_rules_are_wider_than_wsl(rule: dict[str, Any], wide: bool) -> None:
    assert bool(firewall.wider_than_wsl([{"name": "x", "display_name": "X", **rule}], WSL)) is wide


def test_without_an_adapter_of_wsl_only_loopback_is_narrow() -> None:
    rules = [{"name": "a", "remote_address": ["172.22.16.0/20"]}, {"name": "b", "remote_address": ["127.0.0.1"]}]
    assert [rule["id"] for rule in firewall.wider_than_wsl(rules, None)] == ["a"]


@settings(deadline=None)
@given(
    st.ip_addresses(v=4).map(str),
    st.integers(16, 29),
    st.sampled_from(["interface", "subnet"]),
    st.sampled_from(["vEthernet (WSL)", "vEthernet (WSL (Hyper-V firewall))"]),
)
def test_our_rule_is_never_wider_than_wsl(address: str, prefix: int, scope: str, alias: str) -> None:
    wsl = {"alias": alias, "address": address, "prefix": prefix}
    rule = firewall.wanted_rule(wsl, 11434, scope)
    assert firewall.wider_than_wsl([{"name": firewall.RULE, **rule}], wsl) == []
    sent = firewall.new_rule(rule).parameters
    assert sent["LocalPort"] == ["11434"]
    assert sent["RemoteAddress"] in (["LocalSubnet"], [firewall.subnet(wsl)])
    assert sent.get("InterfaceAlias") == [alias] or sent["RemoteAddress"] != ["LocalSubnet"]


def test_windows_writes_the_same_rule_in_another_way() -> None:
    wanted = firewall.wanted_rule(WSL, 11434, "subnet")
    assert firewall.same_rule({**wanted, "remote_address": ["172.22.16.0/255.255.240.0"]}, wanted)
    assert not firewall.same_rule({**wanted, "remote_address": ["172.16.0.0/255.240.0.0"]}, wanted)
    assert not firewall.same_rule({**wanted, "program": "ollama.exe"}, wanted)
    assert not firewall.same_rule(None, wanted)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("172.16.0.0/12", "172.16.0.0/255.240.0.0"),
        ("172.16.9.9/12", "172.16.0.0-172.31.255.255"),
        ("192.0.2.7", "192.0.2.7/255.255.255.255"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("FE80::/10", "fe80::/10"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8::/126", "2001:db8::-2001:db8::3"),
        ("LocalSubnet", "localsubnet"),
        ("Any", "any"),
    ],
)
def test_addresses_are_the_same_however_windows_writes_them(text: str, same: str) -> None:
    assert firewall.same_addresses([text, "10.0.0.1"], ["10.0.0.1", same])
    assert not firewall.same_addresses([text], [same, "10.0.0.1"])


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("172.16.0.0/12", "172.16.0.0/13"),
        ("10.0.0.0/8", "10.0.0.0"),
        ("0.0.0.0/0", "::/0"),
        ("LocalSubnet", "LocalSubnet4"),
        ("LocalSubnet", "10.0.0.0/24"),
    ],
)
def test_other_addresses_are_not_the_same(text: str, other: str) -> None:
    assert not firewall.same_addresses([text], [other])


@pytest.mark.parametrize("text", ["", "x", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.1-", "10.0.0.0/33", "1.2.3"])
def test_what_is_no_address_is_no_span(text: str) -> None:
    assert firewall.span(text) is None


def test_the_command_that_removes_a_rule_is_one_literal() -> None:
    name = "TCP Query User{2C}C:\\it's\\ollama.exe"
    assert firewall.removal(name) == "Remove-NetFirewallRule -Name 'TCP Query User{2C}C:\\it''s\\ollama.exe'"


def test_without_an_adapter_there_is_no_rule() -> None:
    with pytest.raises(WindowsError, match="start WSL2 in the networking mode nat"):
        firewall.wanted_rule({"alias": None, "address": None, "prefix": None}, 11434, "interface")
