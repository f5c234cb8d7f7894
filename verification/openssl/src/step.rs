//! How each operation is done on either side, and what both must have done.

use std::collections::BTreeSet;

use sessionwheel::{Reason, SessionOptions};

use crate::difference::Difference as D;
use crate::ffi;
use crate::op::{By, IDS, Op, Timeout, When, bytes};
use crate::pair::{
    Cached, FAR, Known, Left, NEVER, Pair, Seen, State, Wrong, count, deadlines, earliest, ensure,
    holds, kept, key, seconds, set, until,
};

/// Nobody's id.
const NOBODY: usize = 0;

fn ids(left: &[Left]) -> Vec<usize> {
    left.iter().map(|one| one.id).collect()
}

impl Pair {
    pub(crate) fn perform(&mut self, op: &Op, seen: &Seen) -> Result<(), Wrong> {
        match *op {
            Op::Advance(seconds) => {
                self.hand
                    .advance(std::time::Duration::from_secs(seconds.into()));
                Ok(())
            }
            Op::New(id, time, timeout) => {
                let session = ffi::Session::new(&bytes(id));
                session.set_time(self.now() + time);
                let set = session.set_timeout(self.timeout(timeout));
                ensure!(set, "OpenSSL refused {timeout:?}");
                let new = Known {
                    session,
                    serial: self.next,
                    resumable: true,
                };
                self.next += 1;
                let latest = self.known[id][0].replace(new);
                let older = std::mem::replace(&mut self.known[id][1], latest);
                self.add(id, 0, seen)?;
                // Whichever of the two was there, it is there no more.
                drop(older);
                Ok(())
            }
            Op::Add { id, older } if self.known[id][usize::from(older)].is_some() => {
                self.add(id, usize::from(older), seen)
            }
            Op::Remove(id, by) => self.remove(id, by, seen),
            Op::Take(id) => self.take(id, seen),
            Op::SetTime(id, older, time) if self.known[id][usize::from(older)].is_some() => {
                let time = self.now() + time;
                self.retime(id, usize::from(older), seen, |session| {
                    session.set_time(time);
                    true
                })
            }
            Op::SetTimeout(id, older, timeout) if self.known[id][usize::from(older)].is_some() => {
                let seconds = self.timeout(timeout);
                let negative = matches!(timeout, Timeout::Negative);
                if negative {
                    seen.met.add(D::NegativeTimeout);
                }
                self.retime(id, usize::from(older), seen, |session| {
                    session.set_timeout(seconds) != negative
                })
            }
            Op::SetSize(size) => self.set_size(size, seen),
            Op::Flush(when) => self.flush(when, seen),
            Op::Lookup(id) | Op::Add { id, .. } | Op::SetTime(id, ..) | Op::SetTimeout(id, ..) => {
                self.lookup(id, seen)
            }
        }
    }

    /// Inserts into ours what lives until `deadline`. How long ago that is by then, and what it said.
    fn insert(
        &mut self,
        id: usize,
        serial: u32,
        deadline: i64,
        seen: &Seen,
    ) -> Result<(i64, bool, usize), Wrong> {
        let now = self.now();
        let deadline = kept(deadline);
        let at = now.min(deadline);
        if at < now {
            seen.met.add(D::AddOfExpired);
        }
        self.hand.set(seconds(at));
        let options = SessionOptions::default().timeout(until(deadline, at));
        let inserted = self.ours.insert_with(key(id), serial, options);
        self.hand.set(seconds(now));
        let inserted = inserted.map_err(|error| format!("ours refused {id}: {error}"))?;
        Ok((at, inserted.replaced, inserted.evicted))
    }

