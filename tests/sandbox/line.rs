//! A connection that a fault can cut. An HTTP server never cuts one in the middle of an answer; a network does.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// The handle of one connection, for the code that answers on it.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<Option<Vec<u8>>>>);

impl Line {
    /// Sends these bytes in place of the next answer, and closes the connection. Sends nothing where there are none.
    pub fn cut_after(&self, last_words: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(last_words);
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().line.clone()
    }
}

/// A listener whose connections can be cut.
pub struct Lines(pub TcpListener);

impl axum::serve::Listener for Lines {
    type Io = Cuttable;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Cuttable, SocketAddr) {
        let (stream, peer) = axum::serve::Listener::accept(&mut self.0).await;
        // Without it, small answers wait for the peer's delayed acknowledgement.
        stream.set_nodelay(true).ok();
        (Cuttable { stream, line: Line::default(), sent: 0 }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A TCP stream that its [`Line`] can cut.
pub struct Cuttable {
    stream: TcpStream,
    line: Line,
    sent: usize,
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let last_words = this.line.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bytes) = last_words.as_deref() else { return Pin::new(&mut this.stream).poll_write(cx, buf) };
        while this.sent < bytes.len() {
            this.sent += ready!(Pin::new(&mut this.stream).poll_write(cx, &bytes[this.sent..]))?;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut by the sandbox")))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
