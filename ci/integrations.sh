#!/usr/bin/env bash
# rustls, and other people's clients (openssl s_client, Python), against release builds.
source "$(dirname "$0")/lib.sh"

integrations() {
    cargo test --release --package sessionwheel-rustls --package handshake-storm
}
export -f integrations

stage "integrations: rustls, openssl, Python" integrations