    fn add(&mut self, id: usize, which: usize, seen: &Seen) -> Result<(), Wrong> {
        let before = self.state;
        let known = self.known[id][which]
            .as_ref()
            .expect("asked for by who knows");
        let (serial, deadline) = (known.serial, self.deadline_of(known.session.view()));
        let there = self.is_cached(id, known);
        if !known.resumable && !there {
            seen.met.add(D::MarkedIsCached);
        }

        let full = self.theirs.cache_full();
        // SAFETY: sessions of a pair are added to its cache only.
        let added = unsafe { self.theirs.add(&known.session) };
        let reported = Self::reported();
        let full = self.theirs.cache_full() - full;
        ensure!(
            added != there,
            "OpenSSL added {id}: {added}; it was there: {there}"
        );

        let (at, replaced, evicted) = self.insert(id, serial, deadline, seen)?;
        let left = self.left();
        let (old, victims): (Vec<_>, Vec<_>) = left.iter().partition(|one| one.id == id);
        let victim_ids = ids(&victims);

        // Who had to leave, besides the old one.
        let others = count(&before) - usize::from(before[id].is_some());
        let surplus = self
            .ours
            .maximum()
            .map_or(0, |most| (others + 1).saturating_sub(most));
        let first = earliest(&before, id, surplus);
        let made_room = deadlines(&before, &victim_ids);
        ensure!(
            victims.len() == surplus && made_room == first,
            "adding {id}: {surplus} that expire first, at {first:?}, have to be evicted, and ours evicted \
             {victim_ids:?}, which expire at {made_room:?}"
        );
        if there {
            ensure!(
                full == 0 && reported.is_empty(),
                "OpenSSL evicted {reported:?} for {id}, which was there"
            );
            seen.met.add(D::SecondAdd);
            if surplus > 0 {
                seen.met.add(D::SurplusAtSecondAdd);
            }
        } else {
            let theirs = deadlines(&before, &reported);
            ensure!(
                full == surplus && reported.len() == surplus && theirs == first,
                "adding {id}: {surplus} that expire first, at {first:?}, have to be evicted, and OpenSSL evicted \
                 {reported:?}, which expire at {theirs:?}, and counted {full}"
            );
            Seen::count(&seen.evictions, surplus);
            Seen::count(&seen.removals, surplus);
            if set(&reported) != set(&victim_ids) {
                seen.met.add(D::Tie);
            }
        }
        self.unmark(&before, &reported);
        for victim in &victims {
            check_reason(&before, victim, Reason::Evicted, at)?;
            if victim.reason == Reason::Expired {
                seen.met.add(D::EvictedExpired);
            }
        }

        // The old one.
        match (before[id], &old[..]) {
            (None, []) => {}
            (Some(cached), [old]) => {
                let was_surplus = self.was_surplus(&before, cached);
                if old.reason == Reason::Evicted {
                    ensure!(
                        was_surplus && !replaced,
                        "{id} was evicted to make room for {id}"
                    );
                    seen.met.add(D::ReplacedAsSurplus);
                } else {
                    check_reason(&before, old, Reason::Replaced, at)?;
                    ensure!(
                        replaced || was_surplus,
                        "ours does not say that {id} was replaced"
                    );
                    seen.met.add(match old.reason {
                        Reason::Expired => D::ReplacedExpired,
                        _ => D::ReplacementReported,
                    });
                }
                ensure!(
                    old.serial == cached.serial,
                    "ours replaced {cached:?}, and reported {old:?}"
                );
                if !there {
                    self.left_resumable(id, cached, seen);
                }
            }
            (cached, old) => return Err(format!("{id} was {cached:?}, and ours reported {old:?}")),
        }
        ensure!(
            evicted + usize::from(replaced) == left.len(),
            "ours says that {evicted} were evicted and {replaced}, and reported {left:?}"
        );
        if set(&reported) == set(&victim_ids) {
            return Ok(());
        }
        self.follow()
    }

    /// Whether one may have left because the maximum was lowered.
    fn was_surplus(&self, before: &State, cached: Cached) -> bool {
        let surplus = self.surplus(before);
        earliest(before, NOBODY, surplus)
            .last()
            .is_some_and(|&last| cached.kept() <= last)
    }

    /// How many are there beyond the maximum.
    fn surplus(&self, state: &State) -> usize {
        self.ours
            .maximum()
            .map_or(0, |most| count(state).saturating_sub(most))
    }

