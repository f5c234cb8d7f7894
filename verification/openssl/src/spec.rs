//! What handshakes do with a cache: one specification of both, in which each intended difference is a branch.

use std::collections::BTreeMap;

use sessionwheel::{Mode, Reason, Role};

use crate::difference::{Difference as D, Met};
use crate::handshake::Version;

/// How the caches at an end are set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// For which handshakes.
    pub mode: Mode,
    /// Whether lookups look inside.
    pub lookup: bool,
    /// Whether sessions are kept inside.
    pub store: bool,
    /// Whether a use renews.
    pub update_time: bool,
    /// Whether something lies outside.
    pub outside: bool,
    /// Room for so many; 0 is no limit.
    pub maximum: usize,
}

/// The timeout of what came from outside, once it is renewed: the cache's.
pub const TIMEOUT: i64 = 2_500;

/// A session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Until when it lives, in seconds.
    pub deadline: i64,
    /// For how long, each time.
    pub timeout: i64,
    /// Which of those of its id.
    pub serial: u32,
}

/// Sessions by id.
pub type Sessions = BTreeMap<usize, Kept>;

/// Of one end, as `SSL_CTX_sess_number(3)` has them; its handshakes, and what only ours has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Handshakes begun.
    pub begun: u64,
    /// Handshakes finished.
    pub good: u64,
    /// Resumptions.
    pub hits: u64,
    /// Fetched.
    pub cb_hits: u64,
    /// Not found inside.
    pub misses: u64,
    /// Found too late.
    pub timeouts: u64,
    /// Evicted.
    pub cache_full: u64,
    /// Not kept.
    pub declined: u64,
    /// Used elsewhere.
    pub unclaimed: u64,
}

/// What one operation has caused to be called, by id.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Events {
    /// New sessions that somebody was asked about.
    pub new: Vec<usize>,
    /// What was stored outside.
    pub stored: Vec<usize>,
    /// What was asked for outside.
    pub fetched: Vec<usize>,
    /// What has left.
    pub gone: Vec<(usize, Reason)>,
    /// What the outside was told to have left.
    pub told: Vec<usize>,
}

/// The state of one cache at one end.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What is inside.
    pub inside: Sessions,
    /// What is outside.
    pub outside: Sessions,
    /// What was counted.
    pub counts: Counts,
}

/// A cache, by the specification.
#[derive(Debug)]
pub struct Spec<'s> {
    /// Whether it is ours.
    pub ours: bool,
    /// Which end.
    pub role: Role,
    /// Of which version its handshakes are.
    pub version: Version,
    /// How it is set up.
    pub setup: Setup,
    /// The time, in seconds.
    pub now: i64,
    /// What it holds.
    pub state: &'s mut State,
    /// What it has called.
    pub events: Events,
    /// The differences.
    pub met: &'s Met,
}

