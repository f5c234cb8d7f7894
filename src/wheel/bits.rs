//! Slots as bits, in pages that are made when they are first written to.

use std::ptr;

use super::put::put;
use crate::geometry::{PAGE_FIRST_BITS, PAGE_SEGMENTS, PAGE_WORDS};
use crate::segments::Segments;
use crate::slab::SlotNumber;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::tally;

/// Bits for 1,024 slots. Not on a cache line's boundary: allocators pay for that with memory.
type Page = [AtomicU64; PAGE_WORDS as usize];

type Directory = Segments<AtomicPtr<Page>, PAGE_FIRST_BITS, PAGE_SEGMENTS>;

pub(super) struct Bits {
    /// Made when the first bit is set.
    directory: AtomicPtr<Directory>,
}

impl Bits {
    pub(super) fn new() -> Self {
        Self {
            directory: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The word of a slot's bit, if it is there.
    #[inline]
    pub(super) fn word(&self, slot: SlotNumber) -> Option<&AtomicU64> {
        let (page, word) = place(slot);
        // SAFETY: as in `set`.
        let page = unsafe { loaded(self.directory()?.get(page)?).as_ref()? };
        Some(&page[word])
    }

    /// Sets a slot's bit.
    #[inline]
    pub(super) fn set(&self, slot: SlotNumber) {
        let (page, word) = place(slot);
        let directory = self.directory().unwrap_or_else(|| {
            // SAFETY: as in `directory`.
            unsafe { &*put(&self.directory, ptr::null_mut(), Directory::new()) }
        });
        let cell = directory.get_or_alloc(page);
        let mut page = loaded(cell);
        if page.is_null() {
            let blank = std::array::from_fn(|_| AtomicU64::new(0));
            page = put(cell, ptr::null_mut(), blank);
            tally::page_allocated();
        }
        // SAFETY: a page lives as long as its directory, which `&self` borrows.
        let word = unsafe { &(&*page)[word] };
        // Relaxed: `Wheel::hint` makes a fence next, and so has, after it came to the cursor, whoever
        // moves the bit. If theirs is the first, the hint sees the cursor and goes again; else they,
        // and who has the bit from them, see the slot as it was when the bit was set.
        word.fetch_or(1 << (slot % u64::BITS), Ordering::Relaxed);
    }

    /// The pages that are there, from number `from` on, with their numbers.
    pub(super) fn pages(&self, from: u32) -> impl Iterator<Item = (u32, &Page)> {
        let directory = self.directory().into_iter();
        let cells = directory.flat_map(move |directory| directory.allocated(from));
        // SAFETY: as in `set`.
        cells.filter_map(|(index, cell)| Some((index, unsafe { loaded(cell).as_ref()? })))
    }

    fn directory(&self) -> Option<&Directory> {
        // SAFETY: the directory lives as long as `self`.
        unsafe { loaded(&self.directory).as_ref() }
    }
}

/// The page of a slot, and the word in it.
fn place(slot: SlotNumber) -> (u32, usize) {
    let word = slot / u64::BITS;
    (word / PAGE_WORDS, (word % PAGE_WORDS) as usize)
}

fn loaded<T>(cell: &AtomicPtr<T>) -> *mut T {
    // Acquire: partner of the Release in `put`; it is blank as its maker left it.
    cell.load(Ordering::Acquire)
}

impl Drop for Bits {
    fn drop(&mut self) {
        // Relaxed, here and below: `&mut self`.
        let directory = self.directory.load(Ordering::Relaxed);
        if directory.is_null() {
            return;
        }
        // SAFETY: made by `put`; nobody else can reach these bits any more.
        let directory = unsafe { Box::from_raw(directory) };
        for (_, cell) in directory.allocated(0) {
            let page = cell.load(Ordering::Relaxed);
            if !page.is_null() {
                // SAFETY: as above.
                drop(unsafe { Box::from_raw(page) });
            }
        }
    }
}
