//! How a connection ends, and what becomes of its session.

mod support;

use std::io::Read;

use openssl::ssl::{SslSession, SslVersion};
use sessionwheel_openssl::{Options, Removals, Storage};
use support::{Client, Connection, Server, VERSIONS};

const GARBAGE: [u8; 45] = {
    let mut record = [0x5A; 45];
    [record[0], record[1], record[2], record[3], record[4]] = [23, 3, 3, 0, 40];
    record
};

/// A session, and a connection that has resumed it.
fn resumed(server: &Server, version: SslVersion) -> (Client, SslSession, Connection) {
    let client = Client::new(version);
    let session = client.session(&server.context);
    let connection = client.connect(&server.context, Some(&session));
    assert!(connection.resumed());
    // In TLS 1.3 the connection's session is now the one that it has minted.
    let session = client.sessions().pop().unwrap_or(session);
    (client, session, connection)
}

/// A record that does not decrypt comes to the server: it sends a fatal alert.
fn break_server(connection: &mut Connection) {
    connection.server.get_ref().incoming().extend(GARBAGE);
    let error = connection.server.read(&mut [0; 16]).unwrap_err();
    assert!(error.to_string().contains("mac"), "{error}");
}

/// The same to the client; the server receives its fatal alert.
fn break_client(connection: &mut Connection) {
    connection.client.get_ref().incoming().extend(GARBAGE);
    connection.client.read(&mut [0; 16]).unwrap_err();
    let error = connection.server.read(&mut [0; 16]).unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
}

#[test]
fn after_100_unclean_closes_all_are_resumed() {
    for storage in [Storage::Objects, Storage::Der] {
        for version in VERSIONS {
            let server = Server::new(Options::default().storage(storage));
            let client = Client::new(version);
            let session = client.session(&server.context);
            let mut resumed = 0;
            for _ in 0..100 {
                // Neither end says close_notify.
                let connection = client.connect(&server.context, Some(&session));
                resumed += u32::from(connection.resumed());
            }
            println!(
                "{}, {storage:?}: {resumed} of 100 resumed after unclean closes",
                support::name(version)
            );
            assert_eq!(resumed, 100);
            let stats = server.attachment.stats();
            assert_eq!((stats.removals_ignored, stats.removals_followed), (100, 0));
        }
    }
}

#[test]
fn a_connection_that_is_still_open_spoils_nothing_for_those_beside_it() {
    for version in VERSIONS {
        let server = Server::new(Options::default());
        let client = Client::new(version);
        let session = client.session(&server.context);
        let mut open: Vec<_> = (0..10)
            .map(|_| client.connect(&server.context, Some(&session)))
            .collect();
        for connection in &mut open {
            assert!(connection.resumed());
            connection.exchange();
        }
        open.truncate(5);
        for connection in &mut open {
            connection.exchange();
        }
        drop(open);
        assert!(client.resumes(&server.context, &session));
    }
}

#[test]
fn a_fatal_alert_ends_the_session_and_an_unclean_close_does_not() {
    for version in VERSIONS {
        for (breaks, what) in [
            (break_server as fn(&mut Connection), "sent"),
            (break_client, "received"),
        ] {
            let server = Server::new(Options::default());
            let (client, session, mut connection) = resumed(&server, version);
            breaks(&mut connection);
            drop(connection);
            assert!(
                !client.resumes(&server.context, &session),
                "{version:?}, {what}"
            );
            assert_eq!(server.attachment.stats().removals_followed, 1);
        }
        let server = Server::new(Options::default());
        let (client, session, connection) = resumed(&server, version);
        drop(connection);
        assert!(client.resumes(&server.context, &session));
        assert_eq!(server.attachment.stats().removals_followed, 0);
    }
}

/// OpenSSL names no other.
#[test]
fn in_tls13_a_fatal_alert_ends_the_last_ticket_of_its_connection_alone() {
    for breaks in [break_server as fn(&mut Connection), break_client] {
        let server = Server::new(Options::default());
        let client = Client::new(SslVersion::TLS1_3);
        let mut connection = client.connect(&server.context, None);
        breaks(&mut connection);
        drop(connection);
        let [first, last] = &client.sessions()[..] else {
            panic!("two tickets");
        };
        assert_eq!(server.attachment.stats().removals_followed, 1);
        assert!(!client.resumes(&server.context, last));

        // It mints one, which is the one that goes.
        let mut connection = client.connect(&server.context, Some(first));
        assert!(connection.resumed());
        client.sessions();
        breaks(&mut connection);
        drop(connection);
        assert_eq!(server.attachment.stats().removals_followed, 2);
        assert!(client.resumes(&server.context, first), "it was not named");
    }
}

#[test]
fn all_removal_notices_are_followed_or_none_if_that_is_asked_for() {
    for version in VERSIONS {
        let server = Server::new(Options::default().removals(Removals::All));
        let (client, session, connection) = resumed(&server, version);
        drop(connection);
        assert!(!client.resumes(&server.context, &session));

        let server = Server::new(Options::default().removals(Removals::Ignored));
        let (client, session, mut connection) = resumed(&server, version);
        break_server(&mut connection);
        drop(connection);
        assert!(client.resumes(&server.context, &session));
        assert_eq!(server.attachment.stats().removals_followed, 0);
    }
}

/// Over a socket of OpenSSL's, which sees the end of the file, makes an error of it and sends an alert.
#[cfg(unix)]
#[test]
fn an_end_of_file_without_close_notify_is_an_unclean_close() {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use foreign_types::ForeignTypeRef;
    use openssl::ssl::Ssl;

    for version in VERSIONS {
        let server = Server::new(Options::default());
        let client = Client::new(version);
        let (here, there) = UnixStream::pair().unwrap();
        let accepting = Ssl::new(&server.context).unwrap();
        // SAFETY: socket and connection live to the end of this block; the connection gets the only reference to the
        // BIO, which leaves the socket open.
        unsafe {
            let bio = openssl_sys::BIO_new_socket(there.as_raw_fd(), 0);
            assert!(!bio.is_null());
            openssl_sys::SSL_set_bio(accepting.as_ptr(), bio, bio);
        }
        let mut connecting = client.stream(here);
        std::thread::scope(|scope| {
            let connected = scope.spawn(|| {
                connecting.do_handshake().unwrap();
                connecting.read_exact(&mut [0; 5]).unwrap();
            });
            // SAFETY: the connection is alive and ours; the buffers are as long as is said.
            unsafe {
                assert_eq!(openssl_sys::SSL_accept(accepting.as_ptr()), 1);
                assert_eq!(
                    openssl_sys::SSL_write(accepting.as_ptr(), b"hello".as_ptr().cast(), 5),
                    5
                );
            }
            connected.join().unwrap();
        });
        connecting
            .get_ref()
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        let mut buffer = [0_u8; 16];
        // SAFETY: as above.
        let read =
            unsafe { openssl_sys::SSL_read(accepting.as_ptr(), buffer.as_mut_ptr().cast(), 16) };
        assert!(read <= 0);
        let errors = openssl::error::ErrorStack::get();
        assert!(errors.to_string().contains("unexpected eof"), "{errors}");
        drop(accepting);
        let stats = server.attachment.stats();
        assert_eq!((stats.removals_ignored, stats.removals_followed), (1, 0));
        let session = client.sessions().pop().unwrap();
        let again = client
            .connect_to(&server.context, Some(&session), None)
            .unwrap();
        assert!(again.resumed(), "{version:?}");
    }
}
