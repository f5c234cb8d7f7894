//! Hint against open, on the wheel alone: invariant W. Once a hint has returned, its slot's bit
//! stands where the next opener and sweeper find it, whatever the others were doing.
//!
//! The wheel knows no entries. Where a model needs the life word that a sweep asks, a flag stands
//! in for it.
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use sessionwheel::internals::Wheel;
use sessionwheel::pin;
use sessionwheel_loom_tests::{TICK_BITS, after, check, long, tick};

/// The slot whose hint must not be lost, and another one.
const SLOT: u32 = 1;
const OTHER: u32 = 2;

/// One in another word of the due set, below the same bit of a root.
const FAR: u32 = 33;

/// As many as are among the few of a tick: whoever comes after them is on its list.
const COMPANY: [u32; 2] = [8, 3];

/// A tick of a shard with so many slots has a list of two chunks.
const REACH: u32 = 16;

/// What stands in a place that somebody was given and has not filled yet.
const NOT_YET: u32 = 0;

/// As many as a tick has by their numbers: whoever comes after them has a bit.
const CROWD: [u32; 4] = [8, 3, 8, 3];

struct Model {
    wheel: Wheel,
    /// What `Slot::is_live` would say of `SLOT`.
    live: AtomicBool,
    /// The tick in which `SLOT` expires.
    due: u64,
}

impl Model {
    fn new(due: u64) -> Self {
        Self {
            wheel: Wheel::new(TICK_BITS, tick(0)),
            live: AtomicBool::new(false),
            due,
        }
    }

    fn hint(&self, slot: u32, number: u64) {
        self.wheel.hint(slot, tick(number), &pin());
    }

    /// As an insert does: linked, then hinted.
    fn insert(&self) {
        let guard = pin();
        self.live.store(true, Ordering::Release);
        self.wheel.hint(SLOT, tick(self.due), &guard);
    }

    /// One flush at the end of a tick: whether it found the slot live and due. What is live and
    /// not due is hinted elsewhere before its bit goes.
    fn flush(&self, number: u64) -> bool {
        let guard = pin();
        let mut found = false;
        assert!(self.wheel.open(after(number), &guard));
        self.wheel.sweep(|slot| {
            if slot != SLOT || !self.live.load(Ordering::Acquire) {
                return true;
            }
            if self.due <= number {
                found = true;
                return true;
            }
            if self.wheel.is_due_place(tick(self.due)) {
                return false;
            }
            self.wheel.hint(SLOT, tick(self.due), &guard);
            true
        });
        found
    }

    /// A flush that removes what it finds. The slot must be hinted.
    fn remove_due(&self, number: u64) {
        let guard = pin();
        assert!(self.wheel.open(after(number), &guard));
        self.wheel.sweep(|slot| {
            if slot == SLOT {
                self.live.store(false, Ordering::Release);
            }
            true
        });
        let left = self.live.load(Ordering::Acquire);
        assert!(!left, "a flush has left what was due");
    }
}

/// Three models: the slot is one of the few of its tick, on its list, or has a bit. The last one has the
/// bound named behind it, but at length: a third preemption makes minutes of seconds.
macro_rules! found_by_somebody {
    ($(#[$doc:meta])* $name:ident, $listed:ident, $paged:ident $bound:literal:
        $due:expr, $set_up:expr, $one:expr, $other:expr) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            found_in_company(stringify!($name), 3, $due, &[], $set_up, $one, $other);
        }

        #[test]
        fn $listed() {
            found_in_company(stringify!($listed), 3, $due, &COMPANY, $set_up, $one, $other);
        }

        #[test]
        fn $paged() {
            found_in_company(stringify!($paged), long($bound, 3), $due, &CROWD, $set_up, $one, $other);
        }
    };
}

