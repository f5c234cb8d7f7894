//! A tick is an object: its absolute number, and the slots that may be due in it: the first ones by
//! their numbers, as they come, and all others as bits, in pages for 1,024 slots.
//!
//! Of most ticks a shard has few slots, far apart: a page for each of them would be most of what a
//! flush costs that comes every second, and of what the wheel takes in memory. But numbers are added
//! and never looked for: a slot that is used again and again would be there as often. So there is room
//! for one in [`LIST_SHARE`] of the shard's slots, some half of the memory that bits for all of them take.

use super::bits::Bits;
use super::due::DueSet;
use super::list::List;
use super::stamped::WIDTH;
use crate::geometry::{FEW, LIST_CHUNK, LIST_SHARE, PAGE_WORDS};
use crate::prefetch::prefetch;
use crate::slab::SlotNumber;
use crate::sync::atomic::{AtomicU32, Ordering};

/// Each word of a page of bits is so many words of the due set.
const PARTS: usize = (u64::BITS / WIDTH) as usize;

/// The slots that may be due in one span of time. It serves that span only, and what it holds is added
/// and copied, never cleared, so nobody who comes late can clear a hint meant for a later round.
pub(super) struct Tick {
    /// The span's number on its level.
    number: u64,
    /// So many places among the few and in the list have been given away.
    taken: AtomicU32,
    few: [AtomicU32; FEW],
    list: List,
    bits: Bits,
    /// Of the few, which come first, and the pages of bits those below this one have been moved to
    /// the due set since the cursor reached the span.
    moved_to: AtomicU32,
}

impl Tick {
    pub(super) fn new(number: u64) -> Self {
        const { assert!(cfg!(any(loom, sessionwheel_tiny)) || size_of::<Self>() <= 104) };
        Self {
            number,
            taken: AtomicU32::new(0),
            few: std::array::from_fn(|_| AtomicU32::new(0)),
            list: List::new(),
            bits: Bits::new(),
            moved_to: AtomicU32::new(0),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Asks for the line of a slot's bit, if it will need one.
    #[inline]
    pub(super) fn prefetch(&self, slot: SlotNumber, reach: SlotNumber) {
        if !self.has_room(reach) {
            self.bits.word(slot).into_iter().for_each(prefetch);
        }
    }

    /// Adds a slot of a shard that has slots up to `reach`.
    #[inline]
    pub(super) fn set(&self, slot: SlotNumber, reach: SlotNumber) {
        if self.has_room(reach) {
            // Relaxed: the number that is put there tells all.
            let place = self.taken.fetch_add(1, Ordering::Relaxed);
            if place < room(reach) {
                let few = self.few.get(place as usize);
                let cell = few.unwrap_or_else(|| self.list.cell(place - FEW as u32));
                // Relaxed: the fences make the order, see `move_numbers`.
                cell.store(slot, Ordering::Relaxed);
                return;
            }
        }
        self.bits.set(slot);
    }

    /// Whether there is room among the few or in the list.
    #[inline]
    fn has_room(&self, reach: SlotNumber) -> bool {
        // Relaxed: who sees too few finds out.
        self.taken.load(Ordering::Relaxed) < room(reach)
    }

    /// Moves all slots to the due set, part by part. The cursor has reached the span, and a fence
    /// lies between. `pay` is asked before each part; `false` if it refused.
    pub(super) fn move_to(&self, due: &DueSet, mut pay: impl FnMut() -> bool) -> bool {
        for chunk in self.list.unmoved() {
            if !move_numbers(chunk.cells(), due, &mut pay) {
                return false;
            }
            step!("open: has moved a chunk");
            self.list.moved(chunk);
        }
        // Acquire: partner of the Releases below; who skips a part knows it is in the due set.
        let moved_to = self.moved_to.load(Ordering::Acquire);
        if moved_to == 0 {
            if !move_numbers(&self.few, due, &mut pay) {
                return false;
            }
            step!("open: has moved the few");
            self.moved_to.fetch_max(1, Ordering::Release);
        }
        for (index, page) in self.bits.pages(moved_to.saturating_sub(1)) {
            if !pay() {
                return false;
            }
            let mut words = [0; PARTS * PAGE_WORDS as usize];
            for (parts, word) in words.chunks_exact_mut(PARTS).zip(page) {
                let bits = word.load(Ordering::Relaxed); // as in `move_numbers`
                parts.copy_from_slice(&[bits as u32, (bits >> WIDTH) as u32]);
            }
            due.set_words(index * words.len() as u32, &words);
            step!("open: has moved a page");
            self.moved_to.fetch_max(index + 2, Ordering::Release);
        }
        true
    }
}

/// Moves slots to the due set; `false` if `pay` refused.
fn move_numbers(cells: &[AtomicU32], due: &DueSet, pay: &mut impl FnMut() -> bool) -> bool {
    let mut numbers = [0; if FEW > LIST_CHUNK { FEW } else { LIST_CHUNK }];
    let mut there = 0;
    for cell in cells {
        // Relaxed: either the fence in `hint`, after the number was put here, comes before our
        // caller's, and what follows sees the slot as it was when it was added; or its hint will see
        // the cursor and go again, whether we see the number, or the slot, or not.
        numbers[there] = cell.load(Ordering::Relaxed);
        there += usize::from(numbers[there] != 0);
    }
    if there == 0 {
        return true;
    }
    let paid = pay();
    if paid {
        due.set_all(&mut numbers[..there]);
    }
    paid
}

/// So many slots are kept by their numbers.
#[inline]
fn room(reach: SlotNumber) -> u32 {
    FEW as u32 + reach / LIST_SHARE
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_to_the_list_until_it_is_full_and_then_to_bits() {
        // A reach that gives room for so many chunks.
        const CHUNKS: u32 = 3;
        let listed = CHUNKS * LIST_CHUNK as u32;
        let reach = listed * LIST_SHARE;
        let tick = Tick::new(7);
        for slot in 1..=reach {
            tick.set(slot, reach);
        }
        let room = FEW as u32 + listed;
        assert_eq!(tick.list.unmoved().count(), CHUNKS as usize);
        assert_eq!(
            tick.taken.load(Ordering::Relaxed),
            room,
            "no more are counted"
        );
        let word = |slot| {
            tick.bits
                .word(slot)
                .map(|word| word.load(Ordering::Relaxed))
        };
        let has_bit =
            |slot: u32| word(slot).is_some_and(|bits| bits >> (slot % u64::BITS) & 1 == 1);
        let bits: Vec<u32> = (1..=reach).filter(|&slot| has_bit(slot)).collect();
        assert!(bits.into_iter().eq(room + 1..=reach));
        let due = DueSet::new();
        assert!(tick.move_to(&due, || true));
        assert!(due.from(0).eq(1..=reach));
    }
}
