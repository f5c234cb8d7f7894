#!/usr/bin/env bash
# Do the benches run, and does memory stay where it is?
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
export -f benches churn

stage "benches, once each" benches
stage "churn, $PAIRS pairs" churn
