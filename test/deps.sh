#!/usr/bin/env bash
# Installs the Debian packages of a list that are missing.
# usage: deps.sh LIST   (a name per line, then why)
set -euo pipefail

missing=()
while read -r name _; do
	[[ -z $name || $name == \#* ]] && continue
	if [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) != installed ]]; then
		missing+=("$name")
	fi
done <"$1"
if ((${#missing[@]} == 0)); then
	exit 0
fi
if ((EUID != 0)); then
	echo "missing packages: ${missing[*]}: run 'make deps' as root" >&2
	exit 1
fi

install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -qq \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "${missing[@]}" </dev/null
}

echo "installing packages: ${missing[*]}"
# The node's package lists may be fresh enough; fetch them once if not. A
# source of the node that does not answer is not ours to mend: go on with the
# lists that were fetched.
if ! install >/dev/null 2>&1; then
	echo "  updating the package lists"
	apt-get update -qq </dev/null || true
	install >/dev/null
fi
