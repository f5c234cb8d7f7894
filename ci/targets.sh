#!/usr/bin/env bash
# Targets that this machine is not: compiled and not run, and said to be.
#   CI_TARGET_TESTS  none; all (ci/full): tests are compiled too, and the one of 32 bits runs, where a C library for it can be had
source "$(dirname "$0")/lib.sh"

export TARGET_TESTS=${CI_TARGET_TESTS:-none}

# target NAME...
target() {
    has rustup || skip "there is no rustup"
    rustup target add "$@" || skip "the standard library of $* cannot be had"
    export CARGO_TARGET_DIR=$TARGET/targets RUSTFLAGS="-D warnings"
}

# In one command, which keeps all processors busy.
compiled() {
    local what=(--lib)
    [[ $TARGET_TESTS == none ]] || what+=(--tests)
    target "$@"
    cargo check --package sessionwheel --all-features "${what[@]}" "${@/#/--target=}"
    printf 'ci: %s compiled, not run\n' "$@"
}

ran() {
    target "$1"
    links_32_bits || skip "no C library of 32 bits"
    SESSIONWHEEL_SEQUENCES=500 \
        cargo test --package sessionwheel --all-features --target "$1" --lib --tests
    echo "ci: $1 compiled and run"
}
export -f target compiled ran

stage "compiled for aarch64 (Linux), i686 (Linux), x86_64 (Windows)" compiled \
    aarch64-unknown-linux-gnu i686-unknown-linux-gnu x86_64-pc-windows-msvc
[[ $TARGET_TESTS == none ]] || stage "tests on i686-unknown-linux-gnu" ran i686-unknown-linux-gnu
