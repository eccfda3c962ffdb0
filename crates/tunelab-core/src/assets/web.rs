//! One hub over HTTP: requests with finite time-outs, its token sent to it alone, and its refusals
//! in plain words.
//!
//! In: settings and addresses. Out: responses, JSON, or a `Failed` that knows whether the hub could
//! not be reached (then another one may be tried) or answered with a refusal (then asking elsewhere
//! would hide the mistake).

use std::io::Read;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::{Agent, Body, Proxy};

use super::settings::{Hub, HubSettings};
use crate::error::Error;
use crate::interrupt;

/// How long a signal may go unnoticed while a hub is silent.
const SLICE: Duration = Duration::from_millis(50);

/// A listing of more bytes than this is no listing.
const MAX_JSON: u64 = 64 << 20;

/// Something from a hub, or why it did not come.
pub type Tried<T> = std::result::Result<T, Failed>;

/// Why something did not come.
#[derive(Debug)]
pub struct Failed {
    /// The hub could not be reached, or stopped answering.
    pub unreachable: bool,
    /// What to tell.
    pub error: Error,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { unreachable: false, error }
    }
}

/// One hub's repository to talk to.
pub(super) struct Web<'a> {
    settings: &'a HubSettings,
    /// `owner/name`, for messages.
    repo: &'a str,
    agent: Agent,
}

impl<'a> Web<'a> {
    pub(super) fn new(settings: &'a HubSettings, repo: &'a str) -> Self {
        Self::with_limit(settings, repo, None)
    }

    /// Whether the hub answers within `limit`, be it with a refusal.
    pub(super) fn answers(settings: &HubSettings, limit: Duration) -> bool {
        let web = Web::with_limit(settings, "", Some(limit.min(settings.patience)));
        web.get(&format!("{}/", settings.endpoint), None, false).is_ok()
    }

