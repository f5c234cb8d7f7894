//! What a session occupies on the heap beside its slot in the cache, in each form. Alone in its process, and in one thread, since it asks the
//! allocator.

mod support;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn main() {
    use sessionwheel_openssl::{Options, Storage};
    use support::{Client, Identity, Server, VERSIONS, require};

    const HANDSHAKES: usize = 200;

    fn in_use() -> usize {
        // SAFETY: it takes nothing, and reads the allocator's own figures.
        unsafe { libc::mallinfo2() }.uordblks
    }

    let identity = Identity::new("client");
    for certificate in [false, true] {
        for version in VERSIONS {
            let [objects, der] = [Storage::Objects, Storage::Der].map(|storage| {
                let server = Server::with(Options::default().storage(storage), |context| {
                    if certificate {
                        require(context, &identity);
                    }
                });
                let client = Client::with(version, certificate.then_some(&identity));
                for _ in 0..HANDSHAKES {
                    client.session(&server.context);
                }
                // The cache keeps its own memory, and gives back that of the sessions.
                let (sessions, before) = (server.cache.len(), in_use());
                assert_eq!(server.cache.clear(), sessions);
                while server.cache.reclaim() > 0 {}
                (before - in_use()) / sessions
            });
            println!(
                "{}, client certificate {certificate}: {objects} bytes as an object, {der} in DER",
                support::name(version)
            );
            assert!(der * 3 < objects);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn main() {
    println!("SKIPPED: another allocator");
}
