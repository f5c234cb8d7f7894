//! Permits while the maximum changes: no debt is paid twice, and whoever counts what is in use does
//! not count a permit in transit.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use loom::thread;
use sessionwheel::internals::Permits;
use sessionwheel_loom_tests::check;

/// Permits for a maximum, of which some are in use.
fn permits(maximum: u64, used: u64, shards: usize) -> Arc<Permits> {
    let permits = Permits::new(maximum, shards);
    assert!((0..used).all(|_| permits.take(0)));
    Arc::new(permits)
}

/// At stake: several who pay a debt of one. If the later one does not see that it is paid, an entry is
/// evicted for nothing.
#[test]
fn promise_against_promise() {
    check("promise_against_promise", 2, || {
        let permits = permits(2, 2, 1);
        permits.set_maximum(1);
        // Not loom's: it belongs to the model's books.
        let evicted = Arc::new(AtomicU64::new(0));
        let payers = [(); 3].map(|()| {
            let (permits, evicted) = (Arc::clone(&permits), Arc::clone(&evicted));
            thread::spawn(move || {
                permits.pay_after(0, || {
                    evicted.fetch_add(1, Relaxed);
                });
            })
        });
        for payer in payers {
            payer.join().unwrap();
        }
        assert_eq!(evicted.load(Relaxed), 1);
        assert_eq!(permits.in_use(), Some(1));
        assert!(!permits.take(0));
    });
}

/// Two count while a third changes the maximum of two shards, of whose permits one is in use.
fn count_against(name: &str, from: u64, to: u64) {
    check(name, 3, move || {
        let permits = permits(from, 1, 2);
        let changes = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.set_maximum(to))
        };
        for _ in 0..2 {
            let in_use = permits.in_use();
            assert!(matches!(in_use, None | Some(1)), "{in_use:?}");
        }
        changes.join().unwrap();
        assert_eq!(permits.in_use(), Some(1));
    });
}

/// At stake: `len` would count permits that are on their way to pay debt.
#[test]
fn count_against_a_lower_maximum() {
    count_against("count_against_a_lower_maximum", 3, 1);
}

/// The same for permits that have been issued and are nowhere yet.
#[test]
fn count_against_a_higher_maximum() {
    count_against("count_against_a_higher_maximum", 1, 3);
}

/// At stake: while spare permits are on their way out there seem to be none, and more debt than there is. Then
/// an entry is evicted, or an insert refused, although there is room by the old maximum and by the new one.
#[test]
fn take_against_a_lower_maximum() {
    check("take_against_a_lower_maximum", 3, || {
        let permits = permits(4, 1, 2);
        // The one that only looks at the ledger has to be the later thread: who changes it looks first as
        // well, and loom takes the last look for the only one that matters.
        let other = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                permits.pay_after(0, || panic!("nobody is too many"));
                assert!(permits.take(0), "there is room for two");
            })
        };
        permits.set_maximum(2);
        other.join().unwrap();
        assert_eq!(permits.in_use(), Some(2));
        assert!(!permits.take(0));
    });
}

/// At stake: one shard is seen empty before a permit comes there, and the other one after its last has gone.
/// If that is taken for none at all, an entry is evicted although there was room.
#[test]
fn take_against_permits_that_move() {
    check("take_against_permits_that_move", 3, || {
        let permits = permits(3, 2, 2);
        let other = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                for (to, from) in [(0, 1), (1, 0)] {
                    permits.give(to);
                    assert!(permits.take(from));
                }
            })
        };
        // At every instant there is one for this thread.
        assert!(permits.take(0));
        other.join().unwrap();
        assert_eq!(permits.in_use(), Some(3));
    });
}
