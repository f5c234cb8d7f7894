//! What one operation touches and allocates, counted: growth has to come in small steps.
//!
//! Only under `--cfg sessionwheel_counted`, which `benches/counted` sets for a build of its own.
//! Otherwise the functions are empty, and the compiler leaves nothing of them.

#[cfg(not(sessionwheel_counted))]
mod imp {
    #[inline(always)]
    pub(crate) fn touched<T>(_: &T) {}

    #[inline(always)]
    pub(crate) fn segment_allocated<T>() {}

    #[inline(always)]
    pub(crate) fn page_allocated() {}

    #[inline(always)]
    pub(crate) fn tick_allocated() {}
}

#[cfg(sessionwheel_counted)]
mod imp {
    use std::cell::RefCell;

    use crate::segments::Blank;
    use crate::sync::thread_local;

    /// What is held in segments.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum Kind {
        /// Slots.
        Slot,
        /// Lines of the table, each with its head.
        Line,
        /// Directories of ticks.
        Directory,
        /// The numbers that tell where early lines stand.
        Place,
        /// The rest: words of the tournament and of the due set.
        Word,
    }

    /// A number for each [`Kind`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Each {
        /// [`Kind::Slot`].
        pub slots: usize,
        /// [`Kind::Line`].
        pub lines: usize,
        /// [`Kind::Directory`].
        pub directories: usize,
        /// [`Kind::Place`].
        pub places: usize,
        /// [`Kind::Word`].
        pub words: usize,
    }

    impl Each {
        fn of(&mut self, kind: Kind) -> &mut usize {
            match kind {
                Kind::Slot => &mut self.slots,
                Kind::Line => &mut self.lines,
                Kind::Directory => &mut self.directories,
                Kind::Place => &mut self.places,
                Kind::Word => &mut self.words,
            }
        }
    }

    /// What a thread has touched and allocated during one call.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Tally {
        /// Different cache lines in which something begins that was touched.
        pub touched: Each,
        /// Segments.
        pub segments: Each,
        /// Pages of a tick's bits, and chunks of its list.
        pub pages: usize,
        /// Ticks, their directories not included.
        pub ticks: usize,
    }

    /// A tally under way, and the cache lines it has met, each as often as it was met.
    struct Counter {
        on: bool,
        met: Vec<(Kind, usize)>,
        tally: Tally,
    }

    thread_local! {
        static COUNTER: RefCell<Option<Counter>> = const { RefCell::new(None) };
    }

    /// Calls `f`, and says what this thread touched and allocated meanwhile.
    pub fn tally<R>(f: impl FnOnce() -> R) -> (R, Tally) {
        COUNTER.with_borrow_mut(|counter| {
            let counter = counter.get_or_insert_with(|| Counter {
                on: true,
                met: Vec::new(),
                tally: Tally::default(),
            });
            counter.on = true;
            counter.met.clear();
            counter.tally = Tally::default();
        });
        let result = f();
        let mut tally = Tally::default();
        count(|counter| {
            counter.on = false;
            counter.met.sort_unstable();
            counter.met.dedup();
            tally = counter.tally;
            for &(kind, _) in &counter.met {
                *tally.touched.of(kind) += 1;
            }
        });
        (result, tally)
    }

    fn count(f: impl FnOnce(&mut Counter)) {
        // A thread that is being torn down counts nothing.
        let _ = COUNTER.try_with(|counter| {
            let mut counter = counter.borrow_mut();
            counter.as_mut().filter(|counter| counter.on).map(f)
        });
    }

    pub(crate) fn touched<T: Blank>(element: &T) {
        const LINE: usize = 64;
        let line = std::ptr::from_ref(element).addr() / LINE;
        count(|counter| counter.met.push((T::KIND, line)));
    }

    pub(crate) fn segment_allocated<T: Blank>() {
        count(|counter| *counter.tally.segments.of(T::KIND) += 1);
    }

    pub(crate) fn page_allocated() {
        count(|counter| counter.tally.pages += 1);
    }

    pub(crate) fn tick_allocated() {
        count(|counter| counter.tally.ticks += 1);
    }
}

#[cfg(sessionwheel_counted)]
pub use imp::{Each, Kind, Tally, tally};
pub(crate) use imp::{page_allocated, segment_allocated, tick_allocated, touched};
