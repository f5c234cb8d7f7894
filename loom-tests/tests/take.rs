//! Take against take, against expiry, against replace: exactly one owner, and each entry leaves
//! once.
#![cfg(loom)]

use sessionwheel::{Reason, Timestamp};
use sessionwheel_loom_tests::{Watched, after, beside, check, long, tick};

const OLD: u64 = 11;
const NEW: u64 = 22;
const NEVER: Timestamp = Timestamp::NEVER;

/// One entry under key 0, valid to the end of tick 0 and no longer.
fn one() -> Watched {
    let map = Watched::default();
    map.put(0, OLD, tick(0), tick(0));
    map
}

/// At stake: single use. If two takers won, a ticket would be accepted twice.
#[test]
fn take_against_take() {
    check("take_against_take", 3, || {
        let map = one();
        let other = beside(&map, |map| map.take(0, tick(0)));
        let mine = map.take(0, tick(0));
        let theirs = other.join().unwrap();
        assert!(
            matches!((mine, theirs), (Some(OLD), None) | (None, Some(OLD))),
            "{mine:?} {theirs:?}"
        );
        map.settled(&[(0, OLD, Reason::Taken)], 0);
    });
}

/// Three takers: one may unlink what another has marked, and the third meets both.
#[test]
fn three_takers() {
    check("three_takers", 2, || {
        let map = one();
        let others = [(); 2].map(|()| beside(&map, |map| map.take(0, tick(0))));
        let mut won = usize::from(map.take(0, tick(0)).is_some());
        for other in others {
            won += usize::from(other.join().unwrap().is_some());
        }
        assert_eq!(won, 1);
        map.settled(&[(0, OLD, Reason::Taken)], 0);
    });
}

/// At stake: the same between a taker whose clock says the entry lives, and a flush whose clock
/// says it does not.
#[test]
fn take_against_flush() {
    check("take_against_flush", 3, || {
        let map = one();
        let other = beside(&map, |map| map.take(0, tick(0)));
        let removed = map.flush(after(0));
        let reason = match (other.join().unwrap(), removed) {
            (Some(OLD), 0) => Reason::Taken,
            // By the flush, or by the taker if that has set the mark on what the flush had sentenced.
            (None, 0 | 1) => Reason::Expired,
            both => panic!("{both:?}"),
        };
        assert_eq!(map.get(0, tick(0)), None);
        map.settled(&[(0, OLD, reason)], 0);
    });
}

/// At stake: a sweep that came too late writes its sentence over the word that the taker has closed. Then what
/// was taken waits for a flush to be dropped, in place of the next insert.
#[test]
fn take_against_a_late_sentence() {
    check("take_against_a_late_sentence", 3, || {
        let map = Watched::default();
        map.put(1, 7, tick(0), tick(0));
        let other = beside(&map, |map| map.flush(after(0)));
        let taken = map.take(1, tick(0));
        other.join().unwrap();
        // It drops what flushes have removed, and nothing else.
        for _ in 0..2 {
            map.flush(after(0));
        }
        if taken.is_some() {
            assert_eq!(map.stats().garbage, 1, "dropped by a flush");
        }
    });
}

/// Two flushes beside each other of the only entry, which is due at that tick.
fn flush_twice(map: &Watched, due: u64) {
    let flush = move |map: &Watched| {
        let removed = map.flush(after(due));
        // Asked with a clock for which it would still be valid.
        assert_eq!(map.get(0, tick(due)), None, "flushed, and still there");
        removed
    };
    let other = beside(map, flush);
    let mine = flush(map);
    assert_eq!(mine + other.join().unwrap(), 1);
    map.settled(&[(0, OLD, Reason::Expired)], 0);
}

/// At stake: an entry that two flushes find at once leaves once, and a flush that returns has kept
/// its promise even if the other one, which had begun to open the tick, is stopped half-way.
#[test]
fn flush_against_flush() {
    check("flush_against_flush", 1, || {
        let map = Watched::default();
        map.put(0, OLD, tick(1), tick(0));
        flush_twice(&map, 1);
    });
}

