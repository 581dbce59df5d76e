# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of one folder for unit tests: with ranges, without them (/plain/), cut (/cut/) or gone (/missing/)."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


class Handler(http.server.BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]]

    def __init__(self, *arguments: Any, folder: Path, asked: list[tuple[str, str | None]]) -> None:
        self.folder, self.asked = folder, asked
        super().__init__(*arguments)

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range")))
        file = self.folder / re.sub(r"^/(plain|cut|missing)/", "", self.path).lstrip("/")
        if "/missing/" in self.path or not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if found and "/plain/" not in self.path:
            first, last = int(found[1]), min(int(found[2] or len(content)), len(content) - 1)
            if first >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if "/cut/" in self.path else content)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """The address, and what was asked of it so far: paths and ranges."""
    asked: list[tuple[str, str | None]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, folder=folder, asked=asked))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
