# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a new virtual environment pip from the interpreter's own wheel.

ansible-test runs a get-pip.py from its cache, or downloads one from a server that not every network
lets through. tools/sanity puts this file into that cache. The arguments are pip options and packages.
"""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys

environment = dict(os.environ)
ensurepip.bootstrap()  # switches pip's settings off in this process
options = [arg for arg in sys.argv[1:] if arg not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *options], env=environment))
