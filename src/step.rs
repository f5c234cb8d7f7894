//! Named steps, at which a test may stop a thread: `tests/suspension.rs` stops one at each, and shows
//! that all others go on. Nothing is left of them but with `--cfg sessionwheel_steps`.

/// `step!("operation: what has been done")`, at most once for each name.
#[cfg(sessionwheel_steps)]
macro_rules! step {
    ($name:literal) => {
        fail::fail_point!($name)
    };
}

#[cfg(not(sessionwheel_steps))]
macro_rules! step {
    ($name:literal) => {};
}
