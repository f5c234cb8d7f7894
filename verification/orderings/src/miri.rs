//! Weakened orderings under Miri, which has loads return other values that they may return with each seed: another look at
//! those that no model shows.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::models::{WEAKENED, panic_of};
use crate::site::{Mutant, Site};
use crate::tree::Tree;

/// What `tests/few.rs` prints at the end of each seed.
const ENDED: &str = "Seen {";

/// What became of all seeds.
pub enum End {
    /// So many of them came to their end, and all went well.
    Passed(usize),
    /// One failed, and said this.
    Failed(String),
}

/// Runs a few operations of three threads with one ordering weakened. How many seeds, and how strict Miri is, the caller's
/// `MIRIFLAGS` say.
pub fn run(tree: &Tree, weakened: Option<(&Site, Mutant)>) -> Result<End> {
    let flags = std::env::var("MIRIFLAGS").context("MIRIFLAGS say how many seeds")?;
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "miri", "test", "--package", "sessionwheel"])
        .args([
            "--no-default-features",
            "--test",
            "few",
            "--",
            "--nocapture",
        ])
        .current_dir(tree.path())
        .env(
            "MIRIFLAGS",
            format!("{flags} -Zmiri-env-forward={WEAKENED}"),
        )
        .env("RUSTFLAGS", "--cfg sessionwheel_tiny")
        .env("CARGO_TARGET_DIR", target(tree))
        .env("CARGO_TERM_COLOR", "never");
    if let Some((site, mutant)) = weakened {
        command.env(WEAKENED, format!("{} {mutant:?}", site.number));
    }
    let output = command.output().context("cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        if let Some((site, _)) = weakened {
            let reached = format!("reached {}", site.number);
            ensure!(
                said.lines().any(|line| line == reached),
                "nobody came to it"
            );
        }
        return Ok(End::Passed(said.matches(ENDED).count()));
    }
    let found = complaints
        .lines()
        .find(|line| line.contains("Undefined Behavior"))
        .map(|line| line.trim().to_owned())
        .or_else(|| panic_of(&complaints))
        .with_context(|| {
            format!(
                "ended with {}, and found nothing:\n{complaints}",
                output.status
            )
        })?;
    Ok(End::Failed(found))
}

/// Nowhere else: what is built of the copy has the names of what the tree itself makes, and is newer.
fn target(tree: &Tree) -> PathBuf {
    tree.target.join("orderings-miri")
}