/// The same with one preemption more, where the entry is in the due set already.
#[test]
fn flush_against_flush_of_what_is_due() {
    check("flush_against_flush_of_what_is_due", long(2, 3), || {
        flush_twice(&one(), 0);
    });
}

/// The same as the first, where the other flush is at an earlier time: it finds the entry in the due set, on its
/// way down from the upper level, and hints it for the very tick that this one has come to.
#[test]
fn flush_against_an_earlier_one() {
    check("flush_against_an_earlier_one", 3, || {
        let map = Watched::default();
        map.put(0, OLD, tick(5), tick(0));
        assert!(map.flush_within(after(4), 1).remaining, "opened, not swept");
        let other = beside(&map, |map| map.flush(after(4)));
        let mine = map.flush(after(5));
        assert_eq!(map.get(0, tick(5)), None, "flushed, and still there");
        // The earlier one may set the mark for it, once the deadline word is decided.
        assert_eq!(mine + other.join().unwrap(), 1);
        map.settled(&[(0, OLD, Reason::Expired)], 0);
    });
}

/// At stake: a retime that says "yes" has saved the entry from a flush that judged by the old
/// deadline.
#[test]
fn retime_against_flush() {
    check("retime_against_flush", 3, || {
        let map = one();
        let other = beside(&map, |map| map.retime(&0, tick(3), tick(0)));
        let removed = map.flush(after(0));
        if other.join().unwrap() {
            assert_eq!(removed, 0);
            assert_eq!(map.get(0, tick(2)), Some(OLD));
            map.settled(&[], 1);
            // And the new hint is where a flush finds it.
            assert_eq!(map.flush(after(3)), 1);
        } else {
            assert_eq!(removed, 1);
        }
        map.settled(&[(0, OLD, Reason::Expired)], 0);
    });
}

/// At stake: a retime to an earlier deadline that says "yes" has ended the entry for a taker whose
/// clock is past that, and who had judged it by the old deadline.
#[test]
fn take_against_shortening_retime() {
    check("take_against_shortening_retime", 3, || {
        let map = Watched::default();
        map.put(0, OLD, tick(3), tick(0));
        let other = beside(&map, |map| map.retime(&0, tick(1), tick(0)));
        let taken = map.take(0, tick(2));
        let reason = match (taken, other.join().unwrap()) {
            (Some(OLD), false) => Reason::Taken,
            (None, true) => Reason::Expired,
            both => panic!("{both:?}"),
        };
        map.flush(after(1));
        map.settled(&[(0, OLD, reason)], 0);
    });
}

/// At stake: the taker gets the old one or the new one, and the other one is accounted for.
#[test]
fn take_against_replace() {
    check("take_against_replace", 3, || {
        let map = one();
        let other = beside(&map, |map| map.take(0, tick(0)));
        let replaced = map.put(0, NEW, tick(1), tick(0));
        let old = |reason| (0, OLD, reason);
        match (other.join().unwrap(), replaced) {
            (Some(OLD), false) => {
                assert_eq!(map.get(0, tick(0)), Some(NEW));
                map.settled(&[old(Reason::Taken)], 1);
            }
            (Some(NEW), true) => {
                map.settled(&[old(Reason::Replaced), (0, NEW, Reason::Taken)], 0);
            }
            both => panic!("{both:?}"),
        }
        // What is left is found by time.
        assert_eq!(map.len(), map.flush(after(1)));
        assert_eq!(map.len(), 0);
    });
}

/// At stake: a lookup during a replace sees the old one or the new one, never neither, and once
/// the new one never again the old one.
#[test]
fn get_against_replace() {
    check("get_against_replace", long(2, 3), || {
        let map = one();
        let other = beside(&map, |map| [map.get(0, tick(0)), map.get(0, tick(0))]);
        assert!(map.put(0, NEW, tick(1), tick(0)));
        let seen = other.join().unwrap();
        assert!(
            matches!(seen, [Some(OLD), Some(OLD | NEW)] | [Some(NEW), Some(NEW)]),
            "{seen:?}"
        );
        map.settled(&[(0, OLD, Reason::Replaced)], 1);
    });
}

