//! Slots: where an entry lives, its life cycle, the free list, and the two lanes by which removed
//! entries come back.
//!
//! Ground rules:
//! - A slot's **body** (key and value) is written only by the inserter that holds it, before the
//!   slot is published in the table, and dropped only by who takes it off a limbo, after the epoch
//!   has passed since the slot was unlinked (or with the whole slab, exclusively). In between it is
//!   read-only.
//! - `hash` is written by the holder too, and never changes while the slot is linked.
//! - Who reaches a slot **through the table** while pinned may read all of it.
//! - Who comes **by its number** pins, then reads `life`: unless that says *linked* there is
//!   nothing there for it. A slot seen linked is not recycled while that guard is pinned.
//! - Slots never move and are never freed before the slab, so reading a header is always sound.

mod deadline;
mod lane;
mod life;
mod link;

pub(crate) use deadline::{Deadline, Moment};
pub(crate) use lane::{Chain, Origin};
pub(crate) use life::Life;
pub(crate) use link::{Link, SlotNumber};

use std::mem::{self, MaybeUninit};
use std::panic::RefUnwindSafe;

use crate::contain::contain;
use crate::geometry::{FIRST_BITS, MAX_SLOTS, SEGMENTS};
use crate::inside::Name;
use crate::prefetch::{PREFETCHES, prefetch_owned};
use crate::reclaim;
use crate::segments::{Blank, Segments};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Padded, UnsafeCell};
use lane::Lane;

/// What a key or a value must be, to be dropped by whichever thread recycles its slot.
pub(crate) trait Entry: Send + Sync + 'static {}
impl<T: Send + Sync + 'static> Entry for T {}

/// Where one entry lives. What a lookup reads comes first and together: with a key of up to 36 bytes
/// and a pointer-sized value all of it is one cache line.
#[repr(C)]
pub(crate) struct Slot<K, V> {
    deadline: AtomicU64,
    /// The table's: whether this entry is removed, and what follows it.
    link: AtomicU32,
    key: UnsafeCell<MaybeUninit<K>>,
    value: UnsafeCell<MaybeUninit<V>>,
    /// The slab's: see [`Life`].
    life: AtomicU32,
    /// Where the table looks for the entry.
    hash: AtomicU32,
}

// SAFETY: all else is atomics; the life cycle says when the body is dropped, on any thread (Send
// needed), and when it is shared by any (Sync needed).
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Slot<K, V> {}

/// What is read of a slot is no more than shared references to key and value.
impl<K: RefUnwindSafe, V: RefUnwindSafe> RefUnwindSafe for Slot<K, V> {}

// SAFETY: all header fields are integer atomics, key and value are MaybeUninit: zero is valid, and
// nothing needs drop.
unsafe impl<K, V> Blank for Slot<K, V> {
    #[cfg(sessionwheel_counted)]
    const KIND: crate::tally::Kind = crate::tally::Kind::Slot;

    fn blank() -> Self {
        Self {
            deadline: AtomicU64::new(0),
            link: AtomicU32::new(0),
            key: UnsafeCell::new(MaybeUninit::uninit()),
            value: UnsafeCell::new(MaybeUninit::uninit()),
            life: AtomicU32::new(0),
            hash: AtomicU32::new(0),
        }
    }
}

impl<K, V> Slot<K, V> {
    #[inline]
    pub(crate) fn link(&self) -> &AtomicU32 {
        &self.link
    }

    #[inline]
    pub(crate) fn load_link(&self) -> Link {
        Link::load(&self.link)
    }

