# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shell files of the role wsl_client, run by the shells of this machine below a root of the test's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.wsl import gateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FILES = Path(__file__).parents[5] / "roles/wsl_client/files"
LIBRARY = "usr/local/lib/lamplighter"
HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
ROUTE = "eth0\t00000000\t011016AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
CONF = {"way": "auto", "scheme": "http", "host": "", "port": "11434", "path": "", "replace": "no"}
URL = "http://172.22.16.1:11434"
SHELLS = [shell for shell in ("sh", "bash", "zsh") if shutil.which(shell)]


@pytest.fixture(name="root")
def a_root(tmp_path: Path) -> Path:
    for name in ("etc/lamplighter", "proc/net", "run/lamplighter", LIBRARY):
        (tmp_path / name).mkdir(parents=True)
    for file in FILES.iterdir():
        shutil.copy(file, tmp_path / LIBRARY)
    (tmp_path / "proc/net/route").write_text(HEADER + ROUTE)
    configure(tmp_path)
    return tmp_path


def configure(root: Path, **conf: str) -> None:
    lines = [f"lamplighter_conf_{name}='{value}'\n" for name, value in {**CONF, **conf}.items()]
    (root / "etc/lamplighter/windows-ollama.conf").write_text("".join(lines))


def source(root: Path, shell: str = "sh", **environment: str) -> dict[str, str]:
    """The environment of a shell that has read the file."""
    done = subprocess.run(
        [shell, "-c", f". {root}/{LIBRARY}/windows-ollama.sh; env -0"],
        env={"PATH": "/usr/bin:/bin", "LAMPLIGHTER_ROOT": str(root), **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
    return dict(item.split("=", 1) for item in done.stdout.split("\0") if "=" in item)


def program(root: Path, argument: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", f"{root}/{LIBRARY}/windows-ollama", argument],
        env={"PATH": path, "LAMPLIGHTER_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_finds_the_gateway(root: Path, shell: str) -> None:
    environment = source(root, shell)
    assert environment["OLLAMA_HOST"] == environment["LAMPLIGHTER_OLLAMA_HOST"] == URL
    assert "no_proxy" not in environment


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_else_is_left_in_the_environment(root: Path, shell: str) -> None:
    assert set(source(root, shell)) - set(source(root, shell, OLLAMA_HOST="x")) == {"LAMPLIGHTER_OLLAMA_HOST"}


WAYS: list[tuple[dict[str, str], str | None, str | None]] = [
    ({}, "loopback", "http://127.0.0.1:11434"),
    ({}, "gateway", URL),
    ({}, "none", None),
    ({}, None, URL),
    ({"port": "11435"}, "loopback", "http://127.0.0.1:11435"),
    ({"way": "given", "host": "desk", "scheme": "https", "port": "443", "path": "/x"}, "none", "https://desk:443/x"),
    ({"way": "given", "host": "[fd00::5]"}, None, "http://[fd00::5]:11434"),
]


@pytest.mark.parametrize(("conf", "way", "url"), WAYS)
def test_ways(root: Path, conf: dict[str, str], way: str | None, url: str | None) -> None:
    configure(root, **conf)
    if way:
        (root / "run/lamplighter/windows-ollama.way").write_text(f"{way}\n")
    assert source(root).get("OLLAMA_HOST") == url
    asked = program(root, "url")
    assert (asked.returncode, asked.stdout.strip()) == ((0, url) if url else (1, ""))


def test_an_interface_of_mirrored_networking_says_loopback_where_nothing_else_does(root: Path) -> None:
    (root / "sys/class/net/loopback0").mkdir(parents=True)
    assert source(root)["OLLAMA_HOST"] == "http://127.0.0.1:11434"


BEFORE = [
    ({"OLLAMA_HOST": "desk"}, "no", "desk"),
    ({"OLLAMA_HOST": "desk"}, "yes", URL),
    ({"OLLAMA_HOST": "http://172.30.0.1:11434", "LAMPLIGHTER_OLLAMA_HOST": "http://172.30.0.1:11434"}, "no", URL),
    ({"OLLAMA_HOST": "desk", "LAMPLIGHTER_OLLAMA_HOST": "http://172.30.0.1:11434"}, "no", "desk"),
    ({"OLLAMA_HOST": ""}, "no", URL),
]


@pytest.mark.parametrize(("environment", "replace", "value"), BEFORE)
def test_a_value_of_the_user_stays_unless_allowed(
    root: Path, environment: dict[str, str], replace: str, value: str
) -> None:
    configure(root, replace=replace)
    assert source(root, **environment)["OLLAMA_HOST"] == value


PROXIES = [
    ({"http_proxy": "http://proxy:3128"}, "172.22.16.1"),
    ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "intranet"}, "intranet,172.22.16.1"),
    ({"all_proxy": "socks5://proxy", "no_proxy": "a,172.22.16.1"}, "a,172.22.16.1"),
    ({"http_proxy": "http://proxy:3128", "no_proxy": "172.22.16.10"}, "172.22.16.10,172.22.16.1"),
]


@pytest.mark.parametrize(("environment", "spared"), PROXIES)
def test_a_proxy_is_kept_away_from_windows(root: Path, environment: dict[str, str], spared: str) -> None:
    found = source(root, **environment)
    assert found["no_proxy"] == found["NO_PROXY"] == spared


FIELDS = st.sampled_from(["00000000", "011016AC", "0140A8C0", "00F0FFFF", "FE01A8C0"])
LINES = st.tuples(
    st.sampled_from(["eth0", "eth1", "tun0", "lo", "wg0"]), FIELDS, FIELDS, st.sampled_from(["0003", "0001", "0002"]),
    st.integers(0, 2000), FIELDS,
)  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, max_size=6))
def test_shell_and_module_agree_on_the_gateway(root: Path, lines: list[tuple[str, str, str, str, int, str]]) -> None:
    text = HEADER + "".join(
        f"{name}\t{to}\t{via}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"
        for name, to, via, flags, metric, mask in lines
    )
    (root / "proc/net/route").write_text(text)
    address = gateway(text)
    assert source(root).get("OLLAMA_HOST") == (f"http://{address}:11434" if address else None)