/// At stake: who comes through the table may re-time an entry before its inserter has published its
/// slot. A sweep that the new hint leads there finds nobody yet and clears it, so the inserter has to
/// look at the deadline again.
#[test]
fn retime_against_insert() {
    check("retime_against_insert", 3, || {
        let map = Watched::default();
        let other = beside(&map, |map| {
            let retimed = map.retime(&0, tick(0), tick(0));
            map.flush(after(0));
            retimed
        });
        map.put(0, OLD, tick(3), tick(0));
        if other.join().unwrap() {
            map.flush(after(0));
            map.settled(&[(0, OLD, Reason::Expired)], 0);
        } else {
            assert_eq!(map.flush(after(3)), 1);
        }
    });
}

/// The same where the flush is a third one's, and meets the hint before the retime has returned, in a word of
/// the due set that it comes to for somebody else. It must not take the slot for one that nobody has
/// published yet.
#[test]
fn retime_against_insert_and_flush() {
    check("retime_against_insert_and_flush", 2, || {
        let map = Watched::default();
        let stays = Timestamp::from_nanos(after(0).as_nanos() + 10);
        map.put(1, NEW, stays, tick(0));
        let insert = beside(&map, |map| map.put(0, OLD, tick(3), tick(0)));
        let retime = beside(&map, |map| map.retime(&0, tick(0), tick(0)));
        let removed = map.flush(after(0));
        insert.join().unwrap();
        if retime.join().unwrap() {
            assert_eq!(removed + map.flush(after(0)), 1, "retimed, and not found");
            map.settled(&[(0, OLD, Reason::Expired)], 1);
        } else {
            assert_eq!(removed, 0);
            map.settled(&[], 2);
        }
    });
}

/// The same with flushes that are bounded: one that has been everywhere is not repeated as long as
/// nobody becomes due, and the one that found nobody had been everywhere.
#[test]
fn retime_against_insert_and_bounded_flush() {
    check("retime_against_insert_and_bounded_flush", 3, || {
        let map = Watched::default();
        let other = beside(&map, |map| {
            let retimed = map.retime(&0, tick(0), tick(0));
            map.flush_within(after(0), 10);
            retimed
        });
        map.put(0, OLD, tick(3), tick(0));
        if other.join().unwrap() {
            while map.flush_within(after(0), 10).remaining {}
            map.settled(&[(0, OLD, Reason::Expired)], 0);
        } else {
            assert_eq!(map.flush(after(3)), 1);
        }
    });
}

/// At stake: a flush that opens a tick and finds nothing expired in it moves its entry to the due set
/// behind the back of who asks when to come again.
#[test]
fn next_expiry_against_flush() {
    check("next_expiry_against_flush", 3, || {
        let map = Watched::default();
        let deadline = Timestamp::from_nanos(after(1).as_nanos() + 10);
        map.put(0, OLD, deadline, tick(0));
        let other = beside(&map, |map| map.flush(after(1)));
        let in_time = |map: &Watched| {
            let next = map.next_expiry().expect("it expires some time");
            assert!(next.as_nanos() <= deadline.as_nanos() + 1, "{next:?}");
        };
        in_time(&map);
        in_time(&map);
        assert_eq!(other.join().unwrap(), 0);
        in_time(&map);
    });
}

/// At stake: a flush that has looked at everything notes until when nothing expires; what is added to
/// the due set behind its back is found by the next flush in spite of that.
#[test]
fn insert_against_a_note() {
    check("insert_against_a_note", 4, || {
        let map = Watched::default();
        let later = |by| Timestamp::from_nanos(after(1).as_nanos() + by);
        map.put(0, OLD, later(10), tick(0));
        let other = beside(&map, |map| map.flush(after(1)));
        map.put(1, NEW, later(5), tick(0));
        assert_eq!(other.join().unwrap(), 0);
        assert_eq!(map.flush(later(6)), 1, "found in spite of the note");
        map.settled(&[(1, NEW, Reason::Expired)], 1);
    });
}

