//! HAProxy and nginx as clients of our server.

use openssl::ssl::SslVersion;
use sessionwheel_openssl::Options;

use crate::program::{Running, Scratch, ask, start};
use crate::support::{VERSIONS, name};
use crate::{ENDS, Listening, from_begin_to_end, resumed};

fn haproxy(listening: &Listening, version: SslVersion, how: &str) -> Option<(Running, Scratch)> {
    let scratch = Scratch::new();
    let force = match version {
        SslVersion::TLS1_2 => "force-tlsv12",
        _ => "force-tlsv13",
    };
    let configuration = format!(
        "global\n nbthread 1\n\
         defaults\n mode http\n http-reuse never\n \
         timeout connect 9s\n timeout client 9s\n timeout server 9s\n\
         frontend front\n bind unix@{}\n default_backend back\n \
         http-response set-header X-Resumed %[ssl_bc_is_resumed]\n\
         backend back\n server ours {} ssl verify none {force} {how}\n",
        scratch.file("socket"),
        listening.address,
    );
    let file = scratch.write("haproxy.cfg", configuration);
    let child = start("haproxy", &["-db", "-f", &file])?;
    Some((Running(child), scratch))
}

#[test]
fn haproxy_resumes() {
    for end in ENDS {
        for version in VERSIONS {
            let listening = Listening::new(Options::default(), end);
            let Some((_running, scratch)) = haproxy(&listening, version, "") else {
                return;
            };
            let connect = |_: &str| {
                let answer = ask(&scratch.file("socket"));
                let says = answer.to_ascii_lowercase().contains("x-resumed: 1");
                assert_eq!(says, resumed(&answer, version), "both ends agree: {answer}");
                Some(answer)
            };
            from_begin_to_end("HAProxy", &listening, version, connect, false);

            // One that offers nothing.
            let (_running, scratch) = haproxy(&listening, version, "no-ssl-reuse").unwrap();
            for _ in 0..3 {
                assert!(!resumed(&ask(&scratch.file("socket")), version));
            }
        }
    }
}

fn nginx(listening: &Listening, version: SslVersion, reuse: &str) -> Option<(Running, Scratch)> {
    let scratch = Scratch::new();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {};\n", scratch.file(what)))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; pid {}; error_log {};\n\
         events {{}}\n\
         http {{ access_log off; {temporary} server {{ listen unix:{}; location / {{\n\
         proxy_pass https://{}; proxy_ssl_protocols {}; proxy_ssl_session_reuse {reuse};\n\
         }} }} }}\n",
        scratch.file("pid"),
        scratch.file("error.log"),
        scratch.file("socket"),
        listening.address,
        name(version),
    );
    let file = scratch.write("nginx.conf", configuration);
    let child = start("nginx", &["-e", &scratch.file("error.log"), "-c", &file])?;
    Some((Running(child), scratch))
}

#[test]
fn nginx_resumes() {
    for end in ENDS {
        for version in VERSIONS {
            let listening = Listening::new(Options::default(), end);
            let Some((_running, scratch)) = nginx(&listening, version, "on") else {
                return;
            };
            let connect = |_: &str| Some(ask(&scratch.file("socket")));
            from_begin_to_end("nginx", &listening, version, connect, false);

            let (_running, scratch) = nginx(&listening, version, "off").unwrap();
            for _ in 0..3 {
                assert!(!resumed(&ask(&scratch.file("socket")), version));
            }
        }
    }
}
