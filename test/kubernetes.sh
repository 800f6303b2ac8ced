#!/usr/bin/env bash
# Builds a Kubernetes control plane and node from the module graph of
# test/tools/kubernetes: kubelet, kube-apiserver, kube-controller-manager,
# kube-scheduler, kubectl and etcd.
# usage: kubernetes.sh DIRECTORY
set -euo pipefail

mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/tools/kubernetes"

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
stamp=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
done

echo "building Kubernetes $version: five minutes and more from empty caches"
# -v names each compiled package: enough to show that it goes on. It ends with
# this shell.
CGO_ENABLED=0 setpriv --pdeathsig TERM go build -v -trimpath -buildvcs=false -ldflags "-s -w$stamp" -o "$out/" tool 2>&1 | awk '
	/^go: downloading/ { if (++modules % 50 == 0) print "  " modules " modules fetched"; fflush(); next }
	/^[A-Za-z0-9.\/_-]+$/ && /\// { if (++packages % 200 == 0) print "  " packages " packages compiled"; fflush(); next }
	/^[a-z0-9_]+$/ { next }
	{ print; fflush() }'
# The program is named after the last part of its path.
mv "$out/server" "$out/etcd"
