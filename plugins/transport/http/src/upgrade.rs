//! The handshake of RFC 6455: what is asked, what is answered.

use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What is spoken over the WebSocket.
pub(crate) const SUBPROTOCOL: &str = "eidetica.1";

const WEBSOCKET_VERSION: &str = "13";

/// Most bytes of a request's or an answer's head.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1_024;

/// Most headers of a request or an answer.
pub(crate) const HEADERS_MAX: usize = 64;

/// What the server answers to whom.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) path: String,
    pub(crate) origins: Vec<String>,
}

impl Rules {
    /// The answer; its status is 101 iff the connection becomes a link.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        let path = request.uri().path();
        if !path.ends_with(&self.path) {
            return match (request.method(), path) {
                (&Method::GET | &Method::HEAD, "/" | "/healthz") => plain(StatusCode::OK, "eidetica\n"),
                (_, "/" | "/healthz") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"),
                _ => plain(StatusCode::NOT_FOUND, "nothing is here\n"),
            };
        }
        match self.refusal(request) {
            Some(refusal) => refusal,
            None => accept(request.headers()),
        }
    }

    fn refusal<B>(&self, request: &Request<B>) -> Option<Response<String>> {
        let headers = request.headers();
        if request.method() != Method::GET || request.version() != Version::HTTP_11 {
            return Some(plain(StatusCode::BAD_REQUEST, "a link begins with GET and HTTP/1.1\n"));
        }
        let version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == WEBSOCKET_VERSION);
        if !version
            || !has_token(headers, &UPGRADE, "websocket")
            || !has_token(headers, &CONNECTION, "upgrade")
        {
            let mut answer = plain(StatusCode::UPGRADE_REQUIRED, "a link is a WebSocket\n");
            answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(WEBSOCKET_VERSION));
            return Some(answer);
        }
        // 16 bytes in base64.
        if headers.get(SEC_WEBSOCKET_KEY).is_none_or(|key| key.len() != 24) {
            return Some(plain(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or malformed\n"));
        }
        if !has_token(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
            return Some(plain(StatusCode::BAD_REQUEST, "the subprotocol must be eidetica.1\n"));
        }
        // A web page must not reach a node through the browser of somebody near it.
        let origin = headers.get(ORIGIN)?;
        let allowed = self.origins.iter().any(|allowed| allowed == "*" || origin == allowed.as_str());
        (!allowed).then(|| plain(StatusCode::FORBIDDEN, "links from web pages aren't allowed here\n"))
    }
}

/// The request that asks for a link, `key` being 16 random bytes in base64.
pub(crate) fn request(path: &str, authority: &str, key: &str) -> hyper::http::Result<Request<String>> {
    Request::builder()
        .uri(path)
        .header(hyper::header::HOST, authority)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION)
        .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .header(SEC_WEBSOCKET_KEY, key)
        .body(String::new())
}

/// Why this isn't the answer that [`request`] with `key` asks for.
pub(crate) fn fault<B>(answer: &Response<B>, key: &str) -> Option<String> {
    let headers = answer.headers();
    let accept = derive_accept_key(key.as_bytes());
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        Some(format!("it answered {}, where a link was asked for", answer.status()))
    } else if headers.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|given| given != accept.as_str())
        || !has_token(headers, &UPGRADE, "websocket")
    {
        Some("its answer is no WebSocket's".to_owned())
    } else if headers.get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|given| given != SUBPROTOCOL) {
        Some(format!("it doesn't speak {SUBPROTOCOL}"))
    } else {
        None
    }
}

fn accept(headers: &HeaderMap) -> Response<String> {
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut answer = Response::new(String::new());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    // Base64 is always a legal value.
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    let mut answer = Response::new(text.to_owned());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}
