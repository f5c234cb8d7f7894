//! A flush that is helped, and a clock that others read: what was done elsewhere is seen here.
#![cfg(loom)]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;
use sessionwheel::internals::{Offset, REFRESH, each};
use sessionwheel_loom_tests::check;

/// One item's result, as plain memory: loom fails the model if two touch it in no order.
#[derive(Default)]
struct Result(UnsafeCell<usize>);

// SAFETY: whoever does the item writes, and whoever called `each` reads afterwards; loom fails the
// model otherwise.
unsafe impl Sync for Result {}

/// At stake: the caller returns before a helper has finished, or does not see what it did.
#[test]
fn items_done_by_helpers() {
    check("items_done_by_helpers", 2, || {
        let results: [Result; 3] = Default::default();
        let spawn = |task| {
            thread::spawn(task);
        };
        each(spawn, results.len(), &|item| {
            // SAFETY: each item is done once.
            results[item]
                .0
                .with_mut(|result| unsafe { *result += item + 1 });
        });
        for (item, result) in results.iter().enumerate() {
            // SAFETY: all items are done.
            assert_eq!(result.0.with(|result| unsafe { *result }), item + 1);
        }
    });
}

/// At stake: who sees when time was measured last, and not what was measured, shows a time from before
/// the machine was suspended, and somebody has been shown a later one.
#[test]
fn reading_against_a_measurement() {
    const BEFORE: u64 = 1;
    const AFTER: u64 = 1_000;
    check("reading_against_a_measurement", 3, || {
        let offset = Arc::new(Offset::new(0, BEFORE));
        let readers = [REFRESH, REFRESH + 1].map(|coarse| {
            let offset = Arc::clone(&offset);
            thread::spawn(move || offset.apply(coarse, || AFTER))
        });
        // Not old enough for one of its own, if anybody's is seen.
        let mine = offset.apply(REFRESH + 2, || AFTER);
        assert_eq!(mine, REFRESH + 2 + AFTER);
        for (reader, coarse) in readers.into_iter().zip([REFRESH, REFRESH + 1]) {
            assert_eq!(reader.join().unwrap(), coarse + AFTER);
        }
    });
}
