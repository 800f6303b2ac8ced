# The preloaded object, for both architectures: bin/libtruesize-<goarch>.so,
# and a copy in shim/objects, which package shim embeds. Included by the
# Makefile; `make shim` builds only this.

SHIM_ARCHES := amd64 arm64
SHIM_CC_amd64 ?= x86_64-linux-gnu-gcc
SHIM_CC_arm64 ?= aarch64-linux-gnu-gcc

SHIM_SRC := $(sort $(wildcard shim/src/*.c))
SHIM_DEPS := $(SHIM_SRC) $(wildcard shim/src/*.h) shim/src/exports.map shim/rules.mk
SHIM_BIN := $(SHIM_ARCHES:%=bin/libtruesize-%.so)
SHIM_OBJECTS := $(SHIM_ARCHES:%=shim/objects/libtruesize-%.so)

# Control-flow protection marks: an object without them turns the protection
# off for the whole process.
SHIM_CFLAGS_amd64 := -fcf-protection=full
SHIM_CFLAGS_arm64 := -mbranch-protection=standard -mno-outline-atomics
# 64 KiB is the largest page of arm64 kernels.
SHIM_LDFLAGS_amd64 := -Wl,-z,nopack-relative-relocs -Wl,-z,max-page-size=4096
SHIM_LDFLAGS_arm64 := -Wl,-z,max-page-size=65536

# No libc, no start files, no compiler support library: nothing to load and
# nothing to find. -fno-tree-loop-distribute-patterns keeps loops from
# becoming calls of memset; no stack protector and no fortify, which call libc.
SHIM_CFLAGS := -std=c11 -O2 -g0 -fPIC -ffreestanding -fvisibility=hidden \
	-fno-stack-protector -U_FORTIFY_SOURCE \
	-fno-tree-loop-distribute-patterns -fno-tree-vectorize -fno-ident \
	-Wall -Wextra -Werror -Wvla -Wstrict-prototypes
# Both hash tables (old musl and old glibc know one each), no RELR (new glibc
# only), no executable stack, no text relocations, no build id (the object's
# own hash is its name). No RELRO: it would cost every process a page and a
# system call to protect five pointers beside others that stay writable.
SHIM_LDFLAGS := -shared -nostdlib -s -Wl,-soname,libtruesize.so \
	-Wl,--version-script=shim/src/exports.map -Wl,--hash-style=both \
	-Wl,--build-id=none -Wl,-z,defs -Wl,-z,text -Wl,-z,now -Wl,-z,norelro \
	-Wl,-z,noexecstack -Wl,-z,noseparate-code

.PHONY: shim
shim: $(SHIM_BIN) $(SHIM_OBJECTS)

bin/libtruesize-%.so: $(SHIM_DEPS)
	@command -v $(SHIM_CC_$*) >/dev/null || { \
		echo "$(SHIM_CC_$*) is missing: install it (Debian: apt-get install gcc-$(subst _,-,$(SHIM_CC_$*:-gcc=)))," \
			"or name your compiler in SHIM_CC_$*" >&2; exit 1; }
	@mkdir -p bin
	$(SHIM_CC_$*) $(SHIM_CFLAGS) $(SHIM_CFLAGS_$*) $(SHIM_LDFLAGS) $(SHIM_LDFLAGS_$*) -o $@.tmp $(SHIM_SRC)
	@mv $@.tmp $@

# Copied under a new name first: a process may have the old object mapped.
shim/objects/libtruesize-%.so: bin/libtruesize-%.so
	@cp $< $@.tmp && mv $@.tmp $@
