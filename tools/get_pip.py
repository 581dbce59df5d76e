"""Give a new virtual environment pip from the interpreter's own wheel.

ansible-test runs a get-pip.py from its cache, or downloads one from a server that not every network
lets through. tools/sanity puts this file into that cache. The arguments are pip options and packages.
"""

import ensurepip
import subprocess
import sys

ensurepip.bootstrap()
options = [arg for arg in sys.argv[1:] if arg not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *options]))
