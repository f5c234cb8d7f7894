#!/usr/bin/env bash
# The loom models: every interleaving up to a bound on preemptions.
#   CI_LOOM  full (ci/full): also those that take half a minute, and crossbeam-epoch itself
source "$(dirname "$0")/lib.sh"

# Three quarters of the time go to these.
LONG_MODELS=(
    spill_against_take_and_insert deep_split_against_take_and_lookup deep_split_against_replace
    flush_against_an_earlier_one take_against_replace two_openers_of_a_list
    one_ticket_on_two_hosts insert_against_insert_at_the_maximum insert_against_open_and_sweep
    split_against_split split_against_lookup insert_against_a_note
    insert_against_insert hint_on_a_set_bit_against_open_on_a_list insert_and_take_against_lookup
    fetch_against_take
    hint_against_open_on_a_list hint_on_a_set_bit_against_open_in_a_page hint_on_a_set_bit_against_open
    deep_split_against_lookup enter_against_coming_back hint_against_a_jump
    hint_against_a_jump_in_a_page hint_against_a_jump_on_a_list hint_in_a_new_tick_against_open_in_a_page
    hint_in_a_new_tick_against_open_on_a_list retime_against_insert retime_against_insert_and_flush
    retime_against_insert_and_bounded_flush sweep_against_reuse automatic_flush_against_insert
    hint_beside_an_opener_of_the_round_before hint_in_a_new_chunk_against_two_openers evict_against_retime insert_into_a_used_word_against_lookup insert_into_a_used_word_against_retime
    spill_against_insert enter_against_enter_and_ripening get_against_flush_and_reuse deep_split_against_take
    early_split_against_growth
    inserts_against_a_pinned_reader hint_in_a_new_tick_against_open renewal_against_flush evict_against_take
    hint_against_open_in_a_page
)
# To the models alone: who plants something runs each of them unchanged too, in its short form.
export SESSIONWHEEL_LOOM=${CI_LOOM:-}
[[ $SESSIONWHEEL_LOOM == full ]] && LONG_MODELS=()
export LONG="${LONG_MODELS[*]}"

# Each in a process of its own, as many at a time as there are processors.
one_model() {
    local said begun=$SECONDS
    if said=$("$1" --exact "$2" --nocapture 2>&1); then
        sed -n "s/^model .*/&, $((SECONDS - begun)) s/p" <<<"$said"
    else
        echo "$said"
        return 1
    fi
}
export -f one_model

# models FLAGS [NAME...]: these, or all.
models() {
    local built model names=() all=() log wanted passed left=0 code=0
    [[ -f loom-tests/Cargo.toml ]] || skip "there is no loom-tests/"
    export RUSTFLAGS=$1
    shift
    cd loom-tests || return
    built=$(cargo test --release --no-run 2>&1 | tee /dev/stderr |
        sed -n 's/^ *Executable tests.* (\(.*\))$/\1/p')
    for file in $built; do
        while read -r model; do
            names+=("$model")
            if [[ $# == 0 && " $LONG " == *" $model "* ]]; then
                left=$((left + 1))
            elif [[ $# == 0 || " $* " == *" $model "* ]]; then
                all+=("$file" "$model")
            fi
        done < <("$file" --list --format=terse | sed -n 's/: test$//p')
    done
    for model in $LONG "$@"; do
        [[ " ${names[*]} " == *" $model "* ]] || { echo "error: there is no model $model"; return 1; }
    done
    log=$(mktemp)
    wanted=$((${#all[@]} / 2))
    printf '%s\n' "${all[@]}" | xargs -P "$(nproc)" -n 2 bash -c 'one_model "$@"' one |
        tee "$log" || code=1
    passed=$(grep -c '^model ' "$log")
    echo "ci: $passed of $wanted models passed, $left left to ci/full"
    # One that has nothing checked passes too, and says nothing.
    [[ $passed == "$wanted" ]] || code=1
    rm "$log"
    return "$code"
}
export -f models

export CARGO_TARGET_DIR=$TARGET/loom
stage "loom models" models "--cfg loom"

# With crossbeam-epoch itself in place of the small collector, at bound 2: at length only (ci/full).
if [[ $SESSIONWHEEL_LOOM == full ]]; then
    export CARGO_TARGET_DIR=$TARGET/loom-epoch
    stage "loom models with crossbeam-epoch" models "--cfg loom --cfg crossbeam_loom" \
        take_against_take take_against_flush retime_against_flush get_against_take_and_reclaim \
        take_by_a_thread_that_ends_against_get
fi
