#!/usr/bin/env bash
# The loom models: every interleaving up to a bound on preemptions.
source "$(dirname "$0")/lib.sh"

models() {
    [[ -f loom-tests/Cargo.toml ]] || skip "there is no loom-tests/"
    export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$TARGET/loom
    cd loom-tests && cargo test --release -- --nocapture --test-threads=1
}
export -f models

stage "loom models" models
