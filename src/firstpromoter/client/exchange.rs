//! One request over the wire, and the part of its answer that is read.

use reqwest::{RequestBuilder, StatusCode, header::HeaderMap};
use url::Url;

use super::{BODY_MAX, ERROR_BODY_MAX};

/// An answer as it came.
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) url: Url,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
pub(super) enum Broken {
    NoAnswer(reqwest::Error),
    /// More than [`BODY_MAX`], with this status.
    TooLong(u16),
}

/// Sends one request and reads its answer, up to the limits.
pub(super) async fn exchange(request: RequestBuilder) -> Result<Raw, Broken> {
    let mut response = request.send().await.map_err(Broken::NoAnswer)?;
    let status = response.status();
    let good = status.is_success();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) if good => return Err(Broken::NoAnswer(error)),
            // The end of the body. An error's status has said enough even where its body breaks off.
            Ok(None) | Err(_) => break,
        }
        if good && body.len() > BODY_MAX {
            return Err(Broken::TooLong(status.as_u16()));
        }
        if !good && body.len() > ERROR_BODY_MAX {
            break;
        }
    }
    Ok(Raw { status, headers: response.headers().clone(), url: response.url().clone(), body })
}
