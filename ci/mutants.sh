#!/usr/bin/env bash
# Changes the sources in one place at a time, as cargo-mutants does: an operator, an arm of a match, what a
# function returns. Fails on a change that no test notices and that .cargo/mutants.toml does not list, with
# the reason why none does. Installs cargo-mutants if it is missing.
#   CI_MUTANTS  folders below src (reclaim table wheel slab map), or files (map/batch.rs); parts of all as k/n, from
#               0/n on; list: only whether each line of the list still stands for something, which the others find out too
# What was noticed is not tried again as long as no source has changed but its tests (those are taken to have
# become no weaker): so a run that was stopped goes on where it was, and a new test costs what was missed.
source "$(dirname "$0")/lib.sh"

# Each change goes through these until one of them notices it: all but a few stay in the first. Tests that do
# not go by sizes run with tiny ones, where they meet growth; what the shipped ones have alone is left for the last.
export SIEVES="quick more shipped"

# sieve NAME: what builds and runs it.
sieve() {
    local tests=(--test model) arguments=()
    export SESSIONWHEEL_SEQUENCES=1000
    if [[ $1 == quick ]]; then
        # Without the unit tests that wait for a clock, which are most of the time of all.
        tests+=(--lib)
        arguments=(-- reclaim:: slab:: table:: wheel:: map:: segments:: operation_sequences)
        SESSIONWHEEL_SEQUENCES=300
    else
        tests+=(--test stress --test flushes --test guards --test destructors --test given_back --test panics)
    fi
    if [[ $1 == shipped ]]; then
        tests+=(--lib --test capacity --test fork --test listeners --test tier)
    else
        export RUSTFLAGS="--cfg sessionwheel_tiny"
    fi
    # As an argument of all that cargo does: else it would build all tests there are.
    ARGUMENTS=("${tests[@]/#/--cargo-arg=}" -- "${arguments[@]}")
}

# The sources without their tests: if one is another, every change is tried again.
sources() {
    # shellcheck disable=SC2016 # sed's, for the last line
    git ls-files -z 'src/*.rs' ':!src/*tests.rs' ':!src/*tests/*' |
        xargs -0 sed --separate '/^#\[cfg(all(test/,$d; /^$/d' | sha1sum | cut -c1-12
}

# The changes of a folder, of a file or of a part that are to be tried.
wanted() {
    case $1 in
        *.rs) grep "^src/$1:" || true ;;
        */*) awk -v k="${1%/*}" -v n="${1#*/}" '(NR - 1) % n == k' ;;
        *) grep "^src/$1/" || true ;;
    esac
}

# harvest SIEVE: keeps what a run has found out, also one that was stopped.
harvest() {
    local found=$RESULTS/$1/mutants.out kind
    # One that has begun.
    [[ -f $found/missed.txt ]] || return 0
    for kind in caught timeout unviable; do
        cat "$found/$kind.txt" >>"$RESULTS/$kind"
    done
    cat "$found/caught.txt" >>"$RESULTS/caught.$1"
    rm -rf "$found"
}

# Of stdin, what is not in any of these files.
but() { grep -vxFf <(cat "$@" 2>/dev/null) || true; }

has_mutants() {
    if ! has cargo-mutants; then
        # It only starts the compiler.
        cargo install --debug --locked cargo-mutants || skip "cargo-mutants cannot be had"
    fi
}

mutants() {
    has_mutants
    RESULTS=$TARGET/mutants/results/$(sources)
    export CARGO_TARGET_DIR=$TARGET/mutants
    # From one change to the next little is compiled anew; optimised, it would take twenty times as long.
    export CARGO_PROFILE_DEV_DEBUG=none CARGO_INCREMENTAL=1
    export SESSIONWHEEL_SHRINKS=0
    # A change may let a loop allocate without an end.
    ulimit -v $((16 << 20))
    mkdir -p "$RESULTS"
    local name code every all left tree
    every=$(cargo mutants --list --colors never)
    all=$(wanted "$1" <<<"$every")
    [[ -n $all ]] || {
        echo "error: there is nothing to change in $1"
        return 1
    }
    # A copy that stays in its place, so that the next sieve finds built what has not changed.
    tree=$TARGET/mutants/tree
    rm -rf "$tree"
    mkdir "$tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"
    for name in $SIEVES; do
        harvest "$name"
        left=$(but "$RESULTS"/{caught,timeout,unviable} <<<"$all")
        [[ -n $left ]] || continue
        # What is left out is said to have been caught: no filter of cargo-mutants reaches all there is.
        mkdir -p "$RESULTS/$name/mutants.out"
        but <(echo "$left") <<<"$every" >"$RESULTS/$name/mutants.out/caught.txt"
        code=0
        (
            sieve "$name"
            cargo mutants --dir "$tree" --in-place --colors never --output "$RESULTS/$name" --iterate "${ARGUMENTS[@]}"
        ) || code=$?
        # Some were missed, or did not end.
        [[ $code == [023] ]] || return "$code"
        harvest "$name"
    done
    count() { but "$@" <<<"$all" | wc -l; }
    local of missed
    of=$(wc -l <<<"$all")
    missed=$(but "$RESULTS"/{caught,timeout,unviable} <<<"$all")
    echo "ci: $1: $of mutants, $((of - $(count "$RESULTS/caught"))) caught ($((of - $(count "$RESULTS/caught.quick"))) by quick tests)," \
        "$((of - $(count "$RESULTS/timeout"))) timed out, $((of - $(count "$RESULTS/unviable"))) unviable," \
        "$(grep -c . <<<"$missed") missed"
    [[ -n $missed ]] || return 0
    printf 'survived: %s\n' "${missed//$'\n'/$'\n'survived: }"
    return 1
}

# Whether each line of the list stands for something.
list() {
    has_mutants
    local all line gone=0 listed=0
    all=$(cargo mutants --list --colors never --no-config --file 'src/*/**')
    while IFS= read -r line; do
        listed=$((listed + 1))
        grep -qE -- "$line" <<<"$all" || {
            gone=1
            echo "error: nothing is left of $line"
        }
    done < <(sed -n "s/^ *'\(.*\)',$/\1/p" .cargo/mutants.toml)
    echo "ci: $listed lines in the list"
    return "$gone"
}
export -f sieve sources wanted harvest but has_mutants mutants list

MUTANTS=${CI_MUTANTS:-reclaim table wheel slab map}
# A change costs as much as a build.
CI_STAGE_LIMIT=$((CI_STAGE_LIMIT > 43200 ? CI_STAGE_LIMIT : 43200))
stage "mutants: the list" list
for part in $MUTANTS; do
    [[ $part == list ]] || stage "mutants: $part" mutants "$part"
done
