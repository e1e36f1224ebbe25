//! The part of a server that both parties share. A request comes in and meets its fault; the fault says whether it takes
//! effect, and what the answer is.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, TryLockError, mpsc},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::Handle,
    task::AbortHandle,
};
use tokio_util::io::ReaderStream;

use super::{
    fault::{Answer, Fault},
    gate::{Gate, Moment},
    line::{Line, Lines},
};

/// The largest request that is read.
const REQUEST_MAX_BYTES: usize = 16 << 20;
/// Far longer than any request takes.
const LOCK_MAX: Duration = Duration::from_secs(10);

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Ask {
    /// `GET`, `POST`, ...
    pub method: String,
    /// As the client wrote it, not decoded.
    pub path: String,
    /// The text after the question mark, as the client wrote it. Empty where there is none.
    pub query: String,
    /// As they came.
    pub headers: HeaderMap,
    /// As text. Bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Ask {
    async fn read(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, REQUEST_MAX_BYTES).await.unwrap_or_default();
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// The header's text, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        self.method != "GET" && self.method != "HEAD"
    }

    /// The body as JSON. Null where it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The query's pairs in order, decoded.
    pub fn pairs(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }
}

/// One answer, before a fault changes it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Without `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A body of this type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body: body.into() }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    /// Quotes the request back, as some error pages do: the headers, then the body. As text, or inside JSON.
    fn echo(status: u16, ask: &Ask, json: bool) -> Self {
        let headers = ask.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()));
        // The secrets come first, so that a short excerpt contains them.
        let (mut lines, others): (Vec<_>, Vec<_>) = headers.partition(|line| line.starts_with("authorization"));
        lines.extend(others);
        lines.push(ask.body.clone());
        let text = lines.join("\n");
        if json {
            let body =
                serde_json::json!({ "message": text, "code": text, "errors": { "request": [text] }, "receipt": text });
            Self::json(status, &body)
        } else {
            Self::new(status, "text/plain", text)
        }
    }

    /// No body.
    pub const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// FirstPromoter's error body.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &serde_json::json!({ "message": message, "code": code }))
    }

    /// The bytes on the wire. `declared` is the `Content-Length`, true or not.
    fn raw(&self, declared: usize, body: &[u8]) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Sandbox\r\ncontent-length: {declared}\r\n", self.status);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        [head.as_bytes(), b"\r\n", body].concat()
    }

    fn into_response(self, body: Body) -> Response {
        let mut response = Response::builder().status(StatusCode::from_u16(self.status).expect("a fault's status"));
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(body).expect("a fault's headers are valid")
    }
}

/// A party that answers requests: the state behind one port. A clone is another handle on the same state.
pub trait Party: Clone + Send + Sync + 'static {
    /// Counts a request that came in, and returns the fault that it meets.
    fn receive(&self, ask: &Ask) -> Fault;

    /// Lets the request take effect, and returns the honest answer.
    fn act(&self, ask: &Ask) -> Reply;

    /// The request is answered, or its caller is gone.
    fn leave(&self) {}
}

/// Calls [`Party::leave`] when the request ends, in whatever way.
struct Visit<P: Party>(P);

impl<P: Party> Drop for Visit<P> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

async fn answer<P: Party>(party: P, gate: Gate, line: Line, request: Request) -> Response {
    let ask = Ask::read(request).await;
    let fault = party.receive(&ask);
    let _visit = Visit(party.clone());
    if !gate.pass(Moment::BeforeEffect).await {
        return cut(&line, Vec::new());
    }
    tokio::time::sleep(fault.delay).await;
    let honest = if fault.takes_effect { party.act(&ask) } else { Reply::empty(500) };
    if !gate.pass(Moment::AfterEffect).await {
        return cut(&line, Vec::new());
    }
    play(fault.answer, honest, &ask, &line).await
}

async fn play(answer: Answer, honest: Reply, ask: &Ask, line: &Line) -> Response {
    let length = honest.body.len();
    match answer {
        Answer::Honest => {
            let body = honest.body.clone();
            honest.into_response(Body::from(body))
        }
        Answer::Instead(reply) => {
            let body = reply.body.clone();
            reply.into_response(Body::from(body))
        }
        Answer::Echo { status, json, headers } => {
            let mut reply = Reply::echo(status, ask, json);
            reply.headers.extend(headers);
            let body = reply.body.clone();
            reply.into_response(Body::from(body))
        }
        Answer::Silence => std::future::pending().await,
        Answer::Cut => cut(line, Vec::new()),
        Answer::Half => {
            let body = honest.body[..length / 2].to_vec();
            honest.into_response(Body::from(body))
        }
        Answer::Short => cut(line, honest.raw(length, &honest.body[..length / 2])),
        Answer::Overlong => cut(line, honest.raw(length / 2, &honest.body)),
        Answer::Flood(bytes) => {
            let blanks = ReaderStream::new(tokio::io::repeat(b' ').take(bytes));
            honest.into_response(Body::from_stream(blanks))
        }
        Answer::Drip(over) => {
            let body = drip(honest.body.clone(), over);
            honest.into_response(body)
        }
    }
}

/// The caller never sees this response, because the line writes `last_words` in its place.
fn cut(line: &Line, last_words: Vec<u8>) -> Response {
    line.cut_after(last_words);
    Response::new(Body::empty())
}

fn drip(body: Vec<u8>, over: Duration) -> Body {
    let (mut tap, basin) = tokio::io::duplex(1);
    let pause = over / u32::try_from(body.len().max(1)).unwrap_or(u32::MAX);
    tokio::spawn(async move {
        for byte in body {
            tokio::time::sleep(pause).await;
            if tap.write_all(&[byte]).await.is_err() {
                return; // nobody listens any more
            }
        }
    });
    Body::from_stream(ReaderStream::new(basin))
}

/// A party on a port.
pub struct Server {
    address: SocketAddr,
    serving: Option<Serving>,
}

struct Serving {
    task: AbortHandle,
    /// Disconnected when the listening socket is closed.
    closed: mpsc::Receiver<Infallible>,
}

impl Server {
    /// Listens on the address (port 0: any free one) and answers until stopped or dropped.
    pub fn start<P: Party>(runtime: &Handle, address: SocketAddr, party: &P, gate: &Gate) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (party, gate) = (party.clone(), gate.clone());
        let everything = move |ConnectInfo(line): ConnectInfo<Line>, request: Request| {
            answer(party.clone(), gate.clone(), line, request)
        };
        let app = Router::new().fallback(everything).into_make_service_with_connect_info::<Line>();
        let (open, closed) = mpsc::channel();
        let task = runtime.spawn(async move {
            let _open: mpsc::Sender<Infallible> = open;
            axum::serve(Lines(listener), app).await
        });
        Ok(Self { address, serving: Some(Serving { task: task.abort_handle(), closed }) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port: new connections are refused from now on. Connections that are open stay.
    pub fn stop(&mut self) {
        if let Some(Serving { task, closed }) = self.serving.take() {
            task.abort();
            closed.recv().ok();
        }
    }
}

/// Locks state that handles share, even after a test has panicked with the lock.
///
/// The wait is bounded. A test that holds one guard and asks for another (as two verbs in one `assert_eq!` do) would wait for
/// itself; here it panics.
pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    let begun = Instant::now();
    loop {
        match shared.try_lock() {
            Ok(state) => return state,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                assert!(begun.elapsed() < LOCK_MAX, "a guard of the sandbox's state is held across another verb");
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }
}
