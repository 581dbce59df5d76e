# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a log as people have it to records: whatever prefix, wrapping or joining it went through on its way."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

# A longer line is looked at in pieces, so that a file without a line end costs no memory.
MAX_LINE = 1 << 16
# A wrapped record is joined from at most this much text.
MAX_RECORD = 1 << 15


class Record(NamedTuple):
    """One entry of a log: `message` and `attributes` where it is structured (slog), else only `text`."""

    text: str
    message: str | None = None
    attributes: dict[str, str] | None = None


_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|#033\[[0-9;]*m|\^\[\[[0-9;]*m")
_STRUCTURED = re.compile(
    r"(?:time=\S{1,40} )?level=[A-Z]{1,9}\S{0,4} (?:source=\S{1,300} )?msg=|\b(?:source=)?\w{1,60}\.go:\d{1,6} msg="
)
# What some web interfaces for containers make of such a line when it is copied: no blanks, no quotes.
_SQUASHED = re.compile(r"level=[A-Z]{1,9}source=\w{1,60}\.go:\d{1,6}msg=")
_SQUASHED_KEY = re.compile(
    r"(?:^|(?<=[^_]))(msg|id|library|variant|compute|driver|name|description|libdirs|pci_id|type|total|available|error|cmd|"
    r"env|total_vram|gpu_type|gpu|status|layers\.\w{1,12}|model|count|seconds)="
)
_GO_LOG = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?:\[?(?:INFO|WARN|ERROR|DEBUG)\]? )?\w{1,60}\.go:\d{1,6}: ")
_SPLIT = re.compile(r"(?=time=\d{4}-\d\d-\d\dT)|(?=\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \w{1,60}\.go:\d{1,6}: )")
# A value whose quote never closes runs to the end: the scan stays linear.
_PAIR = re.compile(r'("(?:[^"\\]|\\.)*(?:"|$)|[^\s="]+)=("(?:[^"\\]|\\.)*(?:"|$)|[^\s"]*)|\S+')
_ESCAPE = re.compile(r"\\(.)")
# What a line looks like that begins an entry of its own, even while a quote is open,
_ENTRY_START = re.compile(
    r"time=|level=|(?:source=)?\S{1,300}\.go:\d{1,6} msg=|\[GIN|\[\d|\{\"|\d{4}[-/]\d\d[-/]\d\d|<\d+>|[\w.-]+ +\| |-- "
    r"|\S{3,12}\.? +\d{1,2} \d\d:\d\d:\d\d |\d\d? \S+ \d\d:\d\d:\d\d "
    r"| *Device \d+:|goroutine |panic: |SIG[A-Z]+: |(?:llama|llm|ggml|gguf|load|common|clip)_\w+: "
    r"|(?:print_info|load|main|clip|system_info): |(?:srv|slot|cmn) +\w"
    r"|(?:CUDA|ROCm|HIP|rocBLAS) error|Memory access fault|HW Exception|Error: "
)
# and while none is.
_LABEL = re.compile(r"[\w<>~:. -]{2,60}:(?: |$)|\.\.\.|===|---")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)')
# No terminal is narrower: a shorter line did not end because it was full.
_NARROWEST = 60
_KEY_FIRST = re.compile(
    r"(?:msg|id|filter_id|library|variant|compute|driver|name|description|libdirs|pci_id|type|total|available|error|"
    r"source|level|cmd|env|total_vram|default_num_ctx|gpu|gpu_type|extra_envs|OLLAMA_LIBRARY_PATH|supported|device|"
    r"gfx_target|hint|detail|layers\.\w+|memory\.[\w.]+|HSA_OVERRIDE_GFX_VERSION|threshold|size|port)="
)


def read_text_lines(path: str) -> Iterator[str]:
    """The lines of a file, decoded without failing and cut where they never end."""
    with open(path, "rb") as handle:
        if handle.read(2) in (b"\xff\xfe", b"\xfe\xff"):  # what PowerShell's redirection writes
            with open(path, encoding="utf-16", errors="replace") as text:
                yield from iter(lambda: text.readline(MAX_LINE), "")
            return
    with open(path, encoding="utf-8", errors="replace", newline="\n") as text:
        yield from iter(lambda: text.readline(MAX_LINE), "")


