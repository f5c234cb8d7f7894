//! OpenSSL's cache and ours, and what has to be equal after each operation.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sessionwheel::{
    Clock, Context, ManualClock, Reason, SessionCache, SessionId, SessionKey, Timestamp,
};

use crate::difference::{Difference, Met};
use crate::ffi;
use crate::op::{IDS, Op, Timeout, bytes, id_of};

/// What was wrong.
pub type Wrong = String;

/// Fails if this does not hold.
macro_rules! ensure {
    ($holds:expr, $($wrong:tt)+) => {
        if !$holds {
            return Err(format!($($wrong)+));
        }
    };
}
pub(crate) use ensure;

/// When the clock starts, in seconds since 1970. Sessions are born within a day of it.
pub const START: i64 = 1_000_000;

/// A deadline that never comes, in seconds.
pub(crate) const NEVER: i64 = i64::MAX;

/// From here on deadlines are never: what 64 bits of nanoseconds do not hold.
pub(crate) const FAR: i64 = (u64::MAX / 1_000_000_000) as i64 + 1;

/// How much was done.
#[derive(Default, Debug)]
pub struct Seen {
    /// Sequences of operations, each on new caches.
    pub sequences: Cell<u64>,
    /// Operations.
    pub operations: Cell<u64>,
    /// Sessions compared: is it in both, the same, with the same deadline?
    pub sessions: Cell<u64>,
    /// Sessions that an operation removed from both.
    pub removals: Cell<u64>,
    /// Those among them that had to make room.
    pub evictions: Cell<u64>,
    /// Intended differences.
    pub met: Met,
}

impl Seen {
    pub(crate) fn count(cell: &Cell<u64>, more: usize) {
        cell.set(cell.get() + more as u64);
    }
}

/// A cached session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cached {
    /// Which object, or the value that stands for it.
    pub(crate) serial: u32,
    /// The second until which it lives.
    pub(crate) deadline: i64,
}

impl Cached {
    /// As we keep it.
    pub(crate) fn kept(self) -> i64 {
        kept(self.deadline)
    }
}

/// A deadline as we keep it.
pub(crate) fn kept(deadline: i64) -> i64 {
    if deadline >= FAR { NEVER } else { deadline }
}

/// What is cached, by id.
pub(crate) type State = [Option<Cached>; IDS];

/// How many are cached.
pub(crate) fn count(state: &State) -> usize {
    state.iter().flatten().count()
}

/// The deadlines of these, as we keep them, sorted.
pub(crate) fn deadlines(state: &State, ids: &[usize]) -> Vec<i64> {
    let of = |&id: &usize| state[id].map(Cached::kept);
    let mut deadlines: Vec<_> = ids.iter().filter_map(of).collect();
    deadlines.sort_unstable();
    deadlines
}

/// The deadlines of those that expire first, but for one.
pub(crate) fn earliest(state: &State, but: usize, most: usize) -> Vec<i64> {
    let others: Vec<_> = (0..IDS).filter(|&id| id != but).collect();
    let mut deadlines = deadlines(state, &others);
    deadlines.truncate(most);
    deadlines
}

pub(crate) fn set(ids: &[usize]) -> BTreeSet<usize> {
    ids.iter().copied().collect()
}

/// An object of OpenSSL's that we know.
pub(crate) struct Known {
    pub(crate) session: ffi::Session,
    pub(crate) serial: u32,
    /// Whether it has to say that it is resumable.
    pub(crate) resumable: bool,
}

/// One that has left our cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Left {
    pub(crate) id: usize,
    pub(crate) serial: u32,
    pub(crate) reason: Reason,
}

/// How caches and sequences are made.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Ids are drawn from 1 up to here.
    pub ids: usize,
    /// Room for so many at first, as OpenSSL counts.
    pub size: i64,
}

/// Both caches.
pub struct Pair {
    pub(crate) theirs: ffi::Cache,
    pub(crate) ours: SessionCache<u32>,
    pub(crate) hand: ManualClock,
    pub(crate) version: (u32, u32, u32),
    left: Arc<Mutex<Vec<Left>>>,
    /// By id: the object made last, and the one before.
    pub(crate) known: Vec<[Option<Known>; 2]>,
    /// What both held after the last operation; deadlines as OpenSSL has them.
    pub(crate) state: State,
    pub(crate) next: u32,
    /// How many have left ours so far: evicted, replaced, expired, removed, taken, cleared.
    totals: [u64; 6],
}

