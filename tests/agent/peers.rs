//! Who may use the socket, and what a bad peer can do.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::world::world;

const NOBODY: u32 = 65534;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn the_socket_is_for_its_owner_alone_and_a_peer_that_is_not_root_is_turned_away() {
    let Some(world) = world("peers") else { return };
    let agent = world.agent("");
    let socket = world.socket();
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().expect("a directory")), 0o700);
    // Opened by somebody's mistake, it still answers root alone.
    for path in [
        &world.path(),
        socket.parent().expect("a directory"),
        &socket,
    ] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).expect("chmod");
    }
    let said = std::thread::spawn(move || {
        // Of this thread alone.
        let nobody = rustix::process::Uid::from_raw(NOBODY);
        rustix::thread::set_thread_uid(nobody).expect("another user");
        let mut stream = UnixStream::connect(&socket).expect("connects");
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("is told");
        said
    });
    let said = String::from_utf8_lossy(&said.join().expect("a peer")).into_owned();
    assert!(said.contains("root alone"), "{said}");
    assert_eq!(world.says(&["runs"]).status.code(), Some(1));
    assert!(agent.stop().success());
}

#[test]
fn malformed_endless_and_silent_peers_do_no_harm() {
    let Some(world) = world("malformed") else {
        return;
    };
    let mut agent = world.agent("");
    let connect = || UnixStream::connect(world.socket()).expect("connects");
    let mut silent: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    for (n, stream) in silent.iter_mut().enumerate() {
        // A frame that never ends.
        stream.write_all(&[200, 0, 0, 0][..n % 5]).expect("written");
    }
    for bytes in [
        &[0xff; 4][..],
        &[0xff; 64],
        &[0, 0, 0, 0],
        &[1, 0, 0, 0, 99],
        &[3, 0, 0, 0, 2, 0xff, 0xff],
        &[4, 0, 0, 0, 6, 0, 0, 0],
    ] {
        let mut stream = connect();
        let _ = stream.write_all(bytes);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.len() < 1000);
    }
    let mut endless = connect();
    let flood = vec![0xaa; 1 << 20];
    while endless.write_all(&flood).is_ok() {}
    assert!(agent.is_there());
    assert_eq!(world.says(&["runs"]).status.code(), Some(1));
    drop(silent);
    assert!(agent.stop().success());
}
