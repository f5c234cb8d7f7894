# shellcheck shell=bash
# Stages: what every script in this directory is made of. Source it first.
#
# A script that is run by itself prints its own closing table and sets its own exit code; one that
# is run by .ci/run or ci/full adds its stages to theirs. Each stage's full output is kept in a
# file; its summary lines are shown, and all its last lines if it fails.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 DEBIAN_FRONTEND=noninteractive
# Stages count; ci/benchmarks.sh, which measures, is none. Half of their time is the compiler's.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
export CARGO_PROFILE_DEV_DEBUG=none
# The builds that need flags of their own are kept apart below this directory.
export TARGET=${CARGO_TARGET_DIR:-$PWD/target}
# Where ci/packages.sh puts Python's aioquic.
export PATH=$TARGET/aioquic/bin:$PATH
# No stage may take longer; ci/full raises it.
export CI_STAGE_LIMIT=${CI_STAGE_LIMIT:-900}
# With "none" (ci/full) a stage fails that passes without something for which all packages were there, or could be had.
export CI_SKIPS=${CI_SKIPS:-some}
# What a stage returns, after saying why, if it has no tools here.
export SKIPPED=77

# record NAME SECONDS RESULT [SCRIPT]: one line of the table, of this script or another. Without it nothing counts.
record() { printf '%s\t%d\t%s\t%s\n' "$1" "$2" "$3" "${4:-$(basename "$0" .sh)}" >>"$CI_RESULTS" || exit; }

# Runner's lines worth showing.
SUMMARY='^test result:|^ +Running |^ +Doc-tests|SKIPPED|^model |^Seen|^ci: |^caught|^survived'
SUMMARY+='|^[0-9]+ mutants|^sequences|^error|^warning: .* generated|^#[0-9]+.*(DONE|done)|^Done [0-9]+ runs'

if [[ -z ${CI_RESULTS:-} ]]; then
    CI_RESULTS=$(mktemp)
    export CI_RESULTS
    trap 'code=$?; ci_table "$CI_RESULTS" || code=1; rm -f "$CI_RESULTS"; exit $code' EXIT
fi
CI_LOGS=$TARGET/ci
mkdir -p "$CI_LOGS"

# The closing table. Fails if a stage did, or if there was none.
ci_table() {
    [[ -s $1 ]] || {
        echo "no stage was run"
        return 1
    }
    printf '\n%-58s %6s  %s\n' stage seconds result
    awk -F'\t' -v elapsed="$SECONDS" '{ printf "%-58s %6d  %s\n", $1, $2, $3; sum += $2; n[$3]++ }
        END {
            printf "%-58s %6d  %d PASSED, %d FAILED, %d SKIPPED\n", "all, " elapsed " s by the clock", sum,
                n["PASSED"], n["FAILED"], n["SKIPPED"]
            exit n["FAILED"] > 0
        }' "$1"
}

# Of a log: how many of other people's programs were there, and how often they were resumed.
ci_programs() {
    awk '/^[A-Za-z_0-9.-]+, TLSv1/ {
            name = $1
            sub(/,$/, "", name)
            sub(/-reconnect$/, "", name)
            if (!(name in seen)) { seen[name]; names = names " " name; programs++ }
            for (i = 3; i < NF; i++) {
                if ($(i + 1) ~ /^resumed/) resumed += $i
                if ($(i + 1) == "not") not += $i
            }
        }
        END { if (programs) printf "ci: %d programs, %d times resumed, %d times not:%s\n", programs, resumed, not, names }' "$1"
}

# Whether a stage that has passed has left something out although there was nothing to prevent it.
ci_left_out() {
    [[ $CI_SKIPS == none ]] && grep -q 'SKIPPED: ' "$1" &&
        grep -q $'^system packages\t.*\tPASSED\t' "$CI_RESULTS"
}

# stage NAME COMMAND...: runs a command, or an exported function, and records how it ended.
stage() {
    local name=$1 log code result begun=$SECONDS
    shift
    log=$CI_LOGS/$(tr -cs '[:alnum:]\n' '-' <<<"$name").log
    printf '\n=== %s\n' "$name"
    # A shell of its own, so that errexit holds inside functions.
    timeout --kill-after=10 "$CI_STAGE_LIMIT" \
        bash -euo pipefail -c '"$@"' stage "$@" </dev/null >"$log" 2>&1
    code=$?
    case $code in
        0) result=PASSED ;;
        "$SKIPPED") result=SKIPPED ;;
        *) result=FAILED ;;
    esac
    grep -E "$SUMMARY" "$log"
    ci_programs "$log"
    if [[ $result == PASSED ]] && ci_left_out "$log"; then
        result=FAILED
        echo "SKIPPED here, and all packages are there"
    fi
    if [[ $result == FAILED ]]; then
        [[ $code != 124 ]] || echo "stopped after $CI_STAGE_LIMIT s"
        echo "--- the last lines of $log"
        tail -n 60 "$log"
        echo "---"
    fi
    echo "=== $name: $result in $((SECONDS - begun)) s"
    record "$name" $((SECONDS - begun)) "$result"
}

# skip REASON...: from inside a stage.
skip() {
    echo "SKIPPED: $*"
    exit "$SKIPPED"
}

# Whether a command is there.
has() { command -v "$1" >/dev/null 2>&1; }

# Whether programs of 32 bits can be linked.
links_32_bits() { echo 'int main(void) { return 0; }' | cc -m32 -x c - -o /dev/null 2>&1; }

# toolchain NAME [COMPONENT...]: has it, or gets it; else skips the stage.
toolchain() {
    local name=$1 component
    shift
    has rustup || skip "there is no rustup"
    cargo "+$name" --version >/dev/null 2>&1 ||
        rustup toolchain install "$name" --profile minimal --no-self-update ||
        skip "toolchain $name cannot be had"
    for component in "$@"; do
        rustup component add "$component" --toolchain "$name" ||
            skip "$component cannot be had for $name"
    done
}

# sanitizing NAME [COMPONENT...]: from now on for this sanitizer, on nightly; HOST is what is built for.
sanitizing() {
    local sanitizer=$1
    shift
    toolchain nightly "$@"
    HOST=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
    [[ $HOST == x86_64-unknown-linux-gnu ]] || skip "not tried on $HOST"
    export RUSTFLAGS="-Zsanitizer=$sanitizer"
}

# interpreting [SEEDS]: from now on for Miri. What crossbeam-epoch makes of pointers are integers, and
# what waits in its bags at the end was never to be freed.
interpreting() {
    toolchain nightly miri rust-src
    export MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks"
    [[ $# == 0 ]] || MIRIFLAGS+=" -Zmiri-many-seeds=0..$1"
}

# component NAME COMMAND...: the same for the default toolchain, if the command does not work.
component() {
    local name=$1
    shift
    "$@" >/dev/null 2>&1 || rustup component add "$name" || skip "$name cannot be had"
}

export -f skip has links_32_bits toolchain sanitizing interpreting component
