//! Progress bars on standard error. They hide themselves where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `length` steps of a phase.
pub(crate) fn bar(store: &str, phase: &str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>12}  {msg:<28} {wide_bar} {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64)
        .with_style(style)
        .with_prefix(store.to_owned())
        .with_message(phase.to_owned())
}
