//! Purges against those who take out what was purged, in parts of a pass that they share.
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::thread;
use sessionwheel::internals::Purges;
use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey};
use sessionwheel_loom_tests::{TICK_BITS, check, tick};

/// A generation, and the last one by which each of two slots was looked at.
#[derive(Default)]
struct Model {
    purges: Purges,
    generation: AtomicU64,
    looked: [AtomicU64; 2],
}

impl Model {
    fn purge(&self) {
        self.generation.fetch_add(1, Relaxed);
        self.purges.ask();
    }

    /// As a flush with a budget of one slot.
    fn flush(&self) {
        self.purges.go_on(|slot| {
            let generation = self.generation.load(Relaxed);
            self.looked[slot as usize].fetch_max(generation, Relaxed);
            (slot == 0).then_some(1)
        });
    }

    /// As a flush that goes by what others have done.
    fn ask(&self) {
        for _ in 0..2 {
            if !self.purges.are_pending() {
                let looked = self.looked.each_ref().map(|looked| looked.load(Relaxed));
                assert_eq!(looked, [1, 1], "said to be done");
            }
        }
    }
}

/// At stake: a pass that began before a purge, or a part of one that did not see it, is taken for what the
/// purge needs. Then sessions that nobody can find stay until they expire.
#[test]
fn purge_against_flushes() {
    check("purge_against_flushes", 2, || {
        let model = Arc::new(Model::default());
        model.purge();
        let others: [fn(&Model); 2] = [
            |model| {
                model.purge();
                model.flush();
            },
            |model| {
                model.flush();
                model.flush();
            },
        ];
        let others = others.map(|other| {
            let model = Arc::clone(&model);
            thread::spawn(move || other(&model))
        });
        model.flush();
        for other in others {
            other.join().unwrap();
        }
        // At the most the rest of one pass, and another one.
        for _ in 0..4 {
            model.flush();
        }
        assert!(!model.purges.are_pending(), "no end of it");
        for looked in &model.looked {
            assert_eq!(
                looked.load(Relaxed),
                2,
                "not looked at since the last purge"
            );
        }
    });
}

/// At stake: a flush that has nothing to take out, since two others have done so, returns and does not see it done.
#[test]
fn purge_done_by_others() {
    check("purge_done_by_others", 3, || {
        let model = Arc::new(Model::default());
        model.purge();
        let start = |other: fn(&Model)| {
            let model = Arc::clone(&model);
            thread::spawn(move || other(&model))
        };
        // Who asks is started last: see `README.md`.
        let others = [start(Model::flush), start(Model::ask)];
        model.flush();
        for other in others {
            other.join().unwrap();
        }
        model.flush();
        model.ask();
        assert!(!model.purges.are_pending());
    });
}

/// At stake: a session that was inserted after a purge is taken for one of those before, by a lookup or by who
/// takes those out, or one of those before for one that came after.
#[test]
fn purge_against_insert() {
    check("purge_against_insert", 2, || {
        let (clock, _hand) = Clock::manual(tick(0));
        let builder = SessionCache::builder().clock(clock).tick_bits(TICK_BITS);
        let cache = builder.shards(1).automatic_flush(None).build().unwrap();
        let key = |n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
        cache.insert(key(1), 1).unwrap();
        let purger = thread::spawn({
            let cache = cache.clone();
            move || cache.purge(Context::DEFAULT)
        });
        let inserter = thread::spawn({
            let cache = cache.clone();
            move || {
                let before = cache.contains(&key(1));
                cache.insert(key(2), 2).unwrap();
                before
            }
        });
        cache.purge_where(|_, _| false);
        purger.join().unwrap();
        let before = inserter.join().unwrap();
        assert!(!cache.contains(&key(1)), "was there before the purge");
        assert!(
            before || cache.contains(&key(2)),
            "inserted by one who had seen the purge"
        );
    });
}
