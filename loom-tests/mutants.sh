# shellcheck shell=bash
# The bugs that ci/loom-mutants.sh plants:
#   mutant NAME WHAT MODEL... [and MODEL...]... with FILE FROM TO [with FILE FROM TO]...
# In each FILE, FROM becomes TO; then one of the models, FILE/NAME in tests/, has to fail. Behind `and` stand others, of which
# one has to fail as well.

mutants() {
    local wheel=src/wheel/mod.rs stamped=src/wheel/stamped.rs due=src/wheel/due.rs flush=src/map/flush.rs
    local batch=src/map/batch.rs debris=src/map/debris.rs read=src/map/read.rs
    local shard=src/map/shard.rs tournament=src/tournament/mod.rs settled=src/wheel/settled.rs
    local table=src/table/mod.rs line=src/table/line.rs tick=src/wheel/tick.rs
    local permits=src/map/permits.rs automatic=src/cache/automatic.rs endpoint=src/cache/endpoint/mod.rs handle=src/cache/handle.rs

    # Hint against open, wherever a tick keeps the slot.
    mutant M1 "no fence in hint" hint/hint_against_open and hint/hint_against_open_in_a_page \
        and hint/hint_against_open_on_a_list and hint/hint_on_a_set_bit_against_open_in_a_page \
        with $wheel $'fence(Ordering::SeqCst);\n                let now' 'let now'
    mutant M2 "no fence in open" hint/hint_against_open and hint/hint_against_open_in_a_page \
        and hint/hint_against_open_on_a_list and sweep/insert_against_open_and_sweep \
        with $wheel $'fence(Ordering::SeqCst);\n        for level' 'for level'
    mutant M11b "the few said to be moved before they are" take/flush_against_flush \
        with $tick 'self.moved_to.fetch_max(1, Ordering::Release);' '' \
        with $tick $'if moved_to == 0 {\n' \
            $'if moved_to == 0 {\nself.moved_to.fetch_max(1, Ordering::Release);\n'
    mutant M11c "a chunk said to be moved before it is" hint/two_openers_of_a_list \
        with $tick 'self.list.moved(chunk);' '' \
        with $tick $'for chunk in self.list.unmoved() {\n' \
            $'for chunk in self.list.unmoved() {\nself.list.moved(chunk);\n'
    mutant M9 "no fence where a later round moves a tick out" hint/hint_in_a_tick_that_a_later_round_moves_out \
        with $wheel $'fence(Ordering::SeqCst);\n                found.move_to' 'found.move_to'
    mutant M9b "an opener takes out what a later round has put there" hint/hint_beside_an_opener_of_the_round_before \
        with $wheel $'let taken = cell.compare_exchange(\n            object,' \
            $'let object = cell.swap(ptr::null_mut(), Ordering::Release);\n        let taken = if object.is_null() { return } else { Ok::<(), ()>(()) };\n        let _ = |object| cell.compare_exchange(\n            object,'
    mutant M11 "done raised before the positions are emptied" take/flush_against_flush \
        with $wheel 'self.done.fetch_max(cursor, Ordering::Release);' '' \
        with $wheel $'        for level in 0..self.levels() {\n            for number in self.numbers(level, done, cursor) {' \
            $'self.done.fetch_max(cursor, Ordering::Release);\nfor level in 0..self.levels() {\nfor number in self.numbers(level, done, cursor) {'

    # Sweep against insert and reuse.
    mutant M3 "a set does not move the stamp" sweep/insert_against_sweep \
        with $stamped '.wrapping_add(1)' '.wrapping_add(0)'
    mutant M4 "a due bit that is set is not set again" sweep/insert_against_sweep \
        with $stamped 'let mut seen = Stamped(word.load(Ordering::Relaxed));' \
            'let mut seen = Stamped(word.load(Ordering::Relaxed)); if seen.bits() & bits == bits { return; }'
    mutant M4b "due bits cleared before the look, and set again after it" hint/two_openers_of_the_few \
        with $stamped $'let mut finished = 0;\n        let mut stopped = false;' \
            $'lower(word, seen, seen.bits() & wanted);\n        let mut finished = 0;\n        let mut stopped = false;' \
        with $stamped 'let cleared = finished == 0 || lower(word, seen, finished);' \
            'let stays = seen.bits() & wanted & !finished;
        if stays != 0 { raise(word, stays); }
        let cleared = true;'
    mutant M4c "a bit above cleared by a look from after those below" hint/hints_in_two_words_against_sweep \
        with $due 'lower(word, seen, empty)' 'lower(word, Stamped::load(word), empty)'
    mutant M4d "a bit above set before the one below" hint/hint_against_open \
        with $due 'raise(self.middle.get_or_alloc(middle), words);' 'let _ = words;' \
        with $due $'let mut words = 0;\n                for in_word' \
            $'raise(
                    self.middle.get_or_alloc(below_middle[0] >> (2 * WIDTH_BITS)),
                    below_middle.iter().fold(0, |words, slot| words | bit(slot >> WIDTH_BITS)),
                );
                let mut words = 0;\n                for in_word'
    mutant M5 "no look at the life word" sweep/sweep_against_a_held_slot \
        with src/slab/mod.rs 'Life::from_raw(self.life.load(Ordering::Acquire)) == Life::LINKED' 'true'
    mutant M6 "hinted before the life word says linked" sweep/insert_against_sweep \
        with $shard 'if slot.publish() {' \
            'self.wheel.hint(number, slot.deadline(), guard); if slot.publish() && false {'
    mutant M12 "recycled without waiting for guards" take/get_against_take_and_reclaim and sweep/sweep_against_reuse \
        and memory/inserts_against_a_pinned_reader \
        with src/slab/lane.rs 'guard.defer(move || slab.ripen(origin, first, last))' \
            'slab.ripen(origin, first, last)'
    mutant L1 "a slot that comes back to a limbo is taken for never gone" slab/enter_against_coming_back \
        with src/slab/mod.rs '((old >> 32).wrapping_add(1) << 32)' '((old >> 32).wrapping_add(0) << 32)'
    mutant L2 "a closure says that a body is there which is dropped" slab/clear_against_ripening \
        with src/slab/lane.rs 'last.link.store(head as u32, Ordering::Relaxed);' \
            'last.life.store(Life::retired(head as u32).raw(), Ordering::Relaxed);'
    mutant L3 "what ripened before is forgotten" slab/enter_against_enter_and_ripening \
        with src/slab/lane.rs '0 => Link::from_raw(slot.link.load(Ordering::Relaxed))' '0 => Link::END'
    mutant L4 "a stale number is followed to a slot that is not there yet" slab/recycle_against_reuse_in_a_new_segment \
        with src/slab/lane.rs 'let Some(slot) = self.slot_if_there(number) else {
            return 0;
        };' 'let slot = self.slot(number);'

    # One owner.
    mutant M7 "marked without winning the deadline word" take/retime_against_flush and session/renewal_against_flush \
        with $batch 'slot.change_deadline(deadline, Deadline::EXPIRED).is_ok();' 'true;'
    mutant M7c "a re-timing writes over what has been decided since" take/retime_against_flush \
        with $read 'if slot.change_deadline(old, new).is_ok() {' \
            'while slot.change_deadline(slot.deadline(), new).is_err() {}
            if true {'
    mutant M7b "a sentence written over a word that is closed" take/take_against_a_late_sentence \
        with $batch 'if deadline == Deadline::CLOSED {' 'if false {'
    mutant M8 "who fails to mark has taken it too" take/take_against_take and take/take_against_flush \
        with $read 'if Table::mark(slot) {' 'if Table::mark(slot) || true {'
    mutant M8c "a flush that fails to mark has removed it too" take/take_against_flush \
        and take/flush_against_flush_of_what_is_due and take/clear_against_flush and tournament/evict_against_flush \
        and tournament/evict_against_flush_where_nothing_grows \
        with $batch $'if Table::mark(slot) {\n                self.push(number, Reason::Expired)' \
            $'if Table::mark(slot) || true {\n                self.push(number, Reason::Expired)'
    mutant M10 "a lookup that meets the mark does not look again" take/get_against_replace \
        with $read $'// says nothing of it.\n                continue;' $'// says nothing of it.\n                return None;'
    mutant M13 "a replace that removes, then adds" take/get_against_replace \
        with src/table/remove.rs 'Link::slot(new).marked().raw(),' 'link.marked().raw(),' \
        with src/map/insert.rs 'filled.release();
                    // The new' 'if let Search::Absent { at } = shard.table.search(&shard.slab, hash, false, |_| false, retire) { shard.table.add(&shard.slab, at, number, filled.slot()); }
                    filled.release();
                    // The new'

    mutant M19 "no second look at the cursor in next" take/next_expiry_against_flush \
        with $wheel $'if self.cursor.load(Ordering::Relaxed) != cursor {\n            // Something' \
            $'if false {\n            // Something'
    mutant M19b "no second look at the cursor in has_due" hint/has_due_against_open \
        with $wheel 'hinted || self.cursor.load(Ordering::Relaxed) != cursor' 'hinted'

    mutant M20 "a note of the version after the pass" take/insert_against_a_note \
        with $flush 'shard.wheel.settle(version, pass.stay_until);' \
            'shard.wheel.settle(shard.wheel.version(), pass.stay_until);'

    mutant M23 "a note read without a second look at its turn" hint/note_against_note \
        with $settled $'\n            && turn == self.turn.load(Ordering::Relaxed)' ''
    mutant M24 "a note written over one that is being written" hint/note_against_note \
        with $settled 'let free = turn % 2 == 0;' 'let free = true;'
    mutant M25 "no fence between a note's turn and its numbers" hint/note_against_note \
        with $settled 'fence(Ordering::Release);' ''
    mutant M26 "no fence between a note's numbers and the second look" hint/note_against_note \
        with $settled 'fence(Ordering::Acquire);' ''

    # Lines that split.
    mutant T1 "a word followed without a second look at the head" table/insert_into_a_used_word_against_retime \
        with $table $'line.check(head)?;\n        if word.is_moved()' 'if word.is_moved()'
    mutant T1b "the same where a lookup only glances" table/insert_into_a_used_word_against_lookup \
        with $table $'line.check(head).map_err(|Changed| Unclear)?;\n        Ok(Some(' 'Ok(Some('
    mutant T1c "a miss at a glance without a second look at the head" \
        table/split_against_lookup table/insert_and_take_against_lookup \
        with $table $'line.check(head).map_err(|Changed| Unclear)?;\n            return Ok(None);' 'return Ok(None);'
    mutant T2 "a miss without a second look at the head" table/split_against_lookup table/deep_split_against_lookup \
        with $table $'return Ok(found);\n        }\n    }\n    line.check(head)?;' $'return Ok(found);\n        }\n    }'
    mutant T3 "words copied that can still be swung" table/deep_split_against_replace \
        with src/table/split.rs 'if seen.line.swing(at, word, word.moved()).is_ok() {' 'if true {'
    mutant T4 "added to a line that has changed since it was read" take/insert_against_insert \
        and take/insert_against_insert_where_nothing_grows \
        with $table 'seen.line.change(seen.head, seen.head.with(at))' \
            'seen.line.change(seen.line.head(), seen.line.head().with(at))'
    mutant T5 "a line that spilled is added to again" table/spill_against_take_and_insert \
        with src/table/head.rs 'self.0 & Self::SPILLED != 0' \
            'self.0 & Self::SPILLED != 0 && self.valid().count_ones() as usize == LINE_WORDS'
    mutant T10 "a link swung that leads elsewhere by now" table/spill_against_insert_where_nothing_splits \
        with src/table/spill.rs 'self.seen.raw(),' 'self.cell.load(Ordering::Relaxed),'
    mutant T6 "vacated by a relaxed store" table/split_against_lookup \
        with $line 'self.words[at].store(Word::VACANT.raw(), Ordering::Release);' \
            'self.words[at].store(Word::VACANT.raw(), Ordering::Relaxed);'
    mutant T7 "words compared and followed that were read by relaxed loads" \
        take/get_against_replace table/insert_into_a_used_word_against_lookup \
        with $line 'Word::from_raw(self.words[at].load(Ordering::Acquire))' \
            'Word::from_raw(self.words[at].load(Ordering::Relaxed))'
    mutant T8 "heads read by relaxed loads" \
        table/split_against_lookup take/get_against_take_and_reclaim table/insert_into_a_used_word_against_lookup \
        with $line 'Head::from_raw(self.head.load(Ordering::Acquire))' \
            'Head::from_raw(self.head.load(Ordering::Relaxed))'
    mutant T9 "a helper puts the child where it would have begun the split" table/early_split_against_growth \
        with src/table/lines.rs 'if seen.head.is_early() {' 'if seen.child() >> self.bits() != 0 {'

    # Comparisons, destructors and listeners that panic.
    mutant K1 "whose comparison panics keeps the slot" panics/panic_against_insert \
        with src/slab/mod.rs $'held.slab.retire(held.number, &guard);\n' $'let _ = &guard;\n'
    mutant K1b "the slot is free while its entry is in it" panics/panic_against_insert_and_lookup \
        with src/slab/mod.rs $'held.slab.retire(held.number, &guard);\n            mem::forget(held);' 'let _ = (guard, held);'
    mutant K2 "a destructor's panic ends the recycling" panics/panicking_drops_of_enter_against_recycle \
        with src/slab/mod.rs 'contain(|| unsafe { (*place).assume_init_drop() })' \
            'Some(unsafe { (*place).assume_init_drop() })'
    mutant K3 "a listener's panic ends the removal" panics/panicking_listener_of_take_against_flush \
        with src/map/notify.rs 'contain(|| listener(key, value, event.reason))' \
            'Some(listener(key, value, event.reason))'

    # What was decided before.
    mutant M21 "a taker goes by the deadline it read before the mark" take/take_against_shortening_retime \
        with $read 'let valid = now.is_none_or(|now| !deadline.has_passed(now));' \
            'let valid = deadline == deadline;'
    mutant M22 "an inserter hints the deadline it came with" take/retime_against_insert_and_bounded_flush \
        with $shard 'self.schedule(number, slot.deadline(), guard);' \
            'self.schedule(number, published, guard);' \
        with $shard 'let slot = self.slab.slot(number);
        if slot.publish()' 'let slot = self.slab.slot(number);
        let published = slot.deadline();
        if slot.publish()'
    mutant M18 "no fence between a publication and the second look at the deadline" take/retime_against_insert \
        and tournament/insert_against_the_beginning \
        with $shard $'fence(Ordering::SeqCst);\n            self.schedule' 'self.schedule'

    # The session cache.
    mutant S1 "who inserts goes by a count that others have raised" session/automatic_flush_against_insert \
        with $automatic '(self.state.steps.fetch_add(1, Ordering::Relaxed) + 1) % STEPS' \
            '{ self.state.steps.fetch_add(1, Ordering::Relaxed); self.state.steps.load(Ordering::Relaxed) } % STEPS'
    mutant S1b "who is through with one flush ends the next one" session/end_of_a_flush_against_the_next \
        with $automatic 'let _ = self.state.stage.compare_exchange(' \
            'self.state.stage.store(next, Ordering::Relaxed);
            let _ = self.state.stage.compare_exchange('
    mutant S1c "a flush is ended before a part is done" session/parts_of_a_flush_against_insert \
        with $automatic 'let left = part(Turn {' 'self.state.stage.store(IDLE, Ordering::Relaxed);
        let left = part(Turn {'
    mutant S1d "a flush that began later is taken for one before the clock was set back" \
        session/parts_of_a_flush_against_insert session/end_of_a_flush_against_the_next \
        with $automatic 'stage.saturating_sub(first) > LATE' 'stage > first'
    mutant S2 "a claim is no removal" session/fetch_against_take \
        with $endpoint $'external.removed(key);\n            claimed.unwrap_or' 'claimed.unwrap_or'
    mutant S2b "a claim counted before it is made" session/fetch_against_take \
        with $endpoint $'external.removed(key);\n            claimed.unwrap_or' 'claimed.unwrap_or' \
        with $endpoint 'let claimed = self.contained(|| external.tier.claim(key))' \
            'external.removed(key);
        let claimed = self.contained(|| external.tier.claim(key))'
    mutant S3 "a ticket found inside is used although nobody claimed it" session/one_ticket_on_two_hosts \
        with $endpoint '= inner.claim(key, session) else' '= inner.claim(key, session).or(Some(true)) else'
    mutant S3b "the same for one found outside" session/one_ticket_on_two_hosts \
        with $endpoint 'if once && !claimed && self.claim(key, &session).is_none() {' \
            'if once && !claimed && self.claim(key, &session).is_none() && false {'
    mutant S4b "a renewal without regard to the lineage" session/renewal_against_flush \
        with $handle 'now.saturating_add(timeout).min(self.lineage.end(session))' \
            '{ let _ = session; now.saturating_add(timeout) }'
    mutant S5 "the cap of a session that was replaced meanwhile" session/renewal_against_replacement \
        with $handle 'let lives = self.map.retime_from(key, deadline_of, now);' \
            'let lives = {
            let guard = self.map.pin();
            let found = self.map.get_entry(key, now, &guard);
            let deadline = found.and_then(|found| deadline_of(found.value(), found.deadline()));
            deadline.is_some_and(|deadline| self.map.retime(key, deadline, now))
        };'

    # Permits.
    mutant P1 "a maximum lowered before the spare permits are taken" maximum/take_against_a_lower_maximum \
        with $permits 'let taken = self.take_surplus(maximum);' 'let taken = 0;'

    # Who leaves first.
    mutant M14 "no fence in climb" tournament/enter_against_replay \
        with $tournament $'fence(Ordering::SeqCst);\n            let mut raised' 'let mut raised'
    mutant M14b "no fence in a replay" tournament/enter_against_replay \
        with $tournament $'fence(Ordering::SeqCst);\n        let mut at = match_of_first;' 'let mut at = match_of_first;'
    mutant M14c "a replay does not read the players again" tournament/enter_against_replay \
        with $tournament 'if again > best {' 'if false {'
    mutant M14d "the matches above one that was raised are not read again" tournament/enter_against_replay_of_a_rival \
        with $tournament 'if !raised {' 'if true {'
    mutant M15 "who enters a key does not read the slot again" tournament/enter_against_leave \
        with $tournament 'if now == rank {' 'if now == rank || true {'
    mutant M15b "a key entered by a relaxed swap" tournament/enter_against_leave \
        with $tournament 'let found = Rank::from_raw(cell.swap(rank.raw(), Ordering::AcqRel));' \
            'let found = Rank::from_raw(cell.swap(rank.raw(), Ordering::Relaxed));'
    mutant M15c "a key removed by a relaxed swap" tournament/enter_against_leave \
        with $tournament 'let before = Rank::from_raw(cell.swap(Rank::NOBODY.raw(), Ordering::Release));' \
            'let before = Rank::from_raw(cell.swap(Rank::NOBODY.raw(), Ordering::Relaxed));'
    mutant M16 "no fence where the tournament begins" tournament/insert_against_the_beginning \
        with $tournament $'fence(Ordering::SeqCst);\n    }\n\n    /// Every slot has' $'}\n\n    /// Every slot has'
    mutant M16c "no fence between a re-timing and the question whether it has begun" \
        tournament/retime_against_the_beginning \
        with $read $'fence(Ordering::SeqCst);\n                shard.schedule' 'shard.schedule'
    mutant M17 "evicted without winning the deadline word" tournament/evict_against_retime \
        with src/map/evict.rs 'slot.change_deadline(deadline, Deadline::EVICTED).is_ok();' 'true;'

    mutant M17b "evicted although another has removed it" tournament/evict_against_take \
        and tournament/evict_against_take_where_nothing_grows \
        with src/map/evict.rs 'if !Table::mark(slot) {' 'if !Table::mark(slot) && false {'

    # Removals by the batch.
    mutant B1 "cleared although another has removed it" take/clear_against_take \
        with $batch 'if !wanted && Table::mark(slot) {' 'if !wanted && (Table::mark(slot) || true) {'
    mutant B2 "a batch is recycled at once" take/get_against_flush_and_reuse \
        with src/slab/lane.rs 'self.defer(Origin::Flushed, chain.first, chain.last, guard);' \
            '{ let _ = guard; self.ripen(Origin::Flushed, chain.first, chain.last); }'

    mutant N1 "an insert that finds no slot evicts all the same" memory/inserts_against_a_pinned_reader \
        with src/map/insert.rs 'route.shard.counters.exhausted();' \
            'drop(self.evict(route.index, now, &mut Evicted::default(), &guard)); route.shard.counters.exhausted();'
    mutant N2 "a reclamation forgets what has left one by one" memory/take_by_a_thread_that_ends_against_get \
        with $debris '&[Origin::Single, Origin::Flushed]' '&[Origin::Flushed]'
    mutant N3 "what waits lives on when the map is gone" memory/drop_against_a_collection \
        with src/map/core.rs 'shard.slab.clear_exclusive(&mut exclusive);' 'let _ = (shard, &mut exclusive);'

    mutant G1 "purged, and lookups go on as before" purge/purge_against_insert \
        with src/cache/context.rs '        self.raised.store(1, Ordering::Relaxed);
        let cell = self.generations.get_or_alloc(context.0);
        cell.fetch_update' '        let cell = self.generations.get_or_alloc(context.0);
        cell.fetch_update'

    mutant G2 "inserted as if its context had never been purged" purge/purge_against_insert \
        with src/cache/handle.rs 'let generation = self.contexts.generation(key.context());' \
            'let generation = 0;'
    mutant G3 "fetched as if its context had never been purged" session/fetch_against_purge \
        with $endpoint '|| !lineage || purged {' '|| !lineage || purged && false {'
    mutant G3b "the generation of a purge after the judgement" session/fetch_against_purge \
        with $endpoint $'generation,\n            asked,' '{ let _ = generation; self.contexts.generation(key.context()) },
            asked,'
}
