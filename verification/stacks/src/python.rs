//! Python's `ssl`, which closes without close_notify.

use std::io::{BufRead, BufReader, Write};

use crate::course::{resumed, walk};
use crate::program::{Running, start};
use crate::{ENDS, End, Site, Value, Version};

/// Connects to each address that it is told, with its last session, and says what became of it.
const CLIENT: &str = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
version = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}[sys.argv[1]]
context.minimum_version = context.maximum_version = version
if version == ssl.TLSVersion.TLSv1_2:
    context.options |= ssl.OP_NO_TICKET
session = None
for line in sys.stdin:
    host, port = line.strip().rsplit(":", 1)
    with socket.create_connection((host, int(port))) as plain:
        with context.wrap_socket(plain, session=session, suppress_ragged_eofs=True) as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while piece := tls.recv(4096):  # the tickets of TLS 1.3 come before the answer
                answer += piece
            session = tls.session
            print(tls.session_reused, answer.decode().splitlines()[-1], flush=True)
"#;

pub fn resumes<V: Value>(site: impl Fn(End) -> Site<V>) {
    for end in ENDS {
        for version in Version::BOTH {
            let arguments = ["-c", CLIENT, &version.to_string()];
            let Some(mut child) = start("python3", &arguments) else {
                return;
            };
            let mut stdin = child.stdin.take().expect("a pipe");
            let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
            let _running = Running(child);
            let connect = |address: &str| {
                writeln!(stdin, "{address}").expect("it listens");
                let mut answer = String::new();
                stdout.read_line(&mut answer).expect("an answer");
                let reused = answer.starts_with("True");
                assert_eq!(reused, resumed(&answer, version), "both ends agree");
                Some(answer)
            };
            walk("Python", version, &site(end), connect);
        }
    }
}
