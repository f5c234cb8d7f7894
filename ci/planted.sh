#!/usr/bin/env bash
# Does the property test notice what it is there for? Plants a bug in a copy of the tree, where one
# hint in a thousand is skipped; fails unless the test does.
#   CI_PLANTED_SEQUENCES  sequences (10,000)
source "$(dirname "$0")/lib.sh"

export PLANTED_SEQUENCES=${CI_PLANTED_SEQUENCES:-10000}

planted() {
    local work code entry='let tick = self.ticks.of(deadline);'
    local skip='static HINTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        if HINTS.fetch_add(1, Ordering::Relaxed) % 1000 == 999 { return; }'
    work=$(mktemp -d) || return 2
    git ls-files -z | xargs -0 cp --parents -t "$work"
    WORK=$work ENTRY=$entry SKIP=$skip perl -0pi -e \
        'my $n = s/\Q$ENV{ENTRY}\E(?=\n\s*\/\/ Relaxed: a flush that begins)/$ENV{ENTRY}\n$ENV{SKIP}/;
         die "the place to plant the bug is gone\n" unless $n == 1' \
        "$work/src/wheel/mod.rs" || return 2
    code=0
    (
        cd "$work" || exit 2
        export CARGO_TARGET_DIR=$TARGET/planted
        cargo build --release --package sessionwheel --test model || exit 2
        SESSIONWHEEL_SEQUENCES=$PLANTED_SEQUENCES \
            cargo test --release --package sessionwheel --test model
    ) || code=$?
    rm -rf "$work"
    case $code in
        0) echo "one hint in a thousand skipped: NOT noticed" && return 1 ;;
        2) return 2 ;;
        *) echo "one hint in a thousand skipped: the property test failed, as it has to" ;;
    esac
}
export -f planted

SUMMARY+='|^one hint in a thousand'
stage "property test on a planted bug" planted
