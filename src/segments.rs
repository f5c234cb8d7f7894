//! An array that grows without moving: segments that double, each allocated on first use.
//!
//! Ground rules:
//! - A segment pointer goes from null to its segment once and stays until the array is dropped,
//!   so a reference to an element is good for as long as the array is borrowed.
//! - A fresh element is blank: all its bytes are zero (see [`Blank`]), which lets the operating
//!   system hand out a large segment lazily, page by page, on first touch.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::tally;

/// A type whose all-zero bytes are a valid value that needs no drop.
///
/// # Safety
/// Outside loom and shuttle, zeroed memory must be a valid `Self`, equal to what [`blank`](Blank::blank)
/// makes, and dropping it must do nothing.
pub(crate) unsafe trait Blank {
    /// What a tally counts it as.
    #[cfg(sessionwheel_counted)]
    const KIND: tally::Kind;

    /// The value that zeroed memory stands for. Only called under loom and shuttle, whose atomics have
    /// state besides their bytes.
    #[cfg_attr(not(any(loom, shuttle)), allow(dead_code))]
    fn blank() -> Self;
}

macro_rules! blank_atomics {
    ($($name:ident is $kind:ident),*) => {$(
        // SAFETY: the standard integer atomics have the layout of their integer, zero is valid,
        // and they have no Drop.
        unsafe impl Blank for crate::sync::atomic::$name {
            #[cfg(sessionwheel_counted)]
            const KIND: tally::Kind = tally::Kind::$kind;

            fn blank() -> Self {
                Self::new(0)
            }
        }
    )*};
}
blank_atomics!(AtomicU32 is Place, AtomicU64 is Word);

// SAFETY: an atomic pointer has the layout of a pointer, null is all zero, and it has no Drop.
unsafe impl<T> Blank for AtomicPtr<T> {
    #[cfg(sessionwheel_counted)]
    const KIND: tally::Kind = tally::Kind::Directory;

    fn blank() -> Self {
        Self::new(ptr::null_mut())
    }
}

/// Elements `0 .. 2^END - 2^FIRST`; segment `k` from `FIRST` to below `END` holds `2^k` of them.
pub(crate) struct Segments<T, const FIRST: u32, const END: usize> {
    /// Those before the first are never there: so the place of an element takes one step less.
    segments: [AtomicPtr<T>; END],
    /// A pointer that is atomic may go to any thread: this may where what it leads to may.
    _elements: PhantomData<T>,
}

impl<T: Blank, const FIRST: u32, const END: usize> Segments<T, FIRST, END> {
    pub(crate) fn new() -> Self {
        Self {
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            _elements: PhantomData,
        }
    }

    #[inline]
    fn place(index: u32) -> (usize, usize) {
        let shifted = u64::from(index) + (1 << FIRST);
        let segment = shifted.ilog2();
        // By XOR: one instruction clears that bit.
        (segment as usize, (shifted ^ (1 << segment)) as usize)
    }

    const fn len_of(segment: usize) -> usize {
        1 << segment
    }

    /// The element, if its segment has been allocated.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (segment, offset) = Self::place(index);
        // Acquire: partner of the Release in `allocate`; without it the elements could be read
        // before the zeroes the allocating thread saw.
        let base = self.segments[segment].load(Ordering::Acquire);
        if base.is_null() {
            return None;
        }
        // SAFETY: a non-null segment holds `len_of(segment)` blank-initialised elements until the
        // array is dropped, and `place` keeps `offset` below that.
        let element = unsafe { &*base.add(offset) };
        tally::touched(element);
        Some(element)
    }

    /// The element, whose segment must have been allocated.
    ///
    /// # Panics
    /// If it has not: a number that nobody handed out.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> &T {
        match self.get(index) {
            Some(element) => element,
            None => no_such_segment(index),
        }
    }

    /// The element; allocates its segment if this is the first touch.
    #[inline]
    pub(crate) fn get_or_alloc(&self, index: u32) -> &T {
        self.get_or_alloc_after(index, || ())
    }

    /// The same; if its segment has to be allocated, `before` is called first.
    #[inline]
    pub(crate) fn get_or_alloc_after(&self, index: u32, before: impl FnOnce()) -> &T {
        match self.get(index) {
            Some(element) => element,
            None => {
                before();
                self.allocate(index)
            }
        }
    }

    /// The number of the first element of the segment that comes so many behind the one of `index`.
    pub(crate) fn first_ahead(index: u32, ahead: u32) -> u64 {
        let (segment, _) = Self::place(index);
        (1 << (segment as u32 + ahead)) - (1 << FIRST)
    }

    /// `len` elements from `first` on, all in one segment; none if that is not allocated.
    #[inline]
    pub(crate) fn aligned(&self, first: u32, len: usize) -> &[T] {
        let (segment, offset) = Self::place(first);
        let base = self.segments[segment].load(Ordering::Acquire); // as in `get`
        if base.is_null() {
            return &[];
        }
        assert!(offset + len <= Self::len_of(segment), "in one segment");
        // SAFETY: as in `get`: the segment is there, and the slice ends within it.
        let elements = unsafe { std::slice::from_raw_parts(base.add(offset), len) };
        elements.iter().for_each(tally::touched);
        elements
    }

    /// The elements from `from` on whose segments have been allocated, with their numbers.
    pub(crate) fn allocated(&self, from: u32) -> impl Iterator<Item = (u32, &T)> {
        let (first, offset) = Self::place(from);
        (first..END).flat_map(move |segment| {
            let base = self.segments[segment].load(Ordering::Acquire); // as in `get`
            let len = if base.is_null() {
                0
            } else {
                Self::len_of(segment)
            };
            let skip = if segment == first { offset } else { 0 };
            let before = Self::len_of(segment) - (1 << FIRST);
            (skip.min(len)..len).map(move |at| {
                // SAFETY: as in `get`: `at` is below the segment's length.
                let element = unsafe { &*base.add(at) };
                tally::touched(element);
                ((before + at) as u32, element)
            })
        })
    }

    #[cold]
    fn allocate(&self, index: u32) -> &T {
        let (segment, _) = Self::place(index);
        let fresh = memory::allocate::<T>(Self::len_of(segment));
        tally::segment_allocated::<T>();
        // Release: publishes the blank elements to `get`.
        let installed = self.segments[segment].compare_exchange(
            ptr::null_mut(),
            fresh.as_ptr(),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if installed.is_err() {
            // SAFETY: allocated just above with this length and never shared.
            unsafe { memory::free(fresh, Self::len_of(segment)) };
        }
        self.at(index)
    }
}

