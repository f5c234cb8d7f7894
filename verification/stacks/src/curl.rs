//! `curl`, which keeps its sessions within one process, as long as it runs.

use crate::course::COURSE;
use crate::gate::Gate;
use crate::program::output;
use crate::{ENDS, End, Site, Value, Version};

pub fn resumes<V: Value>(site: impl Fn(End) -> Site<V>) {
    for end in ENDS {
        for (version, newest) in [(Version::Tls12, "1.2"), (Version::Tls13, "1.3")] {
            let site = site(end);
            let gate = Gate::open(&site, &COURSE);
            let url = format!("https://{}/", gate.address);
            let mut arguments = vec!["--insecure", "--silent", "--tls-max", newest];
            // Or a server that keeps connections open gets all requests on one.
            arguments.extend(["--header", "Connection: close"]);
            arguments.extend([&*url; COURSE.len()]);
            let Some(printed) = output("curl", &arguments, None) else {
                return;
            };
            gate.report("curl", version, printed.lines());
        }
    }
}
