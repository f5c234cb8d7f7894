//! Whether all is as it should be, before anybody relies on it.

use std::time::Instant;

use redis::Value;

use crate::core::Core;
use crate::keeper;
use crate::link::{Failure, told};
use crate::server::{Server, uncovered};

pub(crate) fn check(core: &Core, until: Instant) -> Result<(), Failure> {
    if !core.nodes.is_cluster() {
        let one = core.nodes.all();
        return one
            .iter()
            .try_for_each(|node| try_getdel(core, &node.server, until));
    }
    let map = keeper::ask(core, until)?;
    let missing = uncovered(&map);
    if missing > 0 {
        let why = format!("the Cluster has no master for {missing} slots");
        return Err(Failure::Refused(why));
    }
    let mut masters: Vec<_> = map.into_iter().map(|range| range.master).collect();
    masters.sort();
    masters.dedup();
    let login = core.nodes.seeds.first().ok_or(Failure::Closed)?;
    let mut all = masters.iter().map(|master| login.at(master));
    all.try_for_each(|server| try_getdel(core, &server, until))
}

/// On what isn't there. That another node of a Cluster has it is an answer: it comes after login, permission and the name of
/// the command.
fn try_getdel(core: &Core, server: &Server, until: Instant) -> Result<(), Failure> {
    let nothing = [&core.settings.prefix[..], b"check"].concat();
    let mut link = server.connect(until)?;
    let command = redis::cmd("GETDEL").arg(nothing).get_packed_command();
    link.send(&command, until)?;
    match link.reply(until)? {
        Value::ServerError(error) if server.redirect(&error).is_none() => {
            Err(Failure::Refused(told(&error)))
        }
        _ => Ok(()),
    }
}