#[cold]
#[inline(never)]
fn no_such_segment(index: u32) -> ! {
    panic!("element {index} lies in a segment that was never allocated");
}

impl<T, const FIRST: u32, const END: usize> Drop for Segments<T, FIRST, END> {
    fn drop(&mut self) {
        for (k, segment) in self.segments.iter_mut().enumerate() {
            // Relaxed: `&mut self` already orders everything before this.
            if let Some(base) = NonNull::new(segment.load(Ordering::Relaxed)) {
                // SAFETY: allocated by `allocate` with this length; nobody else can reach it.
                unsafe { memory::free(base, 1 << k) };
            }
        }
    }
}

/// Zeroed memory on a cache-line boundary.
#[cfg(not(any(loom, shuttle)))]
mod memory {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::ptr::NonNull;

    /// Segments start on a cache line, so that a slot of 64 bytes is one line.
    const LINE: usize = 64;

    /// Room for `len` elements plus one line. Asking the allocator itself for the alignment would
    /// make it clear the memory by hand instead of leaving that to first touch, so the boundary is
    /// found here and the allocation's own address is kept just below it.
    fn layout<T>(len: usize) -> Layout {
        const { assert!(align_of::<T>() <= LINE && !std::mem::needs_drop::<T>()) };
        let bytes = size_of::<T>()
            .checked_mul(len)
            .and_then(|b| b.checked_add(2 * LINE));
        bytes
            .and_then(|b| Layout::from_size_align(b, align_of::<usize>()).ok())
            .expect("a segment larger than the address space")
    }

    pub(super) fn allocate<T: super::Blank>(len: usize) -> NonNull<T> {
        let layout = layout::<T>(len);
        if pages::are_wanted(layout.size()) {
            let start = pages::map(layout.size());
            return start.unwrap_or_else(|| handle_alloc_error(layout)).cast();
        }
        // SAFETY: the layout is never empty (it has the two extra lines).
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        let offset = LINE + base.align_offset(LINE);
        // SAFETY: `align_offset` for bytes is below LINE, so `offset` is below two lines, which the
        // layout has room for; at least LINE bytes lie before it, enough for the base pointer, and
        // `start` is aligned to a line, so the word before it is aligned to a word.
        unsafe {
            let start = base.add(offset);
            start.cast::<*mut u8>().sub(1).write(base);
            NonNull::new_unchecked(start.cast())
        }
    }

    /// # Safety
    /// `start` came from `allocate::<T>(len)` and is not used again.
    pub(super) unsafe fn free<T>(start: NonNull<T>, len: usize) {
        let layout = layout::<T>(len);
        if pages::are_wanted(layout.size()) {
            // SAFETY: the layout is a function of `T` and `len` alone, so `allocate` mapped it.
            unsafe { pages::unmap(start.cast(), layout.size()) };
            return;
        }
        // SAFETY: `allocate` stored the allocation's address in the word before `start`, and the
        // layout is as it was.
        unsafe {
            let base = start.as_ptr().cast::<*mut u8>().sub(1).read();
            dealloc(base, layout);
        }
    }

