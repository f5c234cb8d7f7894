//! Comparing all words of a line with a fingerprint.

use super::line::Line;
use super::word::Fingerprint;
use crate::geometry::LINE_WORDS;

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

/// Which words have the fingerprint: a bit for each.
#[cfg_attr(
    all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        not(any(loom, miri, sessionwheel_tiny))
    ),
    allow(dead_code)
)]
#[inline]
pub(super) fn by_word(line: &Line, fingerprint: Fingerprint) -> u32 {
    let has = |at: usize| u32::from(line.word(at).has(fingerprint));
    (0..LINE_WORDS).fold(0, |mask, at| mask | has(at) << at)
}

/// The same with SSE2, which every x86-64 processor has.
#[cfg(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    not(any(loom, miri, sessionwheel_tiny))
))]
mod vector {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_packs_epi32, _mm_packus_epi16,
        _mm_set1_epi8, _mm_srli_epi32,
    };
    use std::ptr;

    use super::{Fingerprint, LINE_WORDS, Line};

    /// All of a line, in quarters: the head is where the first two words would be.
    const HEAD: usize = 2;
    const _: () = assert!(HEAD + LINE_WORDS == 16);

    #[inline]
    pub(in crate::table) fn matches(line: &Line, fingerprint: Fingerprint) -> u32 {
        let [a, b, c, d] = load(line);
        // SAFETY: SSE2 is part of x86-64.
        let mask = unsafe {
            // The top byte of each word is its fingerprint; 16 of them make a vector.
            let top = |four| _mm_srli_epi32::<24>(four);
            let ab = _mm_packs_epi32(top(a), top(b));
            let cd = _mm_packs_epi32(top(c), top(d));
            let wanted = _mm_set1_epi8(fingerprint.byte() as i8);
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_packus_epi16(ab, cd), wanted))
        };
        mask as u32 >> HEAD
    }

    /// Loads the whole line.
    #[inline]
    fn load(line: &Line) -> [__m128i; 4] {
        let (a, b, c, d);
        // SAFETY: reads the 64 bytes of the line, which are aligned to 64, and nothing else. Other
        // threads may write it meanwhile, by atomic stores and CASes: that is why this is assembly,
        // which the language's rules about races do not reach. The processor loads in the order of the
        // program, and with AVX sixteen aligned bytes at once (Intel SDM 3A, 9.1.1 and 9.2.2). Without AVX
        // the manual allows several accesses for them: that none of those tears an aligned double word
        // it says of double words only, and no processor is known that does. The compiler moves no access
        // to memory across (no option says that it may). So each word is loaded as with Acquire. What is
        // read of the head is not used.
        unsafe {
            asm!(
                "movdqa {a}, xmmword ptr [{line}]",
                "movdqa {b}, xmmword ptr [{line} + 16]",
                "movdqa {c}, xmmword ptr [{line} + 32]",
                "movdqa {d}, xmmword ptr [{line} + 48]",
                line = in(reg) ptr::from_ref(line),
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
    use crate::segments::Blank;
    use crate::table::head::Head;
    use crate::table::word::Word;

    #[test]
    fn each_word_is_compared_by_its_fingerprint() {
        let line = Line::blank();
        let top = |at: usize| (at as u32 % 7) * 31;
        let hash = |at| top(at) << 24 | 0x00AB_CDEF;
        for at in 0..LINE_WORDS {
            let word = Word::new(Fingerprint::of_hash(hash(at)), at as u32 + 1);
            line.fill(at, if at % 2 == 0 { word } else { word.moved() });
        }
        // What a word is compared with must not be found in the head.
        line.open(Head::open(7, 0b0110, true));
        for wanted in 0..256u32 {
            let fingerprint = Fingerprint::of_hash(wanted << 24);
            let expected = (0..LINE_WORDS)
                .filter(|&at| top(at) == wanted)
                .fold(0, |mask, at| mask | 1 << at);
            assert_eq!(matches(&line, fingerprint), expected, "{wanted}");
            assert_eq!(by_word(&line, fingerprint), expected, "{wanted}");
        }
    }
}
