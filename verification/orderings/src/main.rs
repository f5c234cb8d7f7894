//! Is every memory ordering needed? Weakens each by one step, one at a time, in a copy of the tree, and
//! runs the loom models that come to it until one fails. What was seen stands in `docs/orderings.md`.
//!
//! An ordering that no model misses is a finding: it can go, or a model is missing, or the table says
//! what it rests on.

#![forbid(unsafe_code)]

mod miri;
mod models;
mod site;
mod table;
mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use models::{Failure, Model, Models, Verdict};
use site::{Mutant, Site};
use table::Table;
use tree::Tree;

#[derive(Parser)]
#[command(about = "Weakens each memory ordering, one at a time, and runs the loom models")]
struct Args {
    /// The root of the repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says what would be weakened.
    List,
    /// Weakens, runs all models until one fails, and writes the table anew.
    Run {
        /// Only mutants whose row contains one of these.
        only: Vec<String>,
        /// Only those of which the table does not say yet what needs them.
        #[arg(long)]
        missing: bool,
        /// Only with models that take no longer than so many seconds. Who passes these stays missing.
        #[arg(long)]
        quick: Option<u64>,
    },
    /// Some of them, against what the table names only. Says of how many it does not say what needs them.
    Sample {
        /// How many.
        #[arg(default_value_t = 8)]
        mutants: usize,
        /// Which ones.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Those for which the table has an argument and no model, under Miri; `MIRIFLAGS` say with how many seeds. Says
    /// what Miri makes of them.
    Miri {
        /// Or those whose row contains one of these.
        only: Vec<String>,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let sites = site::find(&args.root)?;
    let mutants: Vec<(&Site, Mutant)> = sites.iter().flat_map(Site::mutants).collect();
    println!(
        "orderings: {} sites, {} mutants",
        sites.len(),
        mutants.len()
    );
    match args.command {
        Command::List => {
            for (site, mutant) in &mutants {
                println!("{}", table::key(site, *mutant));
            }
            Ok(())
        }
        Command::Run {
            only,
            missing,
            quick,
        } => {
            let wanted = |key: &str, known: bool| {
                let named = only.is_empty() || only.iter().any(|only| key.contains(only));
                named && !(missing && known)
            };
            let quick = quick.map(Duration::from_secs);
            run(&args.root, &sites, &mutants, wanted, quick)
        }
        Command::Sample { mutants: n, seed } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..));
            sample(&args.root, &sites, &mutants, n, seed)
        }
        Command::Miri { only } => interpret(&args.root, &sites, &mutants, &only),
    }
}

fn run(
    root: &Path,
    sites: &[Site],
    mutants: &[(&Site, Mutant)],
    wanted: impl Fn(&str, bool) -> bool,
    quick: Option<Duration>,
) -> Result<()> {
    let path = root.join(table::PATH);
    let mut table = Table::read(&path)?;
    let tree = Tree::copy(root, sites)?;
    let mut models = Models::of(&tree)?;
    let reached = models.measure()?;
    println!(
        "orderings: {} models pass with nothing weakened, and come to {reached} of {} sites",
        models.len(),
        sites.len()
    );
    let (mut caught, mut survived) = (0, 0);
    for (site, mutant) in mutants {
        let key = table::key(site, *mutant);
        let known = table.verdict(&key).map(str::to_owned);
        if !wanted(&key, known.is_some()) {
            continue;
        }
        let begun = Instant::now();
        let first = known.as_deref().and_then(Model::named);
        let text = match models.until_one_fails(site, *mutant, first.as_ref(), quick)? {
            Verdict::Caught(Failure { model, why }) => {
                caught += 1;
                println!("ordering {key}: {why}");
                model.to_string()
            }
            Verdict::Survived(models) => {
                survived += 1;
                println!("ordering {key}: {models} models come to it and pass");
                if quick.is_some() {
                    continue;
                }
                // What somebody has written about it stays.
                known
                    .filter(|text| Model::named(text).is_none())
                    .unwrap_or_else(|| table::SURVIVES.into())
            }
        };
        println!("ordering {key}: {text} ({} s)", begun.elapsed().as_secs());
        table.set(key, text);
        // After each, so that a run that is stopped has not been in vain.
        table.write(&path, &keys(mutants))?;
    }
    println!(
        "orderings: {} weakened, {caught} caught, {survived} survived",
        caught + survived
    );
    match table.agree(&keys(mutants))? {
        0 => Ok(()),
        unexplained => bail!("{unexplained} unexplained"),
    }
}

