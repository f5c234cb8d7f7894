//! Permits bound the live entries: no more of them exist than the maximum.
//!
//! Ground rules:
//! - Who publishes a new entry has a permit; who sets a mark has it back. An eviction hands the
//!   victim's over.
//! - Every shard starts with its part of them and keeps what its removals return. A shard that has
//!   none takes one from another, for itself alone: no permit is in transit (but while the maximum is
//!   lowered: there those are that it leaves no room for; and in `settle`). Each return moves a stamp, so that who has found none
//!   anywhere knows whether one was returned behind its back. Who finds none, and none returned
//!   meanwhile, may evict: there was an instant at which every permit was in use, or in the hand of a flush
//!   that had just removed its entry (`batch` says how many may be).
//! - The maximum and how many permits have been issued are one word, so that two who change the
//!   maximum agree on what to issue. What is issued beyond the maximum is a *debt*, which spare
//!   permits and evictions pay. Who lowers the maximum first takes the spare permits that have to go: debt
//!   is what entries are too many then. (Two who lower it at once, or one beside removals, may still meet
//!   debt that permits in transit pay: then an entry leaves that might have stayed.)
//!
//! All counters are Relaxed, unless said: they order nothing, and each is exact by itself.

use crate::geometry::NUMBER_BITS;
use crate::sync::Padded;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use crate::sync::yield_now;

/// "Unlimited", as a number of permits.
pub(crate) const UNLIMITED: u64 = u32::MAX as u64;

/// A shard's word: so many bits of spare permits, and above them the stamp.
const COUNT_BITS: u32 = 48;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const STAMP: u64 = 1 << COUNT_BITS;

/// Slots in reserve for removed entries that are still readable: so many in all, or an eighth of
/// the maximum if that is more. One thread at one retired slot per operation keeps some 300
/// waiting, two threads 23,000.
const SLACK: u64 = 16_384;
const SLACK_SHARE: u64 = 8;

/// How often a count is taken again because permits were in transit.
const COUNTS: usize = if cfg!(loom) { 1 } else { 64 };

pub(crate) struct Permits {
    ledger: AtomicU64,
    /// How often a thread has begun and ended to bring spare permits into existence, or out of it.
    begun: AtomicU64,
    ended: AtomicU64,
    spare: Box<[Padded<Spare>]>,
    /// How many threads are evicting to pay debt, or about to find that all of it is promised.
    promised: AtomicU64,
}

/// A thread evicts to pay debt until this is dropped.
pub(crate) struct Promise<'p>(&'p AtomicU64);

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        // Release: as said in `promise`.
        self.0.fetch_sub(1, Release);
    }
}

/// The maximum, and how many permits exist: a half of a word each.
#[derive(Clone, Copy)]
struct Ledger {
    maximum: u32,
    issued: u32,
}

impl Ledger {
    fn from_raw(raw: u64) -> Self {
        Self {
            maximum: (raw >> 32) as u32,
            issued: raw as u32,
        }
    }

    fn raw(self) -> u64 {
        u64::from(self.maximum) << 32 | u64::from(self.issued)
    }

    fn debt(self) -> u32 {
        self.issued.saturating_sub(self.maximum)
    }
}

/// One shard's spare permits, and how often any were returned to it (modulo 2^16).
struct Spare(AtomicU64);

impl Spare {
    fn count(&self) -> u64 {
        self.0.load(Relaxed) & COUNT
    }

    /// Count and stamp of one moment.
    #[inline]
    fn read(&self) -> (u64, u64) {
        // Acquire: partner of the Release in `take_from`. Who finds a shard empty sees what was
        // returned to the others before its last permit went.
        let word = self.0.load(Acquire);
        (word & COUNT, word >> COUNT_BITS)
    }

    #[inline]
    fn give(&self, permits: u64) {
        // The stamp wraps out of the word at the top.
        self.0.fetch_add(STAMP + permits, Relaxed);
    }

    #[inline]
    fn take(&self, most: u64) -> u64 {
        take_from(&self.0, COUNT, most)
    }
}

/// The right to publish one entry; given back unless it is used.
pub(crate) struct Permit<'p> {
    permits: &'p Permits,
    shard: usize,
}

impl Permit<'_> {
    pub(crate) fn use_up(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.give(self.shard, 1);
    }
}

/// As a number of permits.
pub(crate) fn number(maximum: Option<usize>) -> u64 {
    maximum.map_or(UNLIMITED, |n| (n as u64).min(UNLIMITED))
}

/// And back.
pub(crate) fn maximum(number: u64) -> Option<usize> {
    (number < UNLIMITED).then_some(number as usize)
}

