#!/usr/bin/env bash
# Format, lints, documentation, shell scripts; whether all bugs can be planted that tests have to catch.
#   CI_LINTS  some; all (ci/full): with the default features too, and the crate without any
source "$(dirname "$0")/lib.sh"

format() {
    component rustfmt cargo fmt --version
    cargo fmt --all --check
    local dir
    for dir in loom-tests fuzz integrations/pingora; do
        if [[ -f $dir/Cargo.toml ]]; then
            (cd "$dir" && cargo fmt --all --check)
        fi
    done
}

# All packages with all their features together; as they are by default, and the crate without any, in ci/full.
clippy() {
    local features=sessionwheel/metrics,sessionwheel/tracing,sessionwheel-redis/tls,handshake-storm/redis
    component clippy cargo clippy --version
    if has pkg-config && pkg-config --exists openssl; then
        features+=,sessionwheel-openssl/openssl,handshake-storm/openssl,sessionwheel-bench/openssl
    else
        echo "ci: SKIPPED: sessionwheel-openssl, --stack openssl; there is no pkg-config or no libssl-dev"
    fi
    cargo clippy --workspace --all-targets --features "$features" -- --deny warnings
    [[ ${CI_LINTS:-some} != some ]] || return 0
    cargo clippy --package sessionwheel --all-targets --no-default-features -- --deny warnings
    cargo clippy --workspace --all-targets -- --deny warnings
}

# The crate under `--cfg loom`, and the models.
clippy_loom() {
    [[ -f loom-tests/Cargo.toml ]] || skip "there is no loom-tests/"
    component clippy cargo clippy --version
    export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$TARGET/loom
    cd loom-tests && cargo clippy --release --all-targets -- --deny warnings
}

documentation() {
    local features=sessionwheel/metrics,sessionwheel/tracing,sessionwheel-redis/tls
    local packages=(--package sessionwheel --package sessionwheel-rustls --package sessionwheel-redis)
    if has pkg-config && pkg-config --exists openssl; then
        packages+=(--package sessionwheel-openssl)
        features+=,sessionwheel-openssl/openssl
    else
        echo "ci: SKIPPED: sessionwheel-openssl; there is no pkg-config or no libssl-dev"
    fi
    RUSTDOCFLAGS="--deny warnings" cargo doc --no-deps "${packages[@]}" --features "$features"
}

scripts() {
    has shellcheck || skip "there is no shellcheck"
    shellcheck --external-sources --source-path=SCRIPTDIR .ci/run ci/full ci/*.sh
}

# Whether all bugs can still be planted that the models and the tests have to notice.
places() {
    ci/loom-mutants.sh places
    CI_PLANTED=places ci/planted.sh
}
export -f format clippy clippy_loom documentation scripts places

stage "style: rustfmt" format
stage "style: clippy" clippy
stage "style: clippy, loom" clippy_loom
stage "style: documentation" documentation
stage "style: shellcheck" scripts
stage "style: places of the mutants" places
