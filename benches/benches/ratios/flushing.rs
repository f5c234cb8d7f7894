//! What rows 7 to 10 measure: flushes, until the last destructor has run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use sessionwheel::ExpiringMap;
use sessionwheel_bench::peers::{Peer, Seconds, Session, Value, Wheel, at};
use sessionwheel_bench::{
    BETWEEN, Id, Ids, LATE, NOW, Payload, SOON, filled, filled_with, payload, shuffled,
};

use crate::work::each;
use sessionwheel_bench::contest::Run;

/// A payload that rows can make.
pub(crate) trait Make: Value {
    fn make() -> Self;
}

impl Make for Payload {
    fn make() -> Self {
        payload()
    }
}

/// Inline in its entry.
pub(crate) type Inline = [u8; 96];

impl Make for Inline {
    fn make() -> Self {
        [0x5e; 96]
    }
}

impl Make for u64 {
    fn make() -> Self {
        0
    }
}

/// Which of `n` are due, anywhere among the others.
fn half(n: usize) -> Vec<Seconds> {
    shuffled(&[vec![SOON; n / 2], vec![LATE; n - n / 2]].concat())
}

/// A flush of half, for each that it removes.
pub(crate) fn flush_half<P: Peer<V>, V: Make>(n: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let deadlines = half(n);
    Box::new(move || {
        let peer: P = filled_with(&ids, |i| deadlines[i], |_| V::make());
        let start = Instant::now();
        let removed = peer.flush(BETWEEN);
        peer.settle();
        let time = each(start, removed);
        assert_eq!(removed, n / 2);
        time
    })
}

/// Ours, with a listener that counts.
pub(crate) fn flush_half_heard<V: Make>(n: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let deadlines = half(n);
    Box::new(move || {
        let heard = Arc::new(AtomicUsize::new(0));
        let ears = Arc::clone(&heard);
        let map = ExpiringMap::builder()
            .helpers(0, |_| ())
            .listener(move |_: &Id, _: &V, _| {
                ears.fetch_add(1, Relaxed);
            })
            .build()
            .expect("good numbers");
        for (id, deadline) in ids.iter().zip(&deadlines) {
            let inserted = map.insert(*id, V::make(), at(*deadline), at(NOW));
            assert!(inserted.is_ok(), "refused");
        }
        let start = Instant::now();
        let removed = map.flush(at(BETWEEN)).removed;
        while map.reclaim() > 0 {}
        let time = each(start, removed);
        assert_eq!((removed, heard.load(Relaxed)), (n / 2, n / 2));
        time
    })
}

/// A payload that notes when it goes.
pub(crate) struct Noted(usize, Arc<Mutex<Vec<usize>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.lock().expect("no panic").push(self.0);
    }
}

/// In which order a peer drops the payloads of half of `n` sessions.
fn order<P: Peer<Arc<Noted>>>(n: usize, deadlines: &[Seconds]) -> Vec<usize> {
    let ids = Ids::new(1).many(n);
    let dropped = Arc::new(Mutex::new(Vec::with_capacity(n)));
    let note = |i| Arc::new(Noted(i, Arc::clone(&dropped)));
    let peer: P = filled_with(&ids, |i| deadlines[i], note);
    peer.flush(BETWEEN);
    peer.settle();
    let order = std::mem::take(&mut *dropped.lock().expect("no panic"));
    assert_eq!(order.len(), n / 2, "{}", P::name());
    order
}

/// Dropping the payloads of half of `n` sessions from a vector, in the order in which a peer does
/// that, for each.
pub(crate) fn drop_half<P: Peer<Arc<Noted>>>(n: usize) -> Run {
    let order = order::<P>(n, &half(n));
    Box::new(move || {
        let mut payloads: Vec<Option<Payload>> = (0..n).map(|_| Some(payload())).collect();
        let due: Vec<Payload> = order.iter().filter_map(|&i| payloads[i].take()).collect();
        let start = Instant::now();
        drop(due);
        each(start, n / 2)
    })
}