impl Spec<'_> {
    /// Comes to an intended difference: whether this one is ours.
    fn differs(&self, difference: D) -> bool {
        if self.ours {
            self.met.add(difference);
        }
        self.ours
    }

    fn includes(&self) -> bool {
        self.setup.mode.includes(self.role)
    }

    fn valid(&self, kept: Kept) -> bool {
        self.now <= kept.deadline
    }

    /// Why one leaves: `reason`, unless its time has come before.
    fn reason(&self, kept: Kept, reason: Reason) -> Reason {
        if self.valid(kept) {
            reason
        } else {
            Reason::Expired
        }
    }

    fn leaves(&mut self, id: usize, reason: Reason) {
        self.events.gone.push((id, reason));
        if !matches!(reason, Reason::Replaced | Reason::Taken) {
            self.tell(id);
        }
    }

    /// Only ours has somebody outside to tell.
    fn tell(&mut self, id: usize) {
        if self.ours && self.setup.outside {
            self.events.told.push(id);
        }
    }

    /// Keeps a session inside.
    fn put(&mut self, id: usize, new: Kept) {
        if let Some(old) = self.state.inside.remove(&id) {
            let reason = self.reason(old, Reason::Replaced);
            let difference = match reason {
                Reason::Expired => D::ReplacedExpired,
                _ => D::ReplacementReported,
            };
            if self.differs(difference) {
                // Nobody outside is told, whatever the reason: the new one is there.
                self.events.gone.push((id, reason));
            }
        }
        while self.setup.maximum != 0 && self.state.inside.len() >= self.setup.maximum {
            let first = self
                .state
                .inside
                .iter()
                .min_by_key(|(_, kept)| kept.deadline);
            let (&victim, &kept) = first.expect("it is full");
            self.state.inside.remove(&victim);
            let reason = self.reason(kept, Reason::Evicted);
            self.leaves(victim, reason);
            if reason == Reason::Evicted || !self.differs(D::EvictedExpired) {
                self.state.counts.cache_full += 1;
            }
        }
        self.state.inside.insert(id, new);
    }

    /// A client offers an id: the session that is resumed.
    pub fn resume(&mut self, id: usize) -> Option<Kept> {
        if !self.includes() && (self.role == Role::Client || self.differs(D::OffLooksUp)) {
            return None;
        }
        if self.setup.lookup {
            match self.state.inside.get(&id).copied() {
                Some(found) if self.valid(found) => {
                    if self.setup.update_time && self.differs(D::UseRenews) {
                        let deadline = found.deadline.max(self.now + found.timeout);
                        self.state.inside.insert(id, Kept { deadline, ..found });
                    }
                    self.state.counts.hits += 1;
                    return Some(found);
                }
                Some(_) => {
                    self.state.counts.timeouts += 1;
                    // OpenSSL leaves it there, too, if it is a ticket of TLS 1.3.
                    if !self.version.is_13() && !self.differs(D::ExpiredStays) {
                        self.state.inside.remove(&id);
                        self.leaves(id, Reason::Expired);
                    }
                    return None;
                }
                None => self.state.counts.misses += 1,
            }
        }
        let mut found = self.fetch(id)?;
        let adds_anew = self.setup.store && self.setup.update_time;
        if adds_anew && !self.differs(D::FetchRenews) {
            found.deadline = self.now + found.timeout;
        }
        if !self.valid(found) && self.differs(D::ExpiredOutside) {
            return None;
        }
        self.state.counts.cb_hits += 1;
        found.timeout = TIMEOUT;
        if self.setup.store {
            self.put(id, found);
        }
        if !self.valid(found) {
            // Only OpenSSL's comes here.
            self.state.counts.timeouts += 1;
            if !self.version.is_13() {
                self.state.inside.remove(&id);
                self.leaves(id, Reason::Expired);
            }
            return None;
        }
        self.state.counts.hits += 1;
        Some(found)
    }

    /// What is outside, valid or not.
    fn fetch(&mut self, id: usize) -> Option<Kept> {
        if !self.setup.outside {
            return None;
        }
        self.events.fetched.push(id);
        self.state.outside.get(&id).copied()
    }

    /// A client offers a session, and its server resumes it or not: what the client has found itself.
    pub fn offer(&mut self, id: usize, resumed: bool) -> Option<Kept> {
        if self.differs(D::ClientLooksUp) {
            return self.resume(id);
        }
        if resumed {
            self.state.counts.hits += 1;
        } else {
            self.state.counts.misses += 1;
        }
        None
    }

    /// A client of TLS 1.3 has resumed it, and does so once.
    pub fn used(&mut self, id: usize) {
        if self.includes() {
            self.remove(id);
        }
    }

    /// A handshake has made a session, which is welcome or not.
    pub fn established(&mut self, id: usize, new: Kept, keeps: bool) {
        if !self.includes() {
            self.declined();
            return;
        }
        self.events.new.push(id);
        if !keeps {
            if self.differs(D::DeclinedIsNowhere) {
                self.declined();
                return;
            }
        } else if self.setup.outside {
            self.state.outside.insert(id, new);
            self.events.stored.push(id);
        }
        if self.setup.store {
            self.put(id, new);
        }
    }

    /// OpenSSL does not count that.
    fn declined(&mut self) {
        self.state.counts.declined += u64::from(self.ours);
    }

    /// Whoever wants to resume a session takes it, so that nobody else does. The session.
    pub fn take(&mut self, id: usize) -> Option<Kept> {
        if !self.ours {
            // OpenSSL's removal, which finds no more than what is inside, and tells of it anyway.
            self.leaves(id, Reason::Taken);
            return self.state.inside.remove(&id);
        }
        if !self.includes() {
            return None;
        }
        self.met.add(D::TakeIsCounted);
        if self.setup.lookup {
            match self.state.inside.get(&id).copied() {
                Some(found) if self.valid(found) => {
                    self.state.inside.remove(&id);
                    self.leaves(id, Reason::Taken);
                    return self.claim(id, found);
                }
                Some(_) => {
                    self.met.add(D::TakeOfExpired);
                    self.state.counts.timeouts += 1;
                    return None;
                }
                None => self.state.counts.misses += 1,
            }
        }
        let found = self.fetch(id).filter(|found| self.valid(*found))?;
        self.met.add(D::TakeGoesOutside);
        self.state.counts.cb_hits += 1;
        let claimed = self.claim(id, found);
        // Where nobody has looked inside before, what is valid there is taken too.
        let inside = self.state.inside.get(&id).copied();
        if claimed.is_some() && !self.setup.lookup && inside.is_some_and(|kept| self.valid(kept)) {
            self.state.inside.remove(&id);
            self.leaves(id, Reason::Taken);
        }
        claimed
    }

    fn claim(&mut self, id: usize, found: Kept) -> Option<Kept> {
        if self.setup.outside && self.state.outside.remove(&id).is_none() {
            self.state.counts.unclaimed += 1;
            return None;
        }
        self.state.counts.hits += 1;
        Some(found)
    }

    /// A session is to be resumed no more. Whether it was inside.
    pub fn remove(&mut self, id: usize) -> bool {
        let removed = self.state.inside.remove(&id).is_some();
        if removed || !self.differs(D::AbsentReported) {
            self.leaves(id, Reason::Removed);
        } else {
            self.tell(id);
        }
        removed
    }

    /// All that has expired leaves. How many.
    pub fn flush(&mut self) -> usize {
        let now = self.now;
        let expired = (self.state.inside.iter()).filter(|(_, kept)| kept.deadline < now);
        let expired: Vec<_> = expired.map(|(&id, _)| id).collect();
        for &id in &expired {
            self.state.inside.remove(&id);
            self.leaves(id, Reason::Expired);
        }
        expired.len()
    }
}
