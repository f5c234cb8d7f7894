//! A tick is an object: its absolute number and pages of bits, one per slot.

use std::ptr;

use super::due::DueSet;
use super::stamped::WIDTH;
use crate::geometry::{PAGE_FIRST_BITS, PAGE_SEGMENTS, PAGE_WORDS};
use crate::prefetch::prefetch;
use crate::segments::Segments;
use crate::slab::SlotNumber;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::tally;

/// Bits for 1,024 slots. Not on a cache line's boundary: allocators pay for that with memory.
struct Page([AtomicU64; PAGE_WORDS as usize]);

/// Each word of a page is so many words of the due set.
const PARTS: usize = (u64::BITS / WIDTH) as usize;

/// The slots that may be due in one span of time. It serves that span only, and its bits are set
/// and copied, never cleared, so nobody who comes late can clear a hint meant for a later round.
pub(super) struct Tick {
    /// The span's number on its level.
    number: u64,
    /// The first tick of the span.
    begin: u64,
    pages: Segments<AtomicPtr<Page>, PAGE_FIRST_BITS, PAGE_SEGMENTS>,
    /// Pages below this have been moved to the due set since the cursor reached `begin`.
    moved: AtomicU32,
}

impl Tick {
    pub(super) fn new(number: u64, begin: u64) -> Self {
        Self {
            number,
            begin,
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

    /// Asks for the line of a slot's bit.
    #[inline]
    pub(super) fn prefetch(&self, slot: SlotNumber) {
        let word = slot / u64::BITS;
        if let Some(cell) = self.pages.get(word / PAGE_WORDS) {
            let page = cell.load(Ordering::Acquire); // as in `set`
            if !page.is_null() {
                // SAFETY: as in `set`.
                prefetch(unsafe { &(*page).0[(word % PAGE_WORDS) as usize] });
            }
        }
    }

    /// Sets a slot's bit.
    pub(super) fn set(&self, slot: SlotNumber) {
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

    /// Moves all bits to the due set, page by page. The cursor has reached `begin`, and a fence
    /// lies between. `pay` is asked before each page; `false` if it refused.
    pub(super) fn move_to(&self, due: &DueSet, mut pay: impl FnMut() -> bool) -> bool {
        // Acquire: partner of the Release below; who skips a page knows it is in the due set.
        let from = self.moved.load(Ordering::Acquire);
        for (index, cell) in self.pages.allocated(from) {
            let page = cell.load(Ordering::Acquire); // as in `set`
            if page.is_null() {
                continue;
            }
            if !pay() {
                return false;
            }
            // SAFETY: as in `set`.
            let page = unsafe { &*page };
            let mut words = [0; PARTS * PAGE_WORDS as usize];
            for (parts, word) in words.chunks_exact_mut(PARTS).zip(&page.0) {
                // Acquire: partner of the Release in `set`; the due set hands it on.
                let bits = word.load(Ordering::Acquire);
                parts.copy_from_slice(&[bits as u32, (bits >> WIDTH) as u32]);
            }
            due.set_words(index * words.len() as u32, &words);
            self.moved.fetch_max(index + 1, Ordering::Release);
        }
        true
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
