#!/usr/bin/env bash
# Address and leak sanitizer over the root package's tests, Miri over unit tests. On nightly.
source "$(dirname "$0")/lib.sh"

# sanitizer NAME
sanitizer() {
    local host
    toolchain nightly
    host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
    [[ $host == x86_64-unknown-linux-gnu ]] || skip "not tried on $host"
    export RUSTFLAGS="-Zsanitizer=$1" CARGO_TARGET_DIR=$TARGET/$1
    SESSIONWHEEL_SEQUENCES=${CI_SANITIZED_SEQUENCES:-2000} \
        cargo +nightly test --package sessionwheel --target "$host" --lib --tests
}

# What does not go through crossbeam-epoch, whose integer pointers Miri cannot follow.
MIRI_TESTS=(
    segments:: slab:: time:: inside:: tournament:: wheel::list::
    wheel::pass:: wheel::stamped:: wheel::ticks::
    map::permits:: cache::id:: cache::context:: cache::options::
)
export MIRI_WORDS="${MIRI_TESTS[*]}"

interpreted() {
    toolchain nightly miri rust-src
    export MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks"
    export CARGO_TARGET_DIR=$TARGET/miri
    local words
    read -ra words <<<"$MIRI_WORDS"
    cargo +nightly miri test --package sessionwheel --lib --no-default-features -- "${words[@]}"
}
export -f sanitizer interpreted

stage "address sanitizer" sanitizer address
stage "leak sanitizer" sanitizer leak
stage "Miri, unit tests" interpreted