class Needles:
    """Texts one of which every line that matters has in it.

    Looking for a hundred texts in each line of a long log would take most of the time. So whole batches of lines are
    searched first, and their lines only for what the batch has. The beginning of a log, which is all of it mostly, is
    searched for everything: a text that a line break tears apart shows only when the lines are joined again.
    """

    _BATCH = 512
    _SEARCHED_WHOLE = 1 << 22

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(sorted(set(texts)))
        self._active = self.texts

    def batches(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines without those batches that hold nothing."""
        iterator, before, seen = iter(lines), self.texts, 0
        while True:
            batch = list(itertools.islice(iterator, self._BATCH))
            if not batch:
                return
            if max(map(len, batch)) > MAX_LINE:
                batch = [line[at : at + MAX_LINE] for line in batch for at in range(0, len(line), MAX_LINE)]
            text = "\n".join(batch)
            if "\x1b" in text or "\0" in text or "#033[" in text:
                batch = [clean(line) for line in batch]
                text = "\n".join(batch)
            here = self.texts
            if seen > self._SEARCHED_WHOLE:
                here = tuple(needle for needle in self.texts if needle in text)
            seen += len(text)
            self._active = tuple({*before, *here})  # the last line of the batch before may still be held back
            before = here
            if self._active:
                yield from batch

    def found(self, line: str) -> list[str]:
        """Those of the texts that are in the line."""
        return [needle for needle in self._active if needle in line]


def clean(text: str) -> str:
    """The text without colour codes and control characters."""
    if "\x1b" in text or "#033[" in text or "^[[" in text:
        text = _ANSI.sub("", text)
    return text.replace("\0", "").replace("\r", "")


def pairs(text: str) -> dict[str, str]:
    """The key=value pairs of a text (Go's slog: quoted where needed); a cut last value is left out."""
    found: dict[str, str] = {}
    for match in _PAIR.finditer(text):
        key, value = match.group(1), match.group(2)
        if key is None or value is None:
            continue
        if value.startswith('"'):
            if len(value) < 2 or not value.endswith('"'):
                continue
            value = _ESCAPE.sub(r"\1", value[1:-1])
        found.setdefault(key.strip('"'), value)
    return found


def _unpacked(line: str) -> str:
    """The text inside a JSON line of a container runtime, of journalctl, of a collector or of a desktop program."""
    if line.startswith("{") and ('"log"' in line or '"MESSAGE"' in line or '"hostname"' in line or " msg=" in line):
        try:
            entry = json.loads(line)
        except ValueError:
            return line
        texts = (entry.get(name) for name in ("log", "MESSAGE", "message", "line", "msg"))
        return next((text for text in texts if isinstance(text, str)), line)
    return line


def parse(line: str) -> Iterator[Record]:
    """The records of one joined line."""
    text = _unpacked(line)
    if text is not line:
        text = clean(text)
    for part in _SPLIT.split(text) if len(text) > 40 else [text]:
        part = part.strip()
        if not part:
            continue
        structured = _STRUCTURED.search(part)
        if structured:
            attributes = pairs(part[structured.start() :])
            yield Record(part, attributes.pop("msg", ""), attributes)
            continue
        squashed = _SQUASHED.search(part)
        if squashed:
            words = _SQUASHED_KEY.split(part[squashed.end() - len("msg=") :])
            found = dict(zip(words[1::2], words[2::2]))
            yield Record(part, found.pop("msg", ""), found)
            continue
        old = _GO_LOG.search(part)
        if old:
            message = re.sub(r"^(?:INFO|WARN|ERROR|DEBUG) ", "", part[old.end() :])
            yield Record(part, message, pairs(message) if "=" in message else {})
            continue
        yield Record(part)


def joined(lines: Iterable[str], ends: Callable[[str], bool]) -> Iterator[str]:
    """The lines, with a structured record that was wrapped over several lines made one again.

    `ends(line)` says that a line is an entry of its own whatever it looks like.
    """
    held: list[str] = []
    size, in_quotes, complete = 0, False, False
    for line in lines:
        line = line.rstrip("\r\n")
        if held:
            full = len(held[-1]) >= _NARROWEST
            if line and size < MAX_RECORD and _goes_on(line, in_quotes, complete, full) and (full or not ends(line)):
                if _KEY_FIRST.match(line) and held[-1][-1] not in ' "=':
                    line = " " + line
                held.append(line)
                size += len(line)
                in_quotes ^= _odd_quotes(line)
                complete = complete or "msg=" in line
                continue
            yield "".join(held)
            held = []
        if "msg=" in line or "level=" in line or ".go:" in line:
            held = [line]
            size, in_quotes, complete = len(line), _odd_quotes(line), "msg=" in line or "level=" not in line
        elif line:
            yield line
    if held:
        yield "".join(held)


def _goes_on(line: str, in_quotes: bool, complete: bool, full: bool) -> bool:
    """Whether a line is the rest of the structured record before it, the last line of which may have been full."""
    if "time=2" in line or _ENTRY_START.match(line):
        return False
    if in_quotes or not complete:
        return True
    if _LABEL.match(line):
        return False
    words = _QUOTED.sub("Q", line[:4096]).split()
    if len(words) == 1:
        return full
    return "=" in line and all("=" in word for word in words[1:-1])  # the last may be cut as well


def _odd_quotes(text: str) -> bool:
    return (text.count('"') - text.count('\\"')) % 2 == 1
