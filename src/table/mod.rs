//! A split-ordered hash table over slot numbers.
//!
//! One list per shard, in the order of the bit-reversed hash (Shalev and Shavit, *Split-ordered
//! lists: lock-free extensible hash tables*, 2006), linked and unlinked as in Harris (2001) and
//! Michael (2002). A directory of bucket heads leads into it; doubling the directory moves
//! nothing. Heads are links too, and a bucket stands in the list as a link of its own kind, so
//! passing one costs a memory access only if the walk goes on behind it.
//!
//! Ground rules:
//! - **Who sets the mark owns the removal.** A marked link never changes again.
//! - **Unlinking is one node per CAS**, from a predecessor that is not marked. So a slot that a
//!   pinned walk reaches, even by way of removed ones, was unlinked after that walk pinned.
//! - **Who unlinks, retires**: every walk that may write takes a callback for that.
//! - An entry is added at the end of the run of its position, after comparing all of the run, so
//!   keys stay unique: two inserts of one key aim at the same link.
//! - A head's mark means *busy*. One thread wins `NONE` → busy and alone writes the cell until its
//!   CAS has put the bucket in the list, then clears the mark. Until then others start from the
//!   parent bucket; a walk that arrives through the list may go on, since then it is linked.

mod heads;
mod remove;

use crate::slab::{Link, Slab, Slot, SlotNumber, Target};
use crate::sync::atomic::{AtomicU32, Ordering};
use heads::{Heads, bucket_position, parent};

/// Where an entry stands: its hash, and the same bits reversed, which order the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    hash: u32,
    position: u32,
}

impl Place {
    #[inline]
    pub(crate) fn of_hash(hash: u32) -> Self {
        Self {
            hash,
            position: hash.reverse_bits(),
        }
    }

    #[inline]
    pub(crate) fn of_position(position: u32) -> Self {
        Self {
            hash: position.reverse_bits(),
            position,
        }
    }

    #[inline]
    pub(crate) fn position(self) -> u32 {
        self.position
    }
}

/// A link cell as a walk saw it: the predecessor of what the walk stopped at.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'t> {
    cell: &'t AtomicU32,
    seen: Link,
}

/// What a writing walk found.
pub(crate) enum Search<'t> {
    /// The entry, its predecessor, and the unmarked link it had.
    Found {
        before: Cell<'t>,
        slot: SlotNumber,
        link: Link,
    },
    /// Nothing; an entry for this place belongs behind `before`.
    Absent { before: Cell<'t> },
}

/// What a writing walk meets next, and may stop before.
enum Next<'t, K, V> {
    Slot(SlotNumber, &'t Slot<K, V>, Link),
    Bucket(u32),
}

/// The cell a walk stood on changed under it: start again.
struct Changed;