def test_fish_reads_assignments_of_its_own(root: Path) -> None:
    assert program(root, "fish").stdout.splitlines() == [
        f"set -gx OLLAMA_HOST '{URL}'",
        f"set -gx LAMPLIGHTER_OLLAMA_HOST '{URL}'",
    ]


def wslinfo(root: Path, answer: str) -> str:
    folder = root / "bin"
    folder.mkdir()
    (folder / "wslinfo").write_text(f"#!/bin/sh\nprintf '{answer}'\n")
    (folder / "wslinfo").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


ANSWERS = [
    ("nat\\r\\n", "gateway"),
    ("mirrored\\n", "loopback"),
    ("consomme", "loopback"),
    ("virtioproxy", "loopback"),
    ("n\\0a\\0t\\0", "gateway"),
    ("bridged", "none"),
    ("none", "none"),
    ("something new", "gateway"),
]


@pytest.mark.parametrize(("answer", "way"), ANSWERS)
def test_each_start_asks_for_the_mode(root: Path, answer: str, way: str) -> None:
    done = program(root, "apply", wslinfo(root, answer))
    assert (root / "run/lamplighter/windows-ollama.way").read_text() == f"{way}\n"
    assert done.returncode == (way == "none")
    environment = root / "etc/environment"
    assert ("OLLAMA_HOST" in environment.read_text() if environment.exists() else False) == (way != "none")
    # A link leads to it, so it is there in any case.
    containers = root / "run/lamplighter/containers.conf"
    assert (containers.stat().st_size > 0) == (way == "gateway")
    shutil.rmtree(root / "run/lamplighter")
    assert program(root, "remove").returncode == 0
    assert containers.stat().st_size == 0


def test_sessions_get_it_and_keep_what_they_had(root: Path) -> None:
    environment = root / "etc/environment"
    environment.write_text("LANG=de_AT.UTF-8\nhttp_proxy=http://proxy:3128\nno_proxy='intranet'")
    environment.chmod(0o640)
    before = environment.read_text()
    assert program(root, "apply").returncode == 0
    lines = environment.read_text().splitlines()
    assert lines[:3] == before.splitlines()
    assert lines[4:8] == [
        f"OLLAMA_HOST={URL}",
        f"LAMPLIGHTER_OLLAMA_HOST={URL}",
        "no_proxy=intranet,172.22.16.1",
        "NO_PROXY=intranet,172.22.16.1",
    ]
    assert environment.stat().st_mode & 0o777 == 0o640
    (root / "proc/net/route").write_text(HEADER + ROUTE.replace("011016AC", "01401EAC"))
    program(root, "apply")
    assert environment.read_text().count("OLLAMA_HOST=http://172.30.64.1:11434") == 2
    assert "172.22.16.1" not in environment.read_text()
    program(root, "remove")
    assert environment.read_text() == before + "\n"


@pytest.mark.parametrize(("replace", "ours"), [("no", 0), ("yes", 1)])
def test_a_value_of_the_user_in_etc_environment(root: Path, replace: str, ours: int) -> None:
    configure(root, replace=replace)
    environment = root / "etc/environment"
    environment.write_text("OLLAMA_HOST=desk\n")
    program(root, "apply")
    assert environment.read_text().count(f"\nOLLAMA_HOST={URL}\n") == ours


def test_it_says_how_to_use_it(root: Path) -> None:
    done = program(root, "help")
    assert done.returncode == 2
    assert done.stderr.count("windows-ollama ") == 4
