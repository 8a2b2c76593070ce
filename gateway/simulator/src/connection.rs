//! One accepted socket, which can be told to reset instead of closing.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Says how a connection ends when its body fails. On HTTP/2 the stream is reset by itself and the
/// connection stays.
#[derive(Debug, Default)]
pub(crate) struct ResetSwitch(AtomicBool);

impl ResetSwitch {
    /// From now on, closing the socket sends a reset.
    pub(crate) fn arm(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A socket that resets when its switch is armed.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    switch: Arc<ResetSwitch>,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, switch: Arc<ResetSwitch>) -> Self {
        Self { socket, switch }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.switch.0.load(Ordering::Relaxed)
            && let Err(error) = self.socket.set_zero_linger()
        {
            tracing::debug!(%error, "a simulated reset became an ordinary close");
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.switch.0.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(())); // A shutdown would end the body as if it were whole.
        }
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
