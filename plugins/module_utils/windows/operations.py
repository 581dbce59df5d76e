# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The named operations on a Windows host. Each reads first, changes what differs, and reads again."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import changes as changing
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows import firewall
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.arguments import (
    ARGUMENTS,
    MODES,
    OPERATIONS,
    REFUSED,
    check_arguments,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.changes import Change
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.powershell import (
    NEW_TLS,
    Command,
    Expression,
    WindowsError,
    asking,
    doing,
    script,
    waiting,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.windows.state import (
    FIREWALL,
    GPUS,
    facts,
    lines,
    needed,
    questions,
    read_log,
    reading_script,
)

# Sends a script to Windows and returns its answer; the second argument is how many seconds it may take.
Ask = Callable[..., "dict[str, Any]"]
# What a download and an installation may take.
_LONG = 3600.0
STARTED = "Ollama is started with its environment"
BY_HAND = "Quit Ollama in the tray of Windows and start it again, or sign in again."


def run(name: str, given: dict[str, Any], ask: Ask, check: bool = False) -> dict[str, Any]:
    if name not in OPERATIONS:
        raise WindowsError(f"{name!r} is no operation: {', '.join(OPERATIONS)}.")
    unknown = sorted(set(given) - set(ARGUMENTS))
    if unknown:
        raise WindowsError(f"{', '.join(unknown)}: no argument of an operation.")
    arguments = {**ARGUMENTS, **{key: value for key, value in given.items() if value is not None}}
    check_arguments(arguments)
    if name == "gpus":
        answer = ask(reading_script({"gpus": GPUS}))
        needed(answer, "gpus")
        return {"changed": False, "gpus": answer["gpus"]}
    if name == "log":
        answer = ask(reading_script(read_log(arguments["lines"])))
        return {"changed": False, "path": next(iter(answer["log"]), None), "lines": lines(answer, "lines")}
    if name == "firewall":
        return read_firewall(ask, arguments["port"])
    if name == "state":
        return read(ask, arguments["port"])
    return (apply if name == "apply" else undo)(arguments, ask, check)


def as_result(operation: str, result: dict[str, Any]) -> dict[str, Any]:
    """For Ansible: with what --diff shows."""
    if operation == "state":
        return {"changed": False, "state": result}
    if operation in ("apply", "undo"):
        return {**result, "diff": {"before": result["before"], "after": result["after"]}}
    return result


def read(ask: Ask, port: int) -> dict[str, Any]:
    return facts(ask(reading_script(questions(port))), port)


def read_firewall(ask: Ask, port: int) -> dict[str, Any]:
    wanted = {key: what for key, what in questions(port).items() if key == "adapter" or key in FIREWALL}
    answer = ask(reading_script(wanted))
    needed(answer, *FIREWALL)
    adapter = next(iter(answer["adapter"]), None) if isinstance(answer["adapter"], list) else None
    wsl = adapter and {
        "alias": adapter["InterfaceAlias"],
        "address": adapter["IPAddress"],
        "prefix": int(adapter["PrefixLength"]),
    }
    rules = firewall.admitting(answer, port)
    return {"changed": False, "rules": rules, "wsl": wsl, "wide": firewall.wider_than_wsl(rules, wsl)}


def apply(arguments: dict[str, Any], ask: Ask, check: bool) -> dict[str, Any]:
    found = read(ask, arguments["port"])
    arguments = {**arguments, **bound(found, arguments)}
    wanted = _missing(found, arguments)
    result = _make(found, wanted, arguments, ask, check, lambda now: _missing(now, arguments))
    result["wide"] = firewall.wider_than_wsl(result["state"]["firewall"], result["state"]["wsl"])
    # Where the loopback address is shared, no firewall is in between.
    result["blocking"] = result["state"]["blocking"] if arguments["firewall"] == "present" else []
    return result


def warnings(result: dict[str, Any]) -> list[str]:
    blocked = [
        f"The Windows firewall rule {rule['name']} keeps WSL2 from Ollama, whatever another one admits. In PowerShell, "
        f"as administrator: {firewall.removal(rule['id'])}"
        for rule in result.get("blocking", [])
    ]
    rights = [
        "Ollama is started from an administrator's session, and has its rights until it is started again: quit it in "
        "the tray of Windows, and start it from the Start menu."
    ]
    started = STARTED in result.get("what", []) and result["state"]["elevated"] and not result["state"]["services"]
    return (
        (rights if started else [])
        + blocked
        + [
            f"The Windows firewall rule {rule['name']} ({rule['id']}) opens Ollama to more than WSL2: {rule['reason']}."
            for rule in result.get("wide", [])
        ]
    )


def bound(found: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The firewall and the variables that the wanted way for WSL2 needs. What is not needed is taken back."""
    bind = arguments["bind"]
    if not bind:
        return {}
    mode = found["wsl"]["mode"] if arguments["mode"] == "auto" else arguments["mode"]
    if mode in REFUSED or mode not in MODES:
        why = REFUSED.get(mode, f"The networking mode {mode} is not known")
        raise WindowsError(
            f"{why}. Set networkingMode=nat or mirrored below [wsl2] in .wslconfig, then wsl --shutdown."
        )
    port, variables = arguments["port"], dict(arguments["environment"] or {})
    host = "" if port == 11434 else f"127.0.0.1:{port}"
    if bind == "loopback":
        host = f"127.0.0.1:{port}"
    elif mode == "nat":
        host = f"0.0.0.0:{port}"
        if bind == "vethernet":
            firewall.wanted_rule(found["wsl"], port, "subnet")
            host = f"{found['wsl']['address']}:{port}"
    if host:
        variables["OLLAMA_HOST"] = host
    opens = mode == "nat" and bind != "loopback"
    return {"environment": variables, "firewall": "present" if opens else "absent"}


def _missing(found: dict[str, Any], arguments: dict[str, Any]) -> list[Change]:
    """In the order in which they are made: nothing listens to everybody before the firewall is right."""
    wanted = _install_change(found, arguments["install"])
    opens = arguments["firewall"] == "present"
    rules: list[Change] = []
    if arguments["firewall"] is not None:
        rules = changing.firewall_rule(found, opens, arguments["firewall_scope"], arguments["port"])
    variables: list[Change] = []
    if arguments["environment"] is not None:
        named = {name.upper() for name in arguments["environment"]}
        for scope in changing.SCOPES:
            back = restored(found, scope, named if scope == arguments["scope"] else set())
            ours = arguments["environment"] if scope == arguments["scope"] else {}
            variables += changing.environment(found, {**back, **ours}, scope)
    for change in variables:
        change.needs = change.needs if opens else ""
    hyperv: list[Change] = []
    if arguments["hyperv_ports"] is not None:
        hyperv = changing.hyperv(found, arguments["hyperv_ports"], arguments["hyperv_remote"])
    return wanted + rules + hyperv + variables


def restored(found: dict[str, Any], scope: str, named: set[str]) -> dict[str, Any]:
    """What was there before, of variables that we set. One that somebody else has set since is left as it is."""
    recorded = (found["record"].get("environment") or {}).get(scope) or {}
    return {
        name: one["before"]
        for name, one in recorded.items()
        if name.upper() not in named and found["environment"][scope].get(name.upper()) == one["set"]
    }


def _install_change(found: dict[str, Any], install: dict[str, Any] | None) -> list[Change]:
    if not install or install["version"] == found["version"]:
        return []
    what = f"Ollama {install['version']} is installed, from {install['url']}"
    return [Change("install", what, found["version"], install["version"])]


def undo(arguments: dict[str, Any], ask: Ask, check: bool) -> dict[str, Any]:
    """What was there before, as the record tells. A variable that somebody else has set since is left as it is."""
    found = read(ask, arguments["port"])

    def missing(now: dict[str, Any]) -> list[Change]:
        wanted: list[Change] = []
        for scope in changing.SCOPES:
            wanted += changing.environment(now, restored(found, scope, set()), scope)
        # Removing is nothing that an environment must wait for.
        for change in wanted:
            change.needs = ""
        wanted += changing.firewall_rule(now, False, "interface", arguments["port"])
        wanted += changing.hyperv(now, [], [])
        return wanted + _uninstall(now, found["record"].get("installed"))

    result = _make(found, missing(found), arguments, ask, check, missing)
    if found["record"] and not result["pending"]:
        if not check:
            ask(changing.doing_script(changing.remove_record()))
        result["changed"] = True
    return result


def _uninstall(now: dict[str, Any], installed: dict[str, Any] | None) -> list[Change]:
    """An Ollama that we brought goes again. An older one that we replaced is not to be had back."""
    if not installed or installed.get("before") is not None or not now["installed"]:
        return []
    return [Change("install", "the Ollama that was installed here is removed", now["version"], None)]


def _make(
    found: dict[str, Any],
    wanted: list[Change],
    arguments: dict[str, Any],
    ask: Ask,
    check: bool,
    missing: Callable[[dict[str, Any]], list[Change]],
) -> dict[str, Any]:
    possible, pending = _sort(wanted, found["elevated"])
    running = {one["pid"] for one in found["running"]}
    stale = running if any(map(_touches_ollama, possible)) else running & set(found["record"].get("restart") or [])
    installs = next((change for change in possible if change.key == "install"), None)
    there = found["installed"] if installs is None else installs.after is not None
    restart = there and arguments["restart"] and (bool(stale) or not running or installs is not None)
    startable = arguments["interactive"] and (found["folder"] or installs)
    by_hand = "" if startable or found["services"] else BY_HAND
    if found["services"] and not found["elevated"]:
        by_hand = changing.shown(changing.start_again(found))
    if restart and by_hand:
        restart = False
        pending.append({"what": "Ollama is started again with its new environment", "command": by_hand})
    result = {
        "changed": bool(possible) or restart,
        "before": {change.key: change.before for change in possible},
        "after": {change.key: change.after for change in possible},
        "what": [change.what for change in possible] + ([STARTED] if restart else []),
        "pending": pending,
        "state": found,
    }
    if check or not result["changed"]:
        return result
    ask(changing.doing_script(changing.write_record(changing.recorded(found["record"], possible, sorted(stale)))))
    for change in possible:
        if change.key == "install":
            _install(change, found, arguments, ask)
    commands = [command for change in possible for command in change.commands]
    if commands:
        ask(changing.doing_script(commands))
    now = read(ask, arguments["port"])
    if restart and now["installed"]:
        touched = [name for store in now["record"]["environment"].values() for name in store]
        touched += [change.key.partition(".")[2] for change in possible if _touches_ollama(change)]
        now["touched"] = {name.upper() for name in touched if name}
        ask(changing.doing_script(changing.start_again(now)))
        older = {one["pid"] for one in now["running"]}
        now = read(ask, arguments["port"])
        if older & {one["pid"] for one in now["running"]}:
            raise WindowsError(f"Windows did not let Ollama be ended, so its environment is the old one. {BY_HAND}")
        if not now["running"]:
            raise WindowsError("Ollama was started and does not run. Its log on Windows: " + str(now["log"]))
    if restart:
        ask(changing.doing_script(changing.write_record({**now["record"], "restart": []})))
        now = read(ask, arguments["port"])
    left, _pending = _sort(missing(now), now["elevated"])
    if left:
        raise WindowsError(f"Windows took this without an error, and it is not so: {'; '.join(c.what for c in left)}.")
    return {**result, "state": now}


def _touches_ollama(change: Change) -> bool:
    return change.key == "install" or change.key.partition(".")[0] in changing.SCOPES


def _sort(wanted: list[Change], elevated: bool) -> tuple[list[Change], list[dict[str, str]]]:
    """What can be made, and what an administrator has to: with what must wait for it."""
    possible = [change for change in wanted if elevated or not change.elevated]
    held = {change.key for change in wanted} - {change.key for change in possible}
    waiting = [change for change in possible if change.needs in held]
    pending = [
        {"what": change.what, "command": changing.shown(change.commands)} for change in wanted if change.key in held
    ]
    pending += [{"what": change.what, "command": "Run this again after the commands above."} for change in waiting]
    return [change for change in possible if change not in waiting], pending


def _install(change: Change, found: dict[str, Any], arguments: dict[str, Any], ask: Ask) -> None:
    quiet = ["/VERYSILENT", "/NORESTART", "/SUPPRESSMSGBOXES"]
    if change.after is None:
        program = f"{found['folder']}\\unins000.exe"
        # It goes on in a copy of itself, for which it does not wait.
        removing: Expression = [
            Command("Start-Process", {"FilePath": program, "ArgumentList": quiet, "Wait": True, "PassThru": True}),
            Command("Select-Object", {"Property": ["ExitCode"]}),
        ]
        _finished(ask(script([asking("exit", removing)]), _LONG)["exit"][0]["ExitCode"], program)
        return
    install = arguments["install"]
    path = changing.download_path(install["version"])
    fetch: list[Expression] = [
        NEW_TLS,
        [Command("Invoke-WebRequest", {"Uri": install["url"], "OutFile": path, "UseBasicParsing": True})],
    ]
    checksum: Expression = [
        Command("Get-FileHash", {"LiteralPath": path, "Algorithm": "SHA256"}),
        Command("Select-Object", {"Property": ["Hash"]}),
    ]
    answer = ask(script([*map(doing, fetch), asking("hash", checksum)]), _LONG)
    actual = str(answer["hash"][0]["Hash"]).lower()
    remove: Expression = [Command("Remove-Item", {"LiteralPath": path})]
    if actual != install["sha256"].lower():
        ask(changing.doing_script([remove]))
        raise WindowsError(
            f"{install['url']} has the checksum {actual}, not {install['sha256'].lower()}: nothing was installed."
        )
    # At its end it starts the tray application, which stays.
    installing: Expression = [Command("Start-Process", {"FilePath": path, "ArgumentList": quiet, "PassThru": True})]
    answer = ask(script([waiting("exit", installing), doing(remove)]), _LONG)
    _finished(answer["exit"][0], install["url"])


def _finished(code: Any, program: str) -> None:
    if code != 0:
        raise WindowsError(f"{program} ended with exit code {code}: nothing was changed after it.")
