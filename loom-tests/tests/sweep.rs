//! A sweep's look and its clearing of the bit, against inserts and the reuse of slots.
#![cfg(loom)]

use loom::thread;
use sessionwheel::Reason;
use sessionwheel_loom_tests::{Watched, after, check, long, tick};

const OLD: u64 = 11;
const NEW: u64 = 22;

/// At stake: the due set holds a stale bit of the slot's earlier tenant. A sweep finds nobody
/// there, the insert sets the bit that is set already, the sweep clears it. Only the stamp, which
/// every set moves, makes that clearing fail.
#[test]
fn insert_against_sweep() {
    check("insert_against_sweep", 3, || {
        let map = Watched::default();
        map.leave_a_stale_hint(tick(0));
        let other = {
            let map = map.clone();
            thread::spawn(move || map.put(0, NEW, tick(0), tick(0)))
        };
        let removed = map.flush(after(0));
        assert!(!other.join().unwrap());
        map.settled(&[(0, NEW, Reason::Expired)][..removed], 1 - removed);
        map.flush(after(0));
        map.settled(&[(0, NEW, Reason::Expired)], 0);
    });
}

/// The same one step earlier: the stale bit stands in a tick, which the flush opens meanwhile, and
/// the insert finds its bit set.
#[test]
fn insert_against_open_and_sweep() {
    check("insert_against_open_and_sweep", 3, || {
        let map = Watched::default();
        map.leave_a_stale_hint(tick(1));
        let other = {
            let map = map.clone();
            thread::spawn(move || map.put(0, NEW, tick(1), tick(0)))
        };
        let removed = map.flush(after(1));
        assert!(!other.join().unwrap());
        map.settled(&[(0, NEW, Reason::Expired)][..removed], 1 - removed);
        map.flush(after(1));
        map.settled(&[(0, NEW, Reason::Expired)], 0);
    });
}

/// At stake: a stale bit leads a sweep to a slot that an inserter holds. Until the life word says
/// linked, link and deadline may be those of the earlier tenant, who had expired; the new one lives.
#[test]
fn sweep_against_a_held_slot() {
    check("sweep_against_a_held_slot", 3, || {
        let map = Watched::default();
        map.put(0, OLD, tick(1), tick(0));
        assert!(map.retime(&0, tick(0), tick(0)));
        assert_eq!(map.flush(after(0)), 1);
        assert_eq!(map.reclaim(), 0);
        map.forget_who_left();
        let other = {
            let map = map.clone();
            thread::spawn(move || map.put(0, NEW, tick(2), tick(0)))
        };
        assert_eq!(map.flush(after(1)), 0);
        assert!(!other.join().unwrap());
        assert_eq!(map.get(0, tick(2)), Some(NEW));
        map.settled(&[], 1);
        assert_eq!(map.flush(after(2)), 1);
        map.settled(&[(0, NEW, Reason::Expired)], 0);
    });
}

/// At stake: between a sweep's look and its removal the entry is taken, its slot recycled and let
/// to a new entry, which must not pay for the old one's deadline. The sweep's guard prevents it.
#[test]
fn sweep_against_reuse() {
    check("sweep_against_reuse", long(2, 3), || {
        let map = Watched::default();
        map.put(0, OLD, tick(0), tick(0));
        let other = {
            let map = map.clone();
            thread::spawn(move || {
                let taken = map.take(0, tick(0));
                map.reclaim();
                map.put(0, NEW, tick(2), tick(0));
                taken
            })
        };
        let removed = map.flush(after(0));
        let reason = match (other.join().unwrap(), removed) {
            (Some(OLD), 0) => Reason::Taken,
            // The flush removed it, or had sentenced it when the insert replaced it.
            (None, _) => Reason::Expired,
            both => panic!("{both:?}"),
        };
        assert_eq!(map.get(0, tick(2)), Some(NEW));
        map.settled(&[(0, OLD, reason)], 1);
        assert_eq!(map.flush(after(2)), 1);
    });
}

/// At stake: a replace while a sweep judges the old entry. The new one has another slot and stays.
#[test]
fn sweep_against_replace() {
    check("sweep_against_replace", long(2, 3), || {
        let map = Watched::default();
        map.put(0, OLD, tick(0), tick(0));
        let other = {
            let map = map.clone();
            thread::spawn(move || map.put(0, NEW, tick(2), tick(0)))
        };
        let removed = map.flush(after(0));
        let replaced = other.join().unwrap();
        assert_eq!(removed + usize::from(replaced), 1, "the old one left once");
        assert_eq!(map.get(0, tick(2)), Some(NEW));
        let left = map.left();
        // Replaced by one whose clock says it lived; but the flush may have sentenced it before.
        assert!(matches!(
            (replaced, left[0].2),
            (true, Reason::Replaced | Reason::Expired) | (false, Reason::Expired)
        ));
        map.settled(&[(0, OLD, left[0].2)], 1);
        assert_eq!(map.flush(after(2)), 1);
    });
}
