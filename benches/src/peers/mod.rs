//! The field, behind one small trait, each set up as its users set it up.
//!
//! What is stored is a [`Session`]: the payload and its deadline, which who has an expiry of its own
//! needs no more than once but a user of a plain map has to keep somewhere. Peers are measured
//! through generics: no call goes through a table.

mod caches;
mod maps;
#[cfg(feature = "openssl")]
#[allow(unsafe_code)]
mod openssl;
mod ours;
mod sessions;

pub use caches::{LruShards, MiniMoka, Moka, QuickCache, Rustls};
pub use maps::{Dash, Hashbrown, Papaya, RwLocked, SccIndex, SccMap};
#[cfg(feature = "openssl")]
pub use openssl::OpenSsl;
pub use ours::{AsItComes, Ours, Wheel, at, refused};
pub use sessions::Sessions;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use sessionwheel::DefaultHashBuilder;

use crate::{Id, Payload};

/// Seconds on the clock that the benches tell.
pub type Seconds = u64;

/// What a peer stores for an id.
#[derive(Clone, Debug)]
pub struct Session<V = Payload> {
    /// The last second at which it is valid.
    pub deadline: Seconds,
    /// The session's state.
    pub payload: V,
}

/// What can be a session's state.
pub trait Value: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> Value for V {}

/// How a peer gets rid of what has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It knows deadlines.
    Deadlines,
    /// A scan of everything, by `retain` or the like.
    Scan,
    /// Not to be had on request, or not at a time that the caller gives, or its destructors run later
    /// and cannot be waited for.
    None,
}

/// A cache or a map under test.
pub trait Peer<V: Value = Payload>: Send + Sync + Sized + 'static {
    /// What is handed to an insert. The peer that needs more than an id and a session says so here.
    type Prepared: Send;

    /// Its name in tables.
    fn name() -> String;

    /// The same where it is flushed: who scans is marked so.
    fn flushed_name() -> String {
        let how = match Self::EXPIRY {
            Expiry::Scan => " (scan)",
            Expiry::Deadlines | Expiry::None => "",
        };
        Self::name() + how
    }

    /// How it flushes.
    const EXPIRY: Expiry;
    /// Whether it holds to a maximum and makes room by itself.
    const BOUNDED: bool;

    /// An empty one for up to `maximum` sessions; `None`: as many as come.
    fn new(maximum: Option<usize>) -> Self;

    /// Makes what is handed to an insert: outside timed loops.
    fn prepare(id: Id, session: Session<V>) -> Self::Prepared;

    /// Adds or replaces.
    fn add(&self, prepared: Self::Prepared, now: Seconds);

    /// Both.
    #[inline]
    fn insert(&self, id: Id, session: Session<V>, now: Seconds) {
        self.add(Self::prepare(id, session), now);
    }

    /// Inserts many, in the order that is cheapest for it.
    fn fill(&self, sessions: impl Iterator<Item = (Id, Session<V>)>, now: Seconds) {
        for (id, session) in sessions {
            self.insert(id, session, now);
        }
        self.settle();
    }

    /// One self-contained lookup that clones the payload out.
    fn get(&self, id: &Id, now: Seconds) -> Option<V>;

    /// Removes a session and hands it out; exactly one of any number of callers gets it.
    fn take(&self, id: &Id, now: Seconds) -> Option<V>;

    /// Removes what has expired at `at`; how many that were. Does nothing with [`Expiry::None`].
    fn flush(&self, at: Seconds) -> usize;

    /// Does what is left to do: destructors that wait, logs that were not applied.
    fn settle(&self) {}

    /// How many sessions there are, or about so many; `None` if it does not tell.
    fn count(&self) -> Option<usize>;
}

