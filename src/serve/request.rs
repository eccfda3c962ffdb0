//! The head of an HTTP request.
//!
//! In: a connection. Out: what is asked, or why it is refused: a head that is too long or takes too long, one that is no HTTP, a
//! method other than `GET` and `HEAD`.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The longest head; a browser's is a tenth of it.
const LONGEST_HEAD: usize = 16 << 10;
/// The most header lines.
const MOST_HEADERS: usize = 64;
/// From the connection to the head's end.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The path, decoded, without what follows a `?`.
    pub path: String,
    /// Whether only the answer's head is wanted.
    pub is_head: bool,
    /// The `Host` header.
    pub host: Option<String>,
    /// The `If-None-Match` header.
    pub if_none_match: Option<String>,
}

/// Why there is nothing to answer to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nobody is there any more.
    Gone,
    /// A status and its reason.
    With(u16, &'static str),
}

impl Request {
    pub fn read(mut stream: &TcpStream) -> Result<Self, Refused> {
        let end = Instant::now() + HEAD_TIME;
        let mut head = Vec::new();
        let mut part = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refused::With(408, "the request took too long"));
            }
            stream.set_read_timeout(Some(left)).map_err(|_| Refused::Gone)?;
            match stream.read(&mut part) {
                Ok(0) => return Err(Refused::Gone),
                Ok(count) => head.extend_from_slice(&part[..count]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                    continue;
                }
                Err(_) => return Err(Refused::Gone),
            }
            if let Some(request) = Self::parse(&head)? {
                return Ok(request);
            }
            if head.len() > LONGEST_HEAD {
                return Err(Refused::With(431, "the request's head is too long"));
            }
        }
    }

    /// The request of a head; nothing while it is not whole.
    fn parse(head: &[u8]) -> Result<Option<Self>, Refused> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Refused::With(431, "too many headers")),
            Err(_) => return Err(Refused::With(400, "this is no HTTP request")),
        }
        let header = |name: &str| {
            let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(found.value).trim().to_owned())
        };
        let is_head = match parsed.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => return Err(Refused::With(405, "only GET and HEAD are answered")),
        };
        let target = parsed.path.unwrap_or_default();
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let path = decode(path).ok_or(Refused::With(400, "the path cannot be read"))?;
        Ok(Some(Self { path, is_head, host: header("host"), if_none_match: header("if-none-match") }))
    }
}

/// `%20` → a blank; nothing of what is not UTF-8 then.
fn decode(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            out.push(u8::try_from(16 * digit()? + digit()?).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_or_refused() {
        let parse = |text: &str| Request::parse(text.as_bytes());
        let read = parse("GET /a%20b/0.png?x=1 HTTP/1.1\r\nhost: localhost:1\r\nIf-None-Match: \"7\"\r\n\r\n")
            .unwrap()
            .unwrap();
        let expected = Request {
            path: "/a b/0.png".to_owned(),
            is_head: false,
            host: Some("localhost:1".to_owned()),
            if_none_match: Some("\"7\"".to_owned()),
        };
        assert_eq!(read, expected);
        assert!(parse("HEAD / HTTP/1.0\r\n\r\n").unwrap().unwrap().is_head);
        assert_eq!(parse("GET / HTTP/1.1\r\nhost: a\r\n"), Ok(None));
        let status = |text: &str| if let Err(Refused::With(status, _)) = parse(text) { status } else { 0 };
        assert_eq!(status("POST / HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status("DELETE /x HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status("\x16\x03\x01\x02\r\n\r\n"), 400);
        assert_eq!(status("GET /%zz HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET /%ff HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1))), 431);
    }
}
