//! The tickets of one server: a bounded stack, newest first, whose bottom gives way.
//!
//! # Ground rules
//!
//! - A ticket lies in one place, and whoever swaps it out owns it. Nobody waits for anybody: a push swaps
//!   once, a pop looks at each place once.
//! - `next` says where to begin, and nothing depends on it but the order: two who meet may leave a place
//!   empty, and then an older ticket gives way sooner than it had to.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::atomic::AtomicCell;

/// A box is swapped as a pointer, which takes no lock.
type Place<T> = AtomicCell<Option<Box<T>>>;

pub(crate) struct Ring<T> {
    /// The number of the next push; its place is the remainder.
    next: AtomicUsize,
    places: Box<[Place<T>]>,
}

impl<T> Ring<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            next: AtomicUsize::new(0),
            places: (0..capacity).map(|_| Place::default()).collect(),
        }
    }

    /// Puts `ticket` on top. What had to give way for it; if there are no places, that is itself.
    pub(crate) fn push(&self, ticket: T) -> Option<Box<T>> {
        let ticket = Some(Box::new(ticket));
        if self.places.is_empty() {
            return ticket;
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.places[next % self.places.len()].swap(ticket)
    }

    /// Takes the topmost ticket. None: each place was empty when it was looked at.
    pub(crate) fn pop(&self) -> Option<Box<T>> {
        let len = self.places.len();
        let next = self.next.load(Ordering::Relaxed);
        for down in 1..=len {
            let place = &self.places[(next % len + len - down) % len];
            let Some(ticket) = place.take() else {
                continue;
            };
            if down == 1 && next > 0 {
                // The place is free again, unless somebody has pushed meanwhile.
                let (now, relaxed) = (next - 1, Ordering::Relaxed);
                let _ = self.next.compare_exchange(next, now, relaxed, relaxed);
            }
            return Some(ticket);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    fn pop_all(ring: &Ring<u64>) -> Vec<u64> {
        std::iter::from_fn(|| ring.pop().map(|n| *n)).collect()
    }

    #[test]
    fn the_newest_comes_first_and_the_oldest_gives_way() {
        let ring = Ring::new(3);
        let displaced: Vec<_> = (0..5).map(|n| ring.push(n).map(|n| *n)).collect();
        assert_eq!(displaced, [None, None, None, Some(0), Some(1)]);
        assert_eq!(pop_all(&ring), [4, 3, 2]);
    }

    #[test]
    fn all_places_are_used_whatever_comes_and_goes() {
        for capacity in 1..20 {
            let ring = Ring::new(capacity);
            for n in 0..capacity as u64 {
                assert!(ring.push(n).is_none());
            }
            for _ in 0..100 {
                let top = ring.pop().unwrap();
                assert!(ring.push(*top).is_none(), "a place was lost");
            }
            let left: Vec<_> = (0..capacity as u64).rev().collect();
            assert_eq!(pop_all(&ring), left);
        }
    }

    #[test]
    fn without_places_nothing_is_kept() {
        let ring = Ring::new(0);
        assert_eq!(ring.push(7).as_deref(), Some(&7));
        assert!(ring.pop().is_none());
    }

    #[test]
    fn no_lock_is_behind_it() {
        assert!(Place::<[u64; 100]>::is_lock_free());
    }

    #[test]
    fn threads_lose_no_ticket_and_get_none_twice() {
        const THREADS: u64 = 4;
        const PUSHES: u64 = 20_000;
        let ring = Ring::new(8);
        let seen: Vec<AtomicU64> = (0..THREADS * PUSHES).map(|_| AtomicU64::new(0)).collect();
        let see = |n: Box<u64>| seen[*n as usize].fetch_add(1, Ordering::Relaxed);
        let popped = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (ring, see, popped) = (&ring, &see, &popped);
                scope.spawn(move || {
                    for n in 0..PUSHES {
                        ring.push(thread * PUSHES + n).map(see);
                        if n % 3 > 0 {
                            if let Some(n) = ring.pop() {
                                see(n);
                                popped.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert!(popped.into_inner() > 0);
        let left = pop_all(&ring);
        assert!(left.len() <= 8);
        left.into_iter().for_each(|n| {
            see(Box::new(n));
        });
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }
}
