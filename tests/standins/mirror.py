# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve a folder over HTTP with byte ranges, as the hosts of release archives do.

usage: mirror.py FOLDER PORT

A file `.mirror.json` in the folder, read at each request, makes it a bad mirror:
{"bytes_per_second": N} slows every answer, {"cut_after": N} closes the connection after N bytes of each answer.
"""

from __future__ import annotations

import json
import re
import sys
import time
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHUNK = 64 * 1024


class Mirror(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            super().do_GET()
            return
        size = path.stat().st_size
        first, last = 0, size - 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            if first > last:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
        self.end_headers()
        self.send_part(path, first, last + 1 - first)

    def send_part(self, path: Path, first: int, length: int) -> None:
        behaviour = Path(self.directory, ".mirror.json")
        settings = json.loads(behaviour.read_text()) if behaviour.exists() else {}
        end = min(length, settings.get("cut_after", length))
        speed = settings.get("bytes_per_second")
        with path.open("rb") as source:
            source.seek(first)
            sent = 0
            while sent < end:
                chunk = source.read(min(CHUNK, end - sent))
                self.wfile.write(chunk)
                sent += len(chunk)
                if speed:
                    time.sleep(len(chunk) / speed)
        self.close_connection = self.close_connection or end < length


def serve(folder: str, port: int) -> None:
    ThreadingHTTPServer(("", port), partial(Mirror, directory=folder)).serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
