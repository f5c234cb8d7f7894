//! HAProxy and nginx as clients of our server.

use crate::course::{resumed, walk};
use crate::program::{Running, Scratch, ask, start};
use crate::{ENDS, End, Site, Value, Version};

/// A proxy in front of `address`, as long as it is kept.
struct Proxy {
    _running: Running,
    scratch: Scratch,
}

impl Proxy {
    fn ask(&self) -> String {
        ask(&self.scratch.file("socket"))
    }
}

fn haproxy(address: &str, version: Version, how: &str) -> Option<Proxy> {
    let scratch = Scratch::make();
    let force = match version {
        Version::Tls12 => "force-tlsv12",
        Version::Tls13 => "force-tlsv13",
    };
    let configuration = format!(
        "global\n nbthread 1\n\
         defaults\n mode http\n http-reuse never\n \
         timeout connect 9s\n timeout client 9s\n timeout server 9s\n\
         frontend front\n bind unix@{}\n default_backend back\n \
         http-response set-header X-Resumed %[ssl_bc_is_resumed]\n\
         backend back\n server ours {address} ssl verify none {force} {how}\n",
        scratch.file("socket"),
    );
    let file = scratch.write("haproxy.cfg", configuration);
    let running = Running(start("haproxy", &["-db", "-f", &file])?);
    Some(Proxy {
        _running: running,
        scratch,
    })
}

pub fn haproxy_resumes<V: Value>(site: impl Fn(End) -> Site<V>) {
    each("HAProxy", ["", "no-ssl-reuse"], haproxy, site, |answer| {
        Some(answer.to_ascii_lowercase().contains("x-resumed: 1"))
    });
}

fn nginx(address: &str, version: Version, reuse: &str) -> Option<Proxy> {
    let scratch = Scratch::make();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {};\n", scratch.file(what)))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; pid {}; error_log {};\n\
         events {{}}\n\
         http {{ access_log off; {temporary} server {{ listen unix:{}; location / {{\n\
         proxy_pass https://{address}; proxy_ssl_protocols {version}; proxy_ssl_session_reuse {reuse};\n\
         }} }} }}\n",
        scratch.file("pid"),
        scratch.file("error.log"),
        scratch.file("socket"),
    );
    let file = scratch.write("nginx.conf", configuration);
    let log = scratch.file("error.log");
    let running = Running(start("nginx", &["-e", &log, "-c", &file])?);
    Some(Proxy {
        _running: running,
        scratch,
    })
}

pub fn nginx_resumes<V: Value>(site: impl Fn(End) -> Site<V>) {
    // It doesn't say so itself.
    each("nginx", ["on", "off"], nginx, site, |_| None);
}

/// Of a proxy that offers its sessions, and of one that is told not to.
fn each<V: Value>(
    who: &str,
    [offering, not]: [&str; 2],
    proxy: impl Fn(&str, Version, &str) -> Option<Proxy>,
    site: impl Fn(End) -> Site<V>,
    says: impl Fn(&str) -> Option<bool>,
) {
    for end in ENDS {
        for version in Version::BOTH {
            let site = site(end);
            let mut started = None;
            let connect = |address: &str| {
                if started.is_none() {
                    started = Some(proxy(address, version, offering)?);
                }
                let answer = started.as_ref()?.ask();
                if let Some(says) = says(&answer) {
                    assert_eq!(says, resumed(&answer, version), "both ends agree: {answer}");
                }
                Some(answer)
            };
            if !walk(who, version, &site, connect) {
                return;
            }
            let proxy = proxy(&site.here.to_string(), version, not).expect("it was there before");
            for _ in 0..3 {
                assert!(!resumed(&proxy.ask(), version), "{who} offers nothing");
            }
        }
    }
}
