//! One question per id at a time: who asks for what is being asked for waits for that answer.
//!
//! # Ground rules
//!
//! - Locks are held for a look into a map, never over a question.
//! - Who leads always lands, also by a panic.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sessionwheel::SessionKey;

/// Questions under way meet here by their ids.
const STRIPES: usize = 16;

type Stripe = Mutex<HashMap<SessionKey, Arc<Flight>>>;

pub(crate) struct Flights {
    stripes: [Stripe; STRIPES],
    hasher: RandomState,
}

/// What came of a question.
pub(crate) type Answer = Option<Arc<[u8]>>;

#[derive(Default)]
struct Flight {
    answer: Mutex<Option<Answer>>,
    landed: Condvar,
}

pub(crate) enum Joined {
    /// Somebody else had asked; `None` if the answer hasn't come in time.
    Followed(Option<Answer>),
    Led(Answer),
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self {
            stripes: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    /// The answer of `ask`, or that of somebody who is asking for the same.
    pub(crate) fn join(
        &self,
        key: &SessionKey,
        until: Instant,
        ask: impl FnOnce() -> Answer,
    ) -> Joined {
        let stripe = &self.stripes[self.hasher.hash_one(key) as usize % STRIPES];
        let flight = match lock(stripe).entry(*key) {
            Entry::Occupied(there) => Err(there.get().clone()),
            Entry::Vacant(free) => Ok(free.insert(Arc::default()).clone()),
        };
        match flight {
            Ok(flight) => {
                let mut lead = Lead {
                    stripe,
                    key,
                    flight,
                    answer: None,
                };
                lead.answer = ask();
                Joined::Led(lead.answer.clone())
            }
            Err(flight) => Joined::Followed(flight.wait(until)),
        }
    }
}

impl Flight {
    fn wait(&self, until: Instant) -> Option<Answer> {
        let mut answer = lock(&self.answer);
        loop {
            if let Some(answer) = &*answer {
                return Some(answer.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let woken = self.landed.wait_timeout(answer, left);
            answer = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

struct Lead<'a> {
    stripe: &'a Stripe,
    key: &'a SessionKey,
    flight: Arc<Flight>,
    answer: Answer,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        lock(self.stripe).remove(self.key);
        *lock(&self.flight.answer) = Some(self.answer.take());
        self.flight.landed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessionwheel::{Context, SessionId};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn key(n: u8) -> SessionKey {
        SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn many_ask_and_one_question_goes_out() {
        let flights = Flights::new();
        let (asked, shared) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all.wait();
                    let ask = || {
                        asked.fetch_add(1, Ordering::Relaxed);
                        // Until the seven others have come.
                        let stripe =
                            &flights.stripes[flights.hasher.hash_one(key(1)) as usize % STRIPES];
                        let begun = Instant::now();
                        while Arc::strong_count(&lock(stripe)[&key(1)]) < 9 {
                            assert!(begun.elapsed() < Duration::from_secs(60));
                            std::thread::yield_now();
                        }
                        Some(Arc::from(*b"answer"))
                    };
                    let answer = match flights.join(&key(1), soon(), ask) {
                        Joined::Led(answer) => answer,
                        Joined::Followed(answer) => {
                            shared.fetch_add(1, Ordering::Relaxed);
                            answer.unwrap()
                        }
                    };
                    assert_eq!(answer.as_deref(), Some(&b"answer"[..]));
                });
            }
        });
        assert_eq!(asked.into_inner(), 1);
        assert_eq!(shared.into_inner(), 7);
        assert!(flights.stripes.iter().all(|stripe| lock(stripe).is_empty()));
    }

    #[test]
    fn who_waits_does_so_to_the_deadline_and_other_ids_do_not_wait() {
        let flights = Flights::new();
        let led = flights.join(&key(1), soon(), || {
            assert!(matches!(
                flights.join(&key(1), Instant::now(), || unreachable!()),
                Joined::Followed(None)
            ));
            assert!(matches!(
                flights.join(&key(2), soon(), || None),
                Joined::Led(None)
            ));
            None
        });
        assert!(matches!(led, Joined::Led(None)));
    }

    #[test]
    fn a_panic_lands() {
        let flights = Flights::new();
        let asked = std::panic::AssertUnwindSafe(|| {
            flights.join(&key(1), soon(), || std::panic::panic_any("planted"));
        });
        assert!(std::panic::catch_unwind(asked).is_err());
        assert!(flights.stripes.iter().all(|stripe| lock(stripe).is_empty()));
    }
}
