#!/usr/bin/env bash
# Do the tests notice what they are there for? Plants bugs in copies of the tree, one at a time; each
# fails its stage unless the test it is meant for does.
#   CI_PLANTED            some: two; all (ci/full); or the names below of those that are wanted; places: only whether all can
#                         still be planted, without a stage
#   CI_PLANTED_SEQUENCES  sequences of the property test (10,000)
source "$(dirname "$0")/lib.sh"

export PLANTED_SEQUENCES=${CI_PLANTED_SEQUENCES:-10000} PLANTED=${CI_PLANTED:-some}
export CARGO_TEST="cargo test --release"

# planted WHAT REASON FILE FROM TO TEST...: with FROM, which must stand there exactly once, replaced by TO
# the test has to fail and to say what REASON, a regular expression, matches. TEST as for cargo test.
planted() {
    local what=$1 reason=$2 file=$3 work log code=0
    if [[ $PLANTED == places ]]; then
        FROM=$4 perl -0ne 'exit((() = /\Q$ENV{FROM}\E/g) != 1)' "$file" && return
        echo "planted, $what: the place is gone from $file, or not the only one" >&2
        return 1
    fi
    work=$(mktemp -d) || return 2
    git ls-files -z | xargs -0 cp --parents -t "$work"
    FROM=$4 TO=$5 perl -0pi -e \
        'my $n = s/\Q$ENV{FROM}\E/$ENV{TO}/g;
         die "the place to plant the bug is gone\n" unless $n == 1' "$work/$file" || return 2
    shift 5
    log=$work/said
    (
        cd "$work" || exit 2
        # Nowhere else: cargo takes what was built here for what the tree itself makes, and would go on with it.
        export CARGO_TARGET_DIR=$TARGET/planted${RUSTFLAGS:+/flags}
        # Newer than what was built for the last one.
        find . -name '*.rs' -exec touch {} +
        $CARGO_TEST --no-run "$@" || exit 2
        # shellcheck disable=SC2086 # it is several words
        SESSIONWHEEL_SEQUENCES=$PLANTED_SEQUENCES SESSIONWHEEL_OPERATIONS=20000000 \
            SESSIONWHEEL_SCHEDULES=10000 \
            timeout 600 $CARGO_TEST "$@" >"$log" 2>&1
    ) || code=$?
    [[ ! -f $log ]] || cat "$log"
    if [[ $code == 0 ]]; then
        echo "planted, $what: NOT noticed by ${*: -1}"
        code=1
    elif [[ $code != 2 ]]; then
        # Not by another failure, which says nothing of this bug.
        code=0
        reason=$(grep -Eom1 "$reason" "$log") || code=1
        echo "planted, $what: ${*: -1} says \"${reason:-something else}\""
    fi
    rm -rf "$work"
    return "$code"
}

# What a hint that is lost does: whichever the property test meets first.
export NEVER_SEEN="a flush at .* left [0-9]+|the next expiry, .* (is after|of something)"

lost_hint() {
    local entry='let tick = self.ticks.of(deadline);
        // Relaxed: a flush that begins'
    local skip='static HINTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        if HINTS.fetch_add(1, Ordering::Relaxed) % 1000 == 999 { return; }'
    planted "one hint in a thousand skipped" "$NEVER_SEEN" src/wheel/mod.rs "$entry" "$skip $entry" \
        --package sessionwheel --test model
}

# two_takers REASON TEST...
two_takers() {
    local reason=$1
    shift
    planted "two takers win" "$reason" src/map/read.rs \
        'if Table::mark(slot) {' 'if Table::mark(slot) || true {' "$@"
}

two_takers_in_turn() {
    export RUSTFLAGS="--cfg shuttle --cfg sessionwheel_tiny"
    two_takers "reported twice" --package sessionwheel --no-default-features --test schedules
}

