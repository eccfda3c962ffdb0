//! A small HTTP/1.1 server on loopback that serves a repository's files as Hugging Face and as ModelScope do, and can be told
//! to misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Files;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every request gets this status, with this `x-error-code`.
    Refuse(u16, &'static str),
    /// Accepts, reads, and never answers.
    Silent,
    /// Sends large files in eight parts, each after this pause.
    Slow(Duration),
    /// Closes the connection once, after so many bytes of the UNet's weights.
    CutOnce(usize),
    /// Sends other bytes than the hash says.
    WrongBytes,
    /// Sends one byte more than it said.
    WrongSize,
    /// Answers a `Range` with the whole file.
    IgnoresRange,
}

#[derive(Debug)]
struct State {
    files: Files,
    fault: Fault,
    log: Vec<Request>,
}

/// What was asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Path and query.
    pub target: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    pub cookie: Option<String>,
}

/// The server; it ends with the process.
pub struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { files, fault: Fault::None, log: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // A client that hangs up is part of the tests.
                std::thread::spawn(move || drop(serve(stream, port, &state)));
            }
        });
        Self { port, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, fault: Fault) {
        self.state.lock().unwrap().fault = fault;
    }

    /// Everything that was asked since the last call.
    pub fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Close after so many bytes of the body.
    cut: Option<usize>,
    /// Before each part of the body.
    pause: Duration,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, pause: Duration::ZERO }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn serve(mut stream: TcpStream, port: u16, state: &Mutex<State>) -> std::io::Result<()> {
    let request = read_request(&stream)?;
    let reply = {
        let mut state = state.lock().unwrap();
        state.log.push(request.clone());
        match state.fault {
            Fault::Silent => None,
            Fault::Refuse(status, code) => Some(Reply::new(status, "no").with("x-error-code", code)),
            _ => Some(answer(&request, port, &mut state)),
        }
    };
    let Some(reply) = reply else {
        std::thread::sleep(Duration::from_secs(20));
        return Ok(());
    };
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "HTTP/1.1 {} Reply\r\nConnection: close\r\nContent-Length: {}\r\n{}",
        reply.status,
        reply.body.len(),
        headers.concat()
    );
    stream.write_all((head + "\r\n").as_bytes())?;
    let sent = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
    let part = if reply.pause.is_zero() { sent } else { sent.div_ceil(8) };
    for part in reply.body[..sent].chunks(part.max(1)) {
        std::thread::sleep(reply.pause);
        stream.write_all(part)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // Reading until the client closes keeps the system from resetting the connection under the bytes just sent.
    stream.read_to_end(&mut Vec::new()).map(drop)
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut request = Request { target: first.split(' ').nth(1).unwrap_or_default().to_owned(), ..Request::default() };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        let value = Some(value.trim().to_owned());
        match name.to_lowercase().as_str() {
            "range" => request.range = value,
            "authorization" => request.authorization = value,
            "cookie" => request.cookie = value,
            _ => {}
        }
    }
    Ok(request)
}

fn answer(request: &Request, port: u16, state: &mut State) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    if path.starts_with("/api/models/") || path.starts_with("/api/datasets/") {
        return huggingface_listing(state);
    }
    if let Some(path) = path.strip_prefix("/api/resolve-cache/") {
        return content(request, path, state);
    }
    if let Some((_, name)) = path.split_once("/resolve/main/") {
        return resolve(name, port, state);
    }
    if let Some(name) = path.strip_prefix("/storage/") {
        return content(request, name, state);
    }
    if path.starts_with("/api/v1/") {
        return modelscope(request, path, query, state);
    }
    Reply::new(404, "")
}

fn huggingface_listing(state: &State) -> Reply {
    let siblings: Vec<_> = state.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
    Reply::new(200, serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string())
}

/// Large files lie in a storage on another host; small ones behind a redirect on the same host.
fn resolve(name: &str, port: u16, state: &State) -> Reply {
    let Some(bytes) = state.files.get(name) else {
        return Reply::new(404, "").with("x-error-code", "EntryNotFound");
    };
    let reply = if name.ends_with(".safetensors") || name.ends_with(".parquet") {
        Reply::new(302, "")
            .with("location", format!("http://localhost:{port}/storage/{name}?signature=1"))
            .with("x-linked-etag", format!("\"{}\"", sha256(bytes)))
            .with("x-linked-size", bytes.len().to_string())
            .with("etag", "\"of-the-redirect\"")
    } else {
        Reply::new(307, "").with("location", format!("/api/resolve-cache/{name}"))
    };
    reply.with("x-repo-commit", COMMIT)
}

/// A file's bytes, or the part that a `Range` asks for.
fn content(request: &Request, name: &str, state: &mut State) -> Reply {
    let Some(bytes) = state.files.get(name) else { return Reply::new(404, "") };
    let (mut bytes, fault) = (bytes.clone(), state.fault);
    let etag = sha256(&bytes)[..40].to_owned();
    let large = name.contains("unet") && name.ends_with(".safetensors") || name.contains("00001-of");
    if large && fault == Fault::WrongBytes {
        *bytes.last_mut().unwrap() ^= 1;
    }
    if large && fault == Fault::WrongSize {
        bytes.push(0);
    }
    let range = request.range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.split_once('-'));
    let mut reply = match range {
        Some((first, last)) if fault != Fault::IgnoresRange => {
            let first: usize = first.parse().unwrap();
            let last = last.parse().map_or(bytes.len() - 1, |n: usize| n.min(bytes.len() - 1));
            Reply::new(206, &bytes[first..=last]).with("content-range", format!("bytes {first}-{last}/{}", bytes.len()))
        }
        _ => Reply::new(200, bytes),
    };
    if let (true, Fault::Slow(pause)) = (large, fault) {
        reply.pause = pause;
    }
    if let (true, Fault::CutOnce(at)) = (large, fault) {
        reply.cut = Some(at);
        state.fault = Fault::None;
    }
    reply.with("etag", format!("\"{etag}\"")).with("x-repo-commit", COMMIT)
}

fn modelscope(request: &Request, path: &str, query: &str, state: &mut State) -> Reply {
    if path.ends_with("/repo") {
        let name = query.split('&').find_map(|pair| pair.strip_prefix("FilePath=")).unwrap();
        return content(request, &name.replace("%2F", "/"), state);
    }
    if path.ends_with("/repo/files") || path == "/api/v1/datasets/4711/repo/tree" {
        let page = query.split('&').find_map(|pair| pair.strip_prefix("PageNumber=")?.parse::<usize>().ok());
        return modelscope_listing(page.unwrap_or(1), state);
    }
    Reply::new(200, r#"{"Code": 200, "Success": true, "Data": {"Id": 4711, "Type": 1}}"#)
}

/// The first page is full, as a hundred entries are asked for at once, and the files are on both.
fn modelscope_listing(page: usize, state: &State) -> Reply {
    let folders = (0..100).map(|i| serde_json::json!({ "Path": format!("folder{i}"), "Type": "tree", "Size": 0 }));
    let files = state.files.iter().map(|(name, bytes)| {
        serde_json::json!({ "Path": name, "Type": "blob", "Size": bytes.len(), "Sha256": sha256(bytes) })
    });
    let all: Vec<_> = folders.chain(files).collect();
    let whole = state.files.len() + 100;
    let entries = match page {
        1 if state.files.contains_key("metadata.jsonl") => &all[..100],
        1 => &all[..whole],
        _ => &all[100..],
    };
    Reply::new(200, serde_json::json!({ "Code": 200, "Data": { "Files": entries }, "Message": "ok" }).to_string())
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat()
}
