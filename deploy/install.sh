#!/usr/bin/env bash
# Installs Debian packages that are missing and fills the virtual environment
# from the lock file. Called by make; says what takes its time.
#   install.sh run|dev PACKAGE…
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
shift

say() { printf '%s\n' "$*" >&2; }

# Run a command; what it prints is shown only when it fails.
quietly() {
	local log status=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 || status=$?
	[ "$status" -eq 0 ] || cat "$log" >&2
	rm -f "$log"
	return "$status"
}

if [ "$(id -u)" -ne 0 ]; then
	say "tandem: must run as root: it loads programs into the kernel and makes network namespaces"
	exit 1
fi

missing=()
for package in "$@"; do
	dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
	say "installing Debian packages: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	if ! { quietly apt-get update && quietly apt-get install -y --no-install-recommends "${missing[@]}"; }; then
		say "tandem: Debian packages could not be installed; the output above says why"
		exit 1
	fi
fi

if [ ! -x "$VENV/bin/python" ]; then
	say "making the virtual environment $VENV"
	"$PYTHON" -m venv "$VENV"
fi
lock=requirements.lock
[ "$kind" = dev ] && lock=requirements-dev.lock
say "installing Python packages of $lock"
pip() { quietly "$VENV/bin/pip" --disable-pip-version-check install "$@"; }
pip --require-hashes -r "$lock"
pip --no-deps --no-build-isolation -e .
