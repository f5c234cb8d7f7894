#!/usr/bin/env bash
# Do the benches run, does memory stay where it is, and does growth take small steps?
#   CI_PAIRS  insert/take pairs of the churn bench (5,000,000)
source "$(dirname "$0")/lib.sh"

export PAIRS=${CI_PAIRS:-5000000}

# Each bench once, and nothing measured.
benches() {
    cargo test --release --package sessionwheel-bench --benches
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
stage "churn, $PAIRS pairs" churn
stage "growth, counted" growth
