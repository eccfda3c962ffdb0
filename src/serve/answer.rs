//! An answer to a request, and how it is sent.
//!
//! In: a status, a kind of content, bytes or a file. Out: HTTP/1.1 on a connection that is closed after it.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use fs_err::File;

/// How long the other side may take for each piece of the answer.
const WRITE_TIME: Duration = Duration::from_secs(20);
/// What may still come of a request that was refused, so that the refusal is read before the connection breaks.
const DRAIN_TIME: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 4 << 20;

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    kind: &'static str,
    body: Body,
    /// Names this content among others of the same path.
    tag: Option<String>,
    /// Whether it is a page of this program, which brings its own policy.
    is_ours: bool,
}

#[derive(Debug)]
enum Body {
    Bytes(Vec<u8>),
    File(File, u64),
}

impl Answer {
    /// A page or data of this program.
    pub fn ours(kind: &'static str, bytes: Vec<u8>, tag: Option<String>) -> Self {
        Self { status: 200, kind, body: Body::Bytes(bytes), tag, is_ours: true }
    }

    /// A file of the tree, of `length` bytes.
    pub fn file(kind: &'static str, file: File, length: u64, tag: String) -> Self {
        Self { status: 200, kind, body: Body::File(file, length), tag: Some(tag), is_ours: false }
    }

    /// Why there is none.
    pub fn refusal(status: u16, why: &str) -> Self {
        let body = Body::Bytes(format!("{status}: {why}\n").into_bytes());
        Self { status, kind: "text/plain; charset=utf-8", body, tag: None, is_ours: false }
    }

    /// Nothing but a word that it is still the same, if the other side has it already.
    pub fn unless_known(self, known: Option<&str>) -> Self {
        let is_known = self.status == 200 && known.is_some() && known == self.tag.as_deref();
        if is_known { Self { status: 304, body: Body::Bytes(Vec::new()), ..self } } else { self }
    }

    /// Sends it, only its head where no more is wanted. Nobody may be there any more, which concerns nobody else.
    pub fn send(self, stream: &TcpStream, only_head: bool) {
        let is_refusal = self.status >= 400;
        if stream.set_write_timeout(Some(WRITE_TIME)).is_ok() && self.write(stream, only_head).is_ok() && is_refusal {
            drain(stream);
        }
    }

    /// Sends a short answer without waiting for the request.
    pub fn send_at_once(self, stream: &TcpStream) {
        if stream.set_nonblocking(true).is_ok() {
            // It fits into the system's buffer, or nobody will read it.
            let _ = self.write(stream, false);
        }
    }

    fn write(self, mut stream: &TcpStream, only_head: bool) -> io::Result<()> {
        stream.write_all(self.head().as_bytes())?;
        match self.body {
            _ if only_head || self.status == 304 => {}
            Body::Bytes(bytes) => stream.write_all(&bytes)?,
            // A file that grows meanwhile is sent as long as was said.
            Body::File(file, length) => drop(io::copy(&mut file.take(length), &mut stream)?),
        }
        stream.shutdown(Shutdown::Write)
    }

    fn head(&self) -> String {
        let reason = match self.status {
            200 => "OK",
            304 => "Not Modified",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let length = match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, length) => *length,
        };
        let mut head = format!("HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\n", self.status, self.kind);
        // Writing into a text does not fail.
        let _ = match self.status {
            304 => Ok(()),
            _ => write!(head, "Content-Length: {length}\r\n"),
        };
        if self.status == 405 {
            head += "Allow: GET, HEAD\r\n";
        }
        if let Some(tag) = &self.tag {
            head.extend(["ETag: ", tag, "\r\n"]);
        }
        if !self.is_ours {
            // A page that lies in the tree runs no script.
            head += "Content-Security-Policy: sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'\r\n";
        }
        head + "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
                Cross-Origin-Resource-Policy: same-origin\r\nX-Frame-Options: DENY\r\nConnection: close\r\n\r\n"
    }
}

/// Reads on for a moment: a connection that is closed with something unread loses what was sent.
fn drain(mut stream: &TcpStream) {
    let end = Instant::now() + DRAIN_TIME;
    let mut part = [0; 8192];
    let mut read = 0;
    while read < DRAIN_BYTES {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return,
            Ok(count) => read += count,
        }
    }
}
