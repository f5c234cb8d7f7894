//! The tournament: nobody is hidden from the search for a victim once those who changed something
//! have come back, and a victim leaves once.
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use sessionwheel::internals::Tournament;
use sessionwheel::{Reason, Timestamp};
use sessionwheel_loom_tests::{Left, Watched, after, beside, check, long, tick};

/// Two slots of one match, high enough that a replay goes through two rounds.
const SLOT: u32 = 4;
const NEIGHBOUR: u32 = 5;

/// One of another match, whose winner meets theirs.
const RIVAL: u32 = 6;

/// A maximum that begins a tournament, and that no insert meets.
const NEARLY_UNLIMITED: usize = u32::MAX as usize - 1;

/// "Not live", as a slot's word.
const GONE: u64 = 0;

/// What a slot says, next to a tournament.
#[derive(Default)]
struct Model {
    tournament: Tournament,
    slot: AtomicU64,
}

impl Model {
    /// Changes what the slot says, and enters that.
    fn change(&self, to: u64) {
        self.slot.store(to, Ordering::Release);
        self.enter();
    }

    fn enter(&self) {
        self.tournament.enter(SLOT, || {
            let at = self.slot.load(Ordering::Acquire);
            (at != GONE).then(|| Timestamp::from_nanos(at))
        });
    }

    fn neighbour(&self, at: u64) {
        self.tournament
            .enter(NEIGHBOUR, || Some(Timestamp::from_nanos(at)));
    }
}

/// Both threads have come back: `last` says what must then be true.
fn both(
    name: &'static str,
    start: fn() -> Model,
    here: impl Fn(&Model) + Send + Sync + 'static,
    there: impl Fn(&Model) + Send + Sync + Copy + 'static,
    last: fn(&Model),
) {
    check(name, 3, move || {
        let model = Arc::new(start());
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || there(&model))
        };
        here(&model);
        other.join().unwrap();
        last(&model);
    });
}

/// At stake: the first of a match leaves, and its replay, or that of a search which finds nobody
/// behind the match, lowers the match while a neighbour enters who finds that it says enough.
#[test]
fn enter_against_replay() {
    let start = || {
        let model = Model::default();
        model.neighbour(5);
        model
    };
    both(
        "enter_against_replay",
        start,
        |model| {
            model.tournament.leave(NEIGHBOUR);
            model.tournament.first();
            model.neighbour(6);
            model.tournament.leave(NEIGHBOUR);
        },
        |model| model.change(7),
        |model| assert_eq!(model.tournament.first(), Some(SLOT)),
    );
}

/// At stake: who wins the match above leaves, and its replay lowers that match before the one below is
/// raised, while he who raises it finds that the one above says enough.
#[test]
fn enter_against_replay_of_a_rival() {
    fn rival(model: &Model, at: u64) {
        let deadline = || Some(Timestamp::from_nanos(at));
        model.tournament.enter(RIVAL, deadline);
    }
    let start = || {
        let model = Model::default();
        rival(&model, 5);
        model
    };
    both(
        "enter_against_replay_of_a_rival",
        start,
        |model| {
            model.tournament.leave(RIVAL);
            model.tournament.first();
            rival(model, 6);
            model.tournament.leave(RIVAL);
        },
        |model| model.change(7),
        |model| assert_eq!(model.tournament.first(), Some(SLOT)),
    );
}

/// At stake: the inserter enters what it read before somebody removed the entry. The key of one who
/// has gone would stay.
#[test]
fn enter_against_leave() {
    let start = || {
        let model = Model::default();
        model.slot.store(5, Ordering::Relaxed);
        model
    };
    both(
        "enter_against_leave",
        start,
        Model::enter,
        |model| {
            model.slot.store(GONE, Ordering::Release);
            model.tournament.leave(SLOT);
        },
        |model| assert_eq!(model.tournament.first(), None),
    );
}