/// Calls a generic function once for each peer that has a self-contained lookup; `$more` are its
/// arguments.
#[macro_export]
macro_rules! each_peer {
    ($f:ident ( $($more:expr),* )) => {{
        use $crate::peers;
        type Std = std::collections::hash_map::RandomState;
        type Our = sessionwheel::DefaultHashBuilder;
        $f::<peers::Ours>($($more),*);
        $f::<peers::Dash<Std>>($($more),*);
        $f::<peers::Dash<Our>>($($more),*);
        $f::<peers::Papaya<Std>>($($more),*);
        $f::<peers::Papaya<Our>>($($more),*);
        $f::<peers::SccMap<Std>>($($more),*);
        $f::<peers::SccMap<Our>>($($more),*);
        $f::<peers::SccIndex<Std>>($($more),*);
        $f::<peers::SccIndex<Our>>($($more),*);
        $f::<peers::QuickCache<Std>>($($more),*);
        $f::<peers::QuickCache<Our>>($($more),*);
        $f::<peers::Moka<Std>>($($more),*);
        $f::<peers::Moka<Our>>($($more),*);
        $f::<peers::MiniMoka<Std>>($($more),*);
        $f::<peers::MiniMoka<Our>>($($more),*);
        $f::<peers::RwLocked<Std>>($($more),*);
        $f::<peers::RwLocked<Our>>($($more),*);
        $f::<peers::LruShards<Std>>($($more),*);
        $f::<peers::LruShards<Our>>($($more),*);
        $f::<peers::Rustls>($($more),*);
        #[cfg(feature = "openssl")]
        $f::<peers::OpenSsl>($($more),*);
    }};
}

/// The part of [`Peer`] that is the same for all that are handed an id and a session.
macro_rules! handed_as_is {
    ($value:ty) => {
        type Prepared = (Id, Session<$value>);

        #[inline]
        fn prepare(id: Id, session: Session<$value>) -> Self::Prepared {
            (id, session)
        }
    };
}
use handed_as_is;

/// The hashers that peers are measured with; the faster one counts.
pub trait Hasher: BuildHasher + Clone + Default + Send + Sync + 'static {
    /// What it adds to a peer's name.
    const SUFFIX: &'static str;
}

impl Hasher for RandomState {
    const SUFFIX: &'static str = "";
}

impl Hasher for DefaultHashBuilder {
    const SUFFIX: &'static str = ", our hasher";
}

/// What a user of a plain map does with a deadline.
fn live<V: Value>(session: &Session<V>, now: Seconds) -> Option<V> {
    (session.deadline >= now).then(|| session.payload.clone())
}

/// What a peer hands out that stores no payloads of ours: one of the thread's own, so that threads
/// do not meet at its count.
fn stand_in() -> Payload {
    thread_local! {
        static PAYLOAD: Payload = crate::payload();
    }
    PAYLOAD.with(Payload::clone)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Expiry, Peer, Session};
    use crate::{BETWEEN, Ids, LATE, NOW, SOON, payload};

    /// Whether the clock of a flush stops when the last destructor has run.
    fn drops_what_it_flushes<P: Peer>() {
        if P::EXPIRY == Expiry::None {
            println!("{}: is not flushed", P::name());
            return;
        }
        let peer = P::new(None);
        let mut held = Vec::new();
        for (i, id) in Ids::new(1).many(1_000).into_iter().enumerate() {
            let payload = payload();
            held.push(Arc::downgrade(&payload));
            let deadline = if i % 2 == 0 { SOON } else { LATE };
            peer.insert(id, Session { deadline, payload }, NOW);
        }
        let alive = || held.iter().filter(|held| held.strong_count() > 0).count();
        let stores = alive() > 0;
        let removed = peer.flush(BETWEEN);
        peer.settle();
        // Who stores no payloads of ours is asked.
        let alive = if stores {
            alive()
        } else {
            peer.count().expect("it tells")
        };
        println!("{}: {removed} flushed, {alive} alive", P::name());
        assert_eq!((removed, alive), (500, 500), "{}", P::name());
    }

    #[test]
    fn every_peer_has_dropped_what_it_flushed_when_it_has_settled() {
        each_peer!(drops_what_it_flushes());
        drops_what_it_flushes::<super::Sessions>();
        drops_what_it_flushes::<super::AsItComes<super::Ours>>();
        drops_what_it_flushes::<super::AsItComes<super::Sessions>>();
    }
}