/// How many slots a shard may use: its part of the maximum, what chance may add to that, and its
/// part of the slack.
pub(crate) fn slots_per_shard(maximum: u64, shards: u64) -> u32 {
    if maximum == UNLIMITED {
        return u32::MAX;
    }
    let part = maximum.div_ceil(shards);
    let spread = if shards == 1 {
        0
    } else {
        6 * (part.isqrt() + 1)
    };
    let slack = (maximum / SLACK_SHARE).max(SLACK).div_ceil(shards);
    u32::try_from(part + spread + slack).unwrap_or(u32::MAX)
}

/// Whether so many shards can have the slots for a maximum.
pub(crate) fn has_slots_for(maximum: u64, shards: usize) -> bool {
    slots_per_shard(maximum, shards as u64) < (1 << NUMBER_BITS) - 1
}

impl Permits {
    pub(crate) fn new(maximum: u64, shards: usize) -> Self {
        let permits = Self {
            ledger: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            spare: (0..shards)
                .map(|_| Padded(Spare(AtomicU64::new(0))))
                .collect(),
            promised: AtomicU64::new(0),
        };
        permits.set_maximum(maximum);
        permits
    }

    fn ledger(&self) -> Ledger {
        Ledger::from_raw(self.ledger.load(Relaxed))
    }

    /// Changes the ledger in one step; what it was before.
    fn change(&self, change: impl Fn(Ledger) -> Ledger) -> Ledger {
        let mut now = self.ledger.load(Relaxed);
        loop {
            let next = change(Ledger::from_raw(now)).raw();
            match self
                .ledger
                .compare_exchange_weak(now, next, Relaxed, Relaxed)
            {
                Ok(_) => return Ledger::from_raw(now),
                Err(other) => now = other,
            }
        }
    }

    fn spread(&self, permits: u64) {
        let shards = self.spare.len() as u64;
        for (i, spare) in self.spare.iter().enumerate() {
            let extra = u64::from((i as u64) < permits % shards);
            spare.give(permits / shards + extra);
        }
    }

    #[inline]
    pub(crate) fn maximum(&self) -> u64 {
        self.ledger().maximum.into()
    }

    #[inline]
    pub(crate) fn debt(&self) -> u64 {
        self.ledger().debt().into()
    }

