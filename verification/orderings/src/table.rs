//! `docs/orderings.md`: what needs each ordering.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::models::Model;
use crate::site::{Mutant, Site};

/// Below the root.
pub const PATH: &str = "docs/orderings.md";

/// What the table says of a mutant that no model has caught, and nobody has written about.
pub const SURVIVES: &str = "survives";

/// What an argument speaks of that takes the place of a model.
const REASON: &str = "Litmus test";

/// The first cells of a row.
pub type Key = String;

const HEADER: &str = "| where | access | weakened to | what needs it |\n|---|---|---|---|\n";

/// The row of a mutant, but for its last cell.
pub fn key(site: &Site, mutant: Mutant) -> Key {
    let nth = match site.nth {
        1 => String::new(),
        n => format!(", {n}"),
    };
    let Site {
        file,
        function,
        access,
        strength,
        ..
    } = site;
    format!("| `{file}`, `{function}` | `{access}` {strength:?}{nth} | {mutant:?}")
}

pub struct Table {
    before: String,
    rows: HashMap<Key, String>,
}

impl Table {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let Some((before, rows)) = text.split_once(HEADER) else {
            bail!("{}: the table's header is gone", path.display());
        };
        let mut table = Self {
            before: before.into(),
            rows: HashMap::new(),
        };
        for row in rows.lines().filter(|row| !row.is_empty()) {
            let cells = row.trim_end_matches(" |").rsplit_once(" | ");
            let Some((key, verdict)) = cells else {
                bail!("{}: not a row: {row}", path.display());
            };
            table.rows.insert(key.into(), verdict.into());
        }
        Ok(table)
    }

    pub fn verdict(&self, key: &Key) -> Option<&str> {
        self.rows.get(key).map(String::as_str)
    }

    pub fn set(&mut self, key: Key, verdict: String) {
        self.rows.insert(key, verdict);
    }

    /// In the order of the sources; what is no longer there goes.
    pub fn write(&self, path: &Path, keys: &[Key]) -> Result<()> {
        let mut text = format!("{}{HEADER}", self.before);
        for key in keys {
            if let Some(verdict) = self.rows.get(key) {
                text += &format!("{key} | {verdict} |\n");
            }
        }
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// Whether it speaks of these only. Says of how many it does not say what needs them.
    pub fn agree(&self, keys: &[Key]) -> Result<usize> {
        let explains = |what: &str| Model::named(what).is_some() || what.contains(REASON);
        let explained = |key: &&Key| self.verdict(key).is_some_and(explains);
        let unexplained: Vec<_> = keys.iter().filter(|key| !explained(key)).collect();
        let gone: Vec<_> = self.rows.keys().filter(|key| !keys.contains(key)).collect();
        for key in &unexplained {
            println!("ordering {key}: unexplained");
        }
        for key in &gone {
            println!("ordering {key}: no longer in the sources");
        }
        if !gone.is_empty() {
            bail!("{} no longer in the sources", gone.len());
        }
        Ok(unexplained.len())
    }
}
