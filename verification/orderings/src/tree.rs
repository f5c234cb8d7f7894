//! A copy of the tree, in which bugs are planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::site::{Mutant, Site};

pub struct Tree {
    folder: TempDir,
    /// Shared by all runs, so that only the crate and its models are built anew.
    pub target: PathBuf,
}

impl Tree {
    /// All files that git knows or could know, as they are now.
    pub fn copy(root: &Path) -> Result<Self> {
        let root = root.canonicalize()?;
        let folder = TempDir::new()?;
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(&root)
            .output()
            .context("git")?;
        ensure!(listed.status.success(), "git ls-files failed");
        for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
            let to = folder.path().join(name);
            if let (Some(parent), true) = (to.parent(), root.join(name).is_file()) {
                fs::create_dir_all(parent)?;
                fs::copy(root.join(name), to)?;
            }
        }
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(Self {
            folder,
            target: target.join("orderings"),
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn plant(&mut self, site: &Site, mutant: Mutant) -> Result<()> {
        let path = self.path().join("src").join(&site.file);
        let clean = fs::read_to_string(&path)?;
        fs::write(self.clean(), &clean)?;
        Ok(fs::write(path, site.weakened(&clean, mutant))?)
    }

    /// Newer than what was built with the bug in.
    pub fn restore(&mut self, site: &Site) -> Result<()> {
        let clean = fs::read_to_string(self.clean())?;
        Ok(fs::write(self.path().join("src").join(&site.file), clean)?)
    }

    fn clean(&self) -> PathBuf {
        self.path().join("clean.rs.txt")
    }
}
