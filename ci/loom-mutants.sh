#!/usr/bin/env bash
# Plants bugs in copies of the tree, one at a time in each, and runs the models that are there to catch
# them; then those models with nothing planted. Fails if a bug survives or can no longer be planted, or if a model
# fails without one.
#   ci/loom-mutants.sh           all of them, as a stage
#   ci/loom-mutants.sh run M3…   only these, without the stage
#   ci/loom-mutants.sh places    whether all can still be planted; builds nothing
set -uo pipefail

# As seen: the slowest model took less than a quarter of an hour, on busy processors.
MODEL_LIMIT=1800

die() {
    echo "error: $*" >&2
    exit 2
}

# swap FILE FROM TO: replaces FROM, which must stand there exactly once.
swap() {
    local file=$tree/$1 text before behind
    text=$(<"$file")
    before=${text%%"$2"*}
    [[ $before != "$text" ]] || die "$name: not found in $1: $2"
    behind=${text#*"$2"}
    [[ $behind != *"$2"* ]] || die "$name: stands more than once in $1: $2"
    printf '%s\n' "$before$3$behind" >"$file"
    touched+=("$1")
}

restore() {
    local file
    for file in "${touched[@]}"; do
        cp "$work/clean/${file#src/}" "$tree/$file"
    done
    touched=()
}

# build MODEL...: the files of these models, which are named as FILE/NAME.
build() {
    local model files=()
    for model in "$@"; do
        files+=(--test "${model%/*}")
    done
    (cd "$tree/loom-tests" && cargo test --release --no-run "${files[@]}")
}

# run_model MODEL BOUND: one model, at its bound in the short form or at its full one.
run_model() {
    cd "$tree/loom-tests" || return
    export SESSIONWHEEL_LOOM=$2
    timeout "$MODEL_LIMIT" cargo test --release --test "${1%/*}" -- --exact "${1#*/}" --nocapture
}

# mutant NAME WHAT MODEL... [and MODEL...] with FILE FROM TO...: plants one bug, and runs the models. One of them has to fail,
# of each of the groups that `and` separates.
mutant() {
    local what=$2 groups=("") word words=0 group
    # What errors are reported under.
    name=$1
    wanted "$name" || return 0
    shift 2
    for word; do
        [[ $word != with ]] || break
        words=$((words + 1))
        if [[ $word == and ]]; then
            groups+=("")
        else
            groups[-1]+=" $word"
        fi
    done
    shift "$words"
    while [[ $# != 0 ]]; do
        swap "${@:2:3}"
        shift 4
    done
    printf '%s\n' "${groups[@]/*/$name}" >>"$work/planted"
    if [[ $command == places ]]; then
        restore
        return
    fi
    log=$(mktemp -p "$work")
    read -ra models <<<"${groups[*]}"
    if build "${models[@]}" >"$log" 2>&1; then
        for group in "${groups[@]}"; do
            read -ra models <<<"$group"
            caught "${models[@]}"
        done
    else
        tail -n 40 "$log"
        echo "mutant $name $what: DOES NOT BUILD"
    fi
    restore
}

# caught MODEL...: which of them fails, and with which words; at the full bound only where the other one is not enough.
caught() {
    local model bound code words
    for bound in short full; do
        for model; do
            (run_model "$model" "$bound") >"$log" 2>&1
            code=$?
            [[ $code != 0 ]] || continue
            # Only what a model finds counts: not that it was killed for want of memory, say, nor that it had less to try.
            words=$(grep -A1 -m1 'panicked at ' "$log" | sed -n 2p)
            [[ $words != 'only '*' executions of '* ]] || words=
            [[ -n $words ]] || words=$(grep -om1 'SIGSEGV: .*)$' "$log")
            if [[ $code == 124 || -z $words ]]; then
                tail -n 40 "$log"
                echo "mutant $name $what: ${model#*/} ENDED with $code, and without a word"
            else
                echo "$model $bound" >>"$work/caught"
                echo "mutant $name $what: caught by ${model#*/}, which says: $words"
            fi
            return
        done
    done
    echo "mutant $name $what: SURVIVED ${*#*/}"
}

# wanted NAME: whether to plant this one, here.
wanted() {
    [[ ${#only[@]} == 0 || " ${only[*]} " == *" $1 "* ]] || return
    turn=$((turn + 1))
    ((turn % lanes == lane))
}

# plant LANE: every so many bugs, in a tree of its own.
plant() {
    lane=$1 turn=0 touched=() name=
    tree=$work/tree$lane
    cp -R "$work/tree" "$tree" || die "cannot copy the tree"
    # Shared by all mutants of the lane, so that only the crate and its models are built anew.
    export CARGO_TARGET_DIR=${TARGET:-$root/target}/loom-mutants/$lane
    mutants
}

# unplanted MODEL BOUND: whether it passes as long as nothing is planted. One that does not catches nothing.
unplanted() {
    local said
    if said=$(run_model "$@" 2>&1) && grep '^model ' <<<"$said"; then
        return
    fi
    # Not to be taken for what those say that pass.
    printf '    %s\n' "${said//$'\n'/$'\n    '}"
    echo "${1#*/} FAILS with nothing planted"
    return 1
}

command=${1:-}
if [[ -z $command ]]; then
    # shellcheck source=ci/lib.sh
    source "$(dirname "$0")/lib.sh"
    SUMMARY+='|^mutant |FAILS with nothing'
    CI_STAGE_LIMIT=$((CI_STAGE_LIMIT > 7200 ? CI_STAGE_LIMIT : 7200))
    stage "loom mutants" "ci/$(basename "$0")" run
    exit
fi

shift
only=("$@")
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
# shellcheck source=loom-tests/mutants.sh
source "$root/loom-tests/mutants.sh"
export RUSTFLAGS="--cfg loom" CARGO_TERM_COLOR=never
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
tar -C "$root" --exclude=./.git --exclude='./*/target' --exclude=./target --exclude=./fuzz -cf - . |
    tar -C "$work/tree" -xf - || die "cannot copy the tree"
# Steps mean nothing here, and stand in the midst of what is replaced.
find "$work/tree/src" -name '*.rs' -exec sed -i '/^ *step!(".*");$/d' {} +
# The tree may be worked on meanwhile.
cp -R "$work/tree/src" "$work/clean" || die "cannot copy the sources"
touch "$work/planted" "$work/caught"
failed=0
if [[ $command == places ]]; then
    lanes=1
    (plant 0) || exit
    echo "$(sort -u "$work/planted" | wc -l) mutants can be planted, for $(wc -l <"$work/planted") models or groups of them"
    exit
fi
# Of a build most is done by one thread.
lanes=$(nproc)
running=()
for ((lane = 0; lane < lanes; lane++)); do
    (plant "$lane") &
    running+=($!)
done
for lane in "${running[@]}"; do
    wait "$lane" || failed=1
done

sort -u "$work/caught" >"$work/models"
tree=$work/tree
export CARGO_TARGET_DIR=${TARGET:-$root/target}/loom-mutants/0
export tree MODEL_LIMIT
export -f run_model unplanted
mapfile -t catching < <(cut -d' ' -f1 "$work/models")
build "${catching[@]}" >"$work/log" 2>&1 || {
    tail -n 40 "$work/log" >&2
    die "does not build with nothing planted"
}
xargs -P "$lanes" -n 2 bash -c 'unplanted "$@"' unplanted <"$work/models" | tee "$work/log" || failed=1

planted=$(wc -l <"$work/planted") caught=$(wc -l <"$work/caught") passed=$(grep -c '^model ' "$work/log")
echo "$(sort -u "$work/planted" | wc -l) mutants; $planted times one was to be caught, and $caught times it was; of the ${#catching[@]} models that caught one $passed pass with nothing planted"
[[ $failed == 0 && $planted != 0 && $caught == "$planted" && $passed == "${#catching[@]}" ]]
