//! Splitting a line in two.
//!
//! A line of depth `d` holds the hashes whose lower `d` bits are its number. Split, it keeps those
//! whose next bit is 0, and the line `2^d` further takes the others. Any number of threads may
//! carry a split through, each able to finish alone:
//!
//! 1. The head says *splitting*: from here on nothing is added and nothing taken out.
//! 2. Each word that has to go is *moved*: it can be swung no more. The child gets the same words
//!    at the same places, and vacant ones elsewhere. Who comes late finds no blank word to fill.
//! 3. The child is opened.
//! 4. The head says the new depth, and the moved words count no more. Who made that change vacates
//!    them.
//!
//! Between 3 and 4 an entry may leave by the child and be recycled while the parent still names
//! it: so nobody follows a word of a line that is splitting without having seen, while pinned,
//! that the child is not open (`Lines::of`), and here a moved word is copied unread.

use super::head::Head;
use super::lines::Seen;
use super::word::Word;
use super::{Table, places};
use crate::geometry::LINE_WORDS;
use crate::prefetch::{PREFETCHES, prefetch};
use crate::slab::Slab;

impl Table {
    /// Splits a line that nobody is splitting yet.
    #[cold]
    pub(super) fn split<K, V>(&self, slab: &Slab<K, V>, seen: Seen<'_>) {
        let early = seen.head.depth() >= self.lines.bits();
        let head = seen.head.splitting(early);
        // Whoever was faster, the line has changed.
        if seen.line.change(seen.head, head).is_ok() {
            step!("split: has begun");
            self.finish_split(slab, Seen { head, ..seen });
        }
    }

    /// Carries through a split that somebody has begun.
    #[cold]
    pub(super) fn finish_split<K, V>(&self, slab: &Slab<K, V>, seen: Seen<'_>) {
        let Seen { line, head, .. } = seen;
        debug_assert!(head.is_splitting());
        let child = self.lines.child_or_alloc(seen);
        // All at once: which way a hash goes nobody can predict, so the loop below would wait for
        // one slot after the other.
        for at in places(if PREFETCHES { head.valid() } else { 0 }) {
            if let Some(slot) = slab.slot_if_there(line.word(at).number()) {
                prefetch(slot);
            }
        }
        let mut moved = 0;
        for at in 0..LINE_WORDS {
            let word = if head.valid() >> at & 1 != 0 {
                move_word(slab, seen, at)
            } else {
                None
            };
            child.fill(at, word.unwrap_or(Word::VACANT));
            step!("split: has filled a word");
            moved |= u32::from(word.is_some()) << at;
        }
        step!("split: has filled all");
        child.open(Head::open(head.depth() + 1, moved, head.is_spilled()));
        step!("split: has opened the child");
        if line.change(head, head.split(moved)).is_ok() {
            step!("split: has ended");
            for at in (0..LINE_WORDS).filter(|at| moved >> at & 1 != 0) {
                line.vacate(at);
            }
        }
    }
}

/// Moves a word that counts, if it has to go; what the child gets.
fn move_word<K, V>(slab: &Slab<K, V>, seen: Seen<'_>, at: usize) -> Option<Word> {
    loop {
        let word = seen.line.word(at);
        if word.is_moved() {
            return Some(word.unmoved());
        }
        // The slot's hash is that of an entry of this line: a word that is not moved stays in the
        // line or is swung, and what it is swung from cannot be recycled while we are pinned. If
        // the split is over already, what is read here comes to nothing.
        if !seen.is_childs(slab.slot(word.number()).hash()) {
            return None;
        }
        if seen.line.swing(at, word, word.moved()).is_ok() {
            return Some(word);
        }
        // Swung meanwhile, or moved by another.
    }
}
