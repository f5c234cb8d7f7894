//! `openssl s_client`, `gnutls-cli` and `curl`.

use openssl::ssl::SslVersion;
use sessionwheel_openssl::{Options, SingleUse, Storage};

use crate::program::{Scratch, output};
use crate::serve::End;
use crate::support::{Identity, VERSIONS, name, require};
use crate::{ENDS, Listening, REQUEST, from_begin_to_end, resumed};

fn flags(version: SslVersion) -> &'static [&'static str] {
    match version {
        SslVersion::TLS1_2 => &["-tls1_2", "-no_ticket"],
        _ => &["-tls1_3"],
    }
}

/// What `s_client` prints, which is what it thinks and what the server says.
fn s_client(address: &str, arguments: &[&[&str]], input: Option<&[u8]>) -> Option<String> {
    let arguments = [&["s_client", "-connect", address], &arguments.concat()[..]].concat();
    output("openssl", &arguments, input)
}

/// How each connection of a run began, as the client has it.
fn began(printed: &str) -> Vec<&'static str> {
    let of = |line: &str| {
        let word = line.split_once(", TLSv1.")?.0;
        ["New", "Reused"].into_iter().find(|known| *known == word)
    };
    printed.lines().filter_map(of).collect()
}

/// In TLS 1.2 OpenSSL sends its Finished and then keeps the session. A client that comes back in that instant is
/// too early, which is nothing but a miss.
const ATTEMPTS: usize = 20;

#[test]
fn s_client_reconnects_five_times_with_a_tls12_session_id() {
    for end in ENDS {
        for storage in [Storage::Objects, Storage::Der] {
            let all_resumed = (0..ATTEMPTS).any(|_| {
                let listening = Listening::new(Options::default().storage(storage), end);
                let arguments = [flags(SslVersion::TLS1_2), &["-reconnect"]];
                let Some(printed) = s_client(&listening.address, &arguments, None) else {
                    return true;
                };
                let began = began(&printed);
                let new = began.iter().filter(|how| **how == "New").count() as u64;
                let counters = listening.server.cache.counters();
                assert_eq!(began.len(), 6);
                assert_eq!((counters.hits, counters.misses), (6 - new, new - 1));
                println!("s_client -reconnect, TLSv1.2: {began:?}");
                new == 1
            });
            assert!(all_resumed);
        }
    }
}

#[test]
fn s_client_resumes_from_a_file() {
    for end in ENDS {
        for version in VERSIONS {
            let listening = Listening::new(Options::default(), end);
            let scratch = Scratch::new();
            let file = scratch.file("session");
            let mut first = true;
            let connect = |address: &str| {
                let offer = ["-sess_in", &file];
                let offer = if std::mem::take(&mut first) {
                    &[][..]
                } else {
                    &offer
                };
                let save = ["-sess_out", &file];
                let printed = s_client(address, &[flags(version), offer, &save], Some(REQUEST))?;
                let reused = began(&printed) == ["Reused"];
                assert_eq!(reused, resumed(&printed, version), "both ends agree");
                Some(printed)
            };
            from_begin_to_end("s_client", &listening, version, connect, true);
        }
    }
}

#[test]
fn s_client_resumes_a_ticket_for_one_use_once() {
    let options = Options::default().single_use(SingleUse::Tls13);
    let listening = Listening::new(options, End::Unclean);
    let scratch = Scratch::new();
    let file = scratch.file("session");
    let save = ["-tls1_3", "-sess_out", &file];
    if s_client(&listening.address, &[&save], Some(REQUEST)).is_none() {
        return;
    }
    let offer = ["-tls1_3", "-sess_in", &file];
    for expected in ["Reused", "New", "New"] {
        let printed = s_client(&listening.address, &[&offer], Some(REQUEST)).unwrap();
        assert_eq!(began(&printed), [expected]);
    }
}

#[test]
fn s_client_brings_early_data_once() {
    let listening = Listening::with(Options::default(), End::Clean, |context| {
        context.set_max_early_data(1 << 14).unwrap();
    });
    let scratch = Scratch::new();
    let (file, request) = (scratch.file("session"), scratch.write("request", REQUEST));
    let save = ["-tls1_3", "-sess_out", &file];
    if s_client(&listening.address, &[&save], Some(REQUEST)).is_none() {
        return;
    }
    let offer = ["-tls1_3", "-sess_in", &file, "-early_data", &request];
    for accepted in [true, false, false] {
        // Once more, for a server that got nothing of it early; one that did would not read it, and break off.
        let rest = if accepted { b"" } else { REQUEST };
        let printed = s_client(&listening.address, &[&offer], Some(rest)).unwrap();
        let early = format!(", {} bytes of early data", REQUEST.len());
        assert_eq!(printed.contains(&early), accepted, "{printed}");
        assert_eq!(printed.contains("Early data was accepted"), accepted);
        assert_eq!(printed.contains("Early data was rejected"), !accepted);
        assert_eq!(resumed(&printed, SslVersion::TLS1_3), accepted);
    }
}

