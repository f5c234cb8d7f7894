//! A hash table over slot numbers, of cache lines that split.
//!
//! A bucket is one cache line: a head and 14 words of 32 bits, each a slot's number with eight bits
//! of its hash. So a lookup reads the line, the slot of its key, and seldom another. The idea of
//! lines with fingerprints and a head that is changed by CAS is that of DLHT (Khan et al., *DLHT: A
//! Non-blocking Resizable Hashtable with Fast Deletes and Memory-awareness*, HPDC 2024); numbering
//! lines so that each splits off its child without a directory is linear hashing (Litwin, 1980).
//!
//! Ground rules:
//! - **Who sets the mark of a slot's link owns the removal.** A marked link never changes again. It
//!   leads to what takes the slot's place: the entry that replaced it, or nothing.
//! - **An entry enters and leaves a line by a CAS of the head**, from a head under which the line
//!   was read. So keys stay unique: of two inserts of one key, the second finds the head changed.
//! - **A replaced entry's word is swung** to the entry that replaced it, without the head. Readers
//!   that still see the old word go on by the old slot's link.
//! - **Who unlinks, retires**: who took the word of a marked slot out of its line, or swung it.
//! - A word that does not count is vacant, or belongs to one thread: an inserter that has claimed
//!   it, or whoever made it cease to count.
//! - **What was read in a line holds if the head is still the same afterwards.** A reader follows a
//!   word only after it has seen that.
//! - A line that is full is split (`split`); if it cannot be, because the hashes are all but equal,
//!   it *spills*: from then on entries of this line are added to the shard's spill list and no
//!   longer to the line.

mod early;
mod head;
mod line;
mod lines;
mod matches;
mod remove;
mod spill;
mod split;
mod word;

use crate::geometry::LINE_WORDS;
use crate::slab::{Link, Slab, Slot, SlotNumber};
use line::Changed;
use lines::{Lines, Seen};
use spill::{Cell, Spill};
use word::{Fingerprint, Word};

pub(crate) struct Table {
    lines: Lines,
    spill: Spill,
}

/// What a lookup found: a slot, and its number.
pub(crate) type Found<'t, K, V> = (SlotNumber, &'t Slot<K, V>);

/// What a glance was not enough for.
pub(crate) struct Unclear;

/// What a writing walk found.
pub(crate) enum Search<'t> {
    /// The entry, where it stands, and the unmarked link it had.
    Found {
        at: Standing<'t>,
        slot: SlotNumber,
        link: Link,
    },
    /// Nothing; an entry for this hash may be added there.
    Absent { at: Room<'t> },
}

/// What leads to an entry.
#[derive(Clone, Copy)]
pub(crate) struct Standing<'t>(Before<'t>);

#[derive(Clone, Copy)]
enum Before<'t> {
    Word(Seen<'t>, usize, Word),
    Cell(Cell<'t>),
}

/// Where an entry may be added.
#[derive(Clone, Copy)]
pub(crate) struct Room<'t>(Space<'t>);