/// Two threads on a model that is set up first; at the end one more flush when the slot is due.
/// Somebody has to find it.
fn found_in_company(
    name: &str,
    bound: usize,
    due: u64,
    company: &'static [u32],
    set_up: impl Fn(&Model) + Copy + Send + Sync + 'static,
    one: impl Fn(&Model) -> bool + Copy + Send + Sync + 'static,
    other: impl Fn(&Model) -> bool + Copy + Send + Sync + 'static,
) {
    check(name, bound, move || {
        let model = Arc::new(Model::new(due));
        for &slot in company {
            model.hint(slot, due);
        }
        set_up(&model);
        let beside = {
            let model = Arc::clone(&model);
            thread::spawn(move || other(&model))
        };
        let mine = one(&model);
        let theirs = beside.join().unwrap();
        assert!(
            mine || theirs || model.flush(model.due),
            "the hint is lost: nobody finds the slot"
        );
    });
}

fn insert(model: &Model) -> bool {
    model.insert();
    false
}

found_by_somebody! {
    /// At stake: the opener reads the bits before this one is set, the hint reads the cursor before it
    /// moves, and nobody ever looks at the slot.
    hint_against_open, hint_against_open_on_a_list, hint_against_open_in_a_page 2:
    1, |model: &Model| {
        model.hint(OTHER, 1); // the tick and its page are there
    }, insert, |model: &Model| model.flush(1)
}

found_by_somebody! {
    /// The same where tick and page are made by the hint while the opener comes by.
    hint_in_a_new_tick_against_open, hint_in_a_new_tick_against_open_on_a_list, hint_in_a_new_tick_against_open_in_a_page 2:
    1, |model: &Model| {
        model.hint(OTHER, 2); // so that the cursor may go beyond tick 1
    }, insert, |model: &Model| model.flush(2)
}

found_by_somebody! {
    /// At stake: an earlier tenant has left its hint. The sweep that it leads to may still see the slot as it
    /// was before, and be done with it.
    hint_on_a_set_bit_against_open, hint_on_a_set_bit_against_open_on_a_list, hint_on_a_set_bit_against_open_in_a_page 2:
    1, |model: &Model| model.hint(SLOT, 1), insert, |model: &Model| model.flush(1)
}

/// The same with the bit in the due set already: to set it again must move the stamp.
#[test]
fn hint_on_a_due_bit_against_sweep() {
    let set_up = |model: &Model| model.hint(SLOT, 0);
    let open = |model: &Model| model.flush(0);
    found_in_company(
        "hint_on_a_due_bit_against_sweep",
        3,
        0,
        &[],
        set_up,
        insert,
        open,
    );
}

/// At stake: a bit above is cleared over a word that was raised meanwhile. The sweep is done with the slot's word and
/// goes on to the next below that bit, when the slot comes and then another in that next word.
#[test]
fn hints_in_two_words_against_sweep() {
    let set_up = |model: &Model| {
        model.hint(SLOT, 0);
        model.hint(FAR, 0);
    };
    let insert = |model: &Model| {
        model.insert();
        model.hint(FAR, 0);
        false
    };
    let sweep = |model: &Model| model.flush(0);
    found_in_company(
        "hints_in_two_words_against_sweep",
        3,
        0,
        &[],
        set_up,
        insert,
        sweep,
    );
}

found_by_somebody! {
    /// At stake: a hint on the upper level, for tick 5, while the cursor comes to tick 4, where the upper
    /// level's span is handed down, and then to tick 5.
    hint_against_a_change_of_level, hint_against_a_change_of_level_on_a_list, hint_against_a_change_of_level_in_a_page 3:
    5, |model: &Model| model.hint(OTHER, 5), insert, |model: &Model| {
        assert!(!model.flush(4), "not due yet");
        model.flush(5)
    }
}

found_by_somebody! {
    /// At stake: a sweep finds the slot in the due set before its time and hints it a level below,
    /// while another flush comes to exactly that tick.
    cascade_against_open, cascade_against_open_on_a_list, cascade_against_open_in_a_page 3:
    5, |model: &Model| {
        model.insert();
        let guard = pin();
        assert!(model.wheel.open(after(4), &guard));
        drop(guard);
    }, |model: &Model| model.flush(4), |model: &Model| model.flush(5)
}

found_by_somebody! {
    /// At stake: time jumps over all levels at once while the hint is on its way.
    hint_against_a_jump, hint_against_a_jump_on_a_list, hint_against_a_jump_in_a_page 2:
    6, |model: &Model| model.hint(OTHER, 15), insert, |model: &Model| model.flush(15)
}

