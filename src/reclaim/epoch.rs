//! The real collector.

pub(super) use crossbeam_epoch::Guard;
use crossbeam_epoch::{Collector, LocalHandle};

#[cfg(not(loom))]
fn collector() -> &'static Collector {
    use crate::sync::OnceLock;
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    COLLECTOR.get_or_init(Collector::new)
}

#[cfg(loom)]
loom::lazy_static! {
    static ref COLLECTOR: Collector = Collector::new();
}

#[cfg(loom)]
fn collector() -> &'static Collector {
    &COLLECTOR
}

crate::sync::thread_local! {
    static HANDLE: LocalHandle = collector().register();
}

#[inline(always)]
pub(super) fn pin() -> Guard {
    // A thread that is being torn down has lost its handle: a short-lived one serves.
    HANDLE
        .try_with(LocalHandle::pin)
        .unwrap_or_else(|_| collector().register().pin())
}

pub(super) fn is_pinned() -> bool {
    HANDLE.try_with(LocalHandle::is_pinned).unwrap_or(false)
}