impl Pair {
    /// Two empty caches.
    ///
    /// # Panics
    /// If the library is older than 3.0.6.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let version = ffi::version();
        assert!(version >= (3, 0, 6), "{} is older than 3.0.6", ffi::name());
        let left = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&left);
        let (clock, hand) = Clock::manual(seconds(START));
        let ours = SessionCache::builder()
            .shards(1)
            .clock(clock)
            .lineage(None)
            .automatic_flush(None)
            .helpers(0, |_| unreachable!("zero helpers"))
            .on_remove(move |key, serial, reason| {
                let (id, serial) = (id_of(key.id().as_bytes()), *serial);
                log.lock().unwrap().push(Left { id, serial, reason });
            })
            .build()
            .expect("one shard");
        // What another pair left unread, because it failed.
        drop(ffi::reported());
        let mut pair = Self {
            theirs: ffi::Cache::new(),
            ours,
            hand,
            version,
            left,
            known: (0..IDS).map(|_| [None, None]).collect(),
            state: [None; IDS],
            next: 0,
            totals: [0; 6],
        };
        pair.theirs.set_size(setup.size);
        let before = pair.ours.sess_set_cache_size(holds(setup.size));
        assert_eq!(before, Ok(20_480), "the default");
        pair
    }

    /// The time, in seconds.
    pub(crate) fn now(&self) -> i64 {
        (self.hand.now().as_nanos() / 1_000_000_000) as i64
    }

    /// Does it to both, and compares.
    ///
    /// # Errors
    /// If they differ in what is not in the table.
    pub fn step(&mut self, op: &Op, seen: &Seen) -> Result<(), Wrong> {
        Seen::count(&seen.operations, 1);
        self.perform(op, seen)?;
        self.compare(seen)
    }

    /// Those OpenSSL has called the callback for since this was last called, in order.
    pub(crate) fn reported() -> Vec<usize> {
        ffi::reported().iter().map(|id| id_of(id)).collect()
    }

    /// Those that have left ours since this was last called.
    pub(crate) fn left(&mut self) -> Vec<Left> {
        let left = std::mem::take(&mut *self.left.lock().unwrap());
        for one in &left {
            let total = match one.reason {
                Reason::Evicted => 0,
                Reason::Replaced => 1,
                Reason::Expired => 2,
                Reason::Removed => 3,
                Reason::Taken => 4,
                _ => 5,
            };
            self.totals[total] += 1;
        }
        left
    }

    /// Until when an object lives.
    pub(crate) fn deadline_of(&self, session: ffi::View<'_>) -> i64 {
        let deadline = session.time().saturating_add(session.timeout());
        // From 3.2 on the longest timeout reads back as some 584 years, and ends never.
        if self.version >= (3, 2, 0) {
            kept(deadline)
        } else {
            deadline
        }
    }

    /// Whether an object is the one that OpenSSL has cached.
    pub(crate) fn is_cached(&self, id: usize, known: &Known) -> bool {
        self.state[id].is_some_and(|cached| cached.serial == known.serial)
    }

    /// So many seconds, as `SSL_SESSION_set_timeout` takes them.
    pub(crate) fn timeout(&self, timeout: Timeout) -> i64 {
        match timeout {
            Timeout::Seconds(seconds) => seconds,
            // From 3.2 on these are multiplied by 10^9, unchecked, and come out short. The longest comes out
            // long, by luck.
            Timeout::Far if self.version < (3, 2, 0) => 20_000_000_000,
            Timeout::Far | Timeout::Never => i64::MAX,
            Timeout::Negative => -1,
        }
    }

    fn state_of_theirs(&self) -> Result<State, Wrong> {
        let mut state = [None; IDS];
        let mut wrong = None;
        self.theirs.each(|session| {
            let id = id_of(session.id());
            let mut known = self.known[id].iter().flatten();
            let Some(known) = known.find(|known| known.session.is(session)) else {
                wrong = Some(format!(
                    "OpenSSL has an object of {id} that it should have let go"
                ));
                return;
            };
            state[id] = Some(Cached {
                serial: known.serial,
                deadline: self.deadline_of(session),
            });
        });
        wrong.map_or(Ok(state), Err)
    }

    pub(crate) fn state_of_ours(&self) -> Result<State, Wrong> {
        let mut state = [None; IDS];
        let guard = self.ours.pin();
        for session in self.ours.iter(&guard) {
            let id = id_of(session.key().id().as_bytes());
            let deadline = match session.deadline() {
                Timestamp::NEVER => NEVER,
                deadline => {
                    let nanos = deadline.as_nanos();
                    ensure!(nanos % 1_000_000_000 == 0, "{id} expires within a second");
                    (nanos / 1_000_000_000) as i64
                }
            };
            ensure!(state[id].is_none(), "ours shows {id} twice");
            let serial = *session.value();
            state[id] = Some(Cached { serial, deadline });
        }
        Ok(state)
    }

    fn compare(&mut self, seen: &Seen) -> Result<(), Wrong> {
        let (theirs, ours) = (self.state_of_theirs()?, self.state_of_ours()?);
        let now = self.now();
        for id in 1..IDS {
            let wanted = theirs[id].map(|cached| (cached.serial, cached.kept()));
            let got = ours[id].map(|cached| (cached.serial, cached.deadline));
            ensure!(
                got == wanted,
                "{id} is (session, deadline) {wanted:?} in OpenSSL, {got:?} in ours"
            );
            let there = theirs[id].is_some();
            ensure!(
                self.theirs.has(&bytes(id)) == there,
                "OpenSSL's lookup of {id} is wrong"
            );
            let valid = theirs[id].is_some_and(|cached| now <= cached.kept());
            ensure!(
                self.ours.contains(&key(id)) == valid,
                "our lookup of {id}, {wanted:?}, at {now} should say {valid}"
            );
            for known in self.known[id].iter().flatten() {
                let says = known.session.view().is_resumable();
                ensure!(
                    says == known.resumable,
                    "session {} of {id} says resumable: {says}",
                    known.serial
                );
            }
        }
        let there = count(&theirs);
        Seen::count(&seen.sessions, there);
        let numbers = (self.theirs.number(), self.ours.len());
        ensure!(
            numbers == (there, there),
            "{there} are there, and they say {numbers:?}"
        );
        let (unread, left) = (Self::reported(), self.left());
        ensure!(
            unread.is_empty() && left.is_empty(),
            "reported for nothing: {unread:?} by OpenSSL, {left:?} by ours"
        );
        let stats = self.ours.stats();
        let counted = [
            stats.evicted,
            stats.replaced,
            stats.expired,
            stats.removed,
            stats.taken,
            stats.cleared,
        ];
        ensure!(
            counted == self.totals && stats.live == there as u64,
            "{there} are there, {:?} were reported, and ours counts {stats:?}",
            self.totals
        );
        self.state = theirs;
        Ok(())
    }

    /// After an intended difference: gives OpenSSL what ours has, all of it anew.
    pub(crate) fn follow(&mut self) -> Result<(), Wrong> {
        let ours = self.state_of_ours()?;
        let size = self.theirs.set_size(0);
        let state = self.state_of_theirs()?;
        self.theirs.flush(0);
        for id in 1..IDS {
            for known in self.known[id].iter_mut().flatten() {
                let is = |cached: Option<Cached>| cached.is_some_and(|c| c.serial == known.serial);
                if is(state[id]) {
                    known.resumable = false;
                }
                if is(ours[id]) {
                    known.session = known.session.again();
                    known.resumable = true;
                    // SAFETY: sessions of a pair are added to its cache only.
                    let added = unsafe { self.theirs.add(&known.session) };
                    ensure!(added, "OpenSSL did not take {id} again");
                }
            }
        }
        drop(ffi::reported());
        self.theirs.set_size(size);
        Ok(())
    }

    /// Drops both.
    ///
    /// # Errors
    /// If anything is left of either, or the wrong ones are reported.
    pub fn finish(self, seen: &Seen) -> Result<(), Wrong> {
        Seen::count(&seen.sequences, 1);
        let there: Vec<_> = (0..IDS).filter(|&id| self.state[id].is_some()).collect();
        let (theirs, ours, log) = (self.theirs, self.ours, Arc::clone(&self.left));
        drop(theirs);
        let reported = Self::reported();
        ensure!(
            set(&reported) == set(&there),
            "OpenSSL was dropped with {there:?}, and reported {reported:?}"
        );
        drop(ours);
        let left = std::mem::take(&mut *log.lock().unwrap());
        ensure!(left.is_empty(), "ours was dropped, and reported {left:?}");
        if !there.is_empty() {
            seen.met.add(Difference::DropReportsNobody);
        }
        Ok(())
    }
}

/// OpenSSL's size as ours: N holds N - 1 there, but for 1. In both 0 is no limit.
pub(crate) fn holds(size: i64) -> i64 {
    if size < 2 { size } else { size - 1 }
}

pub(crate) fn key(id: usize) -> SessionKey {
    let id = SessionId::new(&bytes(id)).expect("at most 32 bytes");
    SessionKey::new(Context::DEFAULT, id)
}

/// A time on our clock.
pub(crate) fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_secs(u64::try_from(seconds).expect("after 1970"))
}

/// From `now` to a deadline, which is not before it.
pub(crate) fn until(deadline: i64, now: i64) -> Duration {
    if deadline == NEVER {
        return Duration::MAX;
    }
    let seconds = u64::try_from(deadline - now).expect("not in the past");
    Duration::from_secs(seconds)
}
