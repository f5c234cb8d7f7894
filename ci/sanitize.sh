#!/usr/bin/env bash
# Address, leak and thread sanitizer, and Miri. On nightly.
#   CI_SANITIZED_SEQUENCES  sequences of the property test (500)
#   CI_SANITIZED            some of the tests for the first two; all (ci/full)
#   CI_MIRI_SEEDS           how many of Miri's schedules (4; ci/full 64); if it is more, more tests too
source "$(dirname "$0")/lib.sh"

export SESSIONWHEEL_SEQUENCES=${CI_SANITIZED_SEQUENCES:-500} SANITIZED=${CI_SANITIZED:-some}
export MIRI_SEEDS=${CI_MIRI_SEEDS:-4}
# What they find they tell by its lines.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only

# The tests of the root package; at length all of them. The one brings the other along.
address_and_leaks() {
    local tests=(--test model --test destructors --test panics --test fork)
    [[ $SANITIZED != all ]] || tests=(--tests)
    sanitizing address
    export CARGO_TARGET_DIR=$TARGET/address ASAN_OPTIONS=detect_leaks=1
    cargo +nightly test --package sessionwheel --target "$HOST" --lib "${tests[@]}"
}

# Those with threads, but not those that fork: a child that starts threads is what this sanitizer gives up at.
# The standard library is built anew, or it would be taken for racing.
threads() {
    sanitizing thread rust-src
    export CARGO_TARGET_DIR=$TARGET/thread
    cargo +nightly test -Zbuild-std --package sessionwheel --target "$HOST" --test stress -- --nocapture
}

# Those unit tests that end in seconds.
MIRI_TESTS=(segments:: slab:: inside:: tournament:: wheel::list:: wheel::stamped:: map::permits::)
((MIRI_SEEDS == 4)) || MIRI_TESTS+=(time:: wheel::pass:: wheel::ticks:: cache::id:: cache::context:: cache::options::)
export MIRI_WORDS="${MIRI_TESTS[*]}"

interpreted() {
    local words
    interpreting
    export CARGO_TARGET_DIR=$TARGET/miri
    read -ra words <<<"$MIRI_WORDS"
    cargo +nightly miri test --package sessionwheel --lib --no-default-features -- "${words[@]}"
}

# seeded MARK TEST...: with tiny sizes, another schedule, and other values that loads may return, with each seed. MARK is what
# the test prints.
seeded() {
    interpreting "$MIRI_SEEDS"
    export CARGO_TARGET_DIR=$TARGET/miri RUSTFLAGS="--cfg sessionwheel_tiny"
    local mark=$1 log passed
    shift
    log=$(mktemp)
    # Its code tells whether any seed failed; how many were tried, the lines that the test prints.
    cargo +nightly miri test --package sessionwheel --no-default-features "$@" -- --nocapture |
        tee "$log"
    passed=$(grep -o "$mark" "$log" | wc -l)
    rm "$log"
    echo "ci: $passed of $MIRI_SEEDS seeds passed"
    [[ $passed == "$MIRI_SEEDS" ]]
}

# Four threads in one tournament.
interpreted_tournament() { seeded 'nobody was hidden' --lib when_the_threads_have_stopped; }

# A few operations of three threads on a map.
interpreted_threads() { seeded 'Seen {' --test few; }
export -f address_and_leaks threads interpreted seeded interpreted_tournament interpreted_threads

stage "address and leak sanitizer" address_and_leaks
stage "thread sanitizer" threads
stage "Miri, unit tests" interpreted
SUMMARY='^ci: |^error|SKIPPED'
stage "Miri, threads" interpreted_threads
# With one seed it was among the unit tests.
((MIRI_SEEDS == 4)) || stage "Miri, a tournament of threads" interpreted_tournament
