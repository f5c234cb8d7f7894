//! Sizes that are powers of two and fixed at compile time.
//!
//! With `--cfg sessionwheel_tiny` (and under loom) they shrink, so that a test of a few dozen
//! operations grows segments, splits buckets and crosses wheel levels.

/// Whether sizes are the small ones.
const TINY: bool = cfg!(any(loom, sessionwheel_tiny));

/// Slot numbers fit in this many bits: what a word of the table has beside a fingerprint and a mark.
pub(crate) const NUMBER_BITS: u32 = 23;

/// The largest number of slots in a shard.
pub(crate) const MAX_SLOTS: u32 = if cfg!(loom) {
    24
} else {
    (1 << NUMBER_BITS) - 2
};

/// The first segment of slots has `2^FIRST_BITS` elements.
pub(crate) const FIRST_BITS: u32 = if TINY { 2 } else { 6 };

/// Doubling segments below this reach every number.
pub(crate) const SEGMENTS: usize = if cfg!(loom) {
    5
} else {
    (NUMBER_BITS + 1) as usize
};

/// Words in a line of the table: with the head they fill 64 bytes.
pub(crate) const LINE_WORDS: usize = if cfg!(loom) {
    2
} else if TINY {
    3
} else {
    14
};

/// Lines are split until there is one for so many slots. Between a half of this and all of it are
/// in a line on average, which leaves about one line in a hundred to be split further at the worst.
pub(crate) const LINE_LOAD: u32 = if cfg!(loom) {
    1
} else if TINY {
    2
} else {
    8
};

/// The number of a line has at most so many bits.
pub(crate) const LINE_BITS: u32 = if cfg!(loom) { 3 } else { NUMBER_BITS - 1 };

/// The first segment of lines has `2^LINE_FIRST_BITS` of them.
pub(crate) const LINE_FIRST_BITS: u32 = if TINY { 1 } else { 2 };

/// Doubling segments below this reach every line, and whatever 32 bits are taken for the number of
/// one: then there is nothing to check.
pub(crate) const LINE_SEGMENTS: usize = if cfg!(loom) {
    (LINE_BITS + 1) as usize
} else {
    (u32::BITS + 1) as usize
};

/// A full line is split so many levels further than the others before it spills.
pub(crate) const EXTRA_BITS: u32 = 2;

/// Room for the numbers that tell where early lines stand is made so many segments ahead of the lines': those of one
/// segment are of two depths, and each is split [`EXTRA_BITS`] further at the most.
pub(crate) const PLACES_AHEAD: u32 = 1 + EXTRA_BITS;

/// One digit of a tick: a wheel level has `2^DIGIT_BITS` positions.
pub(crate) const DIGIT_BITS: u32 = if TINY { 2 } else { 6 };

/// Positions in a wheel level.
pub(crate) const POSITIONS: u32 = 1 << DIGIT_BITS;

/// The first slots of a tick are numbers in itself: with 16 it takes 104 bytes, and allocators have
/// room for that in 112.
pub(crate) const FEW: usize = if TINY { 2 } else { 16 };

/// The next ones are numbers in a list, so many in each chunk: it then takes 136 bytes of 144.
pub(crate) const LIST_CHUNK: usize = if TINY { 2 } else { 31 };

/// There are no more in the list than one for so many slots of the shard.
pub(crate) const LIST_SHARE: u32 = if TINY { 4 } else { 64 };

/// Words of 64 bits in a page of a tick: 16 make two cache lines. With half as many, a page's pointer
/// and what the allocator adds to it would be more than a third of its memory.
pub(crate) const PAGE_WORDS: u32 = if cfg!(loom) { 1 } else { 1 << PAGE_WORD_BITS };

const PAGE_WORD_BITS: u32 = 4;

/// The first segment of a tick's page directory has `2^PAGE_FIRST_BITS` pointers: a quarter of a
/// cache line for a shard of up to 2,048 slots.
pub(crate) const PAGE_FIRST_BITS: u32 = if TINY { 0 } else { 1 };

/// Doubling segments below this reach every page.
pub(crate) const PAGE_SEGMENTS: usize = if cfg!(loom) {
    1
} else {
    (NUMBER_BITS - (6 + PAGE_WORD_BITS) + 1) as usize
};

/// A match of the tournament has `2^MATCH_BITS` players: 16 make two cache lines. With eight there is
/// half a byte more for each slot, and a round more to replay: what that costs is the same.
pub(crate) const MATCH_BITS: u32 = if TINY { 1 } else { 4 };

/// Rounds of the tournament. The winners of the last one, one for each 65,536 slots, are looked
/// through.
pub(crate) const ROUNDS: usize = if cfg!(loom) {
    2
} else if TINY {
    3
} else {
    4
};

#[cfg(all(test, not(loom)))]
mod tests {
    /// Who asks for tiny sizes has to get them: all else passes with either.
    #[test]
    fn sizes_are_as_asked_for() {
        println!("ci: tiny sizes: {}", super::TINY);
        let asked = std::env::var_os("SESSIONWHEEL_TINY").is_some();
        assert!(
            super::TINY || !asked,
            "the flag has not come to the compiler"
        );
    }
}