    /// OpenSSL has removed these: they are not resumable any more.
    fn unmark(&mut self, before: &State, gone: &[usize]) {
        for &id in gone {
            for known in self.known[id].iter_mut().flatten() {
                if before[id].is_some_and(|cached| cached.serial == known.serial) {
                    known.resumable = false;
                }
            }
        }
    }

    /// One has left both. OpenSSL's object may still be marked resumable.
    fn left_resumable(&self, id: usize, cached: Cached, seen: &Seen) {
        let mut known = self.known[id].iter().flatten();
        if known.any(|known| known.serial == cached.serial && known.resumable) {
            seen.met.add(D::StaysResumable);
        }
    }

    fn remove(&mut self, id: usize, by: By, seen: &Seen) -> Result<(), Wrong> {
        let cached = self.state[id];
        let which = usize::from(matches!(by, By::Older));
        let by = match by {
            By::Key => None,
            By::Latest | By::Older => self.known[id][which].as_mut(),
        };
        let mine = by.as_ref().map(|known| known.serial);
        let removed = match by {
            Some(known) => {
                known.resumable = false;
                self.theirs.remove(&known.session)
            }
            None => self.theirs.remove(&ffi::Session::new(&bytes(id))),
        };
        let ours = self.ours.remove(&key(id));
        ensure!(
            ours == removed,
            "removing {id}: {removed} says OpenSSL, {ours} says ours"
        );
        self.removed(id, cached, mine, Reason::Removed, seen)
    }

    /// Both have removed what was there: who was told?
    fn removed(
        &mut self,
        id: usize,
        cached: Option<Cached>,
        by: Option<u32>,
        reason: Reason,
        seen: &Seen,
    ) -> Result<(), Wrong> {
        let (reported, left) = (Self::reported(), self.left());
        ensure!(
            reported == [id],
            "OpenSSL removed {id}, and reported {reported:?}"
        );
        let wanted = cached.map(|Cached { serial, .. }| Left { id, serial, reason });
        let wanted: Vec<_> = wanted.into_iter().collect();
        ensure!(
            left == wanted,
            "ours removed {cached:?}, and reported {left:?}"
        );
        let Some(cached) = cached else {
            seen.met.add(D::AbsentReported);
            return Ok(());
        };
        Seen::count(&seen.removals, 1);
        if by != Some(cached.serial) {
            seen.met.add(D::RemovedByKey);
        }
        self.left_resumable(id, cached, seen);
        Ok(())
    }

    fn take(&mut self, id: usize, seen: &Seen) -> Result<(), Wrong> {
        let cached = self.state[id];
        let removed = self.theirs.remove(&ffi::Session::new(&bytes(id)));
        let taken = self.ours.take_cloned(&key(id));
        let expired = cached.is_some_and(|cached| cached.kept() < self.now());
        if !expired {
            let wanted = cached.map(|cached| cached.serial);
            ensure!(
                removed == wanted.is_some(),
                "taking {id}: OpenSSL says {removed}"
            );
            ensure!(
                taken == wanted,
                "taking {id}, {cached:?}: ours gave {taken:?}"
            );
            return self.removed(id, cached, None, Reason::Taken, seen);
        }
        let (reported, left) = (Self::reported(), self.left());
        ensure!(
            removed && taken.is_none() && reported == [id] && left.is_empty(),
            "taking {id}, which has expired: OpenSSL says {removed} and {reported:?}, ours {taken:?} and {left:?}"
        );
        seen.met.add(D::TakeOfExpired);
        self.follow()
    }

    /// Changes an object. If it is cached, the session that stands for it in ours gets the new deadline.
    fn retime(
        &mut self,
        id: usize,
        which: usize,
        seen: &Seen,
        change: impl Fn(&ffi::Session) -> bool,
    ) -> Result<(), Wrong> {
        let known = self.known[id][which]
            .as_ref()
            .expect("asked for by who knows");
        ensure!(
            change(&known.session),
            "OpenSSL accepted what it should refuse, or the other way round"
        );
        if !self.is_cached(id, known) {
            return Ok(());
        }
        let now = self.now();
        let old = self.state[id].map_or(NEVER, Cached::kept);
        let new = kept(self.deadline_of(known.session.view()));
        let at = now.min(old).min(new);
        if old < now {
            let said = self.ours.retime(&key(id), until(new.max(now), now));
            ensure!(!said, "ours re-timed {id}, which had expired");
            seen.met.add(D::RetimeOfExpired);
        } else if new < now {
            seen.met.add(D::RetimeIntoPast);
        }
        self.hand.set(seconds(at));
        let said = self.ours.retime(&key(id), until(new, at));
        self.hand.set(seconds(now));
        ensure!(
            said,
            "ours did not re-time {id} from {old} to {new} at {at}"
        );
        Ok(())
    }