#[test]
fn s_client_stays_the_client_that_was_verified() {
    let identity = Identity::new("client");
    let scratch = Scratch::new();
    let certificate = scratch.write("cert.pem", identity.certificate.to_pem().unwrap());
    let key = scratch.write("key.pem", identity.key.private_key_to_pem_pkcs8().unwrap());
    for version in VERSIONS {
        let strict = Listening::with(Options::default(), End::Unclean, |c| require(c, &identity));
        let file = scratch.file("session");
        let known = ["-cert", &certificate, "-key", &key, "-sess_out", &file];
        let Some(printed) = s_client(&strict.address, &[flags(version), &known], Some(REQUEST))
        else {
            return;
        };
        assert!(!resumed(&printed, version) && printed.contains("known client"));
        // It shows no certificate now.
        let offer = ["-sess_in", &file, "-sess_out", &file];
        for _ in 0..3 {
            let printed =
                s_client(&strict.address, &[flags(version), &offer], Some(REQUEST)).unwrap();
            assert!(resumed(&printed, version) && printed.contains("known client"));
        }

        // A session of a context of the same cache that verifies nobody.
        let save = ["-sess_out", &file];
        let printed = s_client(&strict.elsewhere, &[flags(version), &save], Some(REQUEST)).unwrap();
        assert!(!printed.contains("known client"));
        let offer = ["-sess_in", &file];
        let printed =
            s_client(&strict.elsewhere, &[flags(version), &offer], Some(REQUEST)).unwrap();
        assert!(resumed(&printed, version));
        let printed = s_client(&strict.address, &[flags(version), &offer], Some(REQUEST)).unwrap();
        assert!(!printed.contains("200 OK"), "{printed}");
    }
}

#[test]
fn gnutls_resumes() {
    for end in ENDS {
        for (version, priority) in [
            (SslVersion::TLS1_2, "NORMAL:-VERS-ALL:+VERS-TLS1.2"),
            (SslVersion::TLS1_3, "NORMAL:-VERS-ALL:+VERS-TLS1.3"),
        ] {
            for kept in [true, false] {
                let listening = Listening::new(Options::default(), end);
                if !kept {
                    listening.server.cache.set_maximum(Some(0));
                }
                let port = listening.address.rsplit_once(':').unwrap().1;
                let mut arguments = vec!["--insecure", "--resume", "--priority", priority];
                if version == SslVersion::TLS1_3 {
                    arguments.push("--waitresumption");
                }
                arguments.extend(["--port", port, "127.0.0.1"]);
                let attempts = if kept { ATTEMPTS } else { 3 };
                let seen = (0..attempts).find_map(|_| {
                    let Some(printed) = output("gnutls-cli", &arguments, Some(REQUEST)) else {
                        return Some(kept);
                    };
                    let seen = resumed(&printed, version);
                    assert_eq!(printed.contains("This is a resumed session"), seen);
                    println!("gnutls-cli, {}: resumed {seen}", name(version));
                    seen.then_some(true)
                });
                assert_eq!(seen.unwrap_or(false), kept);
            }
        }
    }
}

/// Within one process, which is where it keeps sessions.
#[test]
fn curl_resumes() {
    for end in ENDS {
        for (version, newest) in [(SslVersion::TLS1_2, "1.2"), (SslVersion::TLS1_3, "1.3")] {
            for kept in [true, false] {
                let listening = Listening::new(Options::default(), end);
                if !kept {
                    listening.server.cache.set_maximum(Some(0));
                }
                let url = format!("https://{}/", listening.address);
                let arguments = [
                    "--insecure",
                    "--silent",
                    "--tls-max",
                    newest,
                    &url,
                    &url,
                    &url,
                ];
                let Some(printed) = output("curl", &arguments, None) else {
                    return;
                };
                let seen: Vec<_> = printed.lines().map(|line| resumed(line, version)).collect();
                assert_eq!(seen, [false, kept, kept], "{printed}");
                println!("curl, {}: resumed {seen:?}", name(version));
            }
        }
    }
}
