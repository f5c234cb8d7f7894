#!/usr/bin/env bash
# The README's test command: unit, property, stress and documentation tests, rustls, real clients.
source "$(dirname "$0")/lib.sh"

readme_tests() {
    local command="cargo test --workspace"
    grep -qxF "$command" README.md || {
        echo "README.md no longer says: $command"
        return 1
    }
    $command
}

# The flushes are its own then, without the pool.
without_features() {
    SESSIONWHEEL_SEQUENCES=300 cargo test --package sessionwheel --no-default-features --lib --test model --test flushes
}

# What is seen of the flushes from outside, and the examples of it.
observed() {
    cargo test --package sessionwheel --all-features --test observed
    cargo test --package sessionwheel --all-features --doc cache
}

# What they print is theirs; each fails by itself.
examples() {
    local example
    for example in examples/*.rs; do
        example=$(basename "$example" .rs)
        echo "ci: example $example"
        cargo run --quiet --example "$example"
    done
}
export -f readme_tests without_features observed examples

stage "test: cargo test --workspace" readme_tests
stage "test: no default features" without_features
stage "test: examples" examples
stage "test: metrics and traces" observed
