//! `tunelab serve`: the page of a results tree, that follows the runs under way.
//!
//! In: a results folder, which another process or another machine may be writing to. Out: answers to requests, on this
//! machine only unless another address is asked for: the page, its data, and the tree's files. Nothing is written and nothing
//! outside of the tree is read. A request that is too long, too slow or no `GET` is refused; it holds up nobody else.

mod answer;
mod files;
mod request;
mod tree;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::cli::ServeArgs;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::progress::Progress;

use answer::Answer;
use request::{Refused, Request};
pub use tree::Tree;

/// Connections at once; the next one is told to come again.
const MOST_CONNECTIONS: usize = 256;
/// A connection's thread needs no more.
const STACK: usize = 1 << 20;
/// How long the server sleeps where nobody asks and nothing is to be seen of a signal.
const PAUSE: Duration = Duration::from_millis(50);

/// `tunelab serve`: until a signal comes.
///
/// # Errors
/// Wrong input: no such folder, or an address or port that cannot be had.
pub fn command(args: &ServeArgs) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let progress = Progress::from_env();
    let tree = Tree::open(&args.results)?;
    let server = Server::bind(tree, SocketAddr::new(args.host, args.port))?;
    let address = server.address()?;
    if !args.host.is_loopback() {
        progress.warn(format!("everybody who reaches {} can read {}", args.host, args.results.display()));
    }
    progress.line(format!("{} is at http://{address}/ (Ctrl-C stops)", args.results.display()));
    server.run(&interrupt)
}

/// The server, bound to its port.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// What all connections have.
struct Shared {
    tree: Tree,
    /// Whether only this machine is answered.
    is_local: bool,
    open: AtomicUsize,
}

impl Server {
    /// Binds `tree` to an address; port 0 is any free one.
    ///
    /// # Errors
    /// Wrong input: the address cannot be had.
    pub fn bind(tree: Tree, address: SocketAddr) -> Result<Self> {
        let refused = |e: std::io::Error| {
            let error = Error::input(format!("the server cannot listen at {address}")).cause(&e);
            match e.kind() {
                ErrorKind::AddrInUse => {
                    error.hint("another program listens there; name another port: --port N, or 0 for any")
                }
                ErrorKind::PermissionDenied => {
                    error.hint("ports below 1024 are the system's; name another one: --port N")
                }
                _ => error.hint("name an address of this machine with --host, or leave it out"),
            }
        };
        let listener = TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true)?;
        let shared = Shared { tree, is_local: address.ip().is_loopback(), open: AtomicUsize::new(0) };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers until something asks to stop.
    ///
    /// # Errors
    /// The port is gone.
    pub fn run(&self, interrupt: &Interrupt) -> Result<()> {
        while interrupt.requested().is_none() {
            match self.listener.accept() {
                Ok((stream, _)) => self.take(stream),
                // What goes wrong with one connection, or for want of open files, is over in a moment.
                Err(_) => thread::sleep(PAUSE),
            }
        }
        Ok(())
    }

    /// Gives a connection a thread of its own.
    fn take(&self, stream: TcpStream) {
        let shared = Arc::clone(&self.shared);
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        if shared.open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            return Answer::refusal(503, "too many connections").send_at_once(&stream);
        }
        let work = move || {
            shared.answer(&stream);
            shared.open.fetch_sub(1, Ordering::Relaxed);
        };
        if thread::Builder::new().stack_size(STACK).spawn(work).is_err() {
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn answer(&self, stream: &TcpStream) {
        let (answer, is_head) = match Request::read(stream) {
            Ok(request) => (self.to(&request), request.is_head),
            Err(Refused::Gone) => return,
            Err(Refused::With(status, why)) => (Answer::refusal(status, why), false),
        };
        answer.send(stream, is_head);
    }

    fn to(&self, request: &Request) -> Answer {
        // A page of somebody else's that has this machine's name looked up as its own must not read here.
        if self.is_local && !request.host.as_deref().is_some_and(is_this_machine) {
            return Answer::refusal(421, "this server answers to localhost only");
        }
        let known = request.if_none_match.as_deref();
        match request.path.as_str() {
            "/" | "/index.html" => self.tree.page(),
            "/data.json" => self.tree.data(),
            path => files::answer(&self.tree, path),
        }
        .unless_known(known)
    }
}

/// Whether a `Host` header names this machine itself, with whatever port: a tunnel may have another.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for own in ["localhost", "LocalHost:7007", "127.0.0.1", "127.0.0.1:80", "[::1]:7007", "127.9.9.9"] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in ["", "example.org", "localhost.example.org", "10.0.0.1", "[::2]", "127.0.0.1.example.org:7007"] {
            assert!(!is_this_machine(other), "{other}");
        }
    }
}
