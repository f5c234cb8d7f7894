#!/usr/bin/env bash
# All stages, and one table of them at the end. Those that build in directories of their own run beside the others: a
# build seldom keeps two processors busy, and a test even less. Arguments: further scripts of this directory.
#   CI_ALONE  more that run when all others have ended
#   CI_ONLY   if not empty, these and no others
source "$(dirname "$0")/lib.sh"

# The quick ones first: who broke something trivial learns of it soon.
scripts=(style test integrations main-job model linearizability openssl planted)
apart=(loom orderings suspension schedules sanitize fuzz msrv targets)

scripts() {
    local script
    for script in "$@"; do
        if [[ -x ci/$script.sh ]]; then
            "ci/$script.sh"
        else
            echo "there is no ci/$script.sh" >&2
            printf '%s\t0\tFAILED\n' "$script: missing" >>"$CI_RESULTS"
        fi
    done
}

# Those of `apart` that nobody else has begun.
unbegun() {
    local script
    for script in "${apart[@]}"; do
        ! mkdir "$begun/$script" 2>/dev/null || scripts "$script"
    done
}

echo "$(uname -sm), $(nproc) processors, $(rustc --version)"
scripts packages
if [[ -n ${CI_ONLY:-} ]]; then
    read -ra only <<<"$CI_ONLY"
    scripts "${only[@]}"
    exit
fi
apart+=("$@")
begun=$(mktemp -d)
unbegun >"$CI_LOGS/apart" 2>&1 &
scripts "${scripts[@]}"
unbegun
wait
cat "$CI_LOGS/apart"
rm -r "$begun"
read -ra alone <<<"${CI_ALONE:-}"
scripts "${alone[@]}"
