use super::*;
use proptest::prelude::*;

#[test]
fn a_reply_ends_where_it_ends() {
    for whole in [
        &b"+OK\r\n"[..],
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$4\r\n\r\n\r\n\r\n",
    ] {
        let twice = [whole, whole].concat();
        assert_eq!(
            reply_len(&twice, MAX_SEALED_LEN).unwrap(),
            Some(whole.len())
        );
        for cut in 0..whole.len() {
            assert_eq!(
                reply_len(&whole[..cut], MAX_SEALED_LEN).unwrap(),
                None,
                "{cut}"
            );
        }
    }
}

#[test]
fn what_was_not_asked_for_is_garbage_before_it_is_read() {
    let line = [&b"+"[..], &[b'x'; MAX_LINE_LEN]].concat();
    for garbage in [
        &b"*2147483647\r\n"[..],
        b"%1\r\n",
        b"HTTP/1.1 400\r\n",
        b"$99999999999\r\n",
        b"$9223372036854775808\r\n",
        b"$-2\r\n",
        b"$x\r\n",
        b"$\xff\r\n",
        b"$1\r\nabc",
        &line,
    ] {
        assert!(matches!(
            reply_len(garbage, MAX_SEALED_LEN),
            Err(Failure::Garbage)
        ));
    }
}

proptest! {
    /// Whatever comes, parsing it neither panics nor asks for more memory than came.
    #[test]
    fn noise_is_survived(start in "[+$:*%|-]?[0-9-]{0,12}(\r\n)?", rest in prop::collection::vec(any::<u8>(), 0..60)) {
        let bytes = [start.as_bytes(), &rest].concat();
        if let Ok(Some(len)) = reply_len(&bytes, MAX_SEALED_LEN) {
            prop_assert!(len <= bytes.len());
            let _ = redis::parse_redis_value(&bytes[..len]);
        }
    }
}

proptest! {
    #[test]
    fn answers_come_in_their_order_however_they_are_cut(
        answers in prop::collection::vec(prop::sample::select(&ANSWERS[..]), 1..40),
        cuts in prop::collection::vec(1..30_usize, 1..40),
    ) {
        let all = answers.concat();
        let (mut link, _other) = linked();
        let (mut rest, mut come) = (all.as_bytes(), Vec::new());
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            link.inbox.add(chunk);
            while reply_len(link.inbox.rest(), MAX_SEALED_LEN).unwrap().is_some() {
                come.push(link.reply(Instant::now()).unwrap());
            }
        }
        prop_assert!(link.is_drained());
        let parse = |answer: &&str| redis::parse_redis_value(answer.as_bytes()).unwrap();
        prop_assert_eq!(come, answers.iter().map(parse).collect::<Vec<_>>());
    }
}

const ANSWERS: [&str; 6] = [
    "+OK\r\n",
    "+OKAY\r\n",
    ":7\r\n",
    "$-1\r\n",
    "$5\r\n+OK\r\n\r\n",
    "-ERR what?\r\n",
];

