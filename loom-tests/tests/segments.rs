//! Segments by themselves: who finds one finds its elements.
#![cfg(loom)]

use std::sync::Arc;

use loom::thread;
use sessionwheel::internals::Segments;
use sessionwheel_loom_tests::check;

/// The second segment holds these.
const SECOND: [u32; 2] = [1, 2];

/// Two who need the same segment beside two who look, by `look`, how often somebody has counted there.
fn allocate_against(name: &str, look: fn(&Segments) -> u64) {
    check(name, 2, move || {
        let segments = Arc::new(Segments::default());
        let counters = SECOND.map(|index| {
            let segments = Arc::clone(&segments);
            thread::spawn(move || segments.count(index))
        });
        let looks = move |segments: &Segments| {
            let (first, second) = (look(segments), look(segments));
            assert!(first <= second && second <= 2, "{first}, then {second}");
        };
        let other = {
            let segments = Arc::clone(&segments);
            thread::spawn(move || looks(&segments))
        };
        looks(&segments);
        for thread in counters.into_iter().chain([other]) {
            thread.join().unwrap();
        }
        assert_eq!(look(&segments), 2);
    });
}

/// At stake: an element is read before the zeroes that its allocator has written. The same for each way
/// to come to it.
#[test]
fn get_against_allocate() {
    allocate_against("get_against_allocate", |segments| {
        SECOND.iter().filter_map(|&index| segments.get(index)).sum()
    });
}

#[test]
fn aligned_against_allocate() {
    allocate_against("aligned_against_allocate", |segments| {
        segments.aligned(SECOND[0], SECOND.len()).iter().sum()
    });
}

#[test]
fn allocated_against_allocate() {
    allocate_against("allocated_against_allocate", |segments| {
        segments.allocated().iter().sum()
    });
}