    /// Large segments come from the system, page by page on first touch. An allocator that had such
    /// memory before hands it out again and clears all of it: milliseconds, for the one insert that
    /// needed the segment. (A leak checker that knows only the allocator's memory does not look for
    /// pointers there.)
    #[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
    mod pages {
        use std::ptr::{self, NonNull};

        /// What glibc takes for large too, as long as nothing large was freed.
        const LARGE: usize = 128 << 10;

        pub(super) fn are_wanted(bytes: usize) -> bool {
            bytes >= LARGE
        }

        pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping wherever there is room touches nobody's memory.
            let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
            (start != libc::MAP_FAILED).then(|| NonNull::new(start.cast()))?
        }

        /// # Safety
        /// `start` came from `map(bytes)` and is not used again.
        pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
            // SAFETY: the caller's word. It cannot fail for a whole mapping.
            unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
        }
    }

    #[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
    mod pages {
        use std::ptr::NonNull;

        pub(super) fn are_wanted(_: usize) -> bool {
            false
        }

        pub(super) fn map(_: usize) -> Option<NonNull<u8>> {
            None
        }

        /// # Safety
        /// Never called.
        pub(super) unsafe fn unmap(_: NonNull<u8>, _: usize) {}
    }
}

/// Under loom and shuttle every element is constructed: its atomics register with the model.
#[cfg(any(loom, shuttle))]
mod memory {
    use std::ptr::NonNull;

    pub(super) fn allocate<T: super::Blank>(len: usize) -> NonNull<T> {
        let elements: Box<[T]> = (0..len).map(|_| T::blank()).collect();
        NonNull::new(Box::into_raw(elements).cast()).expect("boxes are not null")
    }

    /// # Safety
    /// `start` came from `allocate::<T>(len)` and is not used again.
    pub(super) unsafe fn free<T>(start: NonNull<T>, len: usize) {
        let slice = std::ptr::slice_from_raw_parts_mut(start.as_ptr(), len);
        // SAFETY: `allocate` made it from a box of this length.
        drop(unsafe { Box::from_raw(slice) });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::atomic::{AtomicU32, AtomicU64};

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let array = Segments::<AtomicU32, 2, 8>::new();
        assert!(array.get(0).is_none());
        for i in 0..(63 << 2) {
            array.get_or_alloc(i).store(i + 1, Ordering::Relaxed);
        }
        for i in 0..(63 << 2) {
            assert_eq!(array.at(i).load(Ordering::Relaxed), i + 1);
        }
    }

    #[test]
    fn segments_ahead_begin_where_the_one_before_ends() {
        type Array = Segments<AtomicU32, 2, 8>;
        // 0..4, 4..12, 12..28, 28..60.
        for (index, ahead, first) in [
            (0, 0, 0),
            (3, 1, 4),
            (4, 0, 4),
            (11, 1, 12),
            (5, 2, 28),
            (0, 3, 28),
        ] {
            assert_eq!(Array::first_ahead(index, ahead), first, "{index}, {ahead}");
        }
        let array = Array::new();
        let mut calls = 0;
        for index in [11, 4, 12] {
            array.get_or_alloc_after(index, || calls += 1);
        }
        assert_eq!(calls, 2, "once for each segment");
    }

    #[test]
    fn what_is_allocated_is_listed_from_anywhere() {
        let array = Segments::<AtomicU32, 1, 7>::new();
        for i in [0, 6, 13] {
            array.get_or_alloc(i); // segments 0 (0..2), 2 (6..14)
        }
        let from = |from| array.allocated(from).map(|(i, _)| i).collect::<Vec<_>>();
        assert_eq!(from(0), [0, 1, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(from(1), [1, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(from(9), [9, 10, 11, 12, 13]);
        assert_eq!(from(14), [] as [u32; 0]);
        for (i, element) in array.allocated(0) {
            assert!(std::ptr::eq(element, array.at(i)));
        }
    }

    #[test]
    fn segments_start_on_a_line_and_blank() {
        let array = Segments::<AtomicU32, 2, 14>::new();
        for start in [0, 4, 12, 28, 4092] {
            let element = array.get_or_alloc(start);
            assert_eq!(std::ptr::from_ref(element).addr() % 64, 0);
            assert_eq!(element.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn large_segments_are_blank_however_often_there_was_one() {
        // Half a megabyte: mapped, where that is done.
        for _ in 0..3 {
            let array = Segments::<AtomicU64, 16, 18>::new();
            let elements = [0, 1, 4_095, 65_535].map(|i| array.get_or_alloc(i));
            assert_eq!(std::ptr::from_ref(elements[0]).addr() % 64, 0);
            for element in elements {
                assert_eq!(element.swap(u64::MAX, Ordering::Relaxed), 0);
            }
        }
    }

    #[test]
    #[should_panic(expected = "never allocated")]
    fn a_number_nobody_handed_out_is_refused() {
        Segments::<AtomicU32, 2, 8>::new().at(9);
    }
}
