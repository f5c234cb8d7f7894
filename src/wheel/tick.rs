//! A tick is an object: its absolute number and pages of [stamped words](super::stamped), one bit
//! per slot.

use std::ptr;

use super::due::DueSet;
use super::stamped::{Look, Part, Stamped, WIDTH, WIDTH_BITS, raise, sweep_word};
use crate::geometry::{PAGE_FIRST_BITS, PAGE_SEGMENTS, PAGE_WORDS};
use crate::segments::Segments;
use crate::slab::SlotNumber;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Bits for 256 slots: one cache line.
#[repr(align(64))]
struct Page([AtomicU64; PAGE_WORDS as usize]);

/// The slots that may be due in one span of time. It serves that span only, so nobody who comes
/// late can clear a hint meant for a later round. Openers copy its bits and clear none; only a bit
/// found stale on the search for a victim is cleared, by the rule of stamped words.
pub(super) struct Tick {
    /// The span's number on its level.
    number: u64,
    /// The first tick of the span.
    begin: u64,
    pages: Segments<AtomicPtr<Page>, PAGE_FIRST_BITS, PAGE_SEGMENTS>,
    /// Pages below this have been moved to the due set since the cursor reached `begin`.
    moved: AtomicU32,
    /// The page at which the next search for a victim begins.
    scan: AtomicU32,
}

impl Tick {
    pub(super) fn new(number: u64, begin: u64) -> Self {
        Self {
            number,
            begin,
            pages: Segments::new(),
            moved: AtomicU32::new(0),
            scan: AtomicU32::new(0),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    /// Sets a slot's bit.
    pub(super) fn set(&self, slot: SlotNumber) {
        let word = slot >> WIDTH_BITS;
        let cell = self.pages.get_or_alloc(word / PAGE_WORDS);
        // Acquire: partner of the Release below; the page is blank as its maker left it.
        let mut page = cell.load(Ordering::Acquire);
        if page.is_null() {
            page = install_page(cell);
        }
        // SAFETY: a page lives as long as its tick, which `&self` borrows.
        let word = unsafe { &(*page).0[(word % PAGE_WORDS) as usize] };
        raise(word, 1 << (slot % WIDTH));
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
            let words = page.0.each_ref().map(|word| Stamped::load(word).bits());
            due.set_words(index * PAGE_WORDS, &words);
            self.moved.fetch_max(index + 1, Ordering::Release);
        }
        true
    }

    /// Looks at every slot until told to stop, each time from the page behind that where the last call ended,
    /// and clears the bits that are finished.
    pub(super) fn each(&self, mut look: impl FnMut(SlotNumber) -> Look) {
        // Relaxed: only a place to begin.
        let start = self.scan.load(Ordering::Relaxed);
        let behind = self.pages.allocated(start);
        let before = self.pages.allocated(0).take_while(|(i, _)| *i < start);
        for (index, cell) in behind.chain(before) {
            let page = cell.load(Ordering::Acquire); // as in `set`
            if page.is_null() {
                continue;
            }
            // SAFETY: as in `set`.
            let page = unsafe { &*page };
            for (i, word) in page.0.iter().enumerate() {
                let first = (index * PAGE_WORDS + i as u32) << WIDTH_BITS;
                if sweep_word(word, first, u32::MAX, &mut look) == Part::Stopped {
                    // Not here again: what has just been looked at was not the first to expire,
                    // but for one.
                    self.scan.store(index + 1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

#[cold]
fn install_page(cell: &AtomicPtr<Page>) -> *mut Page {
    let page = Page(std::array::from_fn(|_| AtomicU64::new(0)));
    let fresh = Box::into_raw(Box::new(page));
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
