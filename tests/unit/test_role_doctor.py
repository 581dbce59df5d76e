# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role doctor is told to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

VARS = Path(__file__).parents[2] / "roles/doctor/vars/main.yml"


@pytest.mark.parametrize(
    ("given", "read"),
    [("", ""), ("/srv/sent.tar.gz", "/srv/sent.tar.gz"), ("sent.tar.gz", "HERE/sent.tar.gz"), ("~/sent", "HERE/sent")],
)
def test_what_was_sent_is_found_from_here(
    given: str, read: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    names = {**DataLoader().load_from_file(str(VARS), trusted_as_template=True), "doctor_read": given}
    told = Templar(DataLoader(), variables=names).template(trust_as_template("{{ __doctor_read }}"))
    assert told == read.replace("HERE", str(tmp_path))
