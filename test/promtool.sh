#!/usr/bin/env bash
# Puts Debian's promtool at a path. The package is unpacked and not installed:
# that would start a Prometheus server on the node.
# usage: promtool.sh PATH
set -euo pipefail

target=$(realpath -m "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# As root, apt would fetch as a user that may not write here.
fetch() { apt-get -qq -o APT::Sandbox::User=root download prometheus; }

# The lists may name a version that the mirror no longer has.
if ! fetch 2>/dev/null; then
	apt-get update -qq </dev/null || true
	fetch
fi
dpkg-deb --fsys-tarfile ./*.deb | tar -x ./usr/bin/promtool
mkdir -p "$(dirname "$target")"
mv usr/bin/promtool "$target"
touch "$target" # the package's time is older than this script's