/// At stake: of two who re-time a slot the first enters last. Its key must not be what counts.
#[test]
fn enter_against_enter() {
    let start = || {
        let model = Model::default();
        model.change(5);
        model.neighbour(8);
        model
    };
    let retime = |model: &Model, from, to| {
        let retimed = model
            .slot
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        model.enter();
        retimed.is_ok()
    };
    both(
        "enter_against_enter",
        start,
        move |model| {
            while !(retime(model, 5, 9) || retime(model, 6, 9)) {
                thread::yield_now();
            }
        },
        move |model| {
            retime(model, 5, 6);
        },
        |model| {
            assert_eq!(model.slot.load(Ordering::Acquire), 9);
            assert_eq!(model.tournament.first(), Some(NEIGHBOUR));
        },
    );
}

/// At stake: the tournament begins while an entry comes in, or gets another deadline, and then asks
/// whether there is one. Either it sees that, or the roll call sees the entry; else another has to
/// leave in its stead.
fn first_when_it_has_begun(
    name: &'static str,
    change: impl Fn(&Watched) + Send + Sync + Copy + 'static,
) {
    check(name, long(2, 3), move || {
        let map = Watched::default();
        map.put(0, 10, tick(2), tick(0));
        map.put(1, 11, tick(1), tick(0));
        let other = beside(&map, change);
        map.set_maximum(Some(NEARLY_UNLIMITED));
        other.join().unwrap();
        map.forget_who_left();
        map.set_maximum(Some(2));
        map.put(2, 12, tick(2), tick(0));
        map.settled(&[(0, 10, Reason::Evicted)], 2);
    });
}

/// By a replace, which adds nobody; in the tick that has come, for a hint there makes no fence.
#[test]
fn insert_against_the_beginning() {
    first_when_it_has_begun("insert_against_the_beginning", |map| {
        assert!(map.put(0, 10, tick(0), tick(0)));
    });
}

#[test]
fn retime_against_the_beginning() {
    first_when_it_has_begun("retime_against_the_beginning", |map| {
        assert!(map.retime(&0, tick(0), tick(0)));
    });
}