    fn set_size(&mut self, size: i64, seen: &Seen) -> Result<(), Wrong> {
        let before = self.theirs.size();
        let said = self.theirs.set_size(size);
        if size < 0 {
            let after = self.theirs.size();
            ensure!(
                said == 0 && after == before,
                "OpenSSL took the size {size} for {after}"
            );
            let refused = self.ours.sess_set_cache_size(size);
            ensure!(
                refused.is_err() && self.ours.sess_get_cache_size() == holds(before),
                "ours took the size {size}, and said {refused:?}"
            );
            seen.met.add(D::NegativeSize);
            return Ok(());
        }
        ensure!(
            said == before && self.theirs.size() == size,
            "OpenSSL's size is not {size}"
        );
        let said = self.ours.sess_set_cache_size(holds(size));
        let now = self.ours.sess_get_cache_size();
        ensure!(
            said == Ok(holds(before)) && now == holds(size),
            "our size was {said:?} instead of {}, and is {now}",
            holds(before)
        );
        if size > 1 {
            seen.met.add(D::OneLess);
        }
        Ok(())
    }

    fn lookup(&mut self, id: usize, seen: &Seen) -> Result<(), Wrong> {
        // `compare` looks all of them up; here it is what comes back.
        let cached = self.state[id];
        let expired = cached.is_some_and(|cached| cached.kept() < self.now());
        ensure!(
            self.theirs.has(&bytes(id)) == cached.is_some(),
            "OpenSSL's lookup of {id} is wrong"
        );
        let wanted = cached.filter(|_| !expired).map(|cached| cached.serial);
        let got = self.ours.get_cloned(&key(id));
        ensure!(
            got == wanted,
            "our lookup of {id}, {cached:?}, at {} gave {got:?}",
            self.now()
        );
        if expired {
            seen.met.add(D::LookupOfExpired);
        }
        Ok(())
    }

    /// The time to flush until.
    fn time(&self, when: When) -> i64 {
        match when {
            When::All => 0,
            When::Negative(time) => time,
            When::Last => i64::MAX,
            When::Now(after) => (self.now() + after).max(1),
            When::Expiry(nth, after) => {
                let mut there: Vec<_> = self.state.iter().flatten().map(|c| c.deadline).collect();
                there.sort_unstable();
                let deadline = match there.len() {
                    0 => self.now(),
                    n => there[nth % n],
                };
                deadline.saturating_add(after).max(1)
            }
        }
    }

    /// What OpenSSL removes at a negative time: nothing, but from 3.2 on it becomes one of unsigned nanoseconds, by
    /// a multiplication that wraps. Most are very late ones then, and what never expires stays.
    fn flushed_by_negative(&self, tm: i64) -> BTreeSet<usize> {
        if self.version < (3, 2, 0) {
            return BTreeSet::new();
        }
        let nanos = |seconds: i64| (seconds as u64).wrapping_mul(1_000_000_000);
        let passed = |id: &usize| match self.state[*id].map(Cached::kept) {
            None | Some(NEVER) => false,
            Some(deadline) => nanos(tm) > nanos(deadline),
        };
        (0..IDS).filter(passed).collect()
    }

