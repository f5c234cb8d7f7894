#!/usr/bin/env bash
# Fuzz targets, for CI_FUZZ_SECONDS each (10). Installs cargo-fuzz if it is missing.
#   CI_FUZZ_TARGETS  some: those that come to most; all (ci/full)
source "$(dirname "$0")/lib.sh"

export FUZZ_SECONDS=${CI_FUZZ_SECONDS:-10} FUZZ_TARGETS=${CI_FUZZ_TARGETS:-some}

fuzz() {
    [[ -f fuzz/Cargo.toml ]] || skip "there is no fuzz/"
    toolchain nightly
    if ! has cargo-fuzz; then
        # It only starts the compiler.
        cargo install --debug --locked cargo-fuzz || skip "cargo-fuzz cannot be had"
    fi
    local target targets host
    host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
    targets="operations sessions"
    local features=()
    if [[ $FUZZ_TARGETS == all ]]; then
        targets=$(cargo +nightly fuzz list)
        features=(--features rustls)
    fi
    for target in $targets; do
        # What is new goes into the first of the two, which nobody keeps.
        mkdir -p "fuzz/corpus/$target"
        cargo +nightly fuzz run "${features[@]}" --target "$host" --target-dir "$TARGET/fuzz" "$target" \
            "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
            "-max_total_time=$FUZZ_SECONDS" -print_final_stats=1
        echo "ci: $target: $FUZZ_SECONDS s, from $(find "fuzz/seeds/$target" -type f | wc -l) seeds on, without a finding"
    done
}
export -f fuzz

stage "fuzz" fuzz
