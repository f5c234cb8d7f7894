#!/usr/bin/env bash
# Measures BENCHMARKS.md's stalls and ratios, and writes these tables and the pictures. Wants the
# machine for itself. (The session cache, OpenSSL's servers and Redis have commands of their own in docs/single-runs.md.)
#   ci/benchmarks.sh --quick    fewer pairs in the ratios
set -euo pipefail
cd "$(dirname "$0")/.."

quick=("$@")
measured=${CARGO_TARGET_DIR:-$PWD/target}/measured
mkdir -p "$measured"
bench() {
    cargo bench --package sessionwheel-bench --features openssl --bench "$@"
}

bench ratios -- --json "${quick[@]}" | tee "$measured/ratios.json"
bench stall -- --json --quick | tee "$measured/stall.json"
bench report -- --write --ratios "$measured/ratios.json" --stall "$measured/stall.json"
