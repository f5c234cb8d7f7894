//! `openssl s_client`, which keeps its session in a file.

use crate::course::{RECONNECT, resumed, walk};
use crate::gate::Gate;
use crate::program::{Scratch, output};
use crate::{ENDS, End, REQUEST, Site, Value, Version};

/// So that it speaks this version.
pub fn flags(version: Version) -> &'static [&'static str] {
    match version {
        Version::Tls12 => &["-tls1_2", "-no_ticket"],
        Version::Tls13 => &["-tls1_3"],
    }
}

/// What it prints, which is what it thinks and what the server says.
pub fn run(address: &str, arguments: &[&[&str]], input: Option<&[u8]>) -> Option<String> {
    let arguments = [&["s_client", "-connect", address], &arguments.concat()[..]].concat();
    output("openssl", &arguments, input)
}

/// How each connection of a run began, as the client has it.
pub fn began(printed: &str) -> Vec<&'static str> {
    let of = |line: &str| {
        let word = line.split_once(", TLSv1.")?.0;
        ["New", "Reused"].into_iter().find(|known| *known == word)
    };
    printed.lines().filter_map(of).collect()
}

/// In TLS 1.2, since in TLS 1.3 it does not resume by itself.
pub fn reconnects_five_times<V: Value>(site: impl Fn(End) -> Site<V>) {
    for end in ENDS {
        let site = site(end);
        let gate = Gate::open(&site, &RECONNECT);
        let arguments = [flags(Version::Tls12), &["-reconnect"]];
        let Some(printed) = run(&gate.address, &arguments, None) else {
            return;
        };
        let said = |how: &&str| {
            if *how == "New" {
                "TLSv1.2 handshake"
            } else {
                "TLSv1.2 resumed"
            }
        };
        let began = began(&printed);
        let answers = began.iter().map(said);
        gate.report("s_client-reconnect", Version::Tls12, answers);
        let counters = site.cache.counters();
        assert_eq!(
            (counters.hits, counters.misses),
            (5, 0),
            "the server agrees"
        );
    }
}

pub fn resumes_from_a_file<V: Value>(site: impl Fn(End) -> Site<V>) {
    for end in ENDS {
        for version in Version::BOTH {
            let scratch = Scratch::make();
            let connect = returning(version, scratch.file("session"));
            if !walk("s_client", version, &site(end), connect) {
                return;
            }
        }
    }
}

/// Connects to each address that it is told with the session in this file, but for the first time, and leaves there the
/// last one that it got.
pub fn returning(version: Version, file: String) -> impl FnMut(&str) -> Option<String> {
    let mut first = true;
    move |address| {
        let offer = ["-sess_in", &file];
        let offer = if std::mem::take(&mut first) {
            &[][..]
        } else {
            &offer
        };
        let save = ["-sess_out", &file];
        let printed = run(address, &[flags(version), offer, &save], Some(REQUEST))?;
        let reused = began(&printed) == ["Reused"];
        assert_eq!(reused, resumed(&printed, version), "both ends agree");
        Some(printed)
    }
}

/// A ticket of TLS 1.3 for a single use.
pub fn resumes_a_ticket_once(address: &str) {
    let scratch = Scratch::make();
    let file = scratch.file("session");
    let save = ["-tls1_3", "-sess_out", &file];
    let Some(printed) = run(address, &[&save], Some(REQUEST)) else {
        return;
    };
    assert_eq!(began(&printed), ["New"]);
    let offer = ["-tls1_3", "-sess_in", &file];
    for expected in ["Reused", "New", "New"] {
        let printed = run(address, &[&offer], Some(REQUEST)).unwrap();
        assert_eq!(began(&printed), [expected]);
    }
}

/// To a server that accepts early data.
pub fn brings_early_data_once(address: &str) {
    let scratch = Scratch::make();
    let (file, request) = (scratch.file("session"), scratch.write("request", REQUEST));
    let save = ["-tls1_3", "-sess_out", &file];
    if run(address, &[&save], Some(REQUEST)).is_none() {
        return;
    }
    let offer = ["-tls1_3", "-sess_in", &file, "-early_data", &request];
    for accepted in [true, false, false] {
        // Once more, for a server that got nothing of it early; one that did would not read it, and break off.
        let rest = if accepted { b"" } else { REQUEST };
        let printed = run(address, &[&offer], Some(rest)).unwrap();
        let early = format!(", {} bytes of early data", REQUEST.len());
        assert_eq!(printed.contains(&early), accepted, "{printed}");
        assert_eq!(printed.contains("Early data was accepted"), accepted);
        assert_eq!(printed.contains("Early data was rejected"), !accepted);
        assert_eq!(resumed(&printed, Version::Tls13), accepted);
    }
}

/// To a server that lets in who has this certificate (all in DER), and elsewhere to one that lets in anybody.
pub fn stays_the_client_that_was_verified<V: Value>(
    site: &Site<V>,
    certificate: &[u8],
    key: &[u8],
) {
    let scratch = Scratch::make();
    let certificate = scratch.write("certificate", certificate);
    let key = scratch.write("key", key);
    let form = ["-certform", "DER", "-keyform", "DER"];
    let (here, elsewhere) = (site.here.to_string(), site.elsewhere.to_string());
    for version in Version::BOTH {
        let file = scratch.file("session");
        let save = ["-sess_out", &file];
        let known = ["-cert", &certificate, "-key", &key];
        let arguments = [flags(version), &known, &form, &save];
        let Some(printed) = run(&here, &arguments, Some(REQUEST)) else {
            return;
        };
        assert!(!resumed(&printed, version) && printed.contains("known client"));
        // It shows no certificate now.
        let again = ["-sess_in", &file, "-sess_out", &file];
        let offer = |address| run(address, &[flags(version), &again], Some(REQUEST)).unwrap();
        for _ in 0..3 {
            let printed = offer(&here);
            assert!(resumed(&printed, version) && printed.contains("known client"));
        }

        // A session of one who has shown none.
        let printed = run(&elsewhere, &[flags(version), &save], Some(REQUEST)).unwrap();
        assert!(!printed.contains("known client"));
        assert!(resumed(&offer(&elsewhere), version));
        let printed = offer(&here);
        assert!(!printed.contains("200 OK"), "{printed}");
        println!("s_client, {version}: 4 resumed, one without a certificate kept out");
    }
}
