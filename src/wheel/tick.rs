//! A tick is an object: its absolute number, its first few slots by their numbers, and pages of bits,
//! one for each slot, for the others.
//!
//! Most ticks of most shards are those of the next minute, when each has a few slots, far apart: a page
//! for each would be most of what a flush costs that comes every second.

use std::ptr;

use super::due::DueSet;
use super::stamped::WIDTH;
use crate::geometry::{FEW_WORDS, PAGE_FIRST_BITS, PAGE_SEGMENTS, PAGE_WORDS};
use crate::prefetch::prefetch;
use crate::segments::Segments;
use crate::slab::SlotNumber;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::tally;

/// Bits for 1,024 slots. Not on a cache line's boundary: allocators pay for that with memory.
struct Page([AtomicU64; PAGE_WORDS as usize]);

/// Each word of a page is so many words of the due set.
const PARTS: usize = (u64::BITS / WIDTH) as usize;

/// The slots that may be due in one span of time. It serves that span only, and what it holds is added
/// and copied, never cleared, so nobody who comes late can clear a hint meant for a later round.
pub(super) struct Tick {
    /// The span's number on its level.
    number: u64,
    /// The first tick of the span.
    begin: u64,
    /// Two numbers in each word, filled in order, the lower half first.
    few: [AtomicU64; FEW_WORDS],
    pages: Segments<AtomicPtr<Page>, PAGE_FIRST_BITS, PAGE_SEGMENTS>,
    /// The few, and pages below this less one, have been moved to the due set since the cursor reached
    /// `begin`; with 0 nothing has.
    moved: AtomicU32,
}

impl Tick {
    pub(super) fn new(number: u64, begin: u64) -> Self {
        Self {
            number,
            begin,
            few: std::array::from_fn(|_| AtomicU64::new(0)),
            pages: Segments::new(),
            moved: AtomicU32::new(0),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    /// Asks for the line of a slot's bit, if it will need one.
    #[inline]
    pub(super) fn prefetch(&self, slot: SlotNumber) {
        if !self.few_are_full() {
            return;
        }
        let word = slot / u64::BITS;
        if let Some(cell) = self.pages.get(word / PAGE_WORDS) {
            let page = cell.load(Ordering::Acquire); // as in `set_bit`
            if !page.is_null() {
                // SAFETY: as in `set_bit`.
                prefetch(unsafe { &(*page).0[(word % PAGE_WORDS) as usize] });
            }
        }
    }

    /// Adds a slot.
    pub(super) fn set(&self, slot: SlotNumber) {
        if self.few_are_full() || !self.add_to_few(slot) {
            self.set_bit(slot);
        }
    }

    #[inline]
    fn few_are_full(&self) -> bool {
        // Relaxed: who does not see it finds out.
        self.few[FEW_WORDS - 1].load(Ordering::Relaxed) > u64::from(u32::MAX)
    }

    /// Makes a slot one of the few; `false` if there is no room.
    fn add_to_few(&self, slot: SlotNumber) -> bool {
        for word in &self.few {
            let mut seen = word.load(Ordering::Relaxed);
            while let Some(with) = with_number(seen, slot) {
                // Release: who sees the number sees the slot as it was when it was added. Even if it
                // is there already.
                match word.compare_exchange_weak(seen, with, Ordering::Release, Ordering::Relaxed) {
                    Ok(_) => return true,
                    Err(now) => seen = now,
                }
            }
        }
        false
    }

    fn set_bit(&self, slot: SlotNumber) {
        let word = slot / u64::BITS;
        let cell = self.pages.get_or_alloc(word / PAGE_WORDS);
        // Acquire: partner of the Release below; the page is blank as its maker left it.
        let mut page = cell.load(Ordering::Acquire);
        if page.is_null() {
            page = install_page(cell);
        }
        // SAFETY: a page lives as long as its tick, which `&self` borrows.
        let word = unsafe { &(*page).0[(word % PAGE_WORDS) as usize] };
        // Release: who sees the bit sees the slot as it was when it was set.
        word.fetch_or(1 << (slot % u64::BITS), Ordering::Release);
    }

    /// Moves all slots to the due set, page by page. The cursor has reached `begin`, and a fence
    /// lies between. `pay` is asked before the few and before each page; `false` if it refused.
    pub(super) fn move_to(&self, due: &DueSet, mut pay: impl FnMut() -> bool) -> bool {
        // Acquire: partner of the Releases below; who skips a page knows it is in the due set.
        let moved = self.moved.load(Ordering::Acquire);
        if moved == 0 {
            // Acquire: partner of the Release in `add_to_few`; the due set hands it on.
            let words = self.few.iter().map(|word| word.load(Ordering::Acquire));
            for (at, word) in words.take_while(|&word| word != 0).enumerate() {
                if at == 0 && !pay() {
                    return false;
                }
                let numbers = [word as u32, (word >> u32::BITS) as u32];
                let there = numbers.into_iter().filter(|&number| number != 0);
                there.for_each(|number| due.set(number));
            }
            self.moved.fetch_max(1, Ordering::Release);
        }
        for (index, cell) in self.pages.allocated(moved.saturating_sub(1)) {
            let page = cell.load(Ordering::Acquire); // as in `set_bit`
            if page.is_null() {
                continue;
            }
            if !pay() {
                return false;
            }
            // SAFETY: as in `set_bit`.
            let page = unsafe { &*page };
            let mut words = [0; PARTS * PAGE_WORDS as usize];
            for (parts, word) in words.chunks_exact_mut(PARTS).zip(&page.0) {
                // Acquire: partner of the Release in `set_bit`; the due set hands it on.
                let bits = word.load(Ordering::Acquire);
                parts.copy_from_slice(&[bits as u32, (bits >> WIDTH) as u32]);
            }
            due.set_words(index * words.len() as u32, &words);
            self.moved.fetch_max(index + 2, Ordering::Release);
        }
        true
    }
}

/// A word of two numbers with one more, or as it is if it has that already; `None` if it is full.
fn with_number(word: u64, number: SlotNumber) -> Option<u64> {
    let (low, high) = (word as u32, (word >> u32::BITS) as u32);
    if low == number || high == number {
        Some(word)
    } else if low == 0 {
        Some(number.into())
    } else if high == 0 {
        Some(word | u64::from(number) << u32::BITS)
    } else {
        None
    }
}

#[cold]
fn install_page(cell: &AtomicPtr<Page>) -> *mut Page {
    let page = Page(std::array::from_fn(|_| AtomicU64::new(0)));
    let fresh = Box::into_raw(Box::new(page));
    tally::page_allocated();
    // Release: publishes the blank page; Acquire on failure: for the other's.
    match cell.compare_exchange(ptr::null_mut(), fresh, Ordering::Release, Ordering::Acquire) {
        Ok(_) => fresh,
        Err(theirs) => {
            // SAFETY: made just above and never shared.
            drop(unsafe { Box::from_raw(fresh) });
            theirs
        }
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        for (_, cell) in self.pages.allocated(0) {
            // Relaxed: `&mut self`.
            let page = cell.load(Ordering::Relaxed);
            if !page.is_null() {
                // SAFETY: made by `install_page`; nobody else can reach this tick any more.
                drop(unsafe { Box::from_raw(page) });
            }
        }
    }
}
