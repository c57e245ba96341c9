"""`python -m cnnlab COMMAND`: doctor, lab, progress, reset, download."""

import sys
from importlib import import_module

MODULES = {"download": "download", "lab": "lab", "progress": "overview", "reset": "stubs"}

command, *arguments = sys.argv[1:] or [""]
if command in MODULES:
    sys.exit(import_module(f"cnnlab.{MODULES[command]}").main(arguments))
sys.exit(import_module("cnnlab.doctor").main())  # the one that runs where nothing is installed
