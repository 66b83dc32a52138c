//! `/metrics` and `/health` over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::figures::Figures;

/// Clients that are served at once.
const CLIENTS: usize = 8;
/// How long a client may take for its request, and for all of a connection.
const REQUEST: Duration = Duration::from_secs(5);
const CONNECTION: Duration = Duration::from_secs(30);
/// Longest head of a request, bytes.
const HEAD: usize = 8192;

/// Listens for those who ask.
///
/// # Errors
/// The address is taken, or is none of this host.
pub(super) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, figures: Arc<Figures>) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(turn) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(cause) => {
                tracing::warn!("the metrics address does not accept: {cause}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let figures = Arc::clone(&figures);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CONNECTION, connection(stream, &figures)).await;
            drop(turn);
        });
    }
}

async fn connection(stream: TcpStream, figures: &Figures) {
    let answer = |request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(request.method(), request.uri().path(), figures))
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
    if let Err(cause) = served {
        tracing::debug!("a client of the metrics: {cause}");
    }
}

fn answer(method: &Method, path: &str, figures: &Figures) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (method, path) {
        (&Method::GET, "/metrics") => (
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            figures.text(),
        ),
        (&Method::GET, "/health") if figures.is_healthy() => {
            let mut text = "ok\n".to_owned();
            for complaint in figures.complaints() {
                text.push_str(&complaint);
                text.push('\n');
            }
            (StatusCode::OK, "text/plain", text)
        }
        (&Method::GET, "/health") => (
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain",
            "see the log\n".to_owned(),
        ),
        (&Method::GET, _) => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "/metrics and /health\n".to_owned(),
        ),
        _ => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "GET alone\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
