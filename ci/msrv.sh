#!/usr/bin/env bash
# The oldest Rust that the crates promise to build with.
#   CI_MSRV  all (ci/full): quinn's example and tests, Redis and all features too
source "$(dirname "$0")/lib.sh"

oldest() {
    local version redis
    version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    toolchain "$version.0"
    export CARGO_TARGET_DIR=$TARGET/msrv
    cargo "+$version.0" check --package sessionwheel --package sessionwheel-rustls
    if has pkg-config && pkg-config --exists openssl; then
        cargo "+$version.0" check --package sessionwheel-openssl --features openssl
    else
        echo "ci: SKIPPED: sessionwheel-openssl; there is no pkg-config or no libssl-dev"
    fi
    cargo "+$version.0" check --package sessionwheel --no-default-features
    echo "ci: builds with $(rustc "+$version.0" --version)"
    if [[ ${CI_MSRV:-} != all ]]; then
        echo "ci: sessionwheel-quinn, sessionwheel-redis and all features together are left to ci/full"
        return
    fi
    cargo "+$version.0" check --package sessionwheel --all-features
    # It has nothing but an example and tests.
    cargo "+$version.0" check --package sessionwheel-quinn --examples --tests

    # The crate redis asks for a newer one.
    redis=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' integrations/redis/Cargo.toml)
    toolchain "$redis.0"
    cargo "+$redis.0" check --package sessionwheel-redis
    echo "ci: sessionwheel-redis builds with $(rustc "+$redis.0" --version)"
}
export -f oldest

stage "minimum Rust version" oldest
