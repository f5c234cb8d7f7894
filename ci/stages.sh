#!/usr/bin/env bash
# All stages, and one table of them at the end. Those that build in directories of their own run beside the others: a
# build seldom keeps two processors busy, and a test even less. Who has come to the end of its own goes on with what the
# others have not begun, from their end. Arguments: further scripts of this directory.
#   CI_ALONE  more that run when all others have ended
#   CI_ONLY   if not empty, these and no others
source "$(dirname "$0")/lib.sh"

# The quick ones first: who broke something trivial learns of it soon.
scripts=(style test integrations main-job model linearizability openssl planted)
apart=(loom orderings suspension schedules sanitize fuzz msrv targets)

# One that ends before its time must not pass for what it has not done.
scripts() {
    local script
    for script in "$@"; do
        "ci/$script.sh" || record "$script: ended with $?" 0 FAILED "$script"
    done
}

# unbegun SCRIPT...: those of them that nobody else has begun.
unbegun() {
    local script
    for script in "$@"; do
        ! mkdir "$begun/$script" 2>/dev/null || scripts "$script"
    done
}

# complete SCRIPT...: fails those of which no stage is on record.
complete() {
    local script
    for script in "$@"; do
        grep -q $'\t'"$script"'$' "$CI_RESULTS" || record "$script: no stage of it has ended" 0 FAILED "$script"
    done
}

echo "$(uname -sm), $(nproc) processors, $(rustc --version)"
scripts packages
if [[ -n ${CI_ONLY:-} ]]; then
    read -ra only <<<"$CI_ONLY"
    scripts "${only[@]}"
    complete packages "${only[@]}"
    exit
fi
apart+=("$@")
begun=$(mktemp -d) || exit
# But for the first three, which build the same programs with different features.
mapfile -t backwards < <(printf '%s\n' "${scripts[@]:3}" | tac)
unbegun "${apart[@]}" "${backwards[@]}" >"$CI_LOGS/apart" 2>&1 &
lane=$!
unbegun "${scripts[@]}" "${apart[@]}"
wait "$lane" || record "those beside: ended with $?" 0 FAILED
cat "$CI_LOGS/apart"
rm -r "$begun"
read -ra alone <<<"${CI_ALONE:-}"
scripts "${alone[@]}"
complete packages "${scripts[@]}" "${apart[@]}" "${alone[@]}"
