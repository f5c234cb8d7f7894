//! A copy of the tree, in which each ordering can be weakened.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::site::{self, Site};

const WEAKENING: &str = include_str!("weakening.rs");

pub struct Tree {
    folder: TempDir,
    /// Not in the copy, so that only the crate and its models are built anew.
    pub target: PathBuf,
}

impl Tree {
    /// All files that git knows or could know, as they are now, with these places switched.
    pub fn copy(root: &Path, sites: &[Site]) -> Result<Self> {
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
        let tree = Self { folder, target };
        tree.switch(sites)?;
        Ok(tree)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// In place of each ordering a question for it.
    fn switch(&self, sites: &[Site]) -> Result<()> {
        let src = self.path().join("src");
        for of_file in sites.chunk_by(|a, b| a.file == b.file) {
            let path = src.join(&of_file[0].file);
            let source = fs::read_to_string(&path)?;
            fs::write(path, site::switch(&source, of_file.iter()))?;
        }
        fs::create_dir(src.join("sync"))?;
        fs::write(src.join("sync/weakening.rs"), WEAKENING)?;
        let sync = fs::read_to_string(src.join("sync.rs"))?;
        let sync = format!("{sync}\npub(crate) mod weakening;\n");
        Ok(fs::write(src.join("sync.rs"), sync)?)
    }
}
