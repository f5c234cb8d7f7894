//! The spill list: entries of lines that are full and cannot be split.
//!
//! One list per shard, in the order of the hash, linked and unlinked as in Harris (*A pragmatic
//! implementation of non-blocking linked-lists*, 2001) and Michael (2002). A hasher worth its name
//! never fills a line with hashes that agree in so many bits, so that the list stays empty.
//!
//! - Unlinking is one slot per CAS, from a predecessor that is not marked. So a slot that a pinned
//!   walk reaches, even by way of removed ones, was unlinked after that walk pinned.
//! - An entry is added at the end of the run of its hash, after comparing all of the run: two
//!   inserts of one key aim at the same link.

use super::line::Changed;
use super::{Before, Found, Room, Search, Space, Standing};
use crate::slab::{Link, Slab, Slot, SlotNumber};
use crate::sync::atomic::{AtomicU32, Ordering};

pub(super) struct Spill {
    first: AtomicU32,
}

/// A link cell as a walk saw it: the predecessor of what the walk stopped at.
#[derive(Clone, Copy)]
pub(super) struct Cell<'t> {
    cell: &'t AtomicU32,
    seen: Link,
}

/// Follows links, marked or not, to the entry for which `same` says yes.
#[inline]
pub(super) fn follow<'t, K, V>(
    slab: &'t Slab<K, V>,
    mut link: Link,
    hash: u32,
    same: &mut impl FnMut(&Slot<K, V>) -> bool,
) -> Option<Found<'t, K, V>> {
    while let Some(number) = link.target() {
        let slot = slab.slot(number);
        link = slot.load_link();
        if slot.hash() > hash {
            return None;
        }
        if slot.hash() == hash && !link.is_marked() && same(slot) {
            return Some((number, slot));
        }
    }
    None
}

impl Spill {
    pub(super) fn new() -> Self {
        Self {
            first: AtomicU32::new(Link::END.raw()),
        }
    }

    #[cold]
    pub(super) fn lookup<'t, K, V>(
        &self,
        slab: &'t Slab<K, V>,
        hash: u32,
        same: &mut impl FnMut(&Slot<K, V>) -> bool,
    ) -> Option<Found<'t, K, V>> {
        follow(slab, Link::load(&self.first), hash, same)
    }

    /// All of the list, while nobody uses it.
    #[cfg(any(fuzzing, all(test, not(loom))))]
    pub(super) fn numbers<K, V>(&self, slab: &Slab<K, V>) -> impl Iterator<Item = SlotNumber> {
        let first = Link::load(&self.first).target();
        std::iter::successors(first, |&number| slab.slot(number).load_link().target())
    }

    #[cold]
    pub(super) fn search<'t, K, V>(
        &'t self,
        slab: &'t Slab<K, V>,
        hash: u32,
        same: &mut impl FnMut(&Slot<K, V>) -> bool,
        unlinked: &mut impl FnMut(SlotNumber),
    ) -> Search<'t> {
        loop {
            if let Ok(search) = self.walk(slab, hash, same, unlinked) {
                return search;
            }
        }
    }

    fn walk<'t, K, V>(
        &'t self,
        slab: &'t Slab<K, V>,
        hash: u32,
        same: &mut impl FnMut(&Slot<K, V>) -> bool,
        unlinked: &mut impl FnMut(SlotNumber),
    ) -> Result<Search<'t>, Changed> {
        let mut before = Cell::load(&self.first);
        while let Some(number) = before.seen.target() {
            let slot = slab.slot(number);
            let link = slot.load_link();
            if link.is_marked() {
                before = before.swing(link.unmarked())?;
                unlinked(number);
                continue;
            }
            if slot.hash() > hash {
                break;
            }
            if slot.hash() == hash && same(slot) {
                let at = Standing(Before::Cell(before));
                return Ok(Search::Found {
                    at,
                    slot: number,
                    link,
                });
            }
            before = Cell {
                cell: slot.link(),
                seen: link,
            };
        }
        Ok(Search::Absent {
            at: Room(Space::Cell(before)),
        })
    }
}

impl<'t> Cell<'t> {
    fn load(cell: &'t AtomicU32) -> Self {
        Self {
            cell,
            seen: Link::load(cell),
        }
    }

    pub(super) fn seen(self) -> Link {
        self.seen
    }

    /// Lets the cell lead to `to`; fails if it has changed since the walk saw it.
    pub(super) fn swing(self, to: Link) -> Result<Self, Changed> {
        // Release: partner of the Acquire loads of links; publishes the slot it leads to, which may be
        // taken over from a removed slot's link (Acquire where that was loaded). No Acquire: as in
        // `Table::supersede`.
        self.cell
            .compare_exchange(
                self.seen.raw(),
                to.raw(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .map(|_| Self { seen: to, ..self })
            .map_err(|_| Changed)
    }
}
