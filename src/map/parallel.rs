//! Work shared between the caller and whoever comes to help.
//!
//! Ground rules:
//! - Items are taken from a counter. The caller takes them too, and finishes alone if nobody comes.
//! - A helper touches the caller's data only between taking an item and reporting it finished; the
//!   caller does not return before every item taken has been reported. A helper that comes later
//!   finds no item and touches nothing but the job itself.
//! - Rayon's pool is left alone in a process that was forked off since it may have been built: its threads
//!   are not there, and whatever lock one of them held is held for ever.

#[cfg(all(feature = "rayon", not(loom)))]
use crate::contain::contain;
#[cfg(all(feature = "rayon", not(loom)))]
use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, thread};

type Task = Box<dyn FnOnce() + Send>;

/// Threads that may help: how many to ask, and how.
pub(crate) struct Helpers {
    pub(crate) spawn: Option<Spawn>,
    /// Whether there is anybody now.
    there: fn() -> bool,
}

pub(crate) type Spawn = Box<dyn Fn(usize, &dyn Fn() -> Task) + Send + Sync>;

impl Helpers {
    /// Whether there is anybody to be asked.
    pub(crate) fn are_there(&self) -> bool {
        self.spawn.is_some() && (self.there)()
    }

    /// Nobody.
    #[cfg(any(not(feature = "rayon"), loom))]
    pub(crate) fn none() -> Self {
        Self {
            spawn: None,
            there: || false,
        }
    }

    /// A function that runs a task on another thread, and how many threads there are.
    pub(crate) fn custom(
        threads: usize,
        spawn: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static,
    ) -> Self {
        let spawn = move |wanted: usize, task: &dyn Fn() -> Task| {
            for _ in 0..wanted.min(threads) {
                spawn(task());
            }
        };
        Self {
            spawn: (threads != 0).then(|| Box::new(spawn) as Spawn),
            there: || true,
        }
    }

    /// Rayon's global pool; nobody if it cannot be had.
    #[cfg(all(feature = "rayon", not(loom)))]
    pub(crate) fn global() -> Self {
        has_the_pool();
        Self {
            spawn: Some(Box::new(|wanted, task| {
                if !has_the_pool() {
                    return;
                }
                // The pool is built at first use, which fails where threads cannot be started.
                contain(|| {
                    // The caller works too. One thread more than there are processors would be
                    // stopped while it is pinned, and hold back what all of them retire.
                    let most = rayon_core::current_num_threads() - 1;
                    for _ in 0..wanted.min(most) {
                        rayon_core::spawn(task());
                    }
                });
            })),
            // As above: the caller works too.
            there: || {
                let others = || rayon_core::current_num_threads() > 1;
                has_the_pool() && contain(others) == Some(true)
            },
        }
    }
}

/// Whether rayon's global pool may have threads in this process: it has to be the one that asked first. A child
/// that it forks off later has none of them, whether or not they had been started by then.
#[cfg(all(feature = "rayon", not(loom)))]
fn has_the_pool() -> bool {
    /// No process has the number 0.
    static FIRST: AtomicU32 = AtomicU32::new(0);
    if cfg!(not(unix)) {
        return true;
    }
    let this = std::process::id();
    // Relaxed: a number, and nothing behind it.
    let first = FIRST.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed);
    first.is_ok() || first == Err(this)
}

/// What caller and helpers share.
struct Job {
    next: AtomicUsize,
    items: usize,
    finished: AtomicUsize,
    caller: thread::Thread,
    work: Work,
}

/// The caller's closure: does item `i`.
struct Work(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure is Sync, and the ground rules say when it may be touched.
unsafe impl Send for Work {}
// SAFETY: as above.
unsafe impl Sync for Work {}

impl Job {
    fn run(&self) {
        loop {
            // Relaxed: a counter; the items lie in the caller's data, handed over with the job.
            let item = self.next.fetch_add(1, Ordering::Relaxed);
            if item >= self.items {
                return;
            }
            let _finished = Finished(self);
            // SAFETY: an item was left, so the caller is still in `each`: it waits until
            // `finished` counts this one too, which happens after this call.
            unsafe { (*self.work.0)(item) };
        }
    }
}

/// Reports an item finished, panic or not.
struct Finished<'j>(&'j Job);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        // Release: partner of the Acquire in `Wait`; the caller sees what was done.
        let finished = self.0.finished.fetch_add(1, Ordering::Release) + 1;
        if finished == self.0.items {
            self.0.caller.unpark();
        }
    }
}

/// Takes what items are left, and waits until those taken are finished.
struct Wait<'j>(&'j Job);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let job = self.0;
        let taken = job.next.swap(job.items, Ordering::Relaxed).min(job.items);
        let untaken = job.items - taken;
        if untaken != 0 {
            // Only when the caller is unwinding: nobody will do them.
            job.finished.fetch_add(untaken, Ordering::Relaxed);
        }
        while job.finished.load(Ordering::Acquire) < job.items {
            thread::park();
        }
    }
}