    /// In the table, and not removed: what a visitor by number must see before it goes on.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        // Acquire: partner of `publish`; without it the link, deadline and body read next could be
        // those of an earlier tenant.
        Life::from_raw(self.life.load(Ordering::Acquire)) == Life::LINKED
            && !self.load_link().is_marked()
    }

    #[inline]
    pub(crate) fn hash(&self) -> u32 {
        // Relaxed: ordered by the word, the link or the life word through which the caller came.
        self.hash.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn deadline(&self) -> Deadline {
        // Acquire: partner of the Release in `change_deadline` and `close_deadline`. Who reads CLOSED
        // finds the mark when it loads the link next (`map::read`).
        Deadline::from_raw(self.deadline.load(Ordering::Acquire))
    }

    /// Swaps the deadline judged for another; fails if it is no longer the one judged.
    #[inline]
    pub(crate) fn change_deadline(&self, judged: Deadline, new: Deadline) -> Result<(), ()> {
        // Release: partner of the Acquire in `deadline` and `close_deadline`; who meets the new one
        // sees what this thread did before. No Acquire: `judged` was loaded with it, and that another
        // has come back to the same tells nothing. Who fails loads the word again.
        self.deadline
            .compare_exchange(
                judged.raw(),
                new.raw(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .map(|_| ())
            .map_err(|_| ())
    }

    /// Closes the deadline word of a slot that this thread has marked; what it said at the last. From
    /// here on no re-timing succeeds, and one that succeeded before is the one returned.
    #[inline]
    pub(crate) fn close_deadline(&self) -> Deadline {
        // AcqRel. Release: partner of the Acquire in `deadline`; without it a lookup could read CLOSED
        // and miss the mark, and what has replaced the entry. Acquire: partner of the Release in
        // `change_deadline`, for what is returned here.
        Deadline::from_raw(self.deadline.swap(Deadline::CLOSED.raw(), Ordering::AcqRel))
    }

    /// Calls `f` with key and value.
    ///
    /// # Safety
    /// The caller is pinned and reached this slot through the table, or saw it live, under that
    /// guard; or it owns the slot's removal and is still pinned since.
    #[inline]
    pub(crate) unsafe fn with_body<R>(&self, f: impl FnOnce(&K, &V) -> R) -> R {
        self.value.with(|value| {
            // SAFETY: the body was written before the slot was published, and is neither changed
            // nor dropped before the epoch passes, which the caller's guard prevents.
            let value = unsafe { (*value).assume_init_ref() };
            // SAFETY: the caller's.
            unsafe { self.with_key(|key| f(key, value)) }
        })
    }

    /// Calls `f` with the key.
    ///
    /// # Safety
    /// As for [`with_body`](Self::with_body).
    #[inline]
    pub(crate) unsafe fn with_key<R>(&self, f: impl FnOnce(&K) -> R) -> R {
        // SAFETY: as in `with_body`.
        self.key.with(|key| f(unsafe { (*key).assume_init_ref() }))
    }

    /// The key, for as long as a guard.
    ///
    /// # Safety
    /// As for [`with_body`](Self::with_body), and `'g` must not outlive that guard or the map.
    #[inline]
    pub(crate) unsafe fn key<'g>(&self) -> &'g K {
        // SAFETY: as above; the caller ties `'g` to its guard and the map.
        self.key.with(|key| unsafe { &*(*key).as_ptr() })
    }

    /// The value, for as long as a guard.
    ///
    /// # Safety
    /// As for [`key`](Self::key).
    #[inline]
    pub(crate) unsafe fn value<'g>(&self) -> &'g V {
        // SAFETY: as above.
        self.value.with(|value| unsafe { &*(*value).as_ptr() })
    }

    /// Asks for what the value owns, whoever may be dropping it.
    #[inline]
    fn prefetch_owned(&self) {
        if PREFETCHES {
            self.value.with(|value| {
                // SAFETY: a place within the slot; slots are never freed before the slab, which the
                // caller borrows.
                unsafe { prefetch_owned(value.cast::<V>()) };
            });
        }
    }

    #[inline]
    pub(crate) fn set_link(&self, link: Link) {
        // Relaxed: only for a slot that is held; publishing it is a Release.
        self.link.store(link.raw(), Ordering::Relaxed);
    }

    /// *held* → *linked*, once the slot is in the table. Fails if it has been removed and unlinked
    /// in the meantime.
    #[inline]
    pub(crate) fn publish(&self) -> bool {
        // Release: partner of the Acquire in `is_live`; an iteration comes to the body by nothing
        // else. The inserter has been pinned since before the slot was in the table, so no later
        // tenant's HELD can be met here.
        self.life
            .compare_exchange(
                Life::HELD.raw(),
                Life::LINKED.raw(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

/// All slots of a shard.
pub(crate) struct Slab<K, V> {
    slots: Segments<Slot<K, V>, FIRST_BITS, SEGMENTS>,
    /// How many slots have ever been handed out: numbers `1..=fresh` exist.
    fresh: Padded<AtomicU32>,
    /// The bound of `fresh`.
    limit: AtomicU32,
    /// The free list's first slot, and a stamp against its coming back in the meantime.
    free: Padded<AtomicU64>,
    flushed: Padded<Lane>,
    single: Padded<Lane>,
    drop_panics: AtomicU64,
    /// The map it belongs to, with the slabs of its other shards.
    map: Name,
}

impl<K, V> Slab<K, V> {
    pub(crate) fn new(limit: u32, map: Name) -> Self {
        Self {
            slots: Segments::new(),
            fresh: Padded(AtomicU32::new(0)),
            limit: AtomicU32::new(limit.min(MAX_SLOTS)),
            free: Padded(AtomicU64::new(0)),
            flushed: Padded(Lane::new()),
            single: Padded(Lane::new()),
            drop_panics: AtomicU64::new(0),
            map,
        }
    }

    #[inline]
    pub(crate) fn slot(&self, number: SlotNumber) -> &Slot<K, V> {
        self.slots.at(number)
    }

    /// The highest number ever handed out.
    #[inline]
    pub(crate) fn high_water(&self) -> SlotNumber {
        // Relaxed: a number only. Whether its segment is there, `slot_if_there` finds out; what is in
        // the slot, `is_live`.
        self.fresh.load(Ordering::Relaxed)
    }

    /// The slot of a number at or below the high water: its segment may not be there yet.
    #[inline]
    pub(crate) fn slot_if_there(&self, number: SlotNumber) -> Option<&Slot<K, V>> {
        self.slots.get(number)
    }

    /// Changes the bound. Slots beyond a smaller one stay in use.
    pub(crate) fn set_limit(&self, limit: u32) {
        // Relaxed: a bound for later calls, nothing is published by it.
        self.limit.store(limit.min(MAX_SLOTS), Ordering::Relaxed);
    }

    /// How many slots there may be.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        // Relaxed: see `set_limit`.
        self.limit.load(Ordering::Relaxed)
    }

    /// A slot from the free list.
    #[inline]
    pub(crate) fn take_free(self: &Arc<Self>) -> Option<Held<'_, K, V>> {
        // Acquire, here and where the CAS fails: partner of the Release in `put_free`; the life words
        // of the chain must be read as its recycler wrote them.
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let number = head as u32;
            if number == 0 {
                return None;
            }
            let slot = self.slot(number);
            // Relaxed: if this is stale, the stamp has moved and the CAS fails.
            let life = Life::from_raw(slot.life.load(Ordering::Relaxed));
            // A slot that was taken meanwhile may be in any state; its link is then not used.
            let next = u64::from(life.number());
            // Relaxed: the load before has read this very word; there is no other of the same stamp.
            match self.free.compare_exchange_weak(
                head,
                stamped(head, next),
                Ordering::Relaxed,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(self.hold(number)),
                Err(now) => head = now,
            }
        }
    }

    /// The free list, of a slab that nobody uses at the moment.
    #[cfg(any(fuzzing, all(test, not(loom))))]
    pub(crate) fn free_numbers(&self) -> Vec<SlotNumber> {
        let some = |number: SlotNumber| (number != 0).then_some(number);
        // Relaxed: nobody writes.
        let first = some(self.free.load(Ordering::Relaxed) as u32);
        let life = |number| Life::from_raw(self.slot(number).life.load(Ordering::Relaxed));
        let all = std::iter::successors(first, |&number| some(life(number).next()));
        // One that leads into itself has more than there are.
        all.take(self.high_water() as usize + 1).collect()
    }

    /// A slot that was never used, if the bound allows.
    #[inline]
    pub(crate) fn take_fresh(self: &Arc<Self>) -> Option<Held<'_, K, V>> {
        let mut used = self.fresh.load(Ordering::Relaxed);
        loop {
            if used >= self.limit() {
                return None;
            }
            match self.fresh.compare_exchange_weak(
                used,
                used + 1,
                // Relaxed: hands out a number, as `high_water` reads it.
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => used = now,
            }
        }
        self.slots.get_or_alloc(used + 1);
        Some(self.hold(used + 1))
    }

    fn hold(self: &Arc<Self>, number: SlotNumber) -> Held<'_, K, V> {
        // Relaxed: only its holder reads it until it is published.
        let slot = self.slot(number);
        slot.life.store(Life::HELD.raw(), Ordering::Relaxed);
        Held { slab: self, number }
    }

    /// Puts slots without a body, chained by their life words, on the free list.
    fn put_free(&self, first: SlotNumber, last: SlotNumber) {
        let last = self.slot(last);
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            last.life
                .store(Life::free(head as u32).raw(), Ordering::Relaxed);
            match self.free.compare_exchange_weak(
                head,
                stamped(head, u64::from(first)),
                // Release: partner of the Acquire in `take_free`, which then sees the wiped bodies
                // and the chain.
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Drops and wipes the body of a slot nobody can reach any more.
    ///
    /// # Safety
    /// The slot is retired, the epoch has passed since it was unlinked, and the caller alone has
    /// it (it came off a limbo, or the slab is exclusively ours).
    unsafe fn drop_body(&self, slot: &Slot<K, V>) {
        // One by one: if both panic, neither is in the other's way.
        // SAFETY: the body is there (life says so to our caller) and nobody else can reach it.
        let panics = unsafe { drop_and_wipe(&slot.key) + drop_and_wipe(&slot.value) };
        if panics != 0 {
            self.drop_panics.fetch_add(panics, Ordering::Relaxed);
        }
    }

    /// Slots retired and not recycled yet.
    pub(crate) fn garbage(&self) -> u64 {
        self.garbage_of(Origin::Flushed) + self.garbage_of(Origin::Single)
    }

    /// The same for one lane.
    pub(crate) fn garbage_of(&self, origin: Origin) -> u64 {
        self.lane(origin).garbage()
    }

    /// Slots retired by a lane so far.
    pub(crate) fn retired(&self, origin: Origin) -> u64 {
        self.lane(origin).retired()
    }

    /// How many slots of a lane have still to be recycled until `goal` have been.
    pub(crate) fn left_to(&self, goal: u64, origin: Origin) -> u64 {
        self.lane(origin).left_to(goal)
    }

    fn lane(&self, origin: Origin) -> &Lane {
        match origin {
            Origin::Flushed => &self.flushed.0,
            Origin::Single => &self.single.0,
        }
    }

    pub(crate) fn drop_panics(&self) -> u64 {
        self.drop_panics.load(Ordering::Relaxed)
    }

    /// Drops and wipes every body at once, wherever it is in its life cycle. Closures that are
    /// still pending then find nothing to do.
    pub(crate) fn clear_exclusive(&self, _proof: &mut Exclusive) {
        for number in 1..=self.high_water() {
            let Some(slot) = self.slot_if_there(number) else {
                continue;
            };
            // Relaxed: all calls into the map happened before, and closures write no life word.
            let life = Life::from_raw(slot.life.load(Ordering::Relaxed));
            if life.has_body() {
                // Keep the number it leads to: a limbo may still be chained through it.
                let next = if life == Life::LINKED { 0 } else { life.next() };
                slot.life.store(Life::free(next).raw(), Ordering::Relaxed);
                // SAFETY: the caller has the map to itself, so no guard protects a reference into
                // it, and the life word, now without its body bit, keeps anyone from doing this
                // again.
                unsafe { self.drop_body(slot) };
            }
        }
    }
}

/// Says that its holder has the map to itself: nobody calls into it and no reference into it is
/// left. Pending deferred closures may still run.
pub(crate) struct Exclusive(());

impl Exclusive {
    /// # Safety
    /// What the type says.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

impl<K, V> Drop for Slab<K, V> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`.
        let mut exclusive = unsafe { Exclusive::new() };
        self.clear_exclusive(&mut exclusive);
    }
}

/// Takes out what is there, and wipes the place.
///
/// # Safety
/// As for [`drop_and_wipe`].
unsafe fn move_out<T>(place: &UnsafeCell<MaybeUninit<T>>) -> T {
    place.with_mut(|place| {
        // SAFETY: the caller's; valid for writes, as a reference to the cell leads here.
        unsafe {
            let read = (*place).assume_init_read();
            place.write_bytes(0, 1);
            read
        }
    })
}

/// Drops what is there, and wipes it, so that no key or inline value outlives its entry. How many
/// panics that made.
///
/// # Safety
/// It is there, and the caller's alone; it is uninitialised from here on.
unsafe fn drop_and_wipe<T>(place: &UnsafeCell<MaybeUninit<T>>) -> u64 {
    place.with_mut(|place| {
        // SAFETY: the caller's.
        let dropped = contain(|| unsafe { (*place).assume_init_drop() });
        // SAFETY: valid for writes, as a reference to the cell leads here.
        unsafe { place.write_bytes(0, 1) };
        std::hint::black_box(place);
        u64::from(dropped.is_none())
    })
}

/// A new head for a stamped stack: the stamp moves by one. It would have to go round (2^32 changes of
/// one stack between one thread's load and its CAS) to deceive anyone.
#[inline]
fn stamped(old: u64, first: u64) -> u64 {
    ((old >> 32).wrapping_add(1) << 32) | first
}

/// A slot that this thread alone has; goes back to the free list unless it is published.
pub(crate) struct Held<'s, K, V> {
    slab: &'s Arc<Slab<K, V>>,
    number: SlotNumber,
}

impl<'s, K, V> Held<'s, K, V> {
    pub(crate) fn number(&self) -> SlotNumber {
        self.number
    }

    /// Moves an entry in.
    pub(crate) fn fill(self, hash: u32, deadline: Deadline, key: K, value: V) -> Filled<'s, K, V>
    where
        K: Entry,
        V: Entry,
    {
        let slot = self.slot();
        slot.hash.store(hash, Ordering::Relaxed);
        slot.deadline.store(deadline.raw(), Ordering::Relaxed);
        // SAFETY: the slot is held by us alone, its body uninitialised.
        slot.key.with_mut(|place| unsafe { (*place).write(key) });
        // SAFETY: the same.
        slot.value
            .with_mut(|place| unsafe { (*place).write(value) });
        Filled(Some(self))
    }

    fn slot(&self) -> &'s Slot<K, V> {
        self.slab.slot(self.number)
    }
}

impl<K, V> Drop for Held<'_, K, V> {
    fn drop(&mut self) {
        self.slab.put_free(self.number, self.number);
    }
}

/// A held slot with an entry in it, not in the table yet.
pub(crate) struct Filled<'s, K: Entry, V: Entry>(Option<Held<'s, K, V>>);

impl<'s, K: Entry, V: Entry> Filled<'s, K, V> {
    fn held(&self) -> &Held<'s, K, V> {
        self.0.as_ref().expect("held until released or unfilled")
    }

    pub(crate) fn number(&self) -> SlotNumber {
        self.held().number
    }

    pub(crate) fn slot(&self) -> &'s Slot<K, V> {
        self.held().slot()
    }

    pub(crate) fn key(&self) -> &K {
        // SAFETY: filled by us, still ours alone.
        unsafe { self.slot().key() }
    }

    /// The slot is in the table now and belongs to it.
    pub(crate) fn release(mut self) {
        mem::forget(self.0.take());
    }

    /// Takes the entry out again; the slot, whose number nobody else has seen, goes back to the free
    /// list.
    pub(crate) fn unfill(mut self) -> (K, V) {
        let held = self.0.take().expect("not released");
        let slot = held.slot();
        // SAFETY: filled by us, never published.
        unsafe { (move_out(&slot.key), move_out(&slot.value)) }
    }
}

impl<K: Entry, V: Entry> Drop for Filled<'_, K, V> {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            // A comparison panicked on the way in. The number may have stood in a word of the table,
            // where others have seen it: so it goes the way of what was removed.
            let guard = reclaim::pin();
            held.slab.retire(held.number, &guard);
            mem::forget(held);
        }
    }
}
