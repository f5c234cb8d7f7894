//! What is worked on, and flushed.

use std::hint::black_box;

use crate::peers::{Peer, Seconds, Session};
use crate::{BETWEEN, Id, Ids, LATE, SOON, payload, shuffled};

/// Who is told of the worker's operations. Each tells [`BETWEEN`] as the time.
pub trait Cache: Send + Sync + Sized {
    /// What an insert is handed, made outside the timed operation.
    type Fresh: Send;

    /// One with this population in it.
    fn filled(population: &Population) -> Self;

    /// A session for a fresh id.
    fn fresh(&self, id: Id) -> Self::Fresh;

    /// Whether the session is there; a clone of its state is made and dropped.
    fn look_up(&self, id: &Id) -> bool;

    /// Inserts.
    fn add(&self, fresh: Self::Fresh);

    /// Removes what is due, and returns when the destructors have run.
    fn flush(&self) -> usize;

    /// How many sessions there are.
    fn count(&self) -> usize;
}

impl<P: Peer> Cache for P {
    type Fresh = P::Prepared;

    fn filled(population: &Population) -> Self {
        crate::filled(&population.ids, |i| population.deadlines[i])
    }

    #[inline]
    fn fresh(&self, id: Id) -> Self::Fresh {
        let (deadline, payload) = (LATE, payload());
        P::prepare(id, Session { deadline, payload })
    }

    #[inline]
    fn look_up(&self, id: &Id) -> bool {
        black_box(self.get(id, BETWEEN)).is_some()
    }

    #[inline]
    fn add(&self, fresh: Self::Fresh) {
        Peer::add(self, fresh, BETWEEN);
    }

    fn flush(&self) -> usize {
        let removed = Peer::flush(self, BETWEEN);
        self.settle();
        removed
    }

    fn count(&self) -> usize {
        Peer::count(self).expect("who is flushed tells")
    }
}

/// Sessions of which a share is due, anywhere among those that stay.
#[derive(Debug)]
pub struct Population {
    pub(super) ids: Vec<Id>,
    pub(super) deadlines: Vec<Seconds>,
    staying: Vec<Id>,
}

impl Population {
    /// Where all are due there have to be some more, to be looked up.
    const LEAST: usize = 1_000;

    /// So many sessions, of which so many per cent are due.
    #[must_use]
    pub fn new(n: usize, percent: usize) -> Self {
        let due = n * percent / 100;
        let stay = (n - due).max(Self::LEAST.min(n));
        let deadlines = shuffled(&[vec![SOON; due], vec![LATE; stay]].concat());
        let ids = Ids::new(1).many(due + stay);
        let staying = ids.iter().zip(&deadlines);
        let staying = staying.filter(|(_, deadline)| **deadline == LATE);
        let staying = staying.map(|(id, _)| *id).collect();
        Self {
            ids,
            deadlines,
            staying,
        }
    }

    /// A cache with all of them in it.
    #[must_use]
    pub fn filled<C: Cache>(&self) -> C {
        C::filled(self)
    }

    /// How many are due.
    #[must_use]
    pub fn due(&self) -> usize {
        self.ids.len() - self.staying.len()
    }

    pub(super) fn staying(&self) -> &[Id] {
        &self.staying
    }
}