done_too_early() {
    export RUSTFLAGS="--cfg sessionwheel_steps"
    local begin='for level in 0..self.levels() {
            for number in self.numbers(level, done, cursor) {
                let cell'
    planted "an opener says too early that it is done" "were left at" src/wheel/mod.rs "$begin" \
        "self.done.fetch_max(cursor, Ordering::Release); $begin" \
        --package sessionwheel --test suspension
}

free_twice() {
    # Seldom, or all of it is handed out for ever. Who looks for the entry that has lost its slot to another may
    # go round and round, as long as the two are there; or reads what another has dropped.
    planted "a slot on the free list twice" "nobody has moved|dropped twice|read after drop|reported twice|SIGSEGV" \
        src/slab/mod.rs 'let next = u64::from(life.number());' \
        'let next = if head >> 32 & 255 == 255 { head as u32 } else { life.number() };
        let next = u64::from(next);' \
        --package sessionwheel --test stress
}

# too_early REASON TEST
too_early() {
    planted "recycled under a guard" "$1" src/slab/lane.rs \
        'guard.defer(move || slab.ripen(origin, first, last));' 'slab.ripen(origin, first, last);' \
        --package sessionwheel --test "$2"
}

too_early_for_threads() {
    sanitizing thread rust-src
    export CARGO_TEST="cargo +nightly test -Zbuild-std --target $HOST"
    too_early "WARNING: ThreadSanitizer: data race" stress
}

# Who finds a word does not see what it leads to. (A slot that is recycled too early makes lookups go round
# and round there, before anything is read that is gone.)
unordered_for_miri() {
    interpreting 16
    export CARGO_TEST="cargo +nightly miri test --no-default-features"
    planted "a word of the table read without order" "Undefined Behavior: Data race detected|every entry has one permit" src/table/line.rs \
        'Word::from_raw(self.words[at].load(Ordering::Acquire))' \
        'Word::from_raw(self.words[at].load(Ordering::Relaxed))' \
        --package sessionwheel --test few
}

stale_read() {
    planted "read after it was taken" "not linearizable" src/map/read.rs \
        'if same && !slot.load_link().is_marked() {' 'if same {' \
        --package sessionwheel-linearizability --test linearizable
}

sentence_taken_back() {
    planted "a flush takes its sentence back" "not linearizable" src/map/batch.rs 'step!("sweep: has sentenced");' \
        'static TURN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if deadline != Deadline::EXPIRED && turn % 2 == 0 {
                std::thread::yield_now();
                let _ = slot.change_deadline(Deadline::EXPIRED, deadline);
                std::thread::yield_now();
                continue;
            }' \
        --package sessionwheel-linearizability --test linearizable
}

