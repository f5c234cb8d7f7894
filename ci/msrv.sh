#!/usr/bin/env bash
# The oldest Rust that the crates promise to build with.
#   CI_MSRV  all (ci/full): quinn's example and tests too
source "$(dirname "$0")/lib.sh"

oldest() {
    local version redis
    version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    toolchain "$version.0"
    export CARGO_TARGET_DIR=$TARGET/msrv
    cargo "+$version.0" check --package sessionwheel --package sessionwheel-rustls
    # It has nothing but an example and tests, and they are long to build.
    if [[ ${CI_MSRV:-} == all ]]; then
        cargo "+$version.0" check --package sessionwheel-quinn --examples --tests
    else
        echo "ci: sessionwheel-quinn is left to ci/full"
    fi
    if has pkg-config && pkg-config --exists openssl; then
        cargo "+$version.0" check --package sessionwheel-openssl --features openssl
    else
        echo "ci: SKIPPED: sessionwheel-openssl; there is no pkg-config or no libssl-dev"
    fi
    cargo "+$version.0" check --package sessionwheel --no-default-features
    cargo "+$version.0" check --package sessionwheel --all-features
    echo "ci: builds with $(rustc "+$version.0" --version)"

    # The crate redis asks for a newer one.
    redis=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' integrations/redis/Cargo.toml)
    toolchain "$redis.0"
    cargo "+$redis.0" check --package sessionwheel-redis
    echo "ci: sessionwheel-redis builds with $(rustc "+$redis.0" --version)"
}
export -f oldest

stage "minimum Rust version" oldest