    fn flush(&mut self, when: When, seen: &Seen) -> Result<(), Wrong> {
        let before = self.state;
        let tm = self.time(when);
        let full = self.theirs.cache_full();
        self.theirs.flush(tm);
        let reported = Self::reported();
        ensure!(
            self.theirs.cache_full() == full,
            "OpenSSL counts a flush as overflow"
        );
        let removed = self.ours.flush_sessions(tm);
        let left = self.left();
        self.unmark(&before, &reported);
        let (theirs, ours) = (set(&reported), set(&ids(&left)));
        let all: Vec<_> = (0..IDS).filter(|&id| before[id].is_some()).collect();
        for one in &left {
            let serial = before[one.id].map(|cached| cached.serial);
            ensure!(
                serial == Some(one.serial),
                "flush({tm}): ours reported {one:?} for {serial:?}"
            );
        }
        ensure!(
            ours.len() == left.len(),
            "flush({tm}): ours reported twice: {left:?}"
        );
        if tm <= 0 {
            let (theirs_wanted, ours_wanted) = match tm {
                0 => (set(&all), set(&all)),
                _ => (self.flushed_by_negative(tm), set(&[])),
            };
            ensure!(
                theirs == theirs_wanted,
                "flush({tm}): OpenSSL removed {theirs:?} of {all:?}"
            );
            ensure!(
                ours == ours_wanted,
                "flush({tm}): ours removed {ours:?} of {all:?}"
            );
            ensure!(
                removed == ours.len(),
                "flush({tm}): ours removed {ours:?}, and counts {removed}"
            );
            let cleared = left.iter().all(|one| one.reason == Reason::Cleared);
            ensure!(cleared, "flush({tm}): ours reported {left:?}");
            if tm < 0 {
                seen.met.add(D::NegativeTime);
            } else {
                Seen::count(&seen.removals, all.len());
            }
            return if theirs == ours {
                Ok(())
            } else {
                self.follow()
            };
        }

        // What OpenSSL has removed and ours has not: times that are never, to us.
        let far: Vec<_> = theirs.difference(&ours).copied().collect();
        for &id in &far {
            let deadline = before[id].map(|cached| cached.deadline);
            ensure!(
                deadline.is_some_and(|deadline| (FAR..NEVER).contains(&deadline)),
                "flush({tm}): OpenSSL removed {id}, which expires at {deadline:?}, ours did not"
            );
            seen.met.add(D::FarIsNever);
        }
        // What ours has removed and OpenSSL has not: what is beyond a lowered maximum.
        let extra: Vec<_> = ours.difference(&theirs).copied().collect();
        let surplus = self.surplus(&before);
        let allowed = surplus.saturating_sub(theirs.len() - far.len());
        ensure!(
            extra.len() == allowed,
            "flush({tm}): ours removed {extra:?}, which expire at {:?}, OpenSSL did not; {allowed} of them should \
             have made room",
            deadlines(&before, &extra)
        );
        if allowed > 0 {
            let (gone, first) = (
                deadlines(&before, &ids(&left)),
                earliest(&before, NOBODY, left.len()),
            );
            ensure!(
                gone == first,
                "flush({tm}): to make room those of {first:?} had to leave, and {gone:?} did"
            );
            seen.met.add(D::SurplusAtFlush);
        }
        for one in &left {
            check_reason(&before, one, Reason::Evicted, tm)?;
        }
        let uncounted = surplus.min(left.len());
        ensure!(
            removed == left.len() - uncounted,
            "flush({tm}): ours removed {left:?}, {uncounted} of them to make room, and counts {removed}"
        );
        if uncounted > 0 {
            seen.met.add(D::SurplusNotCounted);
        }
        Seen::count(&seen.removals, theirs.intersection(&ours).count());
        if reported != ids(&left) && theirs == ours {
            seen.met.add(D::CallbackOrder);
        }
        if theirs == ours {
            Ok(())
        } else {
            self.follow()
        }
    }
}

/// One that was valid at `at` left for this reason, one that was not because it had expired.
fn check_reason(before: &State, left: &Left, valid: Reason, at: i64) -> Result<(), Wrong> {
    let cached = before[left.id];
    let wanted = match cached {
        Some(cached) if cached.kept() < at => Reason::Expired,
        _ => valid,
    };
    ensure!(
        left.reason == wanted && cached.is_some_and(|cached| cached.serial == left.serial),
        "{cached:?} left at {at}, and ours reported {left:?}"
    );
    Ok(())
}
