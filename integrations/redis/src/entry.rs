//! One session on its way to Redis, and what has become of it.
//!
//! # Ground rules
//!
//! - **The state arbitrates.** Each step is one compare-and-swap, and whoever makes it owns what follows:
//!
//!   ```text
//!   Queued ──► Sent ──► Written     the worker, before it sends and when it is answered
//!     │          └────► Unknown     sent, and no answer: it may lie in Redis or not
//!     │          └────► Unshared    sent, and refused
//!     ├───────────────► Unshared    pushed out of the queue, or its mark was: it never left this host
//!     └───────────────► Gone        claimed, removed or replaced before it was sent: it never will be
//!   Unshared ─────────► Gone        claimed here
//!   Gone ─────────────► Removed     Redis has said so, or need not be asked
//!   ```
//!
//! - A session that is Queued or Unshared is nowhere but here, so who takes it here owns it. Once Sent, only
//!   Redis says who does, and not before it has answered: a claim that overtook the write would find
//!   nothing, and leave the session for another host.
//! - The sealed bytes are there as long as it is Queued or Sent, and not longer: the queue bounds them.
//! - An unconfirmed write is never repeated: another host may have used the session up since.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use sessionwheel::{SessionKey, Timestamp};

use crate::weight::{Part, Sum};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    Queued,
    Sent,
    Written,
    Unknown,
    Unshared,
    Gone,
    Removed,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Queued,
        Self::Sent,
        Self::Written,
        Self::Unknown,
        Self::Unshared,
        Self::Gone,
        Self::Removed,
    ];
}

/// Empty once it has no use. Locked for a copy of it, or to empty it.
#[derive(Default)]
struct Sealed {
    bytes: Box<[u8]>,
    /// Dropped with them.
    counted: Option<Part>,
}

pub(crate) struct Entry {
    pub(crate) key: SessionKey,
    /// Its key in Redis.
    pub(crate) name: Box<[u8]>,
    sealed: Mutex<Sealed>,
    /// Until when the session lives.
    pub(crate) until: Timestamp,
    state: AtomicU8,
}

impl Entry {
    pub(crate) fn new(
        key: SessionKey,
        name: Box<[u8]>,
        sealed: Vec<u8>,
        until: Timestamp,
        state: State,
    ) -> Self {
        Self {
            key,
            name,
            sealed: Mutex::new(Sealed {
                bytes: sealed.into_boxed_slice(),
                counted: None,
            }),
            until,
            state: AtomicU8::new(state as u8),
        }
    }

    pub(crate) fn state(&self) -> State {
        // Acquire: partner of the Release in `step`. What Redis is asked after this comes after what
        // was sent before it.
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// True for the one who makes this step.
    pub(crate) fn step(&self, from: State, to: State) -> bool {
        let stepped = self
            .state
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if stepped && !matches!(to, State::Queued | State::Sent) {
            *self.lock() = Sealed::default();
        }
        stepped
    }

    pub(crate) fn sealed(&self) -> Box<[u8]> {
        self.lock().bytes.clone()
    }

    pub(crate) fn with_sealed<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(&self.lock().bytes)
    }

    /// Counts its bytes there, and nowhere else, as long as it has them.
    pub(crate) fn count_in(&self, sum: &Sum) {
        let mut sealed = self.lock();
        sealed.counted = Some(sum.add(sealed.bytes.len()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sealed> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