pub(crate) struct Table {
    heads: Heads,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            heads: Heads::new(),
        }
    }

    /// Makes the directory large enough for so many slots.
    #[inline]
    pub(crate) fn grow_for(&self, slots: u32) {
        self.heads.grow_for(slots);
    }

    /// Reads its way to the entry for which `same` says yes. Writes nothing. `same` is asked only
    /// at the right position, and only for entries that were not marked.
    #[inline]
    pub(crate) fn lookup<K, V>(
        &self,
        slab: &Slab<K, V>,
        place: Place,
        mut same: impl FnMut(&Slot<K, V>) -> bool,
    ) -> Option<SlotNumber> {
        let mut link = self.heads.first_link(place.hash);
        loop {
            match link.target() {
                Target::Slot(number) => {
                    let slot = slab.slot(number);
                    let next = slot.load_link();
                    let position = slot.position();
                    if position > place.position {
                        return None;
                    }
                    if position == place.position && !next.is_marked() && same(slot) {
                        return Some(number);
                    }
                    link = next;
                }
                Target::Bucket(bucket) => {
                    if bucket_position(bucket) > place.position {
                        return None;
                    }
                    link = Link::load(self.heads.linked(bucket));
                }
                Target::End => return None,
            }
        }
    }

    /// Walks to the entry for which `same` says yes, or to where it would be added, unlinking
    /// removed slots on the way; each goes to `unlinked`.
    pub(crate) fn search<'t, K, V>(
        &'t self,
        slab: &'t Slab<K, V>,
        place: Place,
        mut same: impl FnMut(&Slot<K, V>) -> bool,
        mut unlinked: impl FnMut(SlotNumber),
    ) -> Search<'t> {
        loop {
            let mut found = None;
            let from = self.start(slab, place.hash, &mut unlinked);
            let stop = |next: Next<'_, K, V>| match next {
                Next::Slot(number, slot, link) => {
                    let position = slot.position();
                    if position == place.position && same(slot) {
                        found = Some((number, link));
                    }
                    position > place.position || found.is_some()
                }
                Next::Bucket(bucket) => bucket_position(bucket) > place.position,
            };
            if let Ok(before) = self.walk(slab, from, stop, &mut unlinked) {
                return match found {
                    Some((slot, link)) => Search::Found { before, slot, link },
                    None => Search::Absent { before },
                };
            }
        }
    }

    /// Adds a filled slot behind `before`. Fails if the list has changed there.
    pub(crate) fn add<K, V>(
        &self,
        before: Cell<'_>,
        number: SlotNumber,
        slot: &Slot<K, V>,
    ) -> bool {
        slot.set_link(before.seen.unmarked());
        before.swing(Link::slot(number)).is_ok()
    }

    /// From `from` on, to the first thing `stop` says yes to, or to the end.
    fn walk<'t, K, V>(
        &'t self,
        slab: &'t Slab<K, V>,
        from: Cell<'t>,
        mut stop: impl FnMut(Next<'_, K, V>) -> bool,
        unlinked: &mut impl FnMut(SlotNumber),
    ) -> Result<Cell<'t>, Changed> {
        let mut before = from;
        loop {
            match before.seen.target() {
                Target::Slot(number) => {
                    let slot = slab.slot(number);
                    let link = slot.load_link();
                    if link.is_marked() {
                        before = before.swing(link)?;
                        unlinked(number);
                    } else if stop(Next::Slot(number, slot, link)) {
                        return Ok(before);
                    } else {
                        before = Cell {
                            cell: slot.link(),
                            seen: link,
                        };
                    }
                }
                Target::Bucket(bucket) => {
                    if stop(Next::Bucket(bucket)) {
                        return Ok(before);
                    }
                    before = Cell::load(self.heads.linked(bucket));
                }
                Target::End => return Ok(before),
            }
        }
    }

    /// The cell from which a writing walk starts; initialises the bucket if nobody has.
    fn start<'t, K, V>(
        &'t self,
        slab: &'t Slab<K, V>,
        hash: u32,
        unlinked: &mut impl FnMut(SlotNumber),
    ) -> Cell<'t> {
        let mut bucket = self.heads.bucket_of(hash);
        loop {
            let cell = self.heads.get_or_alloc(bucket);
            let head = Cell::load(cell);
            if head.seen == Link::NONE {
                // Relaxed: wins the right to write the cell; what it then says is published later.
                let won = cell.compare_exchange(
                    Link::NONE.raw(),
                    Link::BUSY.raw(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if won.is_ok() {
                    self.initialise(slab, bucket, cell, unlinked);
                }
                // Either way it has changed.
                continue;
            }
            if !head.seen.is_marked() {
                return head;
            }
            bucket = parent(bucket);
        }
    }

    /// Puts a bucket that this thread has made busy into the list.
    #[cold]
    fn initialise<K, V>(
        &self,
        slab: &Slab<K, V>,
        bucket: u32,
        cell: &AtomicU32,
        unlinked: &mut impl FnMut(SlotNumber),
    ) {
        let position = bucket_position(bucket);
        loop {
            let from = self.start(slab, parent(bucket), unlinked);
            let stop = |next: Next<'_, K, V>| match next {
                Next::Slot(_, slot, _) => slot.position() >= position,
                Next::Bucket(other) => bucket_position(other) > position,
            };
            let Ok(before) = self.walk(slab, from, stop, unlinked) else {
                continue;
            };
            // Relaxed: nobody reads the cell through the list before the CAS below (a Release) has
            // put it there, and from the directory it is busy.
            cell.store(before.seen.marked().raw(), Ordering::Relaxed);
            if before.swing(Link::bucket(bucket)).is_ok() {
                // Release: partner of the Acquire in `Cell::load`: who starts here without having
                // come through the list sees what this link leads to.
                cell.fetch_and(!Link::BUSY.raw(), Ordering::Release);
                return;
            }
        }
    }
}

impl<'t> Cell<'t> {
    #[inline]
    fn load(cell: &'t AtomicU32) -> Self {
        Self {
            cell,
            seen: Link::load(cell),
        }
    }

    /// Lets the cell lead to `to`; fails if it has changed since the walk saw it. A head keeps its
    /// busy mark.
    #[inline]
    fn swing(self, to: Link) -> Result<Self, Changed> {
        let seen = to.with_mark_of(self.seen);
        // AcqRel. Release: partner of the Acquire loads of links; publishes the slot or bucket it
        // leads to. Acquire: what it leads to may be taken over from a removed slot's link.
        self.cell
            .compare_exchange(
                self.seen.raw(),
                seen.raw(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .map(|_| Self { seen, ..self })
            .map_err(|_| Changed)
    }
}
