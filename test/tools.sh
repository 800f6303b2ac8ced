#!/usr/bin/env bash
# Builds the private container stack's programs from the module graph of
# test/tools: containerd and its shim, ctr, runc, crictl, CNI plugins.
# usage: tools.sh DIRECTORY
set -euo pipefail

mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/tools"

echo "building the container stack (containerd, runc, crictl, CNI plugins): minutes from empty caches"
# -v names each compiled package: enough to show that it goes on. The tag is
# runc's. It ends with this shell.
setpriv --pdeathsig TERM go build -v -trimpath -buildvcs=false -tags seccomp -ldflags "-s -w" -o "$out/" tool 2>&1 | awk '
	/^go: downloading/ { if (++modules % 50 == 0) print "  " modules " modules fetched"; fflush(); next }
	/^[A-Za-z0-9.\/_-]+$/ && /\// { if (++packages % 100 == 0) print "  " packages " packages compiled"; fflush(); next }
	/^[a-z0-9_]+$/ { next }
	{ print; fflush() }'
