# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand connections on: the loopback address that WSL2 and Windows share.

usage: relay.py            in WSL2, as /run/standin-wsl/relay says
       relay.py windows    in the simulated Windows, from the harness' port to 127.0.0.1:11434
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(address: str, port: int, to_address: str, to_port: int) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(to_address, to_port)
        except OSError:
            # Nobody listens there: the other side sees it as a connection that is refused or reset.
            writer.transport.abort()
            return
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    server = await asyncio.start_server(pass_on, address, port)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["windows"]:
        asyncio.run(serve("0.0.0.0", 4713, "127.0.0.1", 11434))
    else:
        where = Path("/run/standin-wsl/relay").read_text().split()
        asyncio.run(serve(where[0], int(where[1]), where[2], int(where[3])))