/// The same for who stores what it makes itself, and drops it in the order of insertion.
#[cfg(feature = "openssl")]
pub(crate) fn drop_prepared_half<P: Peer>(n: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let deadlines = half(n);
    Box::new(move || {
        let prepare = |(id, &deadline): (&Id, &Seconds)| {
            let payload = payload();
            let session = Session { deadline, payload };
            (deadline, P::prepare(*id, session))
        };
        let all = ids.iter().zip(&deadlines).map(prepare);
        let (due, rest): (Vec<_>, Vec<_>) = all.partition(|&(deadline, _)| deadline == SOON);
        let due: Vec<P::Prepared> = due.into_iter().map(|(_, prepared)| prepared).collect();
        let start = Instant::now();
        drop(due);
        let time = each(start, n / 2);
        drop(rest);
        time
    })
}

/// A flush of half by the caller alone, or with a helper.
pub(crate) fn flush_half_with<W: Wheel<V>, V: Make>(n: usize, helped: bool) -> Run {
    let ids = Ids::new(1).many(n);
    let deadlines = half(n);
    Box::new(move || {
        let wheel = W::build(helped, None);
        for (id, &deadline) in ids.iter().zip(&deadlines) {
            let payload = V::make();
            wheel.insert(*id, Session { deadline, payload }, NOW);
        }
        let start = Instant::now();
        let removed = wheel.flush(BETWEEN);
        wheel.settle();
        let time = each(start, removed);
        assert_eq!(removed, n / 2);
        time
    })
}

/// Dropping the payloads of half of `n` sessions from vectors, one for each thread, for each.
pub(crate) fn drop_with(n: usize, threads: usize) -> Run {
    let deadlines = half(n);
    Box::new(move || {
        let all = deadlines.iter().map(|&deadline| (deadline, payload()));
        let (due, rest): (Vec<_>, Vec<_>) = all.partition(|&(deadline, _)| deadline == SOON);
        let mut parts: Vec<Vec<_>> = due
            .chunks(due.len().div_ceil(threads))
            .map(<[_]>::to_vec)
            .collect();
        drop(due);
        let start = Instant::now();
        let mine = parts.pop();
        thread::scope(|scope| {
            for part in parts {
                scope.spawn(move || drop(part));
            }
            drop(mine);
        });
        let time = each(start, n / 2);
        drop(rest);
        time
    })
}

/// The worst single flush of each run, its last destructor included, in nanoseconds, by peer.
pub(crate) type Worst = Rc<RefCell<BTreeMap<String, Vec<f64>>>>;

/// A flush every second for so many seconds of lifetimes that are spread over `span`: for each that
/// is removed. Notes the worst.
pub(crate) fn every_second<P: Peer>(
    n: usize,
    (span, seconds): (Seconds, Seconds),
    worst: &Worst,
) -> Run {
    let ids = Ids::new(1).many(n);
    let worst = Rc::clone(worst);
    Box::new(move || {
        let mut draw = Ids::new(9);
        let first = NOW + 1;
        let deadlines: Vec<Seconds> = ids
            .iter()
            .map(|_| first + draw.below(span as usize) as u64)
            .collect();
        let peer: P = filled(&ids, |i| deadlines[i]);
        let mut removed = 0;
        let mut worst_time = 0;
        let start = Instant::now();
        for second in 1..=seconds {
            let start = Instant::now();
            removed += peer.flush(first + second);
            peer.settle();
            worst_time = worst_time.max(start.elapsed().as_nanos());
        }
        let time = each(start, removed);
        let mut worst = worst.borrow_mut();
        worst
            .entry(P::flushed_name())
            .or_default()
            .push(worst_time as f64);
        time
    })
}

/// A flush that finds nothing due, by the caller alone or with a helper.
pub(crate) fn nothing_due<W: Wheel<u64>>(n: usize, flushes: usize, helped: bool) -> Run {
    let wheel = W::build(helped, Some(16));
    let mut draw = Ids::new(10);
    for id in Ids::new(1).many(n) {
        let (deadline, payload) = (LATE + draw.below(6_900) as u64, 0);
        wheel.insert(id, Session { deadline, payload }, NOW);
    }
    assert_eq!(wheel.count(), Some(n), "room for all");
    Box::new(move || {
        let start = Instant::now();
        for _ in 0..flushes {
            assert_eq!(wheel.flush(black_box(BETWEEN)), 0);
        }
        each(start, flushes)
    })
}