fn sample(
    root: &Path,
    sites: &[Site],
    mutants: &[(&Site, Mutant)],
    n: usize,
    seed: u64,
) -> Result<()> {
    let table = Table::read(&root.join(table::PATH))?;
    let unexplained = table.agree(&keys(mutants))?;
    if n == 0 {
        println!(
            "orderings: {} rows, none was asked; {unexplained} unexplained",
            mutants.len()
        );
    }
    if unexplained != 0 {
        bail!("{unexplained} unexplained");
    }
    if n == 0 {
        return Ok(());
    }
    let mut named: Vec<_> = mutants
        .iter()
        .filter_map(|(site, mutant)| {
            let key = table::key(site, *mutant);
            let model = Model::named(table.verdict(&key)?)?;
            Some((*site, *mutant, key, model))
        })
        .collect();
    let in_all = named.len();
    fastrand::Rng::with_seed(seed).shuffle(&mut named);
    named.truncate(n);
    let tree = Tree::copy(root, sites)?;
    let mut models = Models::of(&tree)?;
    let asked: Vec<_> = named.iter().map(|(.., model)| model.clone()).collect();
    models.measure_these(&asked)?;
    let mut caught = 0;
    for (site, mutant, key, model) in &named {
        let failure = models.failure(model, site, *mutant)?;
        caught += usize::from(failure.is_some());
        match failure {
            Some(why) => println!("ordering {key}: caught by {model}: {why}"),
            None => println!("ordering {key}: NOT caught by {model}"),
        }
    }
    println!(
        "orderings: {} of {in_all} weakened, {caught} caught, seed {seed}",
        named.len(),
    );
    if caught != named.len() || caught == 0 {
        bail!("the table is out of date");
    }
    Ok(())
}

fn interpret(
    root: &Path,
    sites: &[Site],
    mutants: &[(&Site, Mutant)],
    only: &[String],
) -> Result<()> {
    let table = Table::read(&root.join(table::PATH))?;
    let tree = Tree::copy(root, sites)?;
    let seeds = match miri::run(&tree, None)? {
        miri::End::Passed(seeds) => seeds,
        miri::End::Failed(why) => bail!("fails with nothing weakened: {why}"),
    };
    let (mut tried, mut caught) = (0, 0);
    for (site, mutant) in mutants {
        let key = table::key(site, *mutant);
        let argued = table
            .verdict(&key)
            .is_some_and(|what| Model::named(what).is_none());
        let wanted = match only {
            [] => argued,
            only => only.iter().any(|only| key.contains(only)),
        };
        if !wanted {
            continue;
        }
        tried += 1;
        match miri::run(&tree, Some((site, *mutant)))? {
            miri::End::Passed(passed) if passed == seeds => {
                println!("ordering {key}: {passed} seeds come to it and pass");
            }
            miri::End::Passed(passed) => bail!("{key}: {passed} of {seeds} seeds have ended"),
            miri::End::Failed(why) => {
                caught += 1;
                println!("ordering {key}: caught by Miri: {why}");
            }
        }
    }
    println!(
        "orderings: {tried} weakened under Miri, {caught} caught, {seeds} seeds with nothing weakened"
    );
    if tried == 0 || seeds == 0 {
        bail!("nothing was tried");
    }
    Ok(())
}

fn keys(mutants: &[(&Site, Mutant)]) -> Vec<table::Key> {
    mutants
        .iter()
        .map(|(site, mutant)| table::key(site, *mutant))
        .collect()
}
