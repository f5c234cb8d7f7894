//! The loom models: which there are, how long they take, which of them fail.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::site::{Mutant, Site};
use crate::tree::Tree;

/// As seen: the slowest model ends in a minute and a half.
const LIMIT: Duration = Duration::from_secs(1_200);

/// By which the copy learns what is weakened.
pub const WEAKENED: &str = "SESSIONWHEEL_WEAKENED";

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
    Caught(Failure),
    /// So many models come to the place, and pass.
    Survived(usize),
}

/// A model that failed, and what it said.
pub struct Failure {
    pub model: Model,
    pub why: String,
}

/// Executables of the models, by file.
type Built = HashMap<String, PathBuf>;

/// What a model did with nothing weakened.
struct Seen {
    time: Duration,
    /// The sites that it comes to.
    reached: HashSet<usize>,
}

pub struct Models {
    built: Built,
    /// The quick ones first, as soon as it is known which those are.
    all: Vec<Model>,
    seen: HashMap<Model, Seen>,
}

impl Models {
    pub fn of(tree: &Tree) -> Result<Self> {
        let built = build(tree)?;
        let mut all = Vec::new();
        for (file, built) in &built {
            let listed = Command::new(built)
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
        }
        ensure!(!all.is_empty(), "there are no models");
        Ok(Self {
            built,
            all,
            seen: HashMap::new(),
        })
    }

    /// Runs all of them with nothing weakened; they have to pass. Says how many sites they come to.
    pub fn measure(&mut self) -> Result<usize> {
        let all = self.all.clone();
        self.measure_these(&all)?;
        self.all.sort_by_key(|model| self.seen[model].time);
        let reached: HashSet<_> = self.seen.values().flat_map(|seen| &seen.reached).collect();
        Ok(reached.len())
    }

    /// The same for some of them.
    pub fn measure_these(&mut self, models: &[Model]) -> Result<()> {
        let new = models.iter().filter(|model| !self.seen.contains_key(model));
        let new: HashSet<_> = new.collect();
        let new: Vec<_> = new.into_iter().cloned().collect();
        let seen = Mutex::new(HashMap::new());
        let failed = self.first_to_fail(&new, None, |model, time, said| {
            let numbers = said
                .lines()
                .filter_map(|line| line.strip_prefix("reached "));
            let reached = numbers.filter_map(|number| number.parse().ok()).collect();
            let mut seen = seen.lock().expect("no panics");
            seen.insert(model.clone(), Seen { time, reached });
        })?;
        if let Some(Failure { model, why }) = failed {
            bail!("{model} fails with nothing weakened: {why}");
        }
        self.seen.extend(seen.into_inner().expect("no panics"));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Why a model fails, if it does.
    pub fn failure(&self, model: &Model, site: &Site, mutant: Mutant) -> Result<Option<String>> {
        let one = std::slice::from_ref(model);
        let failed = self.first_to_fail(one, Some((site.number, mutant)), |_, _, _| ())?;
        Ok(failed.map(|failure| failure.why))
    }

    /// Runs those that come to the place, until one fails: `first` first, then the quick ones. The
    /// others would do exactly what they did when nothing was weakened.
    pub fn until_one_fails(
        &self,
        site: &Site,
        mutant: Mutant,
        first: Option<&Model>,
        quick: Option<Duration>,
    ) -> Result<Verdict> {
        let comes_there = |model: &&Model| {
            let Seen { time, reached } = &self.seen[model];
            reached.contains(&site.number) && quick.is_none_or(|most| *time <= most)
        };
        let mut models: Vec<_> = self.all.iter().filter(comes_there).cloned().collect();
        models.sort_by_key(|model| Some(model) != first);
        let failed = self.first_to_fail(&models, Some((site.number, mutant)), |_, _, _| ())?;
        Ok(failed.map_or(Verdict::Survived(models.len()), Verdict::Caught))
    }

    /// Runs models in this order, as many at a time as there are processors, until one fails.
    fn first_to_fail(
        &self,
        models: &[Model],
        weakened: Option<(usize, Mutant)>,
        passed: impl Fn(&Model, Duration, &str) + Sync,
    ) -> Result<Option<Failure>> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failed = Mutex::new(None);
        let work = || -> Result<()> {
            while !stop.load(Relaxed) {
                let Some(model) = models.get(next.fetch_add(1, Relaxed)) else {
                    break;
                };
                let built = self
                    .built
                    .get(&model.file)
                    .with_context(|| format!("no {model}"))?;
                let begun = Instant::now();
                match run(built, model, weakened, &stop)? {
                    End::Passed(said) => passed(model, begun.elapsed(), &said),
                    End::Failed(why) => {
                        stop.store(true, Relaxed);
                        let model = model.clone();
                        let mut failed = failed.lock().expect("no panics");
                        failed.get_or_insert(Failure { model, why });
                    }
                    End::Stopped => {}
                }
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

enum End {
    /// And what it said.
    Passed(String),
    /// And why.
    Failed(String),
    Stopped,
}

fn run(
    built: &PathBuf,
    model: &Model,
    weakened: Option<(usize, Mutant)>,
    stop: &AtomicBool,
) -> Result<End> {
    // A file: nobody reads a pipe while the model runs.
    let mut said = tempfile::tempfile()?;
    let mut command = Command::new(built);
    command
        // What it says is not to be lost with a process that dies while it unwinds.
        .args(["--exact", &model.name, "--nocapture"])
        .env("RUST_BACKTRACE", "0")
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?);
    if let Some((site, mutant)) = weakened {
        command.env(WEAKENED, format!("{site} {mutant:?}"));
    }
    let mut child = command.spawn()?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            let mut text = String::new();
            said.rewind()?;
            said.read_to_string(&mut text)?;
            if status.success() {
                return Ok(End::Passed(text));
            }
            // Only what a model finds counts: not that it was killed for want of memory, say.
            let why = panic_of(&text).with_context(|| {
                format!("{model} ended with {status}, and found nothing:\n{text}")
            })?;
            return Ok(End::Failed(why));
        }
        if stop.load(Relaxed) {
            end(&mut child)?;
            return Ok(End::Stopped);
        }
        if begun.elapsed() > LIMIT {
            end(&mut child)?;
            bail!("{model} was stopped after {} s", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// With which words the first panic came; not if it was that the model had too little to try, which is nothing that
/// it has found.
pub fn panic_of(said: &str) -> Option<String> {
    let mut lines = said.lines();
    lines.find(|line| line.contains("panicked at "))?;
    let words = lines.next()?.trim();
    let too_few = words.starts_with("only ") && words.contains(" executions of ");
    (!too_few).then(|| words.to_owned())
}

fn end(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_model_has_found_is_a_reason() {
        let said = |words| {
            format!("running 1 test\nthread 'm' (1) panicked at src/lib.rs:1:1:\n{words}\n")
        };
        let lost = panic_of(&said("the hint is lost"));
        assert_eq!(lost.as_deref(), Some("the hint is lost"));
        assert_eq!(panic_of(&said("only 24 executions of m")), None);
        assert_eq!(panic_of("signal: 9"), None);
    }
}
