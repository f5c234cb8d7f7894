#!/usr/bin/env bash
# Histories of real threads, checked against a map without threads; as shipped and with tiny sizes.
#   CI_OPERATIONS  operations (3,000,000), a third of them with tiny sizes
source "$(dirname "$0")/lib.sh"

export OPERATIONS=${CI_OPERATIONS:-3000000}

# linearizable OPERATIONS
linearizable() {
    SESSIONWHEEL_OPERATIONS=$1 \
        cargo test --release --package sessionwheel-linearizability -- --nocapture
}

tiny() {
    export RUSTC_WORKSPACE_WRAPPER=$PWD/ci/rustc-tiny.sh
    linearizable "$1"
}
export -f linearizable tiny

SUMMARY+='|^linearizable: '
stage "linearizability, $OPERATIONS operations" linearizable "$OPERATIONS"
stage "tiny sizes: linearizability, $((OPERATIONS / 3)) operations" tiny $((OPERATIONS / 3))