/// At stake: what is taken and recycled while a lookup reads it must wait for the lookup's guard.
#[test]
fn get_against_take_and_reclaim() {
    check("get_against_take_and_reclaim", 3, || {
        let map = one();
        let other = beside(&map, |map| map.get(0, tick(0)));
        assert_eq!(map.take(0, tick(0)), Some(OLD));
        map.reclaim();
        assert!(matches!(other.join().unwrap(), None | Some(OLD)));
        map.settled(&[(0, OLD, Reason::Taken)], 0);
    });
}

/// Two inserts of one key beside each other, into a map that has nothing.
fn insert_twice(map: &Watched, deadline: Timestamp) {
    let other = beside(map, move |map| map.put(0, OLD, deadline, tick(0)));
    let mine = map.put(0, NEW, deadline, tick(0));
    let theirs = other.join().unwrap();
    assert!(mine != theirs, "one of them replaced the other's");
    let (gone, here) = if mine { (OLD, NEW) } else { (NEW, OLD) };
    assert_eq!(map.get(0, tick(0)), Some(here));
    map.settled(&[(0, gone, Reason::Replaced)], 1);
}

/// At stake: two inserts of one key leave one entry.
#[test]
fn insert_against_insert() {
    check("insert_against_insert", 1, || {
        let map = Watched::default();
        insert_twice(&map, tick(0));
    });
}

/// The same with one preemption more, where nothing has to grow and no deadline has to be hinted.
#[test]
fn insert_against_insert_where_nothing_grows() {
    check("insert_against_insert_where_nothing_grows", 3, || {
        let map = Watched::default();
        // Slots for both.
        for key in 0..2 {
            map.put(key, 0, NEVER, tick(0));
            assert_eq!(map.take(key, tick(0)), Some(0));
        }
        assert_eq!(map.reclaim(), 0);
        map.forget_who_left();
        insert_twice(&map, NEVER);
    });
}

/// At stake: a reader that has found its entry when a flush takes that out, and has pinned what the flush
/// goes through with: the whole batch, its chain and the recycling. The slot goes to another, and the reader sees
/// its own entry or none.
#[test]
fn get_against_flush_and_reuse() {
    check("get_against_flush_and_reuse", long(2, 3), || {
        let map = one();
        let other = beside(&map, |map| map.get(0, tick(0)));
        assert_eq!(map.flush(after(0)), 1);
        map.flush(after(0));
        map.put(4, NEW, tick(3), tick(0));
        assert!(matches!(other.join().unwrap(), None | Some(OLD)));
        map.settled(&[(0, OLD, Reason::Expired)], 1);
    });
}

/// At stake: who clears the map and who takes want the same entry; one of them has it.
#[test]
fn clear_against_take() {
    check("clear_against_take", 3, || {
        let map = one();
        let other = beside(&map, |map| map.take(0, tick(0)));
        map.clear();
        let reason = match other.join().unwrap() {
            Some(taken) => {
                assert_eq!(taken, OLD);
                Reason::Taken
            }
            None => Reason::Cleared,
        };
        map.settled(&[(0, OLD, reason)], 0);
    });
}

/// The same beside a flush.
#[test]
fn clear_against_flush() {
    check("clear_against_flush", long(2, 3), || {
        let map = one();
        let other = beside(&map, |map| map.flush(after(0)));
        map.clear();
        let reason = match other.join().unwrap() {
            0 => Reason::Cleared,
            flushed => {
                assert_eq!(flushed, 1);
                Reason::Expired
            }
        };
        map.settled(&[(0, OLD, reason)], 0);
    });
}
