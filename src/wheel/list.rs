//! Slot numbers in the order in which they came.
//!
//! Ground rules: a chunk, once in the list, stays there until the list is dropped; its number is one
//! more than that of the chunk it was put before.

use std::ptr;

use super::put::put;
use crate::geometry::LIST_CHUNK;
use crate::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::tally;

/// Chunks, the newest first.
pub(super) struct List {
    newest: AtomicPtr<Chunk>,
}

/// Not on a cache line's boundary: allocators pay for that with memory.
struct Chunk {
    older: *mut Chunk,
    number: u32,
    cells: [AtomicU32; LIST_CHUNK],
}

impl List {
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The cell of a place. Makes its chunk, and those before it, if they are not there. A cell that
    /// nobody has written to is zero.
    #[inline]
    pub(super) fn cell(&self, place: u32) -> &AtomicU32 {
        let (number, at) = (place / LIST_CHUNK as u32, place as usize % LIST_CHUNK);
        let mut chunk = self.newest();
        loop {
            match self.seen(chunk) {
                Some(found) if found.number == number => return &found.cells[at],
                Some(found) if found.number > number => chunk = found.older,
                newest => chunk = self.add(chunk, newest.map_or(0, |newest| newest.number + 1)),
            }
        }
    }

    /// The chunks, the newest first, with their numbers.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u32, &[AtomicU32])> {
        let newest = self.seen(self.newest());
        let chunks = std::iter::successors(newest, |chunk| self.seen(chunk.older));
        chunks.map(|chunk| (chunk.number, &chunk.cells[..]))
    }

    fn newest(&self) -> *mut Chunk {
        // Acquire: partner of the Release in `put`; a chunk is as its maker left it.
        self.newest.load(Ordering::Acquire)
    }

    fn seen(&self, chunk: *mut Chunk) -> Option<&Chunk> {
        // SAFETY: a pointer in the list is null, or to a chunk that lives as long as the list, which
        // `&self` borrows.
        unsafe { chunk.as_ref() }
    }

    /// Puts a chunk of this number before the newest one, unless somebody else does. The newest one
    /// then.
    #[cold]
    fn add(&self, newest: *mut Chunk, number: u32) -> *mut Chunk {
        tally::page_allocated();
        let chunk = Chunk {
            older: newest,
            number,
            cells: std::array::from_fn(|_| AtomicU32::new(0)),
        };
        put(&self.newest, newest, chunk)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // Relaxed: `&mut self`.
        let mut chunk = self.newest.load(Ordering::Relaxed);
        while !chunk.is_null() {
            // SAFETY: made by `put`; nobody else can reach this list any more.
            let owned = unsafe { Box::from_raw(chunk) };
            chunk = owned.older;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_cell_of_its_own_whichever_comes_first() {
        let list = List::new();
        let places = 0..5 * LIST_CHUNK as u32;
        for place in places.clone().rev() {
            list.cell(place).store(place + 1, Ordering::Relaxed);
        }
        let mut all = Vec::new();
        for (number, cells) in list.chunks() {
            assert_eq!(number, 4 - (all.len() / LIST_CHUNK) as u32);
            all.extend(cells.iter().rev().map(|cell| cell.load(Ordering::Relaxed)));
        }
        assert!(all.into_iter().rev().eq(places.map(|place| place + 1)));
    }
}