#[derive(Clone, Copy)]
enum Space<'t> {
    Line(Seen<'t>),
    Cell(Cell<'t>),
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            lines: Lines::new(),
            spill: Spill::new(),
        }
    }

    /// Has room made for so many slots, by this call and those to come: called for every fresh slot,
    /// it splits a line at a time until all are as deep as they should be. Pinned.
    pub(crate) fn grow_for<K, V>(&self, slab: &Slab<K, V>, slots: u32) {
        self.lines.grow_for(slots);
        if let Some(seen) = self.lines.next_behind() {
            if seen.head.is_splitting() {
                self.finish_split(slab, seen);
            } else {
                self.split(slab, seen);
            }
        }
    }

    /// The slots that all its lines and its spill list lead to, of a table that nobody uses at the moment.
    #[cfg(any(fuzzing, all(test, not(loom))))]
    pub(crate) fn numbers<K, V>(&self, slab: &Slab<K, V>) -> Vec<SlotNumber> {
        let words = |seen: Seen<'_>| {
            assert!(
                !seen.head.is_splitting(),
                "a split that nobody has finished"
            );
            let counts = move |at: &usize| seen.head.valid() >> at & 1 != 0;
            let number = |at| seen.line.word(at).number();
            (0..LINE_WORDS)
                .filter(counts)
                .map(number)
                .collect::<Vec<_>>()
        };
        let in_lines = self.lines.open().flat_map(words);
        in_lines.chain(self.spill.numbers(slab)).collect()
    }

    /// Asks for the line of a hash.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        self.lines.prefetch(hash);
    }

    /// A short look: at the one slot that may have this hash, if the line is like most and no other
    /// may. The caller compares keys, and looks again by `lookup` if this was not it. `Err` says
    /// nothing.
    #[inline]
    pub(crate) fn glance<'t, K, V>(
        &self,
        slab: &'t Slab<K, V>,
        hash: u32,
    ) -> Result<Option<&'t Slot<K, V>>, Unclear> {
        let Seen { line, head, .. } = self.lines.plain(hash).ok_or(Unclear)?;
        let mask = line.matches(Fingerprint::of_hash(hash)) & head.valid();
        if mask == 0 {
            line.check(head).map_err(|Changed| Unclear)?;
            return Ok(None);
        }
        let word = line.word(mask.trailing_zeros() as usize);
        // Then no split had begun, and no word had moved.
        line.check(head).map_err(|Changed| Unclear)?;
        Ok(Some(slab.slot(word.number())))
    }

    /// Reads its way to the entry for which `same` says yes. Writes nothing. `same` is asked only
    /// for entries with this hash that were not marked.
    #[inline]
    pub(crate) fn lookup<'t, K, V>(
        &self,
        slab: &'t Slab<K, V>,
        hash: u32,
        mut same: impl FnMut(&Slot<K, V>) -> bool,
    ) -> Option<Found<'t, K, V>> {
        let fingerprint = Fingerprint::of_hash(hash);
        loop {
            let seen = self.lines.of(hash);
            if let Ok(found) = look_in(slab, seen, fingerprint, hash, &mut same) {
                if found.is_some() || !seen.head.is_spilled() {
                    return found;
                }
                return self.spill.lookup(slab, hash, &mut same);
            }
        }
    }

    /// Walks to the entry for which `same` says yes, or to where it would be added, unlinking
    /// removed slots on the way; each goes to `unlinked`. Splits lines as far as they should be if
    /// `grow` says so.
    pub(crate) fn search<'t, K, V>(
        &'t self,
        slab: &'t Slab<K, V>,
        hash: u32,
        grow: bool,
        mut same: impl FnMut(&Slot<K, V>) -> bool,
        mut unlinked: impl FnMut(SlotNumber),
    ) -> Search<'t> {
        let fingerprint = Fingerprint::of_hash(hash);
        let bits = if grow { self.lines.bits() } else { 0 };
        loop {
            let seen = self.lines.of(hash);
            if seen.head.is_splitting() {
                self.finish_split(slab, seen);
                continue;
            }
            if seen.head.depth() < bits {
                self.split(slab, seen);
                continue;
            }
            let Ok(found) = search_in(slab, seen, fingerprint, hash, &mut same, &mut unlinked)
            else {
                continue;
            };
            if let Some((at, slot, link)) = found {
                return Search::Found { at, slot, link };
            }
            if seen.head.is_spilled() {
                return self.spill.search(slab, hash, &mut same, &mut unlinked);
            }
            return Search::Absent {
                at: Room(Space::Line(seen)),
            };
        }
    }

    /// Adds a filled slot where a search has found room. Fails if something has changed there, or
    /// room had to be made.
    pub(crate) fn add<K, V>(
        &self,
        slab: &Slab<K, V>,
        at: Room<'_>,
        number: SlotNumber,
        slot: &Slot<K, V>,
    ) -> bool {
        match at.0 {
            Space::Cell(cell) => {
                slot.set_link(cell.seen());
                cell.swing(Link::slot(number)).is_ok()
            }
            Space::Line(seen) => {
                slot.set_link(Link::END);
                let fingerprint = Fingerprint::of_hash(slot.hash());
                let word = Word::new(fingerprint, number);
                let home = fingerprint.one_of(LINE_WORDS);
                let Some(at) = seen.line.claim(seen.head, home, word) else {
                    self.make_room(slab, seen);
                    return false;
                };
                step!("insert: has claimed a word");
                let added = seen.line.change(seen.head, seen.head.with(at));
                if added.is_err() {
                    seen.line.vacate(at);
                }
                added.is_ok()
            }
        }
    }

    /// Splits a full line, or lets it spill.
    #[cold]
    fn make_room<K, V>(&self, slab: &Slab<K, V>, seen: Seen<'_>) {
        if seen.head.depth() < self.lines.most_bits() {
            self.split(slab, seen);
        } else {
            // If it fails, something has changed, and perhaps there is room.
            let _ = seen.line.change(seen.head, seen.head.spilled());
        }
    }
}

/// The places of a mask, from the lowest on.
#[inline]
fn places(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (at != u32::BITS).then_some(at as usize)
    })
}

/// Looks for an entry in a line, which may be splitting.
#[inline]
fn look_in<'t, K, V>(
    slab: &'t Slab<K, V>,
    seen: Seen<'_>,
    fingerprint: Fingerprint,
    hash: u32,
    same: &mut impl FnMut(&Slot<K, V>) -> bool,
) -> Result<Option<Found<'t, K, V>>, Changed> {
    let Seen { line, head, .. } = seen;
    for at in places(line.matches(fingerprint) & head.valid()) {
        let word = line.word(at);
        line.check(head)?;
        if word.is_moved() && !seen.is_childs(hash) {
            // The child's. If that is open the entry may have been removed there, and recycled.
            continue;
        }
        let found = spill::follow(slab, Link::slot(word.number()), hash, same);
        if found.is_some() {
            return Ok(found);
        }
    }
    line.check(head)?;
    Ok(None)
}

/// The same for a writer, in a line that was not splitting: removed entries with this hash leave
/// it.
fn search_in<'t, K, V>(
    slab: &Slab<K, V>,
    seen: Seen<'t>,
    fingerprint: Fingerprint,
    hash: u32,
    same: &mut impl FnMut(&Slot<K, V>) -> bool,
    unlinked: &mut impl FnMut(SlotNumber),
) -> Result<Option<(Standing<'t>, SlotNumber, Link)>, Changed> {
    let Seen { line, head, .. } = seen;
    for at in places(line.matches(fingerprint) & head.valid()) {
        loop {
            let word = line.word(at);
            line.check(head)?;
            let number = word.number();
            let slot = slab.slot(number);
            if slot.hash() != hash {
                break;
            }
            let link = slot.load_link();
            let standing = Standing(Before::Word(seen, at, word));
            if !link.is_marked() {
                if same(slot) {
                    return Ok(Some((standing, number, link)));
                }
                break;
            }
            standing.unlink(link)?;
            unlinked(number);
            if link.target().is_none() {
                return Err(Changed); // the head, by this thread
            }
        }
    }
    line.check(head)?;
    Ok(None)
}

#[cfg(all(test, not(loom)))]
mod tests;