/// At stake: an opener was stopped half-way, so the position of tick 5 still holds tick 1. Who
/// hints there has to move that out, and may miss the bit that a third one is about to set in it,
/// unless that third one sees the cursor.
#[test]
fn hint_in_a_tick_that_a_later_round_moves_out() {
    check("hint_in_a_tick_that_a_later_round_moves_out", 2, || {
        let model = Arc::new(Model::new(1));
        model.hint(OTHER, 1);
        model.hint(OTHER, 5);
        let steps: [fn(&Model); 3] = [
            |model| model.wheel.open_and_stop(after(4), 0, &pin()),
            |model| model.hint(OTHER, 5),
            Model::insert,
        ];
        // All on threads of their own: the main thread's wait costs no preemption.
        let threads = steps.map(|step| {
            let model = Arc::clone(&model);
            thread::spawn(move || step(&model))
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(model.flush(5), "the hint is lost");
    });
}

/// At stake: the same position, as the hint sees it that is for tick 5. An opener that comes late to take tick 1
/// out of it must not take out what has been put there since.
#[test]
fn hint_beside_an_opener_of_the_round_before() {
    let set_up = |model: &Model| {
        model.hint(OTHER, 1);
        model.hint(OTHER, 5);
        model.wheel.open_and_stop(after(4), 0, &pin());
    };
    found_in_company(
        "hint_beside_an_opener_of_the_round_before",
        3,
        5,
        &[],
        set_up,
        insert,
        |model| {
            assert!(!model.flush(4), "not due yet");
            false
        },
    );
}

/// At stake: two openers on one tick, of which each may find half of the work done, beside the
/// hint. What the one leaves undone the other must not take for done.
#[test]
fn hint_against_two_openers() {
    check("hint_against_two_openers", 1, || {
        let model = Arc::new(Model::new(1));
        model.hint(OTHER, 1);
        let openers = [(); 2].map(|()| {
            let model = Arc::clone(&model);
            thread::spawn(move || model.flush(1))
        });
        model.insert();
        let mut found = false;
        for opener in openers {
            found |= opener.join().unwrap();
        }
        assert!(found || model.flush(1), "the hint is lost");
    });
}

/// The same where the list is full to the end of a chunk, so that the hint puts another one there: an opener that moves
/// the old one only may find noted that the other has moved the new one, of which nothing else has told it.
#[test]
fn hint_in_a_new_chunk_against_two_openers() {
    check("hint_in_a_new_chunk_against_two_openers", 2, || {
        let model = Arc::new(Model::new(1));
        model.hint(REACH, 2); // the list has room for some
        for _ in 0..4 {
            model.hint(NOT_YET, 1);
        }
        let [hinter, opener] = [(); 2].map(|()| Arc::clone(&model));
        let hinter = thread::spawn(move || hinter.insert());
        let opener = thread::spawn(move || opener.flush(1));
        // Stopped once, after the old chunk.
        let found = model.flush(1) | opener.join().unwrap();
        hinter.join().unwrap();
        assert!(found || model.flush(1), "the hint is lost");
    });
}

/// At stake: a part of a tick that each of two openers may move. Who takes it for moved must find its
/// slots in the due set, however far the other has come: each flush is complete by itself.
fn two_openers(name: &str, bound: usize, set_up: impl Fn(&Model) + Send + Sync + 'static) {
    check(name, bound, move || {
        let model = Arc::new(Model::new(1));
        set_up(&model);
        let beside = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.remove_due(1))
        };
        model.remove_due(1);
        beside.join().unwrap();
    });
}

#[test]
fn two_openers_of_the_few() {
    two_openers("two_openers_of_the_few", long(1, 3), Model::insert);
}

#[test]
fn two_openers_of_a_list() {
    two_openers("two_openers_of_a_list", long(1, 2), |model| {
        for slot in COMPANY {
            model.hint(slot, 1);
        }
        model.insert();
    });
}

#[test]
fn two_openers_of_a_page() {
    two_openers("two_openers_of_a_page", long(2, 3), |model| {
        for slot in CROWD {
            model.hint(slot, 1);
        }
        model.insert();
        // The others have gone already: so it takes a second and not minutes.
        model.wheel.open_and_stop(after(1), 2, &pin());
        model.wheel.sweep(|_| true);
    });
}

