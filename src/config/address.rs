//! The addresses that requests may go to: https, or http to this machine itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

use super::error::Complaint;

/// Reads an address. The error says what is wrong and what to do, without the text, which may hold a password.
pub(super) fn parse(text: &str) -> Result<Url, Complaint> {
    let Ok(url) = Url::parse(text) else {
        return Err(Complaint::new("this is no URL", r#"write it whole, as "https://host.example.com/path""#));
    };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => {
            return Err(Complaint::new(
                "http goes only to this machine itself (127.0.0.1, [::1], localhost)",
                "use https",
            ));
        }
        _ => return Err(Complaint::new("only https is spoken (and http to this machine itself)", "use https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Complaint::new(
            "a URL must not hold a user name or password",
            "take out everything between // and @",
        ));
    }
    if url.fragment().is_some() {
        return Err(Complaint::new("a URL to call has no fragment", "take out the # and what follows"));
    }
    Ok(url)
}

/// Like [`parse`], for an address that paths are appended to: no query, and no slash at its end.
pub(super) fn parse_base(text: &str) -> Result<Url, Complaint> {
    let mut url = parse(text)?;
    if url.query().is_some() {
        return Err(Complaint::new("paths are appended to this address", "take out the ? and what follows"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The address of `localhost`, whatever the machine's hosts file says: a name that leads elsewhere would send secrets there in
/// clear. The port is the URL's.
pub(crate) const LOCALHOST: [SocketAddr; 2] =
    [SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0)];

/// Whether it leads to this machine itself. A proxy from the environment cannot get there, or would be a detour.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
