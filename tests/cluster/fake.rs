//! A server that answers what a test wants, for what a real one does seldom.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;

/// What is answered.
pub(crate) enum Answer {
    /// Status and JSON.
    Whole(u16, String),
    /// Lines of JSON, and then nothing for as long as the client waits.
    Stream(String),
    /// Lines of JSON as they come, until nobody has any more.
    Lines(UnboundedReceiver<String>),
}

/// A client of a server that is asked by method and address, one request after the other.
pub(crate) async fn client(
    mut answer: impl FnMut(&str, &str) -> Answer + Send + 'static,
) -> Client {
    let address = listen(move |method, path, _| answer(method, path)).await;
    let address = format!("http://{address}").parse().expect("an address");
    learner::cluster::client(Config::new(address)).expect("a client")
}

/// A client of a server that has forgotten where the first watch was: it lists one thing, then the other. What is
/// asked for has `wanted` in its address.
pub(crate) async fn forgetful(wanted: &'static str, lists: [Value; 2]) -> Client {
    let gone = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version: 1 (5)",
    }});
    let (mut listed, mut watched) = (0, 0);
    client(move |_, path| {
        assert!(path.contains(wanted), "{path}");
        if path.contains("watch=true") {
            watched += 1;
            return match watched {
                1 => Answer::Stream(format!("{gone}\n")),
                _ => Answer::Stream(String::new()),
            };
        }
        listed += 1;
        Answer::Whole(200, lists[usize::from(listed > 1)].to_string())
    })
    .await
}

/// A server that is asked by method, address and what is sent, one request after the other.
pub(crate) async fn listen(
    answer: impl FnMut(&str, &str, &[u8]) -> Answer + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(Mutex::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let _ = serve(stream, |method: &str, path: &str, body: &[u8]| {
                    answer.lock().expect("no panic")(method, path, body)
                })
                .await;
            });
        }
    });
    address
}

async fn serve(
    mut stream: TcpStream,
    answer: impl FnOnce(&str, &str, &[u8]) -> Answer,
) -> std::io::Result<()> {
    let mut asked = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        let length = stream.read(&mut buffer).await?;
        asked.extend_from_slice(&buffer[..length]);
        let end = asked.windows(4).position(|four| four == b"\r\n\r\n");
        match end {
            Some(end) => break end + 4,
            None if length == 0 => return Ok(()),
            None => {}
        }
    };
    let head = String::from_utf8_lossy(&asked[..end]).into_owned();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let length = head.lines().find_map(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("content-length: ")?.parse::<usize>().ok()
    });
    while asked.len() < end + length.unwrap_or(0) {
        let length = stream.read(&mut buffer).await?;
        asked.extend_from_slice(&buffer[..length]);
    }
    const LIVE: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    match answer(method, path, &asked[end..]) {
        Answer::Whole(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await
        }
        Answer::Stream(lines) => {
            stream.write_all(LIVE.as_bytes()).await?;
            stream.write_all(lines.as_bytes()).await?;
            // Until the client goes.
            while stream.read(&mut buffer).await? > 0 {}
            Ok(())
        }
        Answer::Lines(mut lines) => {
            stream.write_all(LIVE.as_bytes()).await?;
            while let Some(line) = lines.recv().await {
                stream.write_all(format!("{line}\n").as_bytes()).await?;
            }
            Ok(())
        }
    }
}