    /// A permit for a shard, if there is one anywhere.
    #[inline]
    pub(crate) fn take(&self, shard: usize) -> Option<Permit<'_>> {
        if self.debt() != 0 {
            self.settle();
            if self.debt() != 0 {
                return None;
            }
        }
        let own = self.spare[shard].take(1) == 1;
        (own || self.take_elsewhere(shard)).then(|| self.permit(shard))
    }

    #[cold]
    fn take_elsewhere(&self, shard: usize) -> bool {
        let (before, behind) = self.spare.split_at(shard);
        let all = || behind.iter().chain(before);
        loop {
            let mut count = 0;
            let mut before: u64 = 0;
            for spare in &self.spare {
                let (permits, stamp) = spare.read();
                count |= permits;
                before = before.wrapping_add(stamp);
            }
            if count != 0 {
                step!("permit: has seen one elsewhere");
                if all().any(|spare| spare.take(1) == 1) {
                    return true;
                }
                continue; // others were faster
            }
            step!("permit: has seen none");
            // The same stamps again: then all were empty at the moment between.
            let stamps = self.spare.iter().map(|spare| spare.read().1);
            if stamps.fold(0, u64::wrapping_add) == before {
                return false;
            }
        }
    }

    /// A permit that an eviction has handed over.
    pub(crate) fn permit(&self, shard: usize) -> Permit<'_> {
        Permit {
            permits: self,
            shard,
        }
    }

    /// Returns permits whose entries have left.
    #[inline]
    pub(crate) fn give(&self, shard: usize, permits: u64) {
        let left = if self.debt() == 0 {
            permits
        } else {
            permits - self.pay(permits)
        };
        if left != 0 {
            self.spare[shard].give(left);
        }
    }

    /// Pays debt with permits that the caller has. How many went.
    fn pay(&self, permits: u64) -> u64 {
        let paid = |ledger: Ledger| u64::from(ledger.debt()).min(permits);
        let before = self.change(|ledger| Ledger {
            issued: ledger.issued - paid(ledger) as u32,
            ..ledger
        });
        paid(before)
    }

    /// The right to pay one of the debt, if others have not promised to pay all of it.
    pub(crate) fn promise(&self) -> Option<Promise<'_>> {
        // Acquire: partner of the Release where a promise ends: who comes after that sees what was
        // paid, and does not promise the same.
        let others = self.promised.fetch_add(1, Acquire);
        let promise = Promise(&self.promised);
        (others < self.debt()).then_some(promise)
    }

    /// Calls what moves permits between the ledger and the shards.
    fn moving<R>(&self, f: impl FnOnce() -> R) -> R {
        self.begun.fetch_add(1, Relaxed);
        // Partner: the fence in `in_use`. Who counts without a permit that is in transit sees that
        // this has begun.
        fence(Release);
        let done = f();
        // Release: partner of the Acquire in `in_use`. Who counts after this has ended finds all
        // permits in their places.
        self.ended.fetch_add(1, Release);
        done
    }

    /// Pays debt with spare permits.
    #[cold]
    pub(crate) fn settle(&self) {
        self.moving(|| {
            for spare in &self.spare {
                let debt = self.debt();
                if debt == 0 {
                    break;
                }
                let taken = spare.take(debt);
                step!("permit: has some to pay with");
                let paid = self.pay(taken);
                if paid < taken {
                    spare.give(taken - paid);
                }
            }
        });
    }

    /// Takes what spare permits a maximum leaves no room for: before it is lowered, so that nobody meets a
    /// debt for which there are permits, or misses them. As many stay as it leaves room for.
    fn take_surplus(&self, maximum: u32) -> u32 {
        let surplus = u64::from(self.ledger().issued.saturating_sub(maximum));
        let mut taken = 0;
        loop {
            let before = taken;
            for spare in &self.spare {
                taken += spare.take(surplus - taken);
            }
            if taken == before {
                return taken as u32;
            }
        }
    }

    /// What it was before.
    pub(crate) fn set_maximum(&self, new: u64) -> u64 {
        let maximum = u32::try_from(new).unwrap_or(u32::MAX);
        let before = self.moving(|| {
            let taken = self.take_surplus(maximum);
            step!("permit: has taken what goes");
            let before = self.change(|ledger| Ledger {
                maximum,
                issued: (ledger.issued - taken).max(maximum),
            });
            step!("permit: has issued");
            let left = before.issued - taken;
            self.spread(maximum.saturating_sub(left).into());
            before.maximum
        });
        self.settle();
        before.into()
    }

    /// Entries that are published, or about to be: never more than the maximum once a lowered one
    /// is paid for. `None` if the maximum is being changed again and again, or somebody was stopped
    /// while changing it.
    pub(crate) fn in_use(&self) -> Option<u64> {
        (0..COUNTS).find_map(|round| {
            if round > COUNTS / 2 {
                yield_now();
            }
            let ended = self.ended.load(Acquire);
            let spare: u64 = self.spare.iter().map(|s| s.count()).sum();
            let in_use = u64::from(self.ledger().issued).saturating_sub(spare);
            fence(Acquire);
            (self.begun.load(Relaxed) == ended).then_some(in_use)
        })
    }
}

