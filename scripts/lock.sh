#!/usr/bin/env bash
# Resolves every extra in a clean environment and writes the exact versions to constraints.txt.
#   usage: make lock [TORCH=2.13.0]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
# async-timeout: redis wants it before Python 3.11.3, which is newer than what a user may have.
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check ${PIP_FLAGS:-} \
    ".[worker,demo,dev,otel,wandb,bench]" "torch==${TORCH:?}" async-timeout
"$work/venv/bin/python" -m pip check

{
    echo "# Exact versions of everything that any extra installs. Made by \`make lock\`; do not edit."
    echo "# torch carries no +cpu or +cu suffix, so that either build satisfies it."
    "$work/venv/bin/python" -m pip freeze --all --disable-pip-version-check \
        | grep -vE '^(gradsift|pip|wheel|nvidia-[a-z0-9-]+|triton)([=@ ]|$)' \
        | sed -E 's/^(torch==[^+]*)\+.*/\1/' \
        | LC_ALL=C sort -f
} > "$work/constraints.txt"
if grep -nE '@|/' <(grep -v '^#' "$work/constraints.txt"); then
    echo "a pin names a place instead of a version" >&2
    exit 1
fi
mv "$work/constraints.txt" constraints.txt
echo "constraints.txt: $(grep -vc '^#' constraints.txt) pins"
