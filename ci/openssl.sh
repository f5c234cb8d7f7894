#!/usr/bin/env bash
# Random operations on OpenSSL's own session cache and on ours, which have to do the same, and handshakes.
#   CI_DIFFERENCES  operations (200,000), and a twentieth as many with handshakes
source "$(dirname "$0")/lib.sh"

export DIFFERENCES=${CI_DIFFERENCES:-200000}

beside_openssl() {
    has pkg-config || skip "there is no pkg-config"
    pkg-config --exists openssl || skip "there is no libssl-dev"
    SESSIONWHEEL_OPERATIONS=$DIFFERENCES SESSIONWHEEL_HANDSHAKES=$((DIFFERENCES / 20)) \
        cargo test --release --package sessionwheel-openssl-contract --features openssl -- --nocapture
}
export -f beside_openssl

SUMMARY+='|^openssl: |^ +[0-9]+ × '
stage "beside OpenSSL, $DIFFERENCES operations" beside_openssl
