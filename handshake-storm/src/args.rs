//! The command line.

use std::net::SocketAddr;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use sessionwheel::Pace;

/// Real TLS handshakes against a session cache that is filled and flushed meanwhile.
///
/// Without --listen: runs a server and rustls clients over TCP on loopback, resumes sessions with
/// TLS 1.2 (session id) and TLS 1.3 (stateful tickets), and prints a table, for sessionwheel and
/// for the store that is built into the server's TLS library. Exit code 0: all that must hold held; 1: it
/// did not, or an error; 2: bad arguments.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The servers' TLS library, whose own store is beside ours [openssl: with the feature of that name]
    #[arg(long, value_enum, default_value_t = Stack::Rustls, conflicts_with = "listen")]
    stack: Stack,

    /// Background sessions in each store: stand-ins of real size
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = counted(2, 20_000_000))]
    sessions: usize,

    /// Resumptions for each protocol version before the first flush
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = counted(1, 10_000_000))]
    resumptions: usize,

    /// Full handshakes, and so sessions of the clients' own, for each protocol version
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = counted(1, 100_000))]
    full: usize,

    /// Handshakes that must overlap a flush
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = counted(1, 1_000_000))]
    overlaps: usize,

    /// What part of one processor a flush of sessionwheel's may take, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 100,
          value_parser = clap::value_parser!(u8).range(1..=100))]
    pace: u8,

    /// Client threads [default: one for each core, at least 4, at most 16]
    #[arg(long, value_name = "N", value_parser = counted(1, 256))]
    clients: Option<usize>,

    /// Print one JSON object on standard output and nothing else there
    #[arg(long, conflicts_with = "listen")]
    json: bool,

    /// Serve other people's TLS clients on this address until Ctrl-C, for instance 127.0.0.1:4433
    #[arg(long, value_name = "ADDRESS:PORT",
          conflicts_with_all = ["sessions", "resumptions", "full", "overlaps", "pace", "clients"])]
    listen: Option<SocketAddr>,

    /// With --listen: lifetime of a session in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "listen",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// Two server processes that share sessions in the Redis at this address; clients resume with one what
    /// they have from the other
    #[cfg(feature = "redis")]
    #[arg(long, value_name = "ADDRESS",
          conflicts_with_all = ["listen", "json", "sessions", "overlaps", "pace"])]
    tier: Option<String>,

    /// To be one of these processes; the other words come on standard input
    #[cfg(feature = "redis")]
    #[arg(long, hide = true, exclusive = true)]
    host: bool,
}

fn counted(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

/// A TLS library for servers. Clients are always rustls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stack {
    Rustls,
    #[cfg(feature = "openssl")]
    Openssl,
}

/// What the arguments ask for.
pub(crate) enum Job {
    /// The storm, with its report as a table or as JSON.
    Storm { plan: Plan, json: bool },
    /// A server for strangers' clients.
    Listen {
        address: SocketAddr,
        timeout: Duration,
    },
    /// Two processes on one Redis.
    #[cfg(feature = "redis")]
    Fleet { plan: Plan, redis: String },
    /// One of the two.
    #[cfg(feature = "redis")]
    Host,
}

/// The numbers of a storm.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) stack: Stack,
    pub(crate) sessions: usize,
    pub(crate) resumptions: usize,
    pub(crate) full: usize,
    pub(crate) overlaps: usize,
    pub(crate) pace: Pace,
    pub(crate) clients: usize,
}

impl Plan {
    /// The half of the population that expires and is filled in again, time after time.
    pub(crate) fn passing(&self) -> usize {
        self.sessions / 2
    }

    /// The half that stays.
    pub(crate) fn lasting(&self) -> usize {
        self.sessions - self.passing()
    }

    /// How many sessions a store must hold so that none is evicted before the first flush: the
    /// population, and what clients leave. That is one session for each full TLS 1.2 handshake,
    /// two for each full TLS 1.3 handshake, and one more for each TLS 1.3 resumption (take 1,
    /// put 2).
    pub(crate) fn capacity(&self) -> usize {
        self.sessions + 3 * self.full + self.resumptions
    }
}

impl Args {
    pub(crate) fn into_job(self) -> Job {
        #[cfg(feature = "redis")]
        if self.host {
            return Job::Host;
        }
        if let Some(address) = self.listen {
            let timeout = Duration::from_secs(self.timeout);
            return Job::Listen { address, timeout };
        }
        let cores = available_parallelism().map_or(1, usize::from);
        let clients = self.clients.unwrap_or(cores.clamp(4, 16));
        let plan = Plan {
            stack: self.stack,
            sessions: self.sessions,
            resumptions: self.resumptions,
            full: self.full,
            overlaps: self.overlaps,
            pace: Pace::percent(self.pace),
            clients: clients.min(self.full),
        };
        #[cfg(feature = "redis")]
        if let Some(redis) = self.tier {
            return Job::Fleet { plan, redis };
        }
        Job::Storm {
            plan,
            json: self.json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn bad_arguments_are_refused() {
        let bad: [&[&str]; 12] = [
            &["--stack", "none"],
            &["--stack", "rustls", "--listen", "127.0.0.1:0"],
            &["--sessions", "0"],
            &["--sessions", "99999999999"],
            &["--sessions", "many"],
            &["--pace", "0"],
            &["--listen", "localhost"],
            &["--listen", "127.0.0.1:99999"],
            &["--timeout", "5"],
            &["--listen", "127.0.0.1:0", "--timeout", "0"],
            &["--listen", "127.0.0.1:0", "--json"],
            &["--storm"],
        ];
        for words in bad {
            let words = std::iter::once(&"handshake-storm").chain(words);
            let error = Args::try_parse_from(words).expect_err("refused");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