/// The same where only the chunk holds anything: whoever was given the places before it has not filled
/// them yet, so nothing else that an opener comes to tells it what the other has done.
#[test]
fn two_openers_of_a_chunk() {
    two_openers("two_openers_of_a_chunk", long(1, 2), |model| {
        model.hint(COMPANY[0], 2); // the list has room for some
        for _ in COMPANY {
            model.hint(NOT_YET, 1);
        }
        model.insert();
    });
}

/// At stake: sweeps that share a pass. Who comes round says that all of the due set has been looked at,
/// and must find done what the other did in its part.
#[test]
fn two_sweeps_in_turn() {
    check("two_sweeps_in_turn", 3, || {
        let model = Arc::new(Model::new(0));
        model.insert();
        model.hint(OTHER, 0); // and stays
        let parts = |model: &Model| {
            for _ in 0..2 {
                let swept = model.wheel.sweep_in_turn(after(0), 1, |slot| {
                    if slot == SLOT {
                        model.live.store(false, Ordering::Relaxed);
                    }
                    slot == SLOT
                });
                let left = model.live.load(Ordering::Relaxed);
                assert!(!(swept && left), "a pass has left what was due");
            }
        };
        let beside = {
            let model = Arc::clone(&model);
            thread::spawn(move || parts(&model))
        };
        parts(&model);
        beside.join().unwrap();
    });
}

/// Somebody asks whether there is anything to do, while a flush is about: if not, nothing is left to do.
fn asked(name: &str, due: u64, other: impl Fn(&Model) + Copy + Send + Sync + 'static) {
    check(name, 3, move || {
        let model = Arc::new(Model::new(due));
        model.insert();
        let beside = {
            let model = Arc::clone(&model);
            thread::spawn(move || other(&model))
        };
        for _ in 0..4 {
            let guard = pin();
            if !model.wheel.has_due(after(due)) {
                let left = model.live.load(Ordering::Acquire);
                assert!(!left, "what is due is hidden");
            }
            drop(guard);
        }
        beside.join().unwrap();
    });
}

/// At stake: a flush moves the slot to the due set behind the back of who looked there first.
#[test]
fn has_due_against_open() {
    asked("has_due_against_open", 1, |model| {
        assert!(model.wheel.open(after(1), &pin()));
    });
}

/// At stake: a flush removes the slot, and then its bits go, one above the other. Who finds them gone
/// has to find it removed.
#[test]
fn has_due_against_sweep() {
    asked("has_due_against_sweep", 0, |model| model.remove_due(0));
}

/// Two sweeps note what they have found, and somebody asks. The earlier note speaks of a due set that
/// is no more, the later one of somebody who has expired; half of each would say that nothing has.
#[test]
fn note_against_note() {
    check("note_against_note", 3, || {
        let wheel = Arc::new(Wheel::new(TICK_BITS, tick(0)));
        wheel.hint(OTHER, tick(0), &pin());
        let before = wheel.version();
        wheel.hint(SLOT, tick(0), &pin());
        let now = wheel.version();
        let other = {
            let wheel = wheel.clone();
            thread::spawn(move || wheel.settle(before, tick(2)))
        };
        wheel.settle(now, tick(0));
        assert!(wheel.has_due(after(0)));
        other.join().unwrap();
        assert!(wheel.has_due(after(0)));
    });
}

/// The same for somebody who only asks: the later note's version with the earlier one's time would say that
/// nothing has expired.
#[test]
fn note_against_a_question() {
    check("note_against_a_question", 3, || {
        let wheel = Arc::new(Wheel::new(TICK_BITS, tick(0)));
        wheel.hint(OTHER, tick(0), &pin());
        wheel.settle(wheel.version(), tick(2));
        wheel.hint(SLOT, tick(0), &pin());
        let now = wheel.version();
        let other = {
            let wheel = wheel.clone();
            thread::spawn(move || wheel.settle(now, tick(0)))
        };
        assert!(wheel.has_due(after(0)));
        assert!(wheel.has_due(after(0)));
        other.join().unwrap();
        assert!(wheel.has_due(after(0)));
    });
}
