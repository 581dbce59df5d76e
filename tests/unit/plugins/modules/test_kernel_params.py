# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.modules import kernel_params


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """16 GiB of RAM, no boot loader, no initramfs."""
    for path, text in {
        "proc/meminfo": "MemTotal:       16777216 kB\n",
        "proc/cmdline": "root=x",
        "proc/sys/kernel/osrelease": "6.12.1",
        "lib/modules/6.12.1/modules.dep": "kernel/ttm.ko:\n",
        "etc/modprobe.d/other.conf": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    def no_program(_argv: list[str]) -> tuple[int, str, str]:
        raise AssertionError("nothing is there to be run")

    monkeypatch.setattr(
        kernel_params, "Host", lambda *_args: Host(Sysroot(str(tmp_path)), lambda _name: None, no_program)
    )
    monkeypatch.setattr(kernel_params, "Sysroot", lambda _root: Sysroot(str(tmp_path)))
    return tmp_path


def call(capsys: pytest.CaptureFixture, **arguments: Any) -> dict:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        kernel_params.main()
    return json.loads(capsys.readouterr().out)


def test_one_parameter_by_name(machine: Path, capsys: pytest.CaptureFixture) -> None:
    result = call(capsys, name="ttm.pages_limit", value="1000")
    assert result["changed"]
    assert "options ttm pages_limit=1000" in (machine / "etc/modprobe.d/zz-lamplighter.conf").read_text()
    assert not call(capsys, name="ttm.pages_limit", value="1000")["changed"]


def test_a_size_and_a_list_at_once_in_check_mode(machine: Path, capsys: pytest.CaptureFixture) -> None:
    params = [{"name": "ttm.dma32_pages_limit", "value": "7"}]
    result = call(capsys, gtt_gib=8, params=params, _ansible_check_mode=True)
    assert [item["name"] for item in result["in_force"]] == [
        "ttm.pages_limit",
        "ttm.page_pool_size",
        "ttm.dma32_pages_limit",
    ]
    assert not (machine / "etc/modprobe.d/zz-lamplighter.conf").exists()


FAILURES: list[tuple[dict[str, Any], str]] = [
    ({"gtt_gib": 17}, "16.0 GiB of RAM"),
    ({"gtt_gib": -4}, "above 0"),
    ({"gtt_gib": "a lot"}, "convert to float"),
    ({"name": "ttm pages", "value": "1"}, "no name"),
    ({"name": "a", "value": "1\n2"}, "one line"),
    ({"value": "1"}, "name"),
    ({"name": "amd_iommu", "value": "off"}, "cannot be told"),
]


@pytest.mark.parametrize(("arguments", "message"), FAILURES)
def test_bad_input_is_one_clear_message_and_no_change(
    machine: Path, capsys: pytest.CaptureFixture, arguments: dict[str, Any], message: str
) -> None:
    result = call(capsys, **arguments)
    assert result["failed"]
    assert message in result["msg"]
    assert not (machine / "var").exists()


def test_every_returned_key_is_documented(machine: Path, capsys: pytest.CaptureFixture) -> None:
    result = call(capsys, name="ttm.pages_limit", value="1000")
    documented = yaml.safe_load(kernel_params.RETURN)
    assert set(result) - {"changed", "diff", "invocation", "warnings"} == set(documented)
    assert set(result["in_force"][0]) == set(documented["in_force"]["contains"])
