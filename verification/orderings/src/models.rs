//! The loom models: which there are, how long they take, which of them fail.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::tree::Tree;

/// As seen: the slowest model ends in a minute and a half.
const LIMIT: Duration = Duration::from_secs(1_200);

/// Which models are asked first, by where the ordering stands.
const NEAR: [(&str, &[&str]); 5] = [
    ("wheel/", &["hint", "sweep"]),
    ("slab/", &["slab", "sweep"]),
    ("table/", &["table"]),
    ("tournament/", &["tournament"]),
    ("map/", &["take", "tournament"]),
];

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Model {
    file: String,
    name: String,
}

impl Model {
    /// From how [`Display`](fmt::Display) writes it.
    pub fn named(text: &str) -> Option<Self> {
        let (file, name) = text
            .strip_prefix('`')?
            .strip_suffix('`')?
            .split_once("::")?;
        Some(Self {
            file: file.into(),
            name: name.into(),
        })
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}::{}`", self.file, self.name)
    }
}

pub enum Verdict {
    Caught(Model),
    Survived,
}

/// Executables of the models, by file.
type Built = HashMap<String, PathBuf>;

pub struct Models {
    /// With nothing planted.
    clean: Built,
    /// The quick ones first.
    all: Vec<Model>,
    passed: HashMap<Model, bool>,
}

impl Models {
    pub fn of(tree: &Tree) -> Result<Self> {
        let mut clean = build(tree)?;
        let mut all = Vec::new();
        for (file, built) in &mut clean {
            let listed = Command::new(&*built)
                .args(["--list", "--format=terse"])
                .output()?;
            let listed = String::from_utf8(listed.stdout)?;
            let names = listed
                .lines()
                .filter_map(|line| line.strip_suffix(": test"));
            all.extend(names.map(|name| Model {
                file: file.clone(),
                name: name.into(),
            }));
            // The next build would put its own there.
            let kept = tree.path().join(format!("clean-{file}"));
            std::fs::copy(&*built, &kept)?;
            *built = kept;
        }
        ensure!(!all.is_empty(), "there are no models");
        Ok(Self {
            clean,
            all,
            passed: HashMap::new(),
        })
    }

    /// Runs all of them with nothing planted; they have to pass.
    pub fn measure(&mut self) -> Result<()> {
        let times = Mutex::new(HashMap::new());
        let failed = first_to_fail(&self.clean, &self.all, |model, time| {
            times.lock().expect("no panics").insert(model.clone(), time);
        })?;
        if let Some(model) = failed {
            bail!("{model} fails with nothing planted");
        }
        let times = times.into_inner().expect("no panics");
        self.all.sort_by_key(|model| times[model]);
        println!(
            "orderings: {} models pass with nothing planted",
            self.all.len()
        );
        Ok(())
    }

    pub fn passes_unplanted(&mut self, model: &Model) -> Result<bool> {
        if let Some(&passed) = self.passed.get(model) {
            return Ok(passed);
        }
        let failed = first_to_fail(&self.clean, std::slice::from_ref(model), |_, _| ())?;
        self.passed.insert(model.clone(), failed.is_none());
        Ok(failed.is_none())
    }

    /// Whether a model fails on the tree as it is.
    pub fn fails(&self, tree: &Tree, model: &Model) -> Result<bool> {
        let failed = first_to_fail(&build(tree)?, std::slice::from_ref(model), |_, _| ())?;
        Ok(failed.is_some())
    }

    /// Runs models on the tree as it is: `first` first, then those near to the file.
    pub fn until_one_fails(
        &self,
        tree: &Tree,
        file: &str,
        first: Option<Model>,
    ) -> Result<Verdict> {
        let near = NEAR.iter().find(|(folder, _)| file.starts_with(folder));
        let near = near.map_or(&[][..], |(_, files)| files);
        let mut order = self.all.clone();
        let distance = |model: &Model| {
            near.iter()
                .position(|file| *file == model.file)
                .unwrap_or(near.len())
        };
        order.sort_by_key(|model| (Some(model) != first.as_ref(), distance(model)));
        let failed = first_to_fail(&build(tree)?, &order, |_, _| ())?;
        Ok(failed.map_or(Verdict::Survived, Verdict::Caught))
    }
}

fn build(tree: &Tree) -> Result<Built> {
    let built = Command::new("cargo")
        .args(["test", "--release", "--no-run", "--tests"])
        .current_dir(tree.path().join("loom-tests"))
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", &tree.target)
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .context("cargo")?;
    let log = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "does not build:\n{log}");
    // As in: `Executable tests/hint.rs (/…/hint-0123456789abcdef)`.
    let executable = |line: &str| {
        let (file, path) = line
            .trim()
            .strip_prefix("Executable tests/")?
            .split_once(".rs (")?;
        Some((file.to_owned(), PathBuf::from(path.strip_suffix(')')?)))
    };
    Ok(log.lines().filter_map(executable).collect())
}

/// Runs models in this order, as many at a time as there are processors, until one fails.
fn first_to_fail(
    built: &Built,
    models: &[Model],
    took: impl Fn(&Model, Duration) + Sync,
) -> Result<Option<Model>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failed = Mutex::new(None);
    let work = || -> Result<()> {
        while !stop.load(Relaxed) {
            let Some(model) = models.get(next.fetch_add(1, Relaxed)) else {
                break;
            };
            let built = built
                .get(&model.file)
                .with_context(|| format!("no {model}"))?;
            let begun = Instant::now();
            if run(built, model, &stop)? == Some(false) {
                stop.store(true, Relaxed);
                failed
                    .lock()
                    .expect("no panics")
                    .get_or_insert_with(|| model.clone());
            }
            took(model, begun.elapsed());
        }
        Ok(())
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panics"))
    })?;
    Ok(failed.into_inner().expect("no panics"))
}

/// Whether a model passes. `None` if it was stopped.
fn run(built: &PathBuf, model: &Model, stop: &AtomicBool) -> Result<Option<bool>> {
    let mut child = Command::new(built)
        .args(["--exact", &model.name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if stop.load(Relaxed) {
            end(&mut child)?;
            return Ok(None);
        }
        if begun.elapsed() > LIMIT {
            end(&mut child)?;
            bail!("{model} was stopped after {} s", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn end(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}
