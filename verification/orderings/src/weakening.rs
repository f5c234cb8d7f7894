//! Goes into the copy: each ordering of the sources is asked for here, so that one build serves all of
//! them, and a model can be asked which ones it comes to.
//!
//! Not the model's atomics: nothing here is part of a protocol.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use super::atomic::{self, Ordering};

/// `17 Relaxed`: that site is weakened to this.
const WEAKENED: &str = "SESSIONWHEEL_WEAKENED";

/// One number for each site.
const SITES: usize = 1024;

/// What stands at a site now; no ordering is no fence.
fn at(site: usize, ordering: Ordering) -> Option<Ordering> {
    static WEAKER: OnceLock<Option<(usize, Option<Ordering>)>> = OnceLock::new();
    say_once(site);
    match *WEAKER.get_or_init(weakened) {
        Some((weakened, weaker)) if weakened == site => weaker,
        _ => Some(ordering),
    }
}

fn weakened() -> Option<(usize, Option<Ordering>)> {
    let chosen = std::env::var(WEAKENED).ok()?;
    let (site, ordering) = chosen.split_once(' ').expect("a site and an ordering");
    let ordering = match ordering {
        "Relaxed" => Some(Ordering::Relaxed),
        "Acquire" => Some(Ordering::Acquire),
        "Release" => Some(Ordering::Release),
        "AcqRel" => Some(Ordering::AcqRel),
        "Nothing" => None,
        other => panic!("{other} is not weaker than anything"),
    };
    Some((site.parse().expect("the number of a site"), ordering))
}

/// On a line of its own, around the test harness, which would keep it to itself.
fn say_once(site: usize) {
    static SAID: [AtomicBool; SITES] = [const { AtomicBool::new(false) }; SITES];
    let order = std::sync::atomic::Ordering::Relaxed;
    if !SAID[site].load(order) && !SAID[site].swap(true, order) {
        let line = format!("\nreached {site}\n");
        let written = std::io::stdout().write_all(line.as_bytes());
        written.expect("stdout is there");
    }
}

pub(crate) fn ordering(site: usize, ordering: Ordering) -> Ordering {
    at(site, ordering).expect("only a fence can be left out")
}

pub(crate) fn fence(site: usize, ordering: Ordering) {
    if let Some(ordering) = at(site, ordering) {
        atomic::fence(ordering);
    }
}
