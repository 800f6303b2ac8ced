# The commands of the repository; README.md and docs/development.md say what
# each does.
.PHONY: ready build test unit integration guest soak e2e lint image run up down bench deps tools images clean
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

# Run and test need root: containerd, cgroups, FUSE.
PROGRAMS := $(notdir $(wildcard cmd/*))
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X github.com/truesize/truesize/pkg/version.version=$(VERSION)
# Without a repository that git trusts (another user's clone) there is no
# revision to stamp.
BUILDVCS := $(shell git status >/dev/null 2>&1 && echo auto || echo false)
# A make that is told to end (SIGTERM) ends its shells, not what these have
# started: a build that takes minutes ends with its shell.
GO := setpriv --pdeathsig TERM go
GOBUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(BUILDVCS) -ldflags "$(LDFLAGS)"
# `truesize explain` calls the shim's C source. The program is static all the
# same, and runs wherever the others do.
GOARCH ?= $(shell go env GOARCH)
CGOBUILD = CGO_ENABLED=1 CC=$(SHIM_CC_$(GOARCH)) $(GO) build -trimpath -buildvcs=$(BUILDVCS) \
	-tags netgo,osusergo -ldflags "$(LDFLAGS) -linkmode=external -extldflags=-static"

include $(wildcard shim/rules.mk)

# The shim's objects are embedded, so they come first.
build: $(SHIM_BIN) $(SHIM_OBJECTS)
	@mkdir -p bin
	@$(call programs,bin)
	@echo "built: $(PROGRAMS:%=bin/%) $(SHIM_BIN)"

# The commands that build every program into a directory.
programs = $(GOBUILD) -o $(1)/ $(patsubst %,./cmd/%,$(filter-out truesize,$(PROGRAMS))) && $(CGOBUILD) -o $(1)/ ./cmd/truesize

# The image of the agent's pod, of the programs for GOARCH.
IMAGE := bin/truesize-image-$(GOARCH).tar
image: $(SHIM_BIN) $(SHIM_OBJECTS)
	@mkdir -p bin/image/$(GOARCH)
	@export GOARCH=$(GOARCH); $(call programs,bin/image/$(GOARCH))
	@env -u GOARCH go run ./deploy/image -version '$(or $(VERSION),dev)' -arch $(GOARCH) -o $(IMAGE) $(PROGRAMS:%=bin/image/$(GOARCH)/%)

# What make installs: a package list, each only if it is missing.
deps:
	@test/deps.sh test/packages.txt

# The private container stack, from test/tools' module graph. The stamp is
# its name: another graph, another stamp.
TOOLS_STAMP := bin/tools/.$(shell cat test/tools/go.mod test/tools/go.sum test/tools.sh | sha256sum | cut -c1-16)
tools: $(TOOLS_STAMP)
$(TOOLS_STAMP): | deps
	@test/tools.sh bin/tools
	@rm -f bin/tools/.[0-9a-f]* && touch $@

# A Kubernetes for make e2e, from a module graph of its own.
K8S_STAMP := bin/k8s/.$(shell cat test/tools/kubernetes/go.mod test/tools/kubernetes/go.sum test/kubernetes.sh | sha256sum | cut -c1-16)
$(K8S_STAMP): | deps
	@test/kubernetes.sh bin/k8s
	@rm -f bin/k8s/.[0-9a-f]* && touch $@

# The containers' images, under run/images.
images: | deps
	@go build -o bin/dev ./test/dev
	@bin/dev images

# All that a stack needs. The three are made beside each other: fetching
# waits on the network, compiling on the CPU.
ready: deps
	@$(MAKE) -j3 build tools images

run up: ready
	@exec bin/dev $@

down:
	@go build -o bin/dev ./test/dev
	@exec bin/dev down

test: unit integration guest

# -race needs cgo; fuzz seeds run as tests. What some tests would make
# themselves is made beforehand, with its progress shown.
unit: ready
	@echo "== unit tests"
	go vet ./...
	go test -race $$(go list ./... | grep -vE '/test/(e2e|guest|host|integration|lint|runtimes)$$')

# TESTS is a pattern of tests' names.
TESTS := .
integration: ready
	@echo "== integration tests"
	@test/deps.sh test/runtimes/packages.txt
	go test -count=1 -p 1 -timeout 20m -v -run '$(TESTS)' ./test/integration ./test/host ./test/runtimes

# Tests in emulated machines with Debian's kernels 5.10 and 6.1.
guest: ready
	@echo "== tests on kernels 5.10 and 6.1"
	@test/deps.sh test/guest/packages.txt
	go test -count=1 -timeout 20m -v -run '$(TESTS)' ./test/guest

# The image and the manifests on a Kubernetes of one node.
e2e: ready image $(K8S_STAMP)
	@echo "== end-to-end tests"
	go test -count=1 -timeout 20m -v -run '$(TESTS)' ./test/e2e

# The fault matrix with the counts of docs/reliability.md, which takes more than
# an hour and a half. The lines with FIGURES are the table's.
soak: ready
	@test/deps.sh test/guest/packages.txt
	TRUESIZE_SOAK=1 go test -count=1 -p 1 -timeout 4h -v -run '$(TESTS)' ./test/fault ./test/host ./test/guest

# Each benchmark that has a section in docs/benchmarks.md writes it at once.
SECTION := go run ./test/bench/section docs/benchmarks.md
bench: ready
	@cd test/bench/view && go run . -out ../../../run/bench-view.md
	@$(SECTION) view run/bench-view.md
	@cd test/bench/logs && go run . -out ../../../run/bench-logs.md
	@$(SECTION) logs run/bench-logs.md
	@cd test/bench/cni && go run . -n 100 -mb 192 -out ../../../run/bench-cni.md || test $$? = 1
	@$(SECTION) network run/bench-cni.md
	@cd test/bench/shim && go run . -execs 3000 -out ../../../run/bench-shim.md
	@$(SECTION) shim run/bench-shim.md
	@go run ./test/bench/cpuset -out run/bench-cpuset.md
	@$(SECTION) cpuset run/bench-cpuset.md

lint: deps build bin/tools/staticcheck bin/tools/promtool
	@test/lint.sh

bin/tools/staticcheck: test/tools/lint/go.mod test/tools/lint/go.sum
	@echo "building staticcheck"
	@mkdir -p bin/tools
	@cd test/tools/lint && go build -trimpath -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck

bin/tools/promtool: test/promtool.sh
	@echo "fetching promtool"
	@test/promtool.sh $@

clean:
	rm -rf bin
