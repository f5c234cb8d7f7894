#!/usr/bin/env bash
# What needs each memory ordering: whether docs/orderings.md speaks of those that there are, and whether the
# models that it names fail without them.
#   CI_ORDERINGS  how many are asked, drawn at random (2); all (ci/full)
source "$(dirname "$0")/lib.sh"

export ORDERINGS=${CI_ORDERINGS:-2}

orderings() {
    local command=(sample "$ORDERINGS")
    [[ $ORDERINGS != all ]] || command=(sample 1000)
    # Where ci/loom.sh has built what the models need.
    export CARGO_TARGET_DIR=$TARGET/loom
    cargo run --release --package sessionwheel-orderings -- "${command[@]}"
}
export -f orderings

SUMMARY+='|^ordering'
stage "orderings: what needs them" orderings
