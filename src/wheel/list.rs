//! Slot numbers in the order in which they came.
//!
//! Ground rules:
//! - A chunk, once in the list, stays there until the list is dropped; its number is one more than
//!   that of the chunk it was put before.
//! - Chunks are moved out the newest first. One that is put before those that were moved is for
//!   hints that will see the cursor, and need not be moved.

use std::ptr;

use super::put::put;
use crate::geometry::LIST_CHUNK;
use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::tally;

/// Chunks, the newest first.
pub(super) struct List {
    newest: AtomicPtr<Chunk>,
    /// From this one on all that were there have been moved out, up to the newest.
    moved: AtomicPtr<Chunk>,
}

/// Not on a cache line's boundary: allocators pay for that with memory.
pub(super) struct Chunk {
    older: *mut Chunk,
    /// Written before the chunk is in the list. In a cell, so that loom sees who reads it too early.
    number: UnsafeCell<u32>,
    cells: [AtomicU32; LIST_CHUNK],
}

impl List {
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
            moved: AtomicPtr::new(ptr::null_mut()),
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
                Some(found) if found.number() == number => return &found.cells[at],
                Some(found) if found.number() > number => chunk = found.older,
                newest => chunk = self.add(chunk, newest.map_or(0, |newest| newest.number() + 1)),
            }
        }
    }

    /// The chunks that are to be moved out, the newest first.
    pub(super) fn unmoved(&self) -> impl Iterator<Item = &Chunk> {
        // Acquire: partner of the Release in `moved`. Without it who passes a chunk by could miss in
        // the due set what was moved there.
        let moved = self.seen(self.moved.load(Ordering::Acquire));
        let first = moved.map_or_else(|| self.newest(), |moved| moved.older);
        std::iter::successors(self.seen(first), |chunk| self.seen(chunk.older))
    }

    /// Notes that a chunk of this list, and all that stood before it, have been moved out.
    pub(super) fn moved(&self, chunk: &Chunk) {
        // Release: partner of the Acquire in `unmoved`. Acquire: partner of this Release. The one that
        // is there may have come since this thread looked for the newest, and nothing else tells that
        // its number has been written.
        let _further = self
            .moved
            .fetch_update(Ordering::Release, Ordering::Acquire, |moved| {
                let before = self
                    .seen(moved)
                    .is_none_or(|moved| moved.number() > chunk.number());
                before.then_some(ptr::from_ref(chunk).cast_mut())
            });
    }

    fn newest(&self) -> *mut Chunk {
        // Acquire: partner of the Release in `put`; a chunk is as its maker left it.
        self.newest.load(Ordering::Acquire)
    }

    /// One that is in the list, or none.
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
            number: UnsafeCell::new(number),
            cells: std::array::from_fn(|_| AtomicU32::new(0)),
        };
        put(&self.newest, newest, chunk)
    }
}

impl Chunk {
    #[inline]
    fn number(&self) -> u32 {
        // SAFETY: nobody writes it once the chunk is in the list, and who has come to the chunk has
        // synchronised with who put it there: see `newest` and `moved`.
        self.number.with(|number| unsafe { *number })
    }

    pub(super) fn cells(&self) -> &[AtomicU32] {
        &self.cells
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

    const CHUNKS: u32 = 5;
    const PLACES: u32 = CHUNKS * LIST_CHUNK as u32;

    /// Numbers up to [`PLACES`], the last place first.
    fn full() -> List {
        let list = List::new();
        for place in (0..PLACES).rev() {
            list.cell(place).store(place + 1, Ordering::Relaxed);
        }
        list
    }

    fn numbers(list: &List) -> Vec<u32> {
        list.unmoved().map(Chunk::number).collect()
    }

    #[test]
    fn every_place_has_a_cell_of_its_own_whichever_comes_first() {
        let list = full();
        let mut all = Vec::new();
        for chunk in list.unmoved() {
            let cells = chunk.cells.iter().rev();
            all.extend(cells.map(|cell| cell.load(Ordering::Relaxed)));
        }
        assert!(all.into_iter().eq((1..=PLACES).rev()));
        assert_eq!(numbers(&list), [4, 3, 2, 1, 0]);
    }

    #[test]
    fn what_was_moved_is_passed_by_whoever_was_first() {
        let list = full();
        let of = |number| list.unmoved().find(|chunk| chunk.number() == number);
        let (third, fourth) = (of(2).expect("there"), of(3).expect("there"));
        list.moved(third);
        assert_eq!(numbers(&list), [1, 0]);
        list.moved(fourth);
        assert_eq!(numbers(&list), [1, 0], "somebody was slower");
        list.cell(PLACES);
        assert_eq!(numbers(&list), [1, 0], "one more is for others to see to");
        list.moved(of(0).expect("there"));
        assert_eq!(numbers(&list), [0; 0]);
    }
}
