#!/usr/bin/env bash
# What needs each memory ordering: whether docs/orderings.md speaks of those that there are, and whether the
# models that it names fail without them.
#   CI_ORDERINGS   how many are asked, drawn at random (2); all (ci/full), and Miri of those that no model shows
#   CI_MIRI_SEEDS  with a quarter as many of its schedules (4; ci/full 64)
source "$(dirname "$0")/lib.sh"

export ORDERINGS=${CI_ORDERINGS:-2} MIRI_SEEDS=${CI_MIRI_SEEDS:-4}

orderings() {
    local command=(sample "$ORDERINGS")
    [[ $ORDERINGS != all ]] || command=(sample 1000)
    # Where ci/loom.sh has built what the models need.
    export CARGO_TARGET_DIR=$TARGET/loom
    cargo run --release --package sessionwheel-orderings -- "${command[@]}"
}

interpreted_orderings() {
    interpreting $((MIRI_SEEDS / 4))
    CARGO_TARGET_DIR=$TARGET/loom cargo build --release --package sessionwheel-orderings
    CARGO_TARGET_DIR=$TARGET "$TARGET/loom/release/sessionwheel-orderings" miri
}
export -f orderings interpreted_orderings

SUMMARY+='|^ordering'
stage "orderings: what needs them" orderings
[[ $ORDERINGS != all ]] || stage "orderings: Miri where no model fails" interpreted_orderings
