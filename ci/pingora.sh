#!/usr/bin/env bash
# A proxy of Pingora that resumes from the cache, with other people's clients (openssl s_client, Python, gnutls-cli, curl,
# HAProxy, nginx). Long to build: ci/full only.
source "$(dirname "$0")/lib.sh"

# Into the folder, since cargo reads the configuration that is there.
enter() {
    has pkg-config || skip "there is no pkg-config"
    pkg-config --exists openssl || skip "there is no libssl-dev"
    has cmake || skip "there is no cmake"
    export CARGO_TARGET_DIR=$TARGET/pingora
    cd integrations/pingora || return
}

clients() {
    enter
    cargo test --locked -- --nocapture
    echo "ci: with $(cargo tree --locked --prefix none --invert pingora --depth 0), libssl $(pkg-config --modversion openssl)"
}

clippy() {
    enter
    component clippy cargo clippy --version
    cargo clippy --locked --all-targets -- --deny warnings
}

oldest() {
    local version
    enter
    version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    toolchain "$version.0"
    cargo "+$version.0" check --locked
    echo "ci: builds with $(rustc "+$version.0" --version)"
}
export -f enter clients clippy oldest

SUMMARY+='|^[A-Za-z_0-9.-]+, TLSv1'
stage "Pingora and six programs" clients
stage "Pingora: clippy" clippy
stage "Pingora: minimum Rust version" oldest
