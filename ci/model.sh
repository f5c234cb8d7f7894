#!/usr/bin/env bash
# Random operation sequences against a plain model, as shipped and with tiny sizes; stress.
#   CI_SEQUENCES  sequences (50,000), a fifth of them with tiny sizes
#   CI_STRESS     factor for the stress tests (1); if it is more, tiny sizes for flushes and capacity too
# A million entries expire under listeners that flush.
source "$(dirname "$0")/lib.sh"

export SEQUENCES=${CI_SEQUENCES:-50000} STRESS=${CI_STRESS:-1}

as_shipped() {
    SESSIONWHEEL_SEQUENCES=$SEQUENCES \
        cargo test --release --package sessionwheel --test model -- --nocapture
}

tiny() {
    export RUSTC_WORKSPACE_WRAPPER=$PWD/ci/rustc-tiny.sh SESSIONWHEEL_TINY=1
    local tests=(--lib --test model --test stress)
    ((STRESS == 1)) || tests+=(--test flushes --test capacity)
    SESSIONWHEEL_SEQUENCES=$((SEQUENCES / 5)) SESSIONWHEEL_STRESS=$STRESS \
        cargo test --release --package sessionwheel "${tests[@]}" -- --nocapture
}

stress() {
    SESSIONWHEEL_STRESS=$STRESS SESSIONWHEEL_EXPIRED=1000000 \
        cargo test --release --package sessionwheel \
        --test stress --test flushes --test listeners --test tier -- --nocapture
}
export -f as_shipped tiny stress

stage "property test, $SEQUENCES sequences" as_shipped
stage "tiny sizes: unit, property, stress; $((SEQUENCES / 5)) sequences" tiny
stage "stress × $STRESS" stress
