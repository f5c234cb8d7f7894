//! Where the server is: at an address, or wherever the Sentinels say.

use std::time::Instant;

use redis::{ConnectionAddr, ConnectionInfo};

use crate::link::{Failure, Link};

pub(crate) struct Server {
    /// Its address, unless there are Sentinels, and how to log in.
    pub(crate) info: ConnectionInfo,
    pub(crate) sentinels: Vec<ConnectionInfo>,
    /// What the Sentinels call it.
    pub(crate) master: String,
}

impl Server {
    pub(crate) fn connect(&self, until: Instant) -> Result<Link, Failure> {
        if self.sentinels.is_empty() {
            return Link::connect(&self.info, until);
        }
        let mut failure = Failure::Timeout;
        for (at, sentinel) in self.sentinels.iter().enumerate() {
            // Each has its part of the time, and so has the server.
            let parts = u32::try_from(self.sentinels.len() - at).unwrap_or(u32::MAX);
            let now = Instant::now();
            let part = until.saturating_duration_since(now) / parts.saturating_add(1);
            let connected = self.master(sentinel, now + part);
            match connected.and_then(|master| Link::connect(&master, until)) {
                Ok(link) => return Ok(link),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The master, by the word of one Sentinel.
    fn master(&self, sentinel: &ConnectionInfo, until: Instant) -> Result<ConnectionInfo, Failure> {
        let mut link = Link::connect(sentinel, until)?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(&self.master);
        let answer = link.ask_pair(&question, until)?;
        let unknown = || Failure::Refused("no Sentinel knows a master of this name".into());
        let (host, port) = answer.ok_or_else(unknown)?;
        let port = port.parse().map_err(|_| Failure::Garbage)?;
        let master = self.info.clone();
        Ok(master.set_addr(ConnectionAddr::Tcp(host, port)))
    }
}
