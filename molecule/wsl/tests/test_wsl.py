# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A WSL2 from its first run to the last: NAT, restarts with another address, mirrored, none, and back to what it was.

The tests follow on each other, in the order of the file."""

from __future__ import annotations

import json
import re

import pytest

UNIT = "lamplighter-windows-ollama"
FIRST, SECOND = "172.22.16.1", "172.30.64.1"
CONF = "/etc/lamplighter/windows-ollama.conf"
DOCTOR = "What is wrong, in the order to mend it"
# How each kind of process is started, and what it says.
SAY = 'echo "$OLLAMA_HOST"'
USER_UNIT = "~/.config/systemd/user/say.service"
KINDS = {
    "login bash": f"env -i bash -lc '{SAY}'",
    "login sh": f"env -i sh -lc '. /etc/profile; {SAY}'",
    "interactive bash": f"env -i bash -ic '{SAY}' 2>/dev/null",
    "zsh": f"env -i HOME=$HOME zsh -c '{SAY}'",
    "login zsh": f"env -i HOME=$HOME zsh -lc '{SAY}'",
    "fish": f"env -i HOME=$HOME fish -c '{SAY}'",
    "command over SSH": SAY,
    "cron": "cat /tmp/said-by-cron 2>/dev/null",
    "service": f"sudo systemd-run --quiet --pipe --wait sh -c '{SAY}'",
    "service of a user": "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user start say.service; cat ~/said-by-user",
}


def everybody_says(world, url):
    """Every kind of process, of which cron needs its minute."""
    said = {kind: world.as_user(command) for kind, command in KINDS.items() if kind != "cron"}
    world.fleet.wait_for("wsl", f"grep -qx '{url}' /tmp/said-by-cron", 150)
    assert said == dict.fromkeys(said, url)


def story(run):
    return "\n".join(run.failed("wsl"))


def verdict(run):
    return [result["msg"] for result in run.of("wsl", task="What came of it")][-1]


@pytest.fixture(scope="module", autouse=True)
def processes(world):
    world.do(
        "loginctl enable-linger admin; echo '* * * * * admin echo $OLLAMA_HOST > /tmp/said-by-cron' > /etc/cron.d/say"
    )
    world.as_user(
        f"mkdir -p ~/.config/systemd/user; printf '[Service]\\nType=oneshot\\nExecStart=sh -c \"echo $OLLAMA_HOST >"
        f" %%h/said-by-user\"\\n' > {USER_UNIT}"
    )


@pytest.fixture(scope="module")
def virgin(world):
    return world.tree()


def test_check_mode_on_a_new_host_tells_and_changes_nothing(world, virgin):
    run = world.play("--check", "--diff")
    assert run.code == 0, run.output
    assert "Wire | The files of the wiring are there" in run.changed("wsl")
    assert world.tree() == virgin


def test_bad_input_is_refused_before_any_change(world, virgin):
    run = world.play(wsl_client_host="desk'; reboot; '", wsl_client_port=0)
    assert "no address of a server" in story(run)
    assert "wsl_client_port is 0" in story(run)
    assert world.tree() == virgin


def test_the_cause_is_told_while_windows_listens_to_itself_only(world, virgin):
    run = world.play()
    assert "on Windows it listens on 127.0.0.1 only" in story(run)
    assert "wsl_client_windows: true" in story(run)


def test_windows_is_set_up_from_here_and_proven(world):
    world.set("elevated", True)
    run = world.play(wsl_client_windows=True)
    assert run.code == 0, run.output
    assert verdict(run) == "proven on vulkan"
    everybody_says(world, f"http://{FIRST}:11434")


def test_the_next_run_changes_nothing(world):
    run = world.play(wsl_client_windows=True)
    assert run.code == 0, run.output
    assert run.changed("wsl") == []
    assert world.play("--check", wsl_client_windows=True).changed("wsl") == []


def test_it_is_right_after_a_restart_with_another_address_without_a_run(world):
    world.restart(gateway=SECOND)
    everybody_says(world, f"http://{SECOND}:11434")
    url = world.as_user(f"bash -lc '{SAY}'")
    asked = world.as_user(
        f"python3 -c \"import urllib.request as u; print(u.urlopen('{url}/api/version').read().decode())\""
    )
    assert '"version"' in asked
    run = world.play(playbook="proof")
    assert verdict(run) == "proven on vulkan"


def test_a_shell_is_not_slower_by_five_milliseconds(world):
    def seconds(shell):
        said = world.as_user(f"bash -c 'TIMEFORMAT=%U+%S; time (for i in $(seq 200); do {shell}; done)' 2>&1")
        return sum(map(float, said.split("+")))

    cost = (seconds('sh -c ". /usr/local/lib/lamplighter/windows-ollama.sh"') - seconds("sh -c :")) * 1000 / 200
    print(f"{cost:.2f} ms of processor time")
    assert cost < 5


def test_the_doctor_is_content_and_flags_what_is_wide_or_stale(world):
    page = world.play(playbook="playbooks/doctor.yml").of("wsl", task=DOCTOR)[0]["msg"]
    assert not re.findall(r"(?:ERROR|warning) (\w+):", page), page
    rules = json.loads(world.windows("show rules"))
    world.set("rules", [*rules, {**rules[0], "Name": "Wide", "RemoteAddress": "Any", "InterfaceAlias": "Any"}])
    world.do("echo 'export OLLAMA_HOST=172.17.0.1' > /etc/profile.d/mine.sh")
    page = world.play(playbook="playbooks/doctor.yml").of("wsl", task=DOCTOR)[0]["msg"]
    assert set(re.findall(r"(?:ERROR|warning) (\w+):", page)) == {"client_address_stale", "windows_firewall_wide"}
    world.set("rules", rules)


def test_a_value_of_the_user_is_reported_and_replaced_only_when_allowed(world):
    beside = "if [ -e /nowhere ]; then export OLLAMA_HOST=desk; fi"
    world.as_user(f"echo '{beside}' > ~/.bash_aliases")
    run = world.play()
    told = str(run.of("wsl", task="Who else sets OLLAMA_HOST is told"))
    assert "/etc/profile.d/mine.sh says OLLAMA_HOST=172.17.0.1 in line 1" in told
    assert ".bash_aliases says OLLAMA_HOST=desk in line 1, beside other things: change that line by hand" in told
    assert world.do("cat /etc/profile.d/mine.sh") == "export OLLAMA_HOST=172.17.0.1"
    run = world.play(wsl_client_replace=True)
    assert run.code == 0, run.output
    assert world.do("cat /etc/profile.d/mine.sh") == ": # lamplighter: export OLLAMA_HOST=172.17.0.1"
    assert world.as_user("cat ~/.bash_aliases") == beside
    assert world.play(wsl_client_replace=True).changed("wsl") == []
    world.as_user("rm ~/.bash_aliases")


def test_a_proxy_does_not_swallow_the_request(world):
    world.do("echo 'http_proxy=http://127.0.0.1:9' >> /etc/environment; systemctl restart " + UNIT)
    assert world.as_user("bash -lc 'echo \"$no_proxy\"'") == SECOND
    assert verdict(world.play(playbook="proof")) == "proven on vulkan"
    world.do("sed -i /^http_proxy/d /etc/environment; systemctl restart " + UNIT)


@pytest.mark.parametrize(
    ("break_it", "mend_it", "said"),
    [
        ("quit", "start", "does not run"),
        ("set rules '[]'", None, "its firewall drops it"),
    ],
)
def test_every_cause_is_told(world, break_it, mend_it, said):
    rules = world.windows("show rules")
    world.windows(break_it)
    assert said in story(world.play(playbook="proof"))
    world.windows(mend_it or f"set rules '{rules}'")


def test_a_rule_that_blocks_is_told_with_what_removes_it(world):
    rules = json.loads(world.windows("show rules"))
    world.set(
        "rules",
        [*rules, {**rules[0], "Name": "No", "InstanceID": "No", "DisplayName": "ollama.exe", "Action": "Block"}],
    )
    said = story(world.play(playbook="proof"))
    assert "firewall rule ollama.exe blocks it" in said
    assert "Remove-NetFirewallRule -Name 'No'" in said
    page = world.play(playbook="playbooks/doctor.yml").of("wsl", task=DOCTOR)[0]["msg"]
    assert re.findall(r"(?:ERROR|warning) (\w+):", page) == ["windows_firewall_blocks"]
    assert "Remove-NetFirewallRule -Name 'No'" in page
    world.set("rules", rules)


def test_without_interop_the_way_and_the_gpu_are_proven_all_the_same(world):
    powershell = "/mnt/c/Windows/System32/WindowsPowerShell/v1.0/powershell.exe"
    world.do(f"mv {powershell} {powershell}.away; printf 'MZ' > {powershell}; chmod 755 {powershell}")
    assert verdict(world.play(playbook="proof")) == "proven on gpu"
    world.do(f"mv {powershell}.away {powershell}")


def test_the_refusals_say_the_way_out(world):
    before = world.tree()
    world.do("echo 4.4.0-19041-Microsoft > /srv/machine/proc/sys/kernel/osrelease")
    assert "wsl --set-version" in story(world.play())
    world.do("systemctl restart standin-hardware; echo none > /run/standin-wsl/mode")
    assert "networkingMode=mirrored" in story(world.play())
    assert world.tree() == before


def test_mirrored_needs_nothing_of_windows(world):
    world.restart(mode="mirrored")
    run = world.play(wsl_client_windows=True)
    assert run.code == 0, run.output
    assert verdict(run) == "proven on vulkan"
    assert world.windows("show rules").split() == ["[]"]
    assert "0.0.0.0" not in world.windows("show environment")
    everybody_says(world, "http://127.0.0.1:11434")


def test_nothing_is_left_when_it_is_taken_back(world, virgin):
    run = world.play(playbook="uninstall")
    assert run.code == 0, run.output
    world.do("rm /etc/profile.d/mine.sh")
    left = [line for line in world.tree().splitlines() if line not in virgin.splitlines()]
    assert left == []
    assert world.as_user(f"env -i bash -lc '{SAY}'") == ""
    assert "OLLAMA_HOST" not in world.do("systemctl show-environment")
    assert world.play(playbook="uninstall").changed("wsl") == []
