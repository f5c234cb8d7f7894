//! Comparing all words of a line with a fingerprint.

use super::word::{Fingerprint, Word};
use crate::geometry::LINE_WORDS;
use crate::sync::atomic::AtomicU32;

#[cfg(not(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    not(any(loom, miri, sessionwheel_tiny))
)))]
pub(super) use by_word as matches;
#[cfg(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    not(any(loom, miri, sessionwheel_tiny))
))]
pub(super) use vector::matches;

/// Which words have the fingerprint: a bit for each. Every word is loaded with Acquire, as by
/// `Line::word`.
#[cfg_attr(
    all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        not(any(loom, miri, sessionwheel_tiny))
    ),
    allow(dead_code)
)]
#[inline]
pub(super) fn by_word(words: &[AtomicU32; LINE_WORDS], fingerprint: Fingerprint) -> u32 {
    let mut mask = 0;
    for (at, word) in words.iter().enumerate() {
        // Acquire: see `Line::check`.
        let word = Word::from_raw(word.load(crate::sync::atomic::Ordering::Acquire));
        mask |= u32::from(word.has(fingerprint)) << at;
    }
    mask
}

/// The same with SSE2, which every x86-64 processor has: a fifth of the instructions.
#[cfg(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    not(any(loom, miri, sessionwheel_tiny))
))]
mod vector {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_packs_epi16,
        _mm_packs_epi32, _mm_set1_epi32,
    };

    use super::{AtomicU32, Fingerprint, LINE_WORDS, Word};

    const _: () = assert!(LINE_WORDS == 14);

    #[inline]
    pub(in crate::table) fn matches(
        words: &[AtomicU32; LINE_WORDS],
        fingerprint: Fingerprint,
    ) -> u32 {
        let [a, b, c, d] = load(words);
        // SAFETY: SSE2 is part of x86-64.
        let mask = unsafe {
            let field = _mm_set1_epi32(Word::FINGERPRINT as i32);
            let wanted = _mm_set1_epi32(fingerprint.raw() as i32);
            let equal = |four| _mm_cmpeq_epi32(_mm_and_si128(four, field), wanted);
            let ab = _mm_packs_epi32(equal(a), equal(b));
            let cd = _mm_packs_epi32(equal(c), equal(d));
            _mm_movemask_epi8(_mm_packs_epi16(ab, cd))
        };
        mask as u32 & ((1 << LINE_WORDS) - 1)
    }

    /// Loads all words, two at a time.
    #[inline]
    fn load(words: &[AtomicU32; LINE_WORDS]) -> [__m128i; 4] {
        let (a, b, c, d);
        // SAFETY: reads the 56 bytes of `words`, which are aligned to eight, and nothing else. Other
        // threads may write them meanwhile, by atomic stores and CASes: that is why this is
        // assembly, which the language's rules about races do not reach. The processor loads an
        // aligned quadword in one piece (Intel SDM 3A, 9.1.1), and loads in the order of the program
        // (9.2.2); the compiler moves no access to memory across (no option says that it may). So
        // each word is loaded as with Acquire.
        unsafe {
            asm!(
                "movq {a}, qword ptr [{words}]",
                "movhps {a}, qword ptr [{words} + 8]",
                "movq {b}, qword ptr [{words} + 16]",
                "movhps {b}, qword ptr [{words} + 24]",
                "movq {c}, qword ptr [{words} + 32]",
                "movhps {c}, qword ptr [{words} + 40]",
                "movq {d}, qword ptr [{words} + 48]",
                words = in(reg) words.as_ptr(),
                a = out(xmm_reg) a,
                b = out(xmm_reg) b,
                c = out(xmm_reg) c,
                d = out(xmm_reg) d,
                options(nostack, preserves_flags),
            );
        }
        [a, b, c, d]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_compared_by_its_fingerprint() {
        #[repr(align(64))]
        struct Words([AtomicU32; LINE_WORDS]);
        let top = |at: usize| (at as u32 % 7) * 31;
        let hash = |at| top(at) << 24 | 0x00AB_CDEF;
        let words = Words(std::array::from_fn(|at| {
            let word = Word::new(Fingerprint::of_hash(hash(at)), at as u32 + 1);
            let word = if at % 2 == 0 { word } else { word.moved() };
            AtomicU32::new(word.raw())
        }));
        for wanted in 0..256u32 {
            let fingerprint = Fingerprint::of_hash(wanted << 24);
            let expected = (0..LINE_WORDS)
                .filter(|&at| top(at) == wanted)
                .fold(0, |mask, at| mask | 1 << at);
            assert_eq!(matches(&words.0, fingerprint), expected, "{wanted}");
            assert_eq!(by_word(&words.0, fingerprint), expected, "{wanted}");
        }
    }
}
