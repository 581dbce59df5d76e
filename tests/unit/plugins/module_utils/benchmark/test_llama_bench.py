# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.llama_bench import (
    BenchError,
    cross_check,
    options,
    parse,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.benchmark.warn import _against_llama_bench
from hypothesis import given
from hypothesis import strategies as st

OPTIONS = [
    ("", ""),
    ("--model /m/a.gguf --host 127.0.0.1 --ctx-size 2048 --metrics", "-m /m/a.gguf"),
    ("-m a --device Vulkan0,Vulkan1", "-m a -dev Vulkan0/Vulkan1"),
    ("-m a --device none -fa on -ctk q8_0 --cache-type-v f16", "-m a -dev none -fa on -ctk q8_0 -ctv f16"),
    ("-ngl 20 --gpu-layers 30", "-ngl 30"),
    ("-ngl all", "-ngl 99"),
    ("-ngl auto", ""),
    ("--threads 8 -b 512 --ubatch-size 256", "-t 8 -b 512 -ub 256"),
    ("--metrics -m", ""),
]


@pytest.mark.parametrize(("server", "bench"), OPTIONS)
def test_options_that_decide_the_speed_are_the_servers(server: str, bench: str) -> None:
    assert options(["/usr/bin/llama-server", *server.split()]) == bench.split()


# llama-bench of Debian's llama.cpp-tools, build 11669, with what is not read left out.
ANSWER = json.dumps(
    [
        {"build_commit": "Debian", "build_number": 11669, "n_prompt": 64, "n_gen": 0, "avg_ts": 151.308397},
        {"build_commit": "Debian", "build_number": 11669, "n_prompt": 0, "n_gen": 16, "avg_ts": 16.649127},
    ]
)
SPEEDS = {"build": "b11669", "prompt_tokens_per_second": 151.3, "generation_tokens_per_second": 16.6}


def test_its_json_is_read() -> None:
    assert parse(ANSWER) == SPEEDS


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", "null", '[{"n_gen": 1}]', ANSWER.replace("151.308397", "null")])
def test_another_answer_is_told(text: str) -> None:
    with pytest.raises(BenchError, match="cannot be read"):
        parse(text)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_other_error_is_raised_for_any_json(value: Any) -> None:
    with pytest.raises(BenchError):
        parse(json.dumps(value))


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A process whose program has llama-bench beside it."""
    program = tmp_path / "bin/llama-bench"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    process = tmp_path / "proc/4711"
    process.mkdir(parents=True)
    (process / "cmdline").write_bytes(f"{tmp_path}/bin/llama-server\0-m\0/m/a.gguf\0".encode())
    (process / "environ").write_bytes(
        b"GGML_VK_VISIBLE_DEVICES=0\0LLAMA_API_KEY=s3cret\0PATH=/bin\0HSA_OVERRIDE=1\0XDG_CACHE_HOME=/c\0"
    )
    return tmp_path


SETTINGS = {"prompt_tokens": 512, "predict_tokens": 128, "repetitions": 3, "request_timeout": 60}


def check(root: Path, answer: tuple[int, str] = (0, ANSWER), user: str = "llama-server") -> Any:
    ran: list[Any] = []

    def run(command: list[str], seconds: float = 120) -> tuple[int, str]:
        if command[0] == "systemctl":
            return 0, f"MainPID=4711\nUser={user}\n"
        ran.append((command, seconds))
        return answer

    return cross_check("llama-server-a.service", SETTINGS, run, str(root / "proc")), ran


def test_it_runs_as_the_servers_user_with_its_gpus_and_no_secret(server: Path) -> None:
    result, ((command, seconds),) = check(server)
    assert result == {**SPEEDS, "error": None}
    assert seconds == 60
    assert command == [
        *("runuser", "--user", "llama-server", "--"),
        *(
            "env",
            "GGML_VK_VISIBLE_DEVICES=0",
            "HSA_OVERRIDE=1",
            "XDG_CACHE_HOME=/c",
            f"{server}/bin/llama-bench",
            "-m",
            "/m/a.gguf",
        ),
        *("-p", "512", "-n", "128", "-r", "3", "-o", "json"),
    ]


def test_a_server_of_roots_needs_no_other_user(server: Path) -> None:
    assert check(server, user="")[1][0][0][0] == "env"


def test_why_there_is_nothing_is_told(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ended with 124" in check(server, (124, "llama-bench did not end within 60 s"))[0]["error"]
    (server / "bin/llama-bench").unlink()
    monkeypatch.setenv("PATH", str(server))
    assert "there is no llama-bench" in check(server)[0]["error"]
    (server / "proc/4711/cmdline").unlink()
    assert check(server) == (
        {**dict.fromkeys(SPEEDS), "error": "the process of llama-server-a.service cannot be read"},
        [],
    )


def test_a_server_far_behind_it_is_told() -> None:
    figures = {"prompt_tokens_per_second": {"median": 121.0}, "generation_tokens_per_second": {"median": 13.0}}
    assert _against_llama_bench({**figures, "llama_bench": {**SPEEDS, "error": None}}) == [
        "llama-bench reaches 151.3 prompt tokens per second, the server 121.0",
        "llama-bench reaches 16.6 generation tokens per second, the server 13.0",
    ]
    better = {"prompt_tokens_per_second": {"median": 121.1}, "generation_tokens_per_second": None}
    assert _against_llama_bench({**better, "llama_bench": {**SPEEDS, "error": None}}) == []
    assert _against_llama_bench({**better, "llama_bench": None}) == []
