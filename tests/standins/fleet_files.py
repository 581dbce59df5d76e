# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what the hosts of the fleet are given: who may enter, their own SSH key, the description of their machine.

usage: fleet_files.py FOLDER HOST=ADDRESS...

Also known_hosts and an ssh_config for the controller (`ssh -F FOLDER/ssh_config HOST`). A host without a description
shows the hardware of this machine. Says "changed" if it wrote anything. One program for all hosts, since the same as
Ansible tasks takes ten times as long.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

MACHINES = Path(__file__).parent / "machines"


def key(path: Path, comment: str) -> str:
    """The public half of a key that is made if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(command, check=True)
        print("changed")
    return path.with_suffix(".pub").read_text()


def write(path: Path, content: str) -> None:
    if not path.exists() or path.read_text() != content:
        path.write_text(content)
        print("changed")


def main(folder: Path, addresses: dict[str, str]) -> None:
    visitor = key(folder / "id_ed25519", "lamplighter-fleet")
    known_hosts = ssh_config = ""
    for host, address in addresses.items():
        known_hosts += f"{address} {key(folder / host / 'ssh_host_ed25519_key', host)}"
        ssh_config += f"Host {host}\n  HostName {address}\n"
        write(folder / host / "id_ed25519.pub", visitor)
        machine = MACHINES / f"{host}.yml"
        if machine.exists():
            write(folder / host / "machine.json", json.dumps(yaml.safe_load(machine.read_text()), indent=2) + "\n")
    write(folder / "known_hosts", known_hosts)
    ssh_config += f'Host *\n  User admin\n  IdentitiesOnly yes\n  IdentityFile "{folder}/id_ed25519"\n'
    write(folder / "ssh_config", f'{ssh_config}  UserKnownHostsFile "{folder}/known_hosts"\n')


if __name__ == "__main__":
    main(Path(sys.argv[1]), dict(pair.split("=", 1) for pair in sys.argv[2:]))  # type: ignore[misc]
