//! Whether the targets can be reached. Delivers nothing: it makes a connection and closes it, or looks for a program and does
//! not start it.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future;
use rustix::fs::{Access, access};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use url::{Host, Url};

use super::{Check, Verdict};
use crate::{
    clock::SystemClock,
    config::{LOCALHOST, Secrets, Settings, TargetKind, TargetSettings},
    delivery::Targets,
    reconcile::in_full,
};

/// The longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The variables that send connections through a proxy.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// One check for each target, all at the same time.
pub(super) async fn targets(settings: &Settings, secrets: Option<&Secrets>, offline: bool) -> Vec<Check> {
    future::join_all(settings.targets.iter().map(|(name, target)| check(name, target, secrets, offline))).await
}

async fn check(name: &str, target: &TargetSettings, secrets: Option<&Secrets>, offline: bool) -> Check {
    let check_name = format!("target {name}");
    // As for a delivery: reads the certificates and contacts nobody.
    if let Some(secrets) = secrets {
        let alone = BTreeMap::from([(name.to_owned(), target.clone())]);
        if let Err(error) = Targets::new(&alone, secrets, SystemClock) {
            return Check::failed_as_told(check_name, &in_full(&error));
        }
    }
    match &target.kind {
        TargetKind::Http { url, ca_file, concurrency: _ } => {
            let check = if offline {
                Check::ok(check_name, "no connection was made")
            } else {
                http(check_name, url, ca_file.as_deref(), target.timeout).await
            };
            let none = |secrets: &Secrets| {
                secrets.targets.get(name).is_none_or(|it| it.secret.is_none() && it.bearer.is_none())
            };
            if check.result == Verdict::Ok && secrets.is_some_and(none) {
                return Check::warning(
                    check.name,
                    format!(
                        "{}; it is given neither a secret nor a bearer token, so that it takes rewards from whoever knows its address",
                        check.detail
                    ),
                    format!(
                        "set targets.{name}.secret (requests are signed) or targets.{name}.bearer, and have the endpoint check it"
                    ),
                );
            }
            check
        }
        TargetKind::Command { argv, .. } => command(check_name, argv.first().map(String::as_str).unwrap_or_default()),
    }
}

async fn http(name: String, url: &Url, ca_file: Option<&Path>, timeout: Duration) -> Check {
    let place = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let limit = CONNECT_MAX.min(timeout / 2);
    let result = tokio::time::timeout(limit, connect(url, ca_file)).await;
    let late = || Err(format!("no connection within {} s", limit.as_secs_f32()));
    match result.unwrap_or_else(|_| late()) {
        Ok(how) => Check::ok(name, format!("{place} takes connections{how}; nothing was sent")),
        Err(why) => match PROXIES.iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
            Some(proxy) => Check::warning(
                name,
                format!("{place} takes no direct connection: {why}"),
                format!(
                    "{proxy} is set, and deliveries go through that proxy, which is not tried here: see `makegood once`"
                ),
            ),
            None => Check::failed(
                name,
                format!("{place}: {why}"),
                "start it, or correct its url (and ca_file); until then rewards wait and nothing is lost",
            ),
        },
    }
}

/// Connects by TCP, with a TLS handshake for https. Returns what was spoken, or why there is no connection.
async fn connect(url: &Url, ca_file: Option<&Path>) -> Result<&'static str, String> {
    let port = url.port_or_known_default().unwrap_or_default();
    let stream = match url.host() {
        // As a delivery does it: by address, whatever the machine's hosts file says.
        Some(Host::Domain("localhost")) => {
            TcpStream::connect(&LOCALHOST.map(|address| SocketAddr::new(address.ip(), port))[..]).await
        }
        Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
        Some(Host::Ipv4(address)) => TcpStream::connect((address, port)).await,
        Some(Host::Ipv6(address)) => TcpStream::connect((address, port)).await,
        None => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    let stream = stream.map_err(|error| error.to_string())?;
    if url.scheme() != "https" {
        return Ok("");
    }
    let name = match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?,
        Some(Host::Ipv4(address)) => ServerName::from(std::net::IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => ServerName::from(std::net::IpAddr::V6(address)),
        None => return Err("the URL has no host".to_owned()),
    };
    let connector = TlsConnector::from(Arc::new(tls(ca_file)?));
    connector.connect(name, stream).await.map_err(|error| format!("no TLS: {error}"))?;
    Ok(" and its certificate is good")
}

