#!/usr/bin/env bash
# A thread is stopped at each step of each operation; all others have to go on.
#   CI_STRESS  factor for how often at each step (1); if it is more, with tiny sizes too
source "$(dirname "$0")/lib.sh"

export STRESS=${CI_STRESS:-1}

# suspension FLAGS...: further flags of the compiler's
suspension() {
    export RUSTFLAGS="--cfg sessionwheel_steps $*" CARGO_TARGET_DIR=$TARGET/steps
    SESSIONWHEEL_STRESS=$STRESS \
        cargo test --release --package sessionwheel --test suspension -- --nocapture
}
export -f suspension

SUMMARY+='|^suspension: '
stage "suspended threads" suspension
[[ $STRESS == 1 ]] || stage "tiny sizes: suspended threads" suspension --cfg sessionwheel_tiny
