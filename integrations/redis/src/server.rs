//! Where a server is: at an address, or wherever the Sentinels say; and what it calls others.

use std::time::Instant;

use redis::ServerError;

use crate::link::{Failure, Link, told};
use crate::place::Place;
use crate::redirect::{Address, Range, Redirect, SLOTS, ranges};

#[derive(Clone)]
pub(crate) struct Server {
    /// Its address, unless there are Sentinels, and how to log in.
    pub(crate) place: Place,
    pub(crate) sentinels: Vec<Place>,
    /// What the Sentinels call it.
    pub(crate) master: String,
    /// Whether it is one of a Cluster, and its redirections are followed.
    pub(crate) in_cluster: bool,
}

impl Server {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            sentinels: Vec::new(),
            master: String::new(),
            in_cluster: false,
        }
    }

    pub(crate) fn connect(&self, until: Instant) -> Result<Link, Failure> {
        if self.in_cluster {
            return self.connect_to_node(until);
        }
        if self.sentinels.is_empty() {
            return Link::connect(&self.place, until);
        }
        in_turn(&self.sentinels, until, |sentinel, part| {
            let master = self.master(sentinel, part)?;
            Link::connect(&master, until)
        })
    }

    /// A node that has just been started, or has lost sight of most others, refuses everything that has a key, for a while:
    /// there is no point in sending it anything.
    fn connect_to_node(&self, until: Instant) -> Result<Link, Failure> {
        let mut link = Link::connect(&self.place, until)?;
        link.send(&redis::cmd("GET").arg("").get_packed_command(), until)?;
        match link.reply(until)? {
            redis::Value::ServerError(error) if error.code() == "CLUSTERDOWN" => {
                Err(Failure::Refused(told(&error)))
            }
            _ => Ok(link),
        }
    }

    /// The master, by the word of one Sentinel.
    fn master(&self, sentinel: &Place, until: Instant) -> Result<Place, Failure> {
        let mut link = Link::connect(sentinel, until)?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(&self.master);
        let (host, port) = match link.ask_nested(&question, until)? {
            redis::Value::Array(pair) => match <[_; 2]>::try_from(pair) {
                Ok([host, port]) => (text(host)?, text(port)?),
                Err(_) => return Err(Failure::Garbage),
            },
            redis::Value::Nil => {
                let unknown = "no Sentinel knows a master of this name";
                return Err(Failure::Refused(unknown.into()));
            }
            _ => return Err(Failure::Garbage),
        };
        let port = port.parse().map_err(|_| Failure::Garbage)?;
        Ok(self.place.at(&Address { host, port }))
    }

    /// Another server that takes the same login.
    pub(crate) fn at(&self, address: &Address) -> Self {
        Self {
            place: self.place.at(address),
            ..self.clone()
        }
    }

    pub(crate) fn address(&self) -> Option<Address> {
        self.place.address()
    }

    /// Where the one sends us that has answered with this.
    pub(crate) fn redirect(&self, error: &ServerError) -> Option<Redirect> {
        let address = self.address().filter(|_| self.in_cluster)?;
        Redirect::of(error, &address.host)
    }

    /// Who has which slots, by its word.
    pub(crate) fn map(&self, until: Instant) -> Result<Vec<Range>, Failure> {
        let host = self.address().map_or(String::new(), |address| address.host);
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        let mut link = Link::connect(&self.place, until)?;
        let reply = link.ask_nested(&question, until)?;
        let map = ranges(&reply, &host).ok_or(Failure::Garbage)?;
        if map.is_empty() {
            return Err(Failure::Refused("no master has slots".into()));
        }
        Ok(map)
    }
}

/// How many slots none of these has.
pub(crate) fn uncovered(map: &[Range]) -> usize {
    let mut covered = vec![false; SLOTS];
    for range in map {
        covered[usize::from(range.first)..=usize::from(range.last)].fill(true);
    }
    covered.iter().filter(|covered| !**covered).count()
}

/// Asks one after the other until one answers. Each has its part of the time, and so has what comes of it.
pub(crate) fn in_turn<S, T>(
    all: &[S],
    until: Instant,
    mut ask: impl FnMut(&S, Instant) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut failure = Failure::Timeout;
    for (at, one) in all.iter().enumerate() {
        let parts = u32::try_from(all.len() - at).unwrap_or(u32::MAX);
        let now = Instant::now();
        let part = until.saturating_duration_since(now) / parts.saturating_add(1);
        match ask(one, now + part) {
            Ok(answer) => return Ok(answer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn text(value: redis::Value) -> Result<String, Failure> {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| Failure::Garbage),
        _ => Err(Failure::Garbage),
    }
}