/// Does `work` for every item, with help if there are at least two and this thread is `willing` to
/// be helped; who comes to help is asked the same. The results, in any order.
pub(crate) fn each<R: Send + Sync + Copy + Default>(
    helpers: &Helpers,
    items: &[usize],
    willing: impl Fn() -> bool + Send + Sync + 'static,
    work: &(dyn Fn(usize) -> R + Sync),
) -> Vec<R> {
    let (Some(spawn), true) = (&helpers.spawn, items.len() > 1 && willing()) else {
        return items.iter().map(|&item| work(item)).collect();
    };
    let results: Vec<crate::sync::OnceLock<R>> = items.iter().map(|_| Default::default()).collect();
    let do_item = |i: usize| {
        let _ = results[i].set(work(items[i]));
    };
    let erased: *const (dyn Fn(usize) + Sync + '_) = &do_item;
    // SAFETY: only the lifetime changes; `Wait` keeps this frame until nobody can use it.
    let erased = unsafe {
        std::mem::transmute::<
            *const (dyn Fn(usize) + Sync + '_),
            *const (dyn Fn(usize) + Sync + 'static),
        >(erased)
    };
    let job = Arc::new(Job {
        next: AtomicUsize::new(0),
        items: items.len(),
        finished: AtomicUsize::new(0),
        caller: thread::current(),
        work: Work(erased),
    });
    let willing = Arc::new(willing);
    {
        let wait = Wait(&job);
        spawn(items.len() - 1, &|| {
            let (job, willing) = (Arc::clone(&job), Arc::clone(&willing));
            Box::new(move || {
                // A pool's thread that waits for something takes up whatever comes.
                if willing() {
                    job.run();
                }
            })
        });
        job.run();
        drop(wait);
    }
    results
        .into_iter()
        .map(|result| result.into_inner().unwrap_or_default())
        .collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::yield_now;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Barrier, Mutex};

    fn squares(helpers: &Helpers, n: usize) -> usize {
        let items: Vec<usize> = (0..n).collect();
        each(helpers, &items, || true, &|i| i * i).into_iter().sum()
    }

    #[test]
    fn every_item_is_done_once_with_help() {
        let threads = Helpers::custom(3, |task| {
            thread::spawn(task);
        });
        for _ in 0..200 {
            assert_eq!(squares(&threads, 40), (0..40).map(|i| i * i).sum());
        }
    }

    #[test]
    fn the_caller_finishes_alone_if_nobody_comes() {
        static LATE: Mutex<Vec<Task>> = Mutex::new(Vec::new());
        let lazy = Helpers::custom(8, |task| LATE.lock().unwrap().push(task));
        assert_eq!(squares(&lazy, 10), 285);
        let late = std::mem::take(&mut *LATE.lock().unwrap());
        assert_eq!(late.len(), 8);
        for task in late {
            task(); // finds nothing, touches nothing
        }
    }

    #[test]
    fn who_is_not_willing_helps_nobody_and_gets_no_help() {
        let helpers = Helpers::custom(2, |task| task());
        let items = [1, 2, 3];
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // The caller is willing, the helpers are not: here they run on its own thread.
        let willing = move || count.fetch_add(1, Ordering::Relaxed) == 0;
        let done = each(&helpers, &items, willing, &|i| i);
        assert_eq!(done.iter().sum::<usize>(), 6);
        assert_eq!(
            asked.load(Ordering::Relaxed),
            3,
            "the caller and two helpers"
        );
        let none = Helpers::custom(2, |_| panic!("woken"));
        assert_eq!(each(&none, &items, || false, &|i| i), [1, 2, 3]);
    }

    #[test]
    fn the_caller_does_one_item_itself() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let lazy = Helpers::custom(8, |_| {
            ASKED.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(squares(&lazy, 4), 14);
        assert_eq!(ASKED.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn one_item_wakes_nobody() {
        let helpers = Helpers::custom(8, |_| panic!("woken"));
        assert_eq!(squares(&helpers, 1), 0);
        assert_eq!(squares(&helpers, 0), 0);
    }

    /// Two items of which the helper has taken one before the caller goes on with the other; it is long about it.
    /// What `each` has made of it, unless the caller panics, and whether the helper was done by then.
    fn beside_a_slow_helper(panics: bool) -> (Option<Vec<usize>>, bool) {
        let threads = Helpers::custom(1, |task| {
            thread::spawn(task);
        });
        let both = Barrier::new(2);
        let caller = thread::current().id();
        let done = AtomicUsize::new(0);
        // A third one that nobody takes if the caller panics.
        let items: &[usize] = if panics { &[1, 2, 3] } else { &[1, 2] };
        let work = |i: usize| {
            let ours = thread::current().id() == caller;
            if i != 3 {
                both.wait();
            }
            assert!(!(ours && panics), "as it should");
            if !ours {
                (0..10_000).for_each(|_| yield_now());
                done.store(1, Ordering::Release);
            }
            i
        };
        let each = || each(&threads, items, || true, &work);
        let end = catch_unwind(AssertUnwindSafe(each)).ok();
        let done = done.load(Ordering::Acquire) == 1;
        (end, done)
    }

    #[test]
    fn helpers_that_have_begun_are_waited_for() {
        assert_eq!(beside_a_slow_helper(false), (Some(vec![1, 2]), true));
        assert_eq!(beside_a_slow_helper(true), (None, true));
    }

    #[test]
    fn nobody_waits_for_items_that_a_panic_has_left() {
        let lazy = Helpers::custom(1, |_| ());
        let alone = || {
            each(&lazy, &[1, 2, 3], || true, &|_| -> usize {
                panic!("as it should")
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(alone)).is_err());
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn the_threads_of_the_pool_help() {
        if rayon_core::current_num_threads() < 2 {
            println!("SKIPPED: one processor");
            return;
        }
        let pool = Helpers::global();
        let caller = thread::current().id();
        let foreign = |_| usize::from(thread::current().id() != caller);
        let items: Vec<usize> = (0..1_000).collect();
        // However late they come.
        while each(&pool, &items, || true, &foreign).iter().sum::<usize>() == 0 {}
    }

    #[test]
    fn a_panicking_item_is_waited_for() {
        let threads = Helpers::custom(2, |task| {
            thread::spawn(task);
        });
        let items: Vec<usize> = (0..16).collect();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            each(&threads, &items, || true, &|i| {
                assert!(i != 9, "planted");
                i
            })
        }));
        // On this thread it unwinds, on a helper's it ends that helper: both come back here.
        drop(caught);
    }
}
