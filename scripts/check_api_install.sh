#!/usr/bin/env bash
# The package without extras, in an environment of its own: it must bring no torch, carry the files
# that are not Python, and import the API without loading torch, transformers or the workers.
#   usage: make package
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check ${PIP_FLAGS:-} -c constraints.txt .

cd "$work"  # away from the sources: what is imported below is what was installed
"$work/venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata
import sys
from importlib.resources import files

heavy = {"torch", "transformers", "tokenizers", "safetensors", "sentence-transformers"}
installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
assert not installed & heavy, f"the API alone brings {sorted(installed & heavy)}"

import app.main

assert files("app").joinpath("store/lua").is_dir(), "the Lua scripts are not in the package"
loaded = (heavy | {"workers", "models"}) & {name.partition(".")[0] for name in sys.modules}
assert not loaded, f"importing app.main loads {sorted(loaded)}"
print(f"gradsift {metadata.version('gradsift')}: {len(installed)} distributions, no torch, app.main imports")
PYTHON
"$work/venv/bin/gradsift" version
