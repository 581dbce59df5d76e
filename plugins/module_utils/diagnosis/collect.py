# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collects the evidence of a host for the doctor. Reads only; what may not be read is listed in `unread`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from typing import Any, Callable

from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis import probes
from ansible_collections.lamplighter.fleet.plugins.module_utils.diagnosis.network import host_and_port
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.counters import read_counters
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.facts import gpu_facts
from ansible_collections.lamplighter.fleet.plugins.module_utils.hardware.hidden import KERNEL_LOGS
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.engine import read_engine_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.kernel import read_kernel_log
from ansible_collections.lamplighter.fleet.plugins.module_utils.logs.sources import (
    LogError,
    file_lines,
    kernel_lines,
    unit_lines,
)
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.address import is_loopback
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.installation import gather
from ansible_collections.lamplighter.fleet.plugins.module_utils.ollama.listener import find_listener
from ansible_collections.lamplighter.fleet.plugins.module_utils.plan.kernel import parameters_on
from ansible_collections.lamplighter.fleet.plugins.module_utils.process import run
from ansible_collections.lamplighter.fleet.plugins.module_utils.proof.host import nvidia_counters
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.proof import asker
from ansible_collections.lamplighter.fleet.plugins.module_utils.wsl.status import status


class Collector:
    """Evidence of one host; `texts` keeps what a bundle needs of the logs."""

    def __init__(
        self,
        sysroot: str,
        unit: str,
        signatures: list[dict[str, Any]],
        catalogue: dict[str, Any],
        interop: bool = False,
    ) -> None:
        self.interop = interop
        self.root, self.unit, self.signatures, self.catalogue = Sysroot(sysroot), unit, signatures, catalogue
        self.unread: list[str] = []
        self.engine_text, self.kernel_text = probes.Kept(), probes.Kept()

    def collect(self) -> dict[str, Any]:
        facts = self._try("the hardware", lambda: gpu_facts(self.root.root, self.catalogue, self.interop)) or {}
        found = self._try("the installation", self._installation) or {}
        listener, service = found.get("listener") or {}, self._service()
        pid = (found.get("service") or {}).get("main_pid") or (
            listener.get("pid") if str(listener.get("command")).startswith("ollama") else None
        )
        modprobe = probes.modprobe_options(self.root)
        cmdline = parameters_on((facts.get("kernel") or {}).get("cmdline") or "")
        boxes = probes.containers()
        models = (found.get("models") or {}).get("path") or "/"
        evidence = {
            "gpu_facts": facts,
            "ollama_facts": found,
            "service": service,
            "credentials": (probes.process_credentials(pid) if pid else {})
            or (probes.unit_credentials(service) if service else {}),
            "variable_files": probes.variable_files(found.get("unit") or {}),
            "process": {"pid": pid, "environment": probes.process_environment(pid) if pid else None},
            "api": probes.ask_api(self._url(found)) if listener else {},
            "counters": [self._counters(gpu) for gpu in facts.get("gpus") or [] if gpu.get("pci_address")],
            "disk": probes.disk_space(models),
            "unfinished_downloads": sorted(
                os.path.basename(path) for path in glob.glob(f"{glob.escape(models)}/blobs/*-partial")
            ),
            "binaries": sorted({os.path.realpath(path) for path in probes.PROGRAMS if os.path.exists(path)}),
            "containers": boxes,
            "login_environment": probes.login_environment(),
            "windows_client": self._windows_client(facts.get("wsl")),
            "modprobe": modprobe,
            "module_parameters": probes.module_parameters(self.root, [*cmdline, *(item["name"] for item in modprobe)]),
            "engine_log": self._engine_log(found, boxes),
            "kernel_log": self._kernel_log(),
        }
        if not os.access("/proc/1/environ", os.R_OK) and listener and not listener.get("pid"):
            self.unread.append("whose process listens on the port")
        return {**evidence, "unread": self.unread, "privileged": os.geteuid() == 0}

    def _try(self, what: str, source: Callable[[], Any]) -> Any:
        try:
            return source()
        except OSError as error:
            self.unread.append(f"{what}: {error}")
            return None

    def _windows_client(self, wsl: dict[str, Any] | None) -> dict[str, Any] | None:
        """Of a WSL2 host; Windows itself is asked only where that is allowed."""
        if not wsl or wsl["version"] == 1:
            return None
        powershell = wsl["powershell"] if self.interop and wsl["interop"] and wsl["powershell"] else ""
        return status(wsl, lambda port: asker(powershell, port))

    def _installation(self) -> dict[str, Any]:
        found = gather(
            lambda command: run(command, seconds=10)[1],
            root="/opt/ollama",
            user="ollama",
            models=None,
            port=11434,
            fact="/etc/ansible/facts.d/lamplighter.fact",
        )
        _address, port = host_and_port(found["unit"]["environment"].get("OLLAMA_HOST", ""))
        listener = found["listener"] if port == 11434 else find_listener(port)
        if listener:
            listener["port"] = port
        return {**found, "listener": listener}

    def _url(self, found: dict[str, Any]) -> str:
        addresses = found["listener"]["addresses"]
        local = any(is_loopback(address) or address in ("0.0.0.0", "::") for address in addresses)
        address = "127.0.0.1" if local else addresses[0]
        return f"http://{f'[{address}]' if ':' in address else address}:{found['listener']['port']}"

    def _service(self) -> dict[str, Any]:
        code, text = run(["systemctl", "show", self.unit, f"--property={','.join(('LoadState', *probes.PROPERTIES))}"])
        found = probes.parse_properties(text) if code == 0 else {}
        return found if found.pop("LoadState", "") == "loaded" else {}

    def _counters(self, gpu: dict[str, Any]) -> dict[str, Any]:
        counters: dict[str, Any] = read_counters(self.root, gpu["pci_address"])
        if gpu.get("vendor") == "nvidia":
            counters = nvidia_counters(gpu["pci_address"], run) or counters
        return {"pci_address": gpu["pci_address"], **counters}

    def _engine_log(self, found: dict[str, Any], boxes: list[dict[str, str]]) -> dict[str, Any] | None:
        try:
            lines = self._engine_lines(found, boxes)
            return read_engine_log(self.engine_text(lines), self.signatures) if lines is not None else None
        except LogError as error:
            self.unread.append(str(error))
            return None

    def _engine_lines(self, found: dict[str, Any], boxes: list[dict[str, str]]) -> Iterable[str] | None:
        """Of its unit or the one that is named, of what listens on the port (a snap's, say), or of a container."""
        listening = str((found.get("listener") or {}).get("unit"))
        if (found.get("unit") or {}).get("path") or self.unit != "ollama.service":
            return unit_lines(self.unit)
        if listening.endswith(".service"):
            return unit_lines(listening)
        if boxes:
            # Ollama logs to standard error, and a container's is kept apart.
            _code, text = run([boxes[0]["tool"], "logs", "--tail", "50000", boxes[0]["id"]], complaints=True)
            return text.splitlines(keepends=True)
        return None

    def _kernel_log(self) -> dict[str, Any] | None:
        try:
            return read_kernel_log(self.kernel_text(self._kernel_lines()), self.signatures)
        except LogError as error:
            self.unread.append(str(error))
            return None

    def _kernel_lines(self) -> Iterable[str]:
        files = [self.root.path(name) for name in KERNEL_LOGS if os.access(self.root.path(name), os.R_OK)]
        if self.root.root == "/":
            try:
                return list(kernel_lines())
            except LogError:
                if not files:
                    raise
        if not files:
            raise LogError("There is no kernel log below the sysroot.")
        return probes.of_last_boot(file_lines(files[0]))
