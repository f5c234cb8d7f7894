#!/usr/bin/env bash
# Do the tests notice what they are there for? Plants a bug in a copy of the tree; fails unless the test
# does.
#   CI_PLANTED_SEQUENCES  sequences of the property test (10,000)
source "$(dirname "$0")/lib.sh"

export PLANTED_SEQUENCES=${CI_PLANTED_SEQUENCES:-10000}

# planted WHAT FILE FROM TO TEST...: with FROM, which must stand there exactly once, replaced by TO the
# test has to fail. TEST as for cargo test.
planted() {
    local what=$1 file=$2 work code=0
    work=$(mktemp -d) || return 2
    git ls-files -z | xargs -0 cp --parents -t "$work"
    FROM=$3 TO=$4 perl -0pi -e \
        'my $n = s/\Q$ENV{FROM}\E/$ENV{TO}/g;
         die "the place to plant the bug is gone\n" unless $n == 1' "$work/$file" || return 2
    shift 4
    (
        cd "$work" || exit 2
        export CARGO_TARGET_DIR=$TARGET/planted
        # Newer than what was built for the last one.
        find . -name '*.rs' -exec touch {} +
        cargo test --release --no-run "$@" || exit 2
        SESSIONWHEEL_SEQUENCES=$PLANTED_SEQUENCES cargo test --release "$@"
    ) || code=$?
    rm -rf "$work"
    case $code in
        0) echo "planted, $what: NOT noticed" && return 1 ;;
        2) return 2 ;;
        *) echo "planted, $what: the test failed, as it has to" ;;
    esac
}

lost_hint() {
    local entry='let tick = self.ticks.of(deadline);
        // Relaxed: a flush that begins'
    local skip='static HINTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        if HINTS.fetch_add(1, Ordering::Relaxed) % 1000 == 999 { return; }'
    planted "one hint in a thousand skipped" src/wheel/mod.rs "$entry" "$skip $entry" \
        --package sessionwheel --test model
}

two_takers() {
    planted "two takers win" src/map/read.rs 'if Table::mark(slot) {' 'if Table::mark(slot) || true {' \
        --package sessionwheel-linearizability
}

done_too_early() {
    export RUSTFLAGS="--cfg sessionwheel_steps"
    local begin='for level in 0..self.levels() {
            for number in self.numbers(level, done, cursor) {
                let cell'
    planted "an opener says too early that it is done" src/wheel/mod.rs "$begin" \
        "self.done.fetch_max(cursor, Ordering::Release); $begin" \
        --package sessionwheel --test suspension
}
export -f planted lost_hint two_takers done_too_early

SUMMARY+='|^planted, '
stage "property test on a planted bug" lost_hint
stage "linearizability on a planted bug" two_takers
stage "suspended threads on a planted bug" done_too_early
