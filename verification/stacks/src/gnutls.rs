//! `gnutls-cli`, which connects twice, and asks the second time only.

use crate::course::{PAIRS, resumed};
use crate::gate::Gate;
use crate::program::output;
use crate::{ENDS, End, REQUEST, Site, Value, Version};

pub fn resumes<V: Value>(site: impl Fn(End) -> Site<V>) {
    for end in ENDS {
        for version in Version::BOTH {
            let site = site(end);
            let mut seen = Vec::new();
            for steps in &PAIRS {
                let gate = Gate::open(&site, steps);
                let (host, port) = gate.address.rsplit_once(':').expect("an address");
                let priority = match version {
                    Version::Tls12 => "NORMAL:-VERS-ALL:+VERS-TLS1.2",
                    Version::Tls13 => "NORMAL:-VERS-ALL:+VERS-TLS1.3",
                };
                let mut arguments = vec!["--insecure", "--resume", "--priority", priority];
                if version == Version::Tls13 {
                    // For the tickets.
                    arguments.push("--waitresumption");
                }
                arguments.extend(["--port", port, host]);
                let Some(printed) = output("gnutls-cli", &arguments, Some(REQUEST)) else {
                    return;
                };
                let says = printed.contains("This is a resumed session");
                assert_eq!(says, resumed(&printed, version), "both ends agree");
                assert_eq!(says, steps[1].resumed, "{version}, {steps:?}: {printed}");
                assert_eq!(gate.passed(), steps.len());
                seen.push(says);
            }
            let count = seen.iter().filter(|resumed| **resumed).count();
            let not = 2 * seen.len() - count;
            println!("gnutls-cli, {version}: {count} resumed, {not} not");
        }
    }
}