/// Takes up to `most` from the lower bits of a counter. How many there were.
#[inline]
fn take_from(counter: &AtomicU64, bits: u64, most: u64) -> u64 {
    let mut now = counter.load(Relaxed);
    loop {
        let taken = (now & bits).min(most);
        if taken == 0 {
            return 0;
        }
        // Release: as said in `Spare::read`.
        match counter.compare_exchange_weak(now, now - taken, Release, Relaxed) {
            Ok(_) => return taken,
            Err(other) => now = other,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn in_use(permits: &Permits) -> u64 {
        permits.in_use().expect("nobody changes the maximum")
    }

    fn take(permits: &Permits, shard: usize) -> bool {
        permits.take(shard).map(Permit::use_up).is_some()
    }

    #[test]
    fn all_permits_can_be_had_from_any_shard() {
        let permits = Permits::new(10, 4);
        for i in 0..10 {
            assert_eq!(in_use(&permits), i);
            assert!(take(&permits, 2));
        }
        assert!(!take(&permits, 2));
        permits.give(0, 1);
        assert!(take(&permits, 2));
    }

    #[test]
    fn one_that_is_not_used_comes_back() {
        let permits = Permits::new(1, 2);
        drop(permits.take(0));
        assert_eq!(in_use(&permits), 0);
    }

    #[test]
    fn lowering_makes_a_debt_that_is_paid_first() {
        let permits = Permits::new(8, 2);
        for _ in 0..6 {
            assert!(take(&permits, 0));
        }
        permits.set_maximum(3);
        assert_eq!(permits.debt(), 3, "two spare ones went at once");
        assert_eq!(in_use(&permits), 6);
        permits.give(1, 2);
        assert!(!take(&permits, 0));
        permits.give(1, 2);
        assert_eq!(in_use(&permits), 2);
        assert!(take(&permits, 0));
        assert!(!take(&permits, 0));
        permits.set_maximum(4);
        assert!(take(&permits, 0));
        assert!(!take(&permits, 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes there, and has one thread")]
    fn stamps_wrap_and_leave_the_count_alone() {
        let permits = Permits::new(3, 1);
        for _ in 0..70_000 {
            assert!(take(&permits, 0));
            permits.give(0, 1);
        }
        assert_eq!(in_use(&permits), 0);
    }

    #[test]
    fn no_more_is_promised_than_there_is_to_pay() {
        let permits = Permits::new(3, 1);
        assert!((0..3).all(|_| take(&permits, 0)));
        assert!(permits.promise().is_none());
        permits.set_maximum(1);
        let promises = [permits.promise(), permits.promise()];
        assert!(promises.iter().all(Option::is_some));
        assert!(permits.promise().is_none(), "both are promised");
        assert_eq!(in_use(&permits), 3, "and none is paid");
        permits.give(0, 1);
        drop(promises);
        assert_eq!((in_use(&permits), permits.debt()), (2, 1));
        assert!(permits.promise().is_some());
    }

    #[test]
    fn unlimited_and_back() {
        let permits = Permits::new(UNLIMITED, 4);
        for _ in 0..5 {
            assert!(take(&permits, 1));
        }
        permits.set_maximum(2);
        assert_eq!((in_use(&permits), permits.debt()), (5, 3));
        permits.set_maximum(UNLIMITED);
        assert_eq!((in_use(&permits), permits.debt()), (5, 0));
    }

    #[test]
    fn spare_permits_pay_before_one_is_taken() {
        // As one who lowers the maximum leaves it who was stopped before taking what goes.
        let lowered = |used, maximum| {
            let permits = Permits::new(8, 2);
            assert!((0..used).all(|_| take(&permits, 0)));
            permits.change(|ledger| Ledger { maximum, ..ledger });
            permits
        };
        let permits = lowered(0, 3);
        assert_eq!(permits.debt(), 5);
        assert!(take(&permits, 0), "all of it can be paid");
        assert_eq!((permits.debt(), in_use(&permits)), (0, 1));
        let permits = lowered(2, 1);
        assert!(!take(&permits, 0), "not all of it can");
        assert_eq!((permits.debt(), in_use(&permits)), (1, 2));
    }

    #[test]
    fn each_return_moves_a_stamp() {
        let spare = Spare(AtomicU64::new(0));
        spare.give(3);
        assert_eq!((spare.read(), spare.count()), ((3, 1), 3));
        spare.give(2);
        assert_eq!((spare.read(), spare.count()), ((5, 2), 5));
        assert_eq!((spare.take(4), spare.read()), (4, (1, 2)));
        assert_eq!((spare.take(4), spare.take(4)), (1, 0));
    }

    #[test]
    fn permits_are_spread_evenly_and_what_there_was_is_told() {
        let permits = Permits::new(10, 4);
        let spare = || permits.spare.iter().map(|spare| spare.count());
        assert!(spare().eq([3, 3, 2, 2]));
        assert_eq!(permits.set_maximum(15), 10);
        assert!(spare().eq([5, 4, 3, 3]));
        assert_eq!(
            (permits.set_maximum(UNLIMITED), permits.maximum()),
            (15, UNLIMITED)
        );
        for n in [0, 1, UNLIMITED as usize - 1] {
            assert_eq!(maximum(number(Some(n))), Some(n));
        }
        for unlimited in [None, Some(UNLIMITED as usize), Some(usize::MAX)] {
            assert_eq!(
                (number(unlimited), maximum(number(unlimited))),
                (UNLIMITED, None)
            );
        }
    }

    #[test]
    fn a_shard_has_slots_for_as_many_as_there_are_numbers() {
        for shards in [1, 2, 16] {
            let all = 0..shards as u64 * (1 << NUMBER_BITS);
            let (mut fits, mut not) = (all.start, all.end);
            while not - fits > 1 {
                let n = u64::midpoint(fits, not);
                *if has_slots_for(n, shards) {
                    &mut fits
                } else {
                    &mut not
                } = n;
            }
            let slots = |n| slots_per_shard(n, shards as u64);
            let last = (1 << NUMBER_BITS) - 2;
            assert!(slots(fits) <= last && slots(not) > last, "{shards} shards");
        }
    }

    #[test]
    fn slots_allow_for_chance_and_slack() {
        assert_eq!(slots_per_shard(64, 1), 64 + 16_384);
        assert_eq!(slots_per_shard(1_000_000, 16), 62_500 + 6 * 251 + 7_813);
        assert!(slots_per_shard(UNLIMITED, 16) > 1 << 30);
    }
}
