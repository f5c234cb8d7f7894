#!/usr/bin/env bash
# All stages, and one table of them at the end. Arguments: further scripts of this directory.
#   CI_BESIDE  if not empty (.ci/run), scripts that build in directories of their own run beside the others: a build
#              seldom keeps two processors busy, and a test even less
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

echo "$(uname -sm), $(nproc) processors, $(rustc --version)"
scripts packages
if [[ -n ${CI_BESIDE:-} ]]; then
    scripts "${apart[@]}" >"$CI_LOGS/apart" 2>&1 &
    scripts "${scripts[@]}"
    wait
    cat "$CI_LOGS/apart"
else
    scripts "${scripts[@]}" "${apart[@]}"
fi
scripts "$@"
