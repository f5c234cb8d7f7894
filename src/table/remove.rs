//! Setting the mark, and unlinking what is marked.

use super::line::Changed;
use super::{Before, Search, Standing, Table};
use crate::slab::{Link, Slab, Slot, SlotNumber};
use crate::sync::atomic::Ordering;

impl Table {
    /// Sets the mark: `true` if this thread did, and so owns the removal.
    pub(crate) fn mark<K, V>(slot: &Slot<K, V>) -> bool {
        let mut link = slot.load_link();
        while !link.is_marked() {
            // Release: partner of the Acquire loads of links; who sees the mark sees what led to the
            // removal (the tombstone), and what this thread did before. No Acquire: the link's target is
            // not looked at here, and who unlinks this slot loads the link again.
            match slot.link().compare_exchange_weak(
                link.raw(),
                link.marked().raw(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => link = Link::from_raw(now),
            }
        }
        false
    }

    /// Lets `new`, filled and not linked yet, take the place of `old` in one step: a lookup sees
    /// one of them. `link` is the link `old` had; `false` if it has changed. Afterwards `old` is
    /// marked, its removal is this thread's, and it leads to `new`.
    pub(crate) fn supersede<K, V>(
        old: &Slot<K, V>,
        link: Link,
        new: SlotNumber,
        slot: &Slot<K, V>,
    ) -> bool {
        debug_assert!(!link.is_marked());
        slot.set_link(link);
        // Release: as in `mark`, and publishes the new slot's body. No Acquire: `link` was loaded with
        // it, and the slot it leads to is not recycled while this thread is pinned: so it is the one
        // that this thread has seen.
        old.link()
            .compare_exchange(
                link.raw(),
                Link::slot(new).marked().raw(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Unlinks one marked slot from where a search found it. `false` if that has changed.
    pub(crate) fn unlink_from<K, V>(at: Standing<'_>, slot: &Slot<K, V>) -> bool {
        let link = slot.load_link();
        debug_assert!(link.is_marked());
        at.unlink(link).is_ok()
    }

    /// Unlinks everything marked that has this hash. When it returns, a slot of this hash that was
    /// marked before is unlinked, by this thread (then it went to `unlinked`) or another.
    pub(crate) fn clean<K, V>(
        &self,
        slab: &Slab<K, V>,
        hash: u32,
        unlinked: impl FnMut(SlotNumber),
    ) {
        let walked = self.search(slab, hash, false, |_| false, unlinked);
        debug_assert!(matches!(walked, Search::Absent { .. }));
    }
}

impl Standing<'_> {
    /// Lets what leads to a marked slot lead where the slot's link leads.
    pub(super) fn unlink(self, link: Link) -> Result<(), Changed> {
        match (self.0, link.target()) {
            (Before::Cell(cell), _) => cell.swing(link.unmarked()).map(|_| ()),
            (Before::Word(seen, at, word), Some(next)) => {
                debug_assert!(!word.is_moved(), "found in a line that was not splitting");
                seen.line.swing(at, word, word.with_number(next))
            }
            (Before::Word(seen, at, _), None) => {
                seen.line.change(seen.head, seen.head.without(at))?;
                step!("unlink: has changed the head");
                seen.line.vacate(at);
                Ok(())
            }
        }
    }
}
