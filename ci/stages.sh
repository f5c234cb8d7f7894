#!/usr/bin/env bash
# All stages, and one table of them at the end. Arguments: further scripts of this directory.
source "$(dirname "$0")/lib.sh"

# The quick ones first: who broke something trivial learns of it soon.
scripts=(packages style test msrv targets integrations main-job model linearizability openssl schedules suspension planted loom orderings sanitize fuzz bench "$@")

echo "$(uname -sm), $(nproc) processors, $(rustc --version)"
for script in "${scripts[@]}"; do
    if [[ -x ci/$script.sh ]]; then
        "ci/$script.sh"
    else
        echo "there is no ci/$script.sh" >&2
        printf '%s\t0\tFAILED\n' "$script: missing" >>"$CI_RESULTS"
    fi
done
