#!/usr/bin/env bash
# Do the benches run, does growth take small steps, and does memory stay where it is?
#   CI_PAIRS  insert/take pairs of the churn bench (1,000,000; ci/full: 50,000,000)
source "$(dirname "$0")/lib.sh"

export PAIRS=${CI_PAIRS:-1000000}

# Each bench once, and nothing measured; with OpenSSL's own cache among the peers where it can be had.
benches() {
    local with=()
    if has pkg-config && pkg-config --exists openssl; then
        with=(--features openssl)
    fi
    cargo test --package sessionwheel-bench "${with[@]}" --lib --benches
    if [[ ${#with[@]} == 0 ]]; then
        echo "ci: SKIPPED: OpenSSL among the peers; there is no pkg-config or no libssl-dev"
    else
        echo "ci: with libssl $(pkg-config --modversion openssl)"
    fi
}

churn() {
    cargo test --release --package sessionwheel-bench --bench churn -- --pairs "$PAIRS" |
        sed 's/^/ci: /'
}

# What single inserts touch and allocate while a map grows to 4,000,000.
growth() {
    cargo test --release --package sessionwheel-bench --lib growth -- --nocapture
}
export -f benches churn growth

stage "benches, once each" benches
stage "growth, counted" growth
stage "churn, $PAIRS pairs" churn