/// A link, and the other end of it.
fn linked() -> (Link, UnixStream) {
    let (ours, other) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let link = Link {
        stream: Stream::Unix(ours),
        inbox: Inbox::default(),
    };
    (link, other)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn after_the_deadline_no_more_is_read_however_much_there_is() {
    let (mut link, mut other) = linked();
    let half = [&b"$60000\r\n"[..], &[b'x'; 20_000]].concat();
    other.write_all(&half).unwrap();
    drop(other);
    let late = link.reply(Instant::now());
    assert!(matches!(late, Err(Failure::Timeout)), "{late:?}");
    // In time it is read to its end.
    let cut = link.reply(soon());
    assert!(matches!(cut, Err(Failure::Closed)), "{cut:?}");
}

/// Who is gone without a word while nobody asks: a firewall that has forgotten the connection, a host without power.
#[cfg(not(target_os = "openbsd"))]
#[test]
fn an_idle_connection_is_tried_now_and_then() {
    use rustix::net::sockopt;

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = tcp("127.0.0.1", port, soon()).unwrap();
    assert!(sockopt::socket_keepalive(&tcp).unwrap());
    let times = (sockopt::tcp_keepidle(&tcp), sockopt::tcp_keepintvl(&tcp));
    assert_eq!(times, (Ok(KEEPALIVE.0), Ok(KEEPALIVE.1)));
    assert_eq!(sockopt::tcp_keepcnt(&tcp), Ok(KEEPALIVE.2));
}

/// What comes of a nested answer that begins like this, and whether all of it could be sent.
fn nested(answer: Vec<u8>) -> (Result<Value, Failure>, bool) {
    let (mut link, mut other) = linked();
    let writer = std::thread::spawn(move || (other.write_all(&answer).is_ok(), other));
    let came = link.ask_nested(&redis::cmd("SLOTS"), soon());
    drop(link);
    (came, writer.join().unwrap().0)
}

#[test]
fn a_nested_answer_is_bounded_in_parts_and_in_bytes() {
    let bulk = |len: usize| [format!("${len}\r\n").as_bytes(), &vec![b'x'; len], b"\r\n"].concat();
    let of = |parts: usize, part: &[u8]| {
        [format!("*{parts}\r\n").as_bytes(), &part.repeat(parts)].concat()
    };
    let (came, _) = nested(of(3, &bulk(MAX_PART_LEN)));
    assert!(matches!(came, Ok(Value::Array(all)) if all.len() == 3));
    let (came, _) = nested(of(1, &bulk(MAX_PART_LEN + 1)));
    assert!(
        matches!(came, Err(Failure::Garbage)),
        "one part is too long"
    );
    let (came, _) = nested(of(MAX_PARTS + 1, b":1\r\n"));
    assert!(matches!(came, Err(Failure::Garbage)), "there are too many");
    let parts = 2 * MAX_NESTED_LEN / MAX_PART_LEN;
    let (came, all) = nested(of(parts, &bulk(MAX_PART_LEN)));
    assert!(
        matches!(came, Err(Failure::Garbage)),
        "all of it is too long"
    );
    assert!(!all, "it was read to its end");
}

#[test]
fn what_a_server_says_is_told_in_one_line_and_without_the_password() {
    let (mut link, mut other) = linked();
    let said = b"-ERR unknown command 'AUTH', with args beginning with: 'sesame'\r\n";
    other.write_all(said).unwrap();
    let refused = link.log_in(redis::cmd("AUTH").arg("sesame"), soon());
    let told = refused.unwrap_err().to_string();
    assert_eq!(told, "refused: the password (ERR)");
    let said = [&b"-ERR a\nb \x1b[31m \xc3\xa9"[..], &[b'x'; 500], b"\r\n"].concat();
    other.write_all(&said).unwrap();
    let told = link
        .ask(&redis::cmd("PING"), soon())
        .unwrap_err()
        .to_string();
    assert!(told.contains("a\\nb \\u{1b}[31m é"), "{told}");
    assert!(
        told.len() < 300 && !told.contains(char::is_control),
        "{told}"
    );
}

#[cfg(feature = "tls")]
#[test]
fn after_the_deadline_no_more_is_decrypted_either() {
    use rustls::pki_types::PrivateKeyDer;
    use std::sync::Arc;

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let served = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut tcp = listener.accept().unwrap().0;
        let mut tls = rustls::ServerConnection::new(Arc::new(served.unwrap())).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        stream.read_exact(&mut [0; 3]).unwrap();
        // A record for each byte.
        stream.write_all(b"$60000\r\n").unwrap();
        (0..1_000).for_each(|_| stream.write_all(b"x").unwrap());
        tcp
    });
    let socket = tcp("127.0.0.1", port, soon()).unwrap();
    let stream = TlsStream::new(socket, "localhost", &Arc::new(config)).unwrap();
    let mut link = Link {
        stream: Stream::Tls(stream.into()),
        inbox: Inbox::default(),
    };
    link.send(b"GET", soon()).unwrap();
    drop(server.join().unwrap());
    let late = link.reply(Instant::now());
    assert!(matches!(late, Err(Failure::Timeout)), "{late:?}");
    let cut = link.reply(soon());
    assert!(matches!(cut, Err(Failure::Closed)), "{cut:?}");
}