# With time for the other to come in between.
evicted_by_two() {
    planted "who is second to remove a victim counts it too" "not linearizable" src/map/evict.rs \
        'if !Table::mark(slot) {' \
        'std::thread::yield_now();
            if !Table::mark(slot) && false {' \
        --package sessionwheel-linearizability --test linearizable
}

# beside_openssl TEST WHAT REASON FILE FROM TO
beside_openssl() {
    { has pkg-config && pkg-config --exists openssl; } || skip "there is no pkg-config or no libssl-dev"
    planted "${@:2}" --package sessionwheel-openssl-contract --features openssl --test "$1"
}

last_to_expire() {
    beside_openssl differential "who expires last makes room" "have to be evicted, and ours evicted|was evicted to make room|had to leave, and" src/tournament/rank.rs \
        'Self(!deadline.raw())' 'Self(deadline.raw().max(2))'
}

retimed_without_a_hint() {
    beside_openssl differential "a re-timing leaves no hint" \
        "OpenSSL removed .*, ours did not|have to be evicted, and ours evicted" src/map/read.rs \
        'shard.schedule(number, new, guard);' 'let _ = (number, new, guard);'
}

expired_is_a_miss() {
    beside_openssl endpoints "a session found too late is counted as a miss" "ours counts .*, and should .* timeouts: [1-9]" \
        src/cache/endpoint/mod.rs 'inner.tallies.count(Count::Timeout);' 'inner.tallies.count(Count::Miss);'
}

shared_with_a_connection() {
    { has pkg-config && pkg-config --exists openssl; } || skip "there is no pkg-config or no libssl-dev"
    planted "a session is shared with a connection" "Objects: [0-9]{1,2} of 100 resumed" \
        integrations/openssl/src/session.rs 'Form::Object { session, .. } => duplicate(session),' \
        'Form::Object { session, .. } => Some(session.clone()),' \
        --package sessionwheel-openssl --features openssl --test closes
}

beyond_the_bound() {
    planted "a permit returned twice" "so many are there|one had to make room" src/map/read.rs \
        'self.permits.give(index, 1);' 'self.permits.give(index, 2);' \
        --package sessionwheel --test model
}

# By one tick only: further back an insert may meet a tick of a later round, and go round and round.
cursor_back() {
    planted "the cursor moved back" "a flush at .* left [0-9]+" src/wheel/mod.rs \
        'cursor = self.cursor.fetch_max(target, Ordering::Relaxed).max(target);' \
        'cursor = self.cursor.fetch_max(target, Ordering::Relaxed).max(target);
            self.cursor.store(cursor - 1, Ordering::Relaxed);' \
        --package sessionwheel --test model
}

cleared_too_early() {
    planted "due bits cleared before the look" "$NEVER_SEEN" src/wheel/stamped.rs 'let mut finished = 0;
        let mut stopped = false;
        for bit' 'lower(word, seen, seen.bits() & wanted);
        let mut finished = 0;
        let mut stopped = false;
        for bit' \
        --package sessionwheel --test model
}

lost_in_a_split() {
    planted "a split loses a slot" "that nobody finds" src/table/split.rs \
        'child.fill(at, word.unwrap_or(Word::VACANT));' \
        'child.fill(at, word.filter(|_| at != 3).unwrap_or(Word::VACANT));' \
        --package sessionwheel --test stress
}

told_twice() {
    planted "the listener told twice" "left twice, or never was there" src/map/read.rs 'self.deliver_one(index, number, reason, guard);' \
        'self.deliver_one(index, number, reason, guard); self.deliver_one(index, number, reason, guard);' \
        --package sessionwheel --test model
}
ticket_for_ever() {
    planted "a ticket that is taken stays" "a replay got through" integrations/rustls/src/store.rs \
        'let taken = server.take_entry(&key' 'let taken = server.resume_entry(&key' \
        --package sessionwheel-quinn --test replay
}
export -f planted lost_hint ticket_for_ever two_takers two_takers_in_turn done_too_early free_twice too_early stale_read \
    sentence_taken_back evicted_by_two beyond_the_bound cursor_back cleared_too_early lost_in_a_split told_twice too_early_for_threads unordered_for_miri \
    beside_openssl last_to_expire retimed_without_a_hint expired_is_a_miss shared_with_a_connection

SUMMARY+='|^planted, '
[[ $PLANTED != some ]] || PLANTED="lost_hint two_takers"
known=()
gone=0
if [[ $PLANTED == places ]]; then
    trap - EXIT
    # Nothing is built.
    HOST=none
    sanitizing() { :; }
    interpreting() { :; }
    has() { :; }
    pkg-config() { :; }
fi

# wanted NAME WHAT COMMAND...: a stage, if it is wanted.
wanted() {
    known+=("$1")
    if [[ $PLANTED == places ]]; then
        ("${@:3}") || gone=1
        return
    fi
    [[ $PLANTED == all || " $PLANTED " == *" $1 "* ]] || return 0
    stage "planted: $2" "${@:3}"
}

wanted lost_hint "a hint is lost" lost_hint
wanted two_takers "a removal has two owners" two_takers "not linearizable" \
    --package sessionwheel-linearizability --test linearizable
wanted two_takers_in_turn "the same, in schedules" two_takers_in_turn
wanted done_too_early "done before it is done" done_too_early
wanted free_twice "a slot is free twice" free_twice
wanted too_early "recycled under a guard" too_early "read after drop" stress
wanted too_early_for_threads "the same, under the thread sanitizer" too_early_for_threads
wanted unordered_for_miri "read without order, under Miri" unordered_for_miri
wanted stale_read "read after it was taken" stale_read
wanted sentence_taken_back "what a flush has decided is taken back" sentence_taken_back
wanted evicted_by_two "a victim leaves twice" evicted_by_two
wanted beyond_the_bound "more than the maximum" beyond_the_bound
wanted last_to_expire "who expires last is evicted" last_to_expire
wanted retimed_without_a_hint "a re-timing leaves no hint" retimed_without_a_hint
wanted expired_is_a_miss "what has expired is a miss" expired_is_a_miss
wanted cursor_back "the cursor goes back" cursor_back
wanted cleared_too_early "a due bit is cleared too early" cleared_too_early
wanted lost_in_a_split "a split loses a slot" lost_in_a_split
wanted told_twice "the listener is told twice" told_twice
wanted ticket_for_ever "a ticket stays that was taken" ticket_for_ever
wanted shared_with_a_connection "a session is shared with its connection" shared_with_a_connection

if [[ $PLANTED == places ]]; then
    echo "${#known[@]} bugs were looked at"
    exit "$gone"
fi

for name in $PLANTED; do
    [[ $name == all || " ${known[*]} " == *" $name "* ]] || {
        echo "there is no bug of the name $name" >&2
        printf '%s\t0\tFAILED\n' "planted: $name: unknown" >>"$CI_RESULTS"
    }
done
