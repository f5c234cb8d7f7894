//! What the scheduler says about a thread.

use std::fs::File;
use std::io::{Read, Seek};

/// How long this thread has been ready to run without being given a core: Linux tells. Stays with
/// the thread that made it.
pub(super) struct Account {
    file: Option<File>,
    /// Nanoseconds, at the last look.
    waited: u64,
}

impl Account {
    pub(super) fn of_this_thread() -> Self {
        let mut account = Self {
            file: File::open("/proc/thread-self/schedstat").ok(),
            waited: 0,
        };
        account.since_last();
        account
    }

    /// Nanoseconds since the last call; zero where the system does not tell.
    pub(super) fn since_last(&mut self) -> u64 {
        let waited = self.read().unwrap_or(self.waited);
        let since = waited - self.waited;
        self.waited = waited;
        since
    }

    fn read(&mut self) -> Option<u64> {
        let file = self.file.as_mut()?;
        file.rewind().ok()?;
        let mut text = [0; 96];
        let length = file.read(&mut text).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        // Time on a core, time ready and not on a core, time slices.
        text.split_whitespace().nth(1)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Account;
    use std::time::{Duration, Instant};
    use std::{hint, thread};

    #[cfg(target_os = "linux")]
    #[test]
    fn who_shares_a_core_waits_and_who_sleeps_does_not() {
        let mut account = Account::of_this_thread();
        thread::sleep(Duration::from_millis(50));
        let asleep = account.since_last();
        // More threads than cores: somebody has to wait.
        let threads = thread::available_parallelism().map_or(8, usize::from) * 3;
        let busy = || {
            let mut account = Account::of_this_thread();
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(100) {
                hint::spin_loop();
            }
            account.since_last()
        };
        let waited: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(busy)).collect();
            let joined = threads.into_iter().map(|t| t.join().expect("no panic"));
            joined.sum()
        });
        println!("asleep {asleep} ns, {threads} busy threads {waited} ns");
        assert!(waited > 10_000_000);
        // It was ready for as long as it took to be woken, which is not the time it slept.
        assert!(asleep < 50_000_000);
    }
}
