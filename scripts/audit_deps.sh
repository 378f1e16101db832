#!/usr/bin/env bash
# Looks up every pin among the known vulnerabilities; fails on a finding, and where it could not ask.
#   usage: make audit-deps [AUDIT_SERVICE=osv|newest] [SBOM=sbom.json]
#   newest: for mirrors of PyPI without pages of single versions; pins behind the newest version are only named
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${AUDIT_SERVICE:-}" = newest ]; then
    [ -z "${SBOM:-}" ] || { echo "SBOM needs AUDIT_SERVICE=pypi or osv" >&2; exit 2; }
    exec "${PYTHON:-python3}" scripts/audit_newest.py constraints.txt
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check ${PIP_FLAGS:-} "pip-audit==2.10.1"

format=()
[ -z "${SBOM:-}" ] || format=(--format cyclonedx-json --output "$SBOM")
# Without --strict, a mirror that knows no vulnerabilities would look like a clean bill of health.
"$work/venv/bin/pip-audit" --strict --disable-pip --no-deps --requirement constraints.txt \
    --vulnerability-service "${AUDIT_SERVICE:-pypi}" --progress-spinner off "${format[@]}"
echo "no known vulnerability in $(grep -vc '^#' constraints.txt) pins"