    /// `limit` is for a whole request; the settings' patience until it is answered, their time-out
    /// for each silence after that.
    fn with_limit(settings: &'a HubSettings, repo: &'a str, limit: Option<Duration>) -> Self {
        let wait = Some(settings.patience);
        // A proxy is for the world outside; a mirror on this machine is asked directly.
        let host = settings.endpoint.split("://").last().unwrap_or_default();
        let own = ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| host.starts_with(name));
        let config = Agent::config_builder()
            .proxy(if own { None } else { Proxy::try_from_env() })
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("tunelab/", env!("CARGO_PKG_VERSION")))
            // Sizes and positions must be the file's, not those of a compressed stream.
            .accept_encoding("identity")
            .timeout_global(limit)
            .timeout_resolve(wait)
            .timeout_connect(wait)
            .timeout_send_request(wait)
            .timeout_recv_response(wait)
            .timeout_per_read(Some(settings.time_out));
        Self { settings, repo, agent: config.build().into() }
    }

    pub(super) fn settings(&self) -> &HubSettings {
        self.settings
    }

    /// Asks for `url`, with a `Range` where one is given; redirects are followed if `follow`. Any
    /// status may come back. Where the network is forbidden nothing is asked.
    pub(super) fn get(&self, url: &str, range: Option<String>, follow: bool) -> Tried<Response<Body>> {
        if let Some(variable) = self.settings.offline {
            return Err(self.forbidden(variable));
        }
        let mut request = self.agent.get(url);
        if !follow {
            request = request.config().max_redirects(0).build();
        }
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        // The token belongs to the hub, not to the storage that it may point to.
        if let Some(token) = self.settings.token.as_ref().filter(|_| url.starts_with(&self.settings.endpoint)) {
            request = match self.settings.hub {
                Hub::HuggingFace => request.header("Authorization", format!("Bearer {}", token.secret())),
                Hub::ModelScope => request.header("Cookie", format!("m_session_id={}", token.secret())),
            };
        }
        answer(move || request.call())?.map_err(|e| self.unreachable(&e.to_string()))
    }

    /// A JSON answer; `what` is what was asked for, for the message.
    pub(super) fn json<T: DeserializeOwned>(&self, url: &str, what: &str) -> Tried<T> {
        let mut response = self.get(url, None, true)?;
        self.check(&response, what)?;
        let mut text = Vec::new();
        let body = response.body_mut().with_config().limit(MAX_JSON).reader();
        body.take(MAX_JSON).read_to_end(&mut text).map_err(|e| self.unreachable(&e.to_string()))?;
        serde_json::from_slice(&text).map_err(|e| {
            Error::run(format!("{url}: {} answered something else than {what}", self.settings.hub.name()))
                .cause(e)
                .hint(format!("is {} the address of such a hub?", self.settings.endpoint))
                .into()
        })
    }

    /// An error for every status that is no success and no redirect.
    pub(super) fn check(&self, response: &Response<Body>, what: &str) -> Tried<()> {
        let status = response.status().as_u16();
        let code = response.headers().get("x-error-code").and_then(|v| v.to_str().ok()).unwrap_or_default();
        match status {
            200..=399 => Ok(()),
            401 | 403 => Err(self.refused(status, code)),
            404 => Err(self.absent(what, code)),
            408 | 429 | 500.. => Err(self.unreachable(&format!("it answered with status {status} to {what}"))),
            _ => Err(Error::run(format!("{} answered with status {status} to {what}", self.hub())).into()),
        }
    }

    /// The hub cannot be reached, or broke off.
    pub(super) fn unreachable(&self, cause: &str) -> Failed {
        let HubSettings { hub, endpoint, .. } = self.settings;
        let error = Error::run(format!("{} cannot be reached at {endpoint}", hub.name())).cause(cause).hint(format!(
            "check the network; or give a folder on this machine (`path = …`), or another address in {}; what has come \
             already is kept and the same command goes on from there",
            hub.endpoint_variable()
        ));
        Failed { unreachable: true, error }
    }

    fn forbidden(&self, variable: &str) -> Failed {
        let HubSettings { hub, cache, .. } = self.settings;
        let place = cache.as_deref().map(|cache| format!(" ({})", cache.display())).unwrap_or_default();
        let message =
            format!("{variable} is set, and {}'s cache{place} does not hold all of `{}`", hub.name(), self.repo);
        let error = Error::input(message).hint(format!(
            "run the same command once without {variable}, which fetches it; or give a folder on this machine (`path = …`)"
        ));
        Failed { unreachable: true, error }
    }

    fn refused(&self, status: u16, code: &str) -> Failed {
        let HubSettings { hub, endpoint, token, .. } = self.settings;
        let (repo, variable) = (self.repo, hub.token_variable());
        let gated = status == 403 || code == "GatedRepo";
        let message = match token {
            _ if gated => format!("{}: access to `{repo}` is refused (status {status})", self.hub()),
            Some(_) => format!("{}: the token is refused for `{repo}` (status {status})", self.hub()),
            None => format!("{}: `{repo}` does not exist or is private (status {status})", self.hub()),
        };
        let token = if token.is_some() { "is set: is it still valid?" } else { "must be set to your token" };
        let accept = if gated { "accept the licence on its page" } else { "check the name's spelling" };
        Error::input(message).hint(format!("{accept} ({endpoint}/{repo}); {variable} {token}")).into()
    }

    fn absent(&self, what: &str, code: &str) -> Failed {
        let repo = self.repo;
        let message = match code {
            "RevisionNotFound" => format!("{}: `{repo}` has no such revision ({what})", self.hub()),
            "EntryNotFound" => format!("{}: `{repo}` has no such file ({what})", self.hub()),
            _ => format!("{}: not found: {what} of `{repo}` (status 404)", self.hub()),
        };
        Error::input(message)
            .hint(format!(
                "check the spelling of the name and of the revision on {}; a private repository needs {}",
                self.settings.endpoint,
                self.settings.hub.token_variable()
            ))
            .into()
    }

    fn hub(&self) -> &'static str {
        self.settings.hub.name()
    }
}

/// Waits for the answer to a request, and no longer than until something asks to stop: the thread
/// that still waits ends with the process.
fn answer<T: Send + 'static>(request: impl FnOnce() -> T + Send + 'static) -> Tried<T> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().spawn(move || tell.send(request())).map_err(Error::from)?;
    loop {
        interrupt::check_process()?;
        match told.recv_timeout(SLICE) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::run("a request to a hub ended without an answer").into());
            }
        }
    }
}

/// Percent-encodes a path or a query value; `keep` are the characters beside letters, digits and
/// `-_.~` that stay.
pub(super) fn encode(text: &str, keep: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, b| {
        let c = char::from(b);
        if c.is_ascii_alphanumeric() || "-_.~".contains(c) || keep.contains(c) {
            out.push(c);
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}
