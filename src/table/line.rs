//! A bucket of the table: one cache line.

use super::head::Head;
use super::word::{Fingerprint, Word};
use crate::geometry::LINE_WORDS;
use crate::segments::Blank;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What was read has changed: start again.
#[derive(Debug)]
pub(super) struct Changed;

#[repr(C, align(64))]
pub(super) struct Line {
    head: AtomicU64,
    words: [AtomicU32; LINE_WORDS],
}

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Line>() == 64);

// SAFETY: integer atomics, for which zero is valid, and no Drop.
unsafe impl Blank for Line {
    #[cfg(sessionwheel_counted)]
    const KIND: crate::tally::Kind = crate::tally::Kind::Line;

    fn blank() -> Self {
        Self {
            head: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

impl Line {
    #[inline]
    pub(super) fn head(&self) -> Head {
        // Acquire: partner of the Release in `change` and `open`; without it words, and the bodies
        // of their slots, could be read as they were before.
        Head::from_raw(self.head.load(Ordering::Acquire))
    }

    /// Whether the words read since `head` was are those that it speaks of.
    #[inline]
    pub(super) fn check(&self, head: Head) -> Result<(), Changed> {
        // What a word held after it had ceased to count was stored with Release behind the change
        // of the head, and words are loaded with Acquire: who has read such a thing sees that
        // change here.
        if self.head() == head {
            Ok(())
        } else {
            Err(Changed)
        }
    }

    /// The one way in which an open line's entries become more or fewer.
    #[inline]
    pub(super) fn change(&self, from: Head, to: Head) -> Result<(), Changed> {
        // Release: partner of the Acquire in `head`; publishes a word and its slot's body. No
        // Acquire: `from` was loaded with it, or written here, and its version comes once.
        let changed =
            self.head
                .compare_exchange(from.raw(), to.raw(), Ordering::Release, Ordering::Relaxed);
        changed.map(|_| ()).map_err(|_| Changed)
    }

    #[inline]
    pub(super) fn word(&self, at: usize) -> Word {
        // Acquire: see `check`; and partner of the Release in `swing`, for the new slot's body.
        Word::from_raw(self.words[at].load(Ordering::Acquire))
    }

    /// Which words have this fingerprint, whether they count or not.
    #[inline]
    pub(super) fn matches(&self, fingerprint: Fingerprint) -> u32 {
        super::matches::matches(self, fingerprint)
    }

    /// Swaps one word for another: the same place in the line, which goes on counting.
    #[inline]
    pub(super) fn swing(&self, at: usize, from: Word, to: Word) -> Result<(), Changed> {
        // AcqRel. Release: partner of the Acquire in `word`; hands on the new slot's body. Acquire:
        // partner of the Release in `vacate`. Who claims a word by an old head, and gives it up, has
        // to hand on the change of the head behind which it was vacated before: see `check`.
        let swung = self.words[at].compare_exchange(
            from.raw(),
            to.raw(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        swung.map(|_| ()).map_err(|_| Changed)
    }

    /// A vacant word that does not count in `head`, from the entry's home on, for this thread
    /// alone.
    #[inline]
    pub(super) fn claim(&self, head: Head, home: usize, word: Word) -> Option<usize> {
        for step in 0..LINE_WORDS {
            let at = home + step;
            let at = if at < LINE_WORDS { at } else { at - LINE_WORDS };
            if head.valid() >> at & 1 == 0
                && self.word(at) == Word::VACANT
                && self.swing(at, Word::VACANT, word).is_ok()
            {
                return Some(at);
            }
        }
        None
    }

    /// Gives up a word that does not count and is this thread's.
    #[inline]
    pub(super) fn vacate(&self, at: usize) {
        // Release: see `check`.
        self.words[at].store(Word::VACANT.raw(), Ordering::Release);
    }

    /// Fills a word of a line that is not open yet, unless another has.
    pub(super) fn fill(&self, at: usize, word: Word) {
        // Relaxed: whoever opens the line has come to this word too, and has read where it comes from
        // (Acquire in `word`): so the Release in `open` publishes it, and its slot's body.
        let _ = self.words[at].compare_exchange(
            Word::BLANK.raw(),
            word.raw(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Opens the first line of a table that nobody else has yet.
    pub(super) fn open_as_first(&self) {
        for at in 0..LINE_WORDS {
            self.vacate(at);
        }
        self.open(Head::open(0, 0, false));
    }

    /// Opens a line whose words are all filled, unless another has.
    pub(super) fn open(&self, head: Head) {
        // Release: partner of the Acquire in `head`. Who fails reads the head again before it goes by
        // what it says.
        let _ = self
            .head
            .compare_exchange(0, head.raw(), Ordering::Release, Ordering::Relaxed);
    }
}