/// The certificates that a delivery trusts: the system's, and the target's own authority.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let extra = match ca_file {
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("ca_file {}: {error}", path.display()))?,
        None => Vec::new(),
    };
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.dangerous();
    let mut config = builder.with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    // As a delivery does it: a server that insists on one of these says so in the handshake.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Looks for the program as the system would; does not start it.
fn command(name: String, program: &str) -> Check {
    let remedy = "write the whole path of a program that makegood's user may execute";
    let Some(path) = resolve(program, std::env::var_os("PATH").as_deref()) else {
        let place = if program.contains('/') { "" } else { " in any folder of PATH" };
        return Check::failed(name, format!("there is no {program}{place}"), remedy);
    };
    if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
        return Check::failed(name, format!("{} is no file", path.display()), remedy);
    }
    if access(&path, Access::EXEC_OK).is_err() {
        let chmod = format!("chmod +x {}, and let makegood's user reach it", path.display());
        return Check::failed(name, format!("{} may not be executed by this user", path.display()), chmod);
    }
    Check::ok(name, format!("{} is there and may be executed; it was not started", path.display()))
}

/// The file that a program's name means: with a slash in it the path itself, else the first executable in PATH.
fn resolve(program: &str, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let folders: Vec<PathBuf> = std::env::split_paths(path?).collect();
    let found = folders.iter().map(|folder| folder.join(program)).filter(|file| file.is_file());
    let (can, cannot): (Vec<_>, Vec<_>) = found.partition(|file| access(file, Access::EXEC_OK).is_ok());
    can.into_iter().chain(cannot).next()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::{io::AsyncReadExt, net::TcpListener};
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, pki_types::PrivateKeyDer},
    };

    use super::*;

    const CA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/ca.pem");
    const SERVER_PEM: &[u8] = include_bytes!("../../tests/fixtures/tls/server.pem");
    const SERVER_KEY: &[u8] = include_bytes!("../../tests/fixtures/tls/server.key");

    /// Checks an endpoint whose certificate has an authority of its own. Also returns how many bytes the endpoint got after the
    /// handshake; none where there was no handshake.
    async fn check_tls(ca_file: Option<&str>) -> (Check, Option<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("https://{}/rewards?token=x", listener.local_addr().unwrap())).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = vec![CertificateDer::from_pem_slice(SERVER_PEM).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()?;
            let mut sent = Vec::new();
            // The connection is closed without a goodbye, which is an error, after the bytes were sent.
            let _closed = stream.read_to_end(&mut sent).await;
            Some(sent.len())
        });
        let check = http("target app".to_owned(), &url, ca_file.map(Path::new), Duration::from_secs(20)).await;
        (check, served.await.unwrap())
    }

    #[tokio::test]
    async fn the_handshake_goes_by_the_authority_that_ca_file_names_and_nothing_is_sent_after_it() {
        let (check, sent) = check_tls(Some(CA_FILE)).await;
        assert_eq!((check.result, sent), (Verdict::Ok, Some(0)), "{check:?}");
        let (check, sent) = check_tls(None).await;
        assert_eq!((check.result, sent), (Verdict::Failed, None), "{check:?}");
        assert!(check.detail.contains("certificate") && !check.detail.contains("token"), "{check:?}");
    }

    #[test]
    fn a_program_is_resolved_as_the_system_would() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        for (place, mode) in [(&first, 0o644), (&second, 0o755)] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("grant"), "#!/bin/sh\n").unwrap();
            fs::set_permissions(place.join("grant"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths([&first, &second]).unwrap();
        assert_eq!(resolve("grant", Some(&path)), Some(second.join("grant")), "the first that may be executed");
        assert_eq!(resolve("grant", Some(first.as_os_str())), Some(first.join("grant")));
        assert_eq!(resolve("other", Some(&path)), None);
        assert_eq!(resolve("./no/such", Some(&path)), None);
        assert_eq!(resolve("grant", None), None);
    }

    #[test]
    fn a_path_that_is_no_program_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        for program in [folder.path(), &file, Path::new("/no/such/program"), Path::new("no-such-program-anywhere")] {
            let check = command("target x".to_owned(), &program.display().to_string());
            assert_eq!(check.result, Verdict::Failed, "{check:?}");
        }
        assert_eq!(command("target x".to_owned(), "/bin/sh").result, Verdict::Ok);
    }
}
