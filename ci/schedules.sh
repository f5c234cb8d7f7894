#!/usr/bin/env bash
# The whole map under schedules that shuttle draws.
#   CI_SCHEDULES  schedules (5,000), half of them random, half PCT
source "$(dirname "$0")/lib.sh"

export SCHEDULES=${CI_SCHEDULES:-5000}

schedules() {
    export RUSTFLAGS="--cfg shuttle --cfg sessionwheel_tiny" CARGO_TARGET_DIR=$TARGET/shuttle
    SESSIONWHEEL_SCHEDULES=$((SCHEDULES / 2)) \
        cargo test --release --package sessionwheel --no-default-features --test schedules -- --nocapture
}
export -f schedules

SUMMARY+='|^schedules: '
stage "schedules: $SCHEDULES" schedules
