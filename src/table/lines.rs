//! The lines of a table, and which of them a hash belongs to.

use super::early::Early;
use super::head::{Head, Shape};
use super::line::Line;
use crate::geometry::{EXTRA_BITS, LINE_BITS, LINE_FIRST_BITS, LINE_LOAD, LINE_SEGMENTS};
use crate::prefetch::prefetch;
use crate::segments::Segments;
use crate::sync::Padded;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub(super) struct Lines {
    lines: Segments<Line, LINE_FIRST_BITS, LINE_SEGMENTS>,
    pub(super) early: Early,
    /// A [`Shape`]: inserts split lines until they are so deep. Only grows.
    shape: AtomicU64,
    /// So many of the lines that there should be have been seen to.
    seen_to: Padded<AtomicU32>,
}

/// An open line as a walk met it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'t> {
    pub(super) index: u32,
    pub(super) line: &'t Line,
    pub(super) head: Head,
}

impl Lines {
    pub(super) fn new() -> Self {
        let lines = Segments::<Line, LINE_FIRST_BITS, LINE_SEGMENTS>::new();
        lines.get_or_alloc(0).open_as_first();
        Self {
            lines,
            early: Early::new(),
            shape: AtomicU64::new(Shape::new(0).raw()),
            seen_to: Padded(AtomicU32::new(1)),
        }
    }

    /// The next line that ought to be split, if there is one behind the others: each is handed out
    /// once, to one caller. (One who is stopped leaves his for an insert that comes to it.)
    ///
    /// Without this a line that no insert happens to come to stays as it is, and who looks there for
    /// an entry has to find out first that the line it ought to be in is not open.
    pub(super) fn next_behind(&self) -> Option<Seen<'_>> {
        let bits = self.bits();
        let lines = 1 << bits;
        // Relaxed: only a place to look at.
        let next = |seen_to| (seen_to < lines).then_some(seen_to + 1);
        let next = self
            .seen_to
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        // The number of a line is a hash that belongs there.
        let seen = self.of(next.ok()?);
        (seen.head.depth() < bits).then_some(seen)
    }

    /// Has lines made for so many slots, by inserts to come.
    #[inline]
    pub(super) fn grow_for(&self, slots: u32) {
        let lines = slots.div_ceil(LINE_LOAD).next_power_of_two();
        let bits = lines.trailing_zeros().min(LINE_BITS);
        // Relaxed: every number of lines finds everything.
        if bits > self.bits() {
            self.shape
                .fetch_max(Shape::new(bits).raw(), Ordering::Relaxed);
        }
    }

    #[inline]
    fn shape(&self) -> Shape {
        Shape::from_raw(self.shape.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn bits(&self) -> u32 {
        self.shape().bits()
    }

    /// How deep a full line may be split.
    pub(super) fn most_bits(&self) -> u32 {
        (self.bits() + EXTRA_BITS).min(LINE_BITS)
    }

    /// The open line of a number.
    fn open_line(&self, index: u32) -> Option<Seen<'_>> {
        let in_its_place = self.lines.get(index).and_then(|line| line.seen(index));
        in_its_place.or_else(|| self.early.get(index)?.seen(index))
    }

    /// All open lines, of a table that nobody uses at the moment.
    #[cfg(any(fuzzing, all(test, not(loom))))]
    pub(super) fn open(&self) -> impl Iterator<Item = Seen<'_>> {
        (0..1 << self.most_bits()).filter_map(|index| self.open_line(index))
    }

    /// The line that one splits off, which may not be open yet.
    pub(super) fn child_or_alloc(&self, seen: Seen<'_>) -> &Line {
        debug_assert!(seen.head.is_splitting());
        if seen.head.is_early() {
            self.early.get_or_alloc(seen.child())
        } else {
            let child = seen.child();
            self.lines
                .get_or_alloc_after(child, || self.early.prepare(child))
        }
    }

    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        if let Some(line) = self.lines.get(self.shape().line_of(hash)) {
            prefetch(line);
        }
    }

    /// The line in which a hash has to be looked for, if it is a plain one.
    #[inline]
    pub(super) fn plain(&self, hash: u32) -> Option<Seen<'_>> {
        let shape = self.shape();
        let index = shape.line_of(hash);
        let line = self.lines.get(index)?;
        let head = line.head();
        head.is_plain(shape).then_some(Seen { index, line, head })
    }

    /// The line in which a hash has to be looked for.
    #[inline]
    pub(super) fn of(&self, hash: u32) -> Seen<'_> {
        self.plain(hash).unwrap_or_else(|| self.of_another(hash))
    }

    #[cold]
    fn of_another(&self, hash: u32) -> Seen<'_> {
        let mut index = self.shape().line_of(hash);
        loop {
            let Some(seen) = self.open_line(index) else {
                index = parent(index);
                continue;
            };
            // Has it been split since, by a bit in which the hash is another's?
            let others = (hash ^ index) & ((1 << seen.head.depth()) - 1);
            if others != 0 {
                index |= 1 << others.trailing_zeros();
                continue;
            }
            // While it is being split its words stand still; but once the child is open, the
            // child's entries may be removed there and recycled.
            if seen.head.is_splitting() && seen.is_childs(hash) {
                let child = seen.child();
                if self.open_line(child).is_some() {
                    index = child;
                    continue;
                }
            }
            return seen;
        }
    }
}

impl Line {
    /// The line as it is, if it is open.
    fn seen(&self, index: u32) -> Option<Seen<'_>> {
        let head = self.head();
        let line = self;
        (!head.is_blank()).then_some(Seen { index, line, head })
    }
}

impl Seen<'_> {
    /// The number of the line that this one splits off next.
    pub(super) fn child(&self) -> u32 {
        self.index | 1 << self.head.depth()
    }

    /// Whether a hash of this line's goes to the child.
    #[inline]
    pub(super) fn is_childs(&self, hash: u32) -> bool {
        hash >> self.head.depth() & 1 != 0
    }
}

/// The line that `index` is split off from: the same number without its highest bit.
#[inline]
fn parent(index: u32) -> u32 {
    // Line 0 is open from the beginning.
    debug_assert!(index != 0);
    index & !(1 << (31 - index.leading_zeros()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_its_child_without_the_highest_bit() {
        for index in 1..1000u32 {
            assert_eq!(parent(index), index - (1 << index.ilog2()));
        }
    }

    #[test]
    fn lines_for_slots() {
        let lines = Lines::new();
        for (slots, bits) in [
            (1, 0),
            (LINE_LOAD, 0),
            (LINE_LOAD + 1, 1),
            (4 * LINE_LOAD, 2),
        ] {
            lines.grow_for(slots);
            assert_eq!(lines.bits(), bits, "{slots}");
        }
        lines.grow_for(1);
        assert_eq!(lines.bits(), 2);
    }

    #[test]
    fn a_line_that_is_not_open_is_looked_for_in_its_parent() {
        let lines = Lines::new();
        lines.grow_for(64 * LINE_LOAD);
        assert_eq!(lines.of(0b10_1101).index, 0);
    }
}
