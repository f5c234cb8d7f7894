#!/usr/bin/env bash
# Do the benches run, does memory stay where it is, and does growth take small steps?
#   CI_PAIRS  insert/take pairs of the churn bench (5,000,000)
source "$(dirname "$0")/lib.sh"

export PAIRS=${CI_PAIRS:-5000000}

# Each bench once, and nothing measured.
benches() {
    cargo test --release --package sessionwheel-bench --benches
}

# The same with OpenSSL's own cache among the peers, and the tests of that peer.
with_openssl() {
    { has pkg-config && pkg-config --exists openssl; } || skip "there is no pkg-config or no libssl-dev"
    cargo test --release --package sessionwheel-bench --features openssl --lib --benches
    echo "ci: with libssl $(pkg-config --modversion openssl)"
}

churn() {
    cargo test --release --package sessionwheel-bench --bench churn -- --pairs "$PAIRS" |
        sed 's/^/ci: /'
}

# What single inserts touch and allocate while a map grows to 4,000,000.
growth() {
    cargo test --release --package sessionwheel-bench --lib growth -- --nocapture
}
export -f benches with_openssl churn growth

stage "benches, once each" benches
stage "benches with OpenSSL, once each" with_openssl
stage "churn, $PAIRS pairs" churn
stage "growth, counted" growth
