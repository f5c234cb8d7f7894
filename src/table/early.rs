//! Lines that were split off before their time.
//!
//! One line in a hundred is full before all are to be split once more. Its child's place is then among
//! places that nobody else needs yet, a page of memory away from the next: there it would take sixty-four
//! times its size. So it stands here, where lines come one behind the other, and a number tells where. It
//! stays when its time comes; its place among the others is left empty.
//!
//! Ground rules:
//! - Who begins a split says in the head where the child will stand, so that all who carry it through
//!   agree on that, and each line has one place at most.
//! - An insert that overtakes nobody allocates one segment of numbers at the most, although it may split a line twice, if all its
//!   entries go the same way, and the second child's number may be in another segment than the first's. So
//!   segments of numbers are made ahead of those of lines, by whoever makes one of these.
//! - A number is set once. Who sees a line's parent split sees it: they follow, by way of the parent's
//!   head, whoever has read it or set it to open the line.

use super::line::Line;
use crate::geometry::{LINE_BITS, LINE_FIRST_BITS, LINE_SEGMENTS, PLACES_AHEAD};
use crate::segments::Segments;
use crate::sync::atomic::{AtomicU32, Ordering};

type Places = Segments<AtomicU32, LINE_FIRST_BITS, LINE_SEGMENTS>;

pub(super) struct Early {
    lines: Segments<Line, LINE_FIRST_BITS, LINE_SEGMENTS>,
    /// For each line its place among `lines` and one, if it has one.
    places: Places,
    /// So many places have been given away.
    used: AtomicU32,
}

impl Early {
    pub(super) fn new() -> Self {
        let early = Self {
            lines: Segments::new(),
            places: Places::new(),
            used: AtomicU32::new(0),
        };
        for ahead in 0..=PLACES_AHEAD {
            early.prepare_ahead(0, ahead);
        }
        early
    }

    /// A segment of lines is about to be allocated, of which the one with this number will be the first: so are the
    /// numbers that these will need.
    pub(super) fn prepare(&self, index: u32) {
        self.prepare_ahead(index, PLACES_AHEAD);
    }

    fn prepare_ahead(&self, index: u32, ahead: u32) {
        let first = Places::first_ahead(index, ahead);
        // Not for lines that there will never be. Under loom room is made by whoever needs it, as it is by one who
        // overtakes the other that was to make it.
        if !cfg!(loom) && first < 1 << LINE_BITS {
            self.places.get_or_alloc(first as u32);
        }
    }

    /// The line of a number, if it stands here.
    pub(super) fn get(&self, index: u32) -> Option<&Line> {
        // Relaxed: who sees too little goes by the parent, as long as the line is not open; whoever knows
        // that it is sees the number, by the ground rule.
        let place = self.places.get(index)?.load(Ordering::Relaxed);
        self.lines.get(place.checked_sub(1)?)
    }

    /// The same, and gives it a place if it has none.
    pub(super) fn get_or_alloc(&self, index: u32) -> &Line {
        let cell = self.places.get_or_alloc(index);
        let mut place = cell.load(Ordering::Relaxed);
        if place == 0 {
            let fresh = self.used.fetch_add(1, Ordering::Relaxed) + 1;
            // Relaxed: a number, and the line it tells is blank.
            let set = cell.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
            // Whoever is late leaves a blank line behind that nobody will use.
            place = set.map_or_else(|there| there, |_| fresh);
        }
        self.lines.get_or_alloc(place - 1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::head::Head;
    use super::*;

    #[test]
    fn a_line_has_one_place_and_keeps_it() {
        let early = Early::new();
        assert!(early.get(70).is_none());
        let line: *const Line = early.get_or_alloc(70);
        let other: *const Line = early.get_or_alloc(9_000);
        assert_ne!(line, other);
        assert!(std::ptr::eq(early.get_or_alloc(70), line));
        assert!(std::ptr::eq(early.get(70).expect("there"), line));
        assert!(early.get(71).is_none() && early.get(9_001).is_none());
    }

    #[test]
    fn numbers_have_room_before_their_lines() {
        let early = Early::new();
        let has_room = |segment| {
            let first = Places::first_ahead(0, segment);
            early.places.get(first as u32).is_some()
        };
        assert!((0..=PLACES_AHEAD).all(has_room) && !has_room(PLACES_AHEAD + 1));
        // The second segment of lines, and the third.
        for segment in [1, 2] {
            early.prepare(Places::first_ahead(0, segment) as u32);
            let last = PLACES_AHEAD + segment;
            assert!(has_room(last) && !has_room(last + 1), "{segment}");
        }
        // There are no lines with longer numbers, and none of them has room.
        early.prepare((1 << LINE_BITS) - 1);
        assert!(!has_room(LINE_BITS + 1));
    }

    #[test]
    fn lines_stand_one_behind_the_other() {
        let early = Early::new();
        let at = |index| std::ptr::from_ref(early.get_or_alloc(index)).addr();
        // The first of the second segment and the next, however far apart they belong.
        let addresses: Vec<_> = (1..=8).map(|i| at(i * 1_000)).collect();
        let first = 1 << LINE_FIRST_BITS;
        assert_eq!(addresses[first + 1] - addresses[first], size_of::<Line>());
        assert!(early.get(1_000).expect("there").head() == Head::from_raw(0));
    }
}