/// At stake: who finds the roll called does not call it, and searches, perhaps under a guard that it has
/// had for long, so that nothing lies between. It must find somebody, whoever has raised the matches.
#[test]
fn roll_call_against_a_search() {
    check("roll_call_against_a_search", long(1, 2), || {
        let model = Arc::new(Model::default());
        model.slot.store(5, Ordering::Relaxed);
        model.tournament.begin();
        let steps: [fn(&Model); 3] = [
            |model| {
                if model.tournament.is_complete() {
                    let first = model.tournament.first();
                    assert!(first.is_some(), "everybody is missing");
                }
            },
            |model| {
                model.enter();
                model.tournament.complete();
            },
            |model| model.neighbour(5),
        ];
        // All on threads of their own: the main thread's wait costs no preemption.
        let threads = steps.map(|step| {
            let model = Arc::clone(&model);
            thread::spawn(move || step(&model))
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A full map of two, two inserts: each evicts one of those before. The maximum holds, nobody is
/// refused, each leaves once, and who expires first leaves first.
#[test]
fn insert_against_insert_at_the_maximum() {
    check("insert_against_insert_at_the_maximum", 2, || {
        let map = Watched::default();
        for key in 0..4 {
            map.put(key, 10 + key, tick(1), tick(0));
        }
        // Slots and lines for all, so that nothing has to grow in between.
        assert_eq!(
            (map.take(2, tick(0)), map.take(3, tick(0))),
            (Some(12), Some(13))
        );
        assert_eq!(map.reclaim(), 0);
        map.forget_who_left();
        map.set_maximum(Some(2));
        let other = {
            let map = map.clone();
            thread::spawn(move || assert!(!map.put(2, 12, tick(2), tick(0))))
        };
        assert!(!map.put(3, 13, tick(3), tick(0)));
        // Who is met by two looks was there between them.
        let met = [(); 2].map(|()| [0, 1, 2, 3].map(|key| map.get(key, tick(0)).is_some()));
        let together = (0..4).filter(|&key| met[0][key] && met[1][key]).count();
        assert!(together <= 2, "{met:?}");
        other.join().unwrap();
        map.settled(&[(0, 10, Reason::Evicted), (1, 11, Reason::Evicted)], 2);
    });
}

/// At stake: a victim is chosen by a deadline that a re-timing changes. Success means that it lives,
/// and then the other one goes.
#[test]
fn evict_against_retime() {
    check("evict_against_retime", long(2, 3), || {
        let map = Watched::default();
        map.set_maximum(Some(2));
        map.put(0, 10, tick(1), tick(0));
        map.put(1, 11, tick(2), tick(0));
        let other = {
            let map = map.clone();
            thread::spawn(move || map.retime(&0, tick(3), tick(0)))
        };
        map.put(2, 12, tick(3), tick(0));
        let gone = if other.join().unwrap() {
            assert_eq!(map.get(0, tick(3)), Some(10));
            (1, 11, Reason::Evicted)
        } else {
            (0, 10, Reason::Evicted)
        };
        map.settled(&[gone], 2);
    });
}

/// Who has left a map where another thread has done something to entry 0: that one first, and once, for this
/// reason or for one that an evictor gives.
fn left_for(map: &Watched, reason: Option<Reason>) -> Vec<Left> {
    let left = map.left();
    let by_evictor = [Reason::Evicted, Reason::Expired];
    let reasons = reason
        .as_ref()
        .map_or(&by_evictor[..], std::slice::from_ref);
    assert!(
        (left[0].0, left[0].1) == (0, 10) && reasons.contains(&left[0].2),
        "{left:?}, {reason:?}"
    );
    assert_eq!(map.get(0, tick(0)), None);
    left
}

/// Two entries in a map for two, and a third comes while another thread does something to the first, which
/// expires first: it leaves once, for one reason or the other, and nobody leaves in its stead.
fn third_against(
    name: &'static str,
    bound: usize,
    first: u64,
    other: impl Fn(&Watched) -> Option<Reason> + Send + Sync + Copy + 'static,
) {
    check(name, bound, move || {
        let map = Watched::default();
        map.set_maximum(Some(2));
        map.put(0, 10, tick(first), tick(0));
        map.put(1, 11, tick(2), tick(0));
        let other = beside(&map, other);
        map.put(2, 12, tick(3), tick(0));
        let left = left_for(&map, other.join().unwrap());
        assert_eq!(map.get(2, tick(0)), Some(12));
        // There may have been no room at the instant at which the third looked for it.
        map.settled(&left, 3 - left.len());
    });
}

/// One entry in a map for one, where another comes that has been there before, so that nothing has to grow:
/// with one preemption more.
fn second_against(
    name: &'static str,
    other: impl Fn(&Watched) -> Option<Reason> + Send + Sync + Copy + 'static,
) {
    check(name, long(2, 3), move || {
        let map = Watched::default();
        map.set_maximum(Some(1));
        map.put(1, 11, tick(3), tick(0));
        map.put(0, 10, tick(0), tick(0));
        map.reclaim();
        map.forget_who_left();
        let other = beside(&map, other);
        // Whoever removes the first may not have given back its permit yet.
        let kept = map.offer(1, 12, tick(3), tick(0)).is_ok();
        let left = left_for(&map, other.join().unwrap());
        assert_eq!(left.len(), 1);
        assert_eq!(map.get(1, tick(0)), kept.then_some(12));
        map.settled(&left, usize::from(kept));
    });
}

fn taken(map: &Watched) -> Option<Reason> {
    map.take(0, tick(0)).map(|_| Reason::Taken)
}

fn flushed(map: &Watched) -> Option<Reason> {
    (map.flush(after(0)) == 1).then_some(Reason::Expired)
}

#[test]
fn evict_against_take() {
    third_against("evict_against_take", long(1, 2), 1, taken);
}

#[test]
fn evict_against_take_where_nothing_grows() {
    second_against("evict_against_take_where_nothing_grows", taken);
}

/// Whom the flush has sentenced the evictor may take out, as expired; whom the evictor has sentenced the flush
/// leaves to it.
#[test]
fn evict_against_flush() {
    third_against("evict_against_flush", long(1, 2), 0, flushed);
}

#[test]
fn evict_against_flush_where_nothing_grows() {
    second_against("evict_against_flush_where_nothing_grows", flushed);
}
