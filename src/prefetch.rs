//! Asking the processor for a cache line that will be needed soon.

/// Whether finding out what to fetch is worth anything. Not in a model, where fetching means nothing
/// and each load costs states.
pub(crate) const PREFETCHES: bool = !cfg!(any(loom, miri));

/// Fetches the line that holds the first byte of `at`. A hint, and nothing where there is no
/// instruction for it.
#[inline]
pub(crate) fn prefetch<T>(at: &T) {
    let at: *const T = at;
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: part of SSE, which is part of x86-64; it does not fault, whatever the address, and
    // changes nothing but what is in the cache.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(any(loom, miri))))]
    // SAFETY: the same: PRFM does not fault and changes nothing but what is in the cache.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{at}]",
            at = in(reg) at,
            options(nostack, preserves_flags, readonly),
        );
    }
    let _ = at;
}

/// Takes the first word of a value for an address and fetches that line, if the value has a destructor,
/// which then likely frees what stands there. A hint: it may be no address at all.
///
/// # Safety
/// All of `value` lies in memory that can be read. It need not be initialised, and others may be writing
/// it.
#[inline]
pub(crate) unsafe fn prefetch_owned<T>(value: *const T) {
    #[cfg(all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        not(any(loom, miri))
    ))]
    if std::mem::needs_drop::<T>()
        && size_of::<T>() >= size_of::<usize>()
        && align_of::<T>() >= align_of::<usize>()
    {
        // SAFETY: the caller's. That others may write it is why this is assembly, which the language's
        // rules about races and initialisation do not reach. An aligned word is not torn, and what was
        // read goes nowhere but into a prefetch, which does not fault whatever the address.
        unsafe {
            std::arch::asm!(
                "mov {owned}, qword ptr [{value}]",
                "prefetcht0 byte ptr [{owned}]",
                value = in(reg) value,
                owned = out(reg) _,
                options(nostack, preserves_flags, readonly),
            );
        }
    }
    let _ = value;
}
