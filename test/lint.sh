#!/usr/bin/env bash
# Checks the sources without running them. Every check runs; the status is 1
# if any finds something.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
check() {
	local title=$1
	shift
	echo "lint: $title"
	"$@" || failed=1
}

mapfile -t go_files < <(git ls-files --cached --others --exclude-standard '*.go')
mapfile -t shell_files < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)

unformatted=$(gofmt -l "${go_files[@]}")
check "gofmt -l: ${unformatted:-none}" test -z "$unformatted"
check "go vet" go vet ./...
check staticcheck bin/tools/staticcheck ./...
# The benchmarks are modules of their own.
for module in test/bench/*/go.mod; do
	dir=$(dirname "$module")
	check "go vet, $dir" go -C "$dir" vet ./...
	check "staticcheck, $dir" env -C "$dir" "$PWD/bin/tools/staticcheck" ./...
done
check "import direction" go test -count=1 ./test/lint
check "alerts fire" bin/tools/promtool test rules deploy/logs/alerts_test.yaml
check shellcheck shellcheck "${shell_files[@]}"
exit "$failed"
