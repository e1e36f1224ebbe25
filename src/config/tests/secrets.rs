//! Where secrets may be, and that they stay there.

use secrecy::ExposeSecret;

use super::*;

const SIGNING: &str = "whsec_bWFrZWdvb2Qtc2lnbmluZy1zZWNyZXQtb2Ytc29tZS0=";

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn secrets(text: &str, variables: &[(&str, &str)]) -> Result<Secrets, String> {
    load_secrets(&loaded(text, variables).secret_sources).map_err(|error| error.to_string())
}

fn api_key(text: &str, variables: &[(&str, &str)]) -> String {
    secrets(text, variables).unwrap().api_key.expose_secret().to_owned()
}

#[test]
fn settings_load_without_any_secret_and_the_missing_key_is_named_only_when_it_is_needed() {
    let message = secrets(LEAST, &[]).unwrap_err();
    assert_names(
        &message,
        &[
            "firstpromoter.api_key: this is missing",
            "firstpromoter.api_key_file",
            "MAKEGOOD_FIRSTPROMOTER__API_KEY",
            "credential firstpromoter_api_key",
        ],
    );
}

#[test]
fn settings_load_where_the_secret_files_cannot_be_read() {
    loaded(&with_firstpromoter("api_key_file = \"/nowhere/key\""), &[]);
}

#[test]
fn each_secret_is_found_in_the_file_in_a_file_of_its_own_and_among_the_credentials() {
    let folder = folder_with(&[
        ("key", "from-file \n\n"),
        ("firstpromoter_api_key", "from-credential\n"),
        ("target_app_secret", SIGNING),
        ("target_app_bearer", "b\r\n"),
    ]);
    let path = folder.path().display().to_string();
    assert_eq!(api_key(&with_firstpromoter("api_key = \"inline\""), &[]), "inline");
    assert_eq!(api_key(&with_firstpromoter(&format!("api_key_file = \"{path}/key\"")), &[]), "from-file");
    let all = secrets(LEAST, &[("CREDENTIALS_DIRECTORY", &path)]).unwrap();
    assert_eq!(all.api_key.expose_secret(), "from-credential");
    assert_eq!(all.targets["app"].secret.as_ref().unwrap().expose_secret(), SIGNING);
    assert_eq!(all.targets["app"].bearer.as_ref().unwrap().expose_secret(), "b");
}

#[test]
fn the_environment_goes_before_the_file_and_a_credential_last() {
    let folder = folder_with(&[("a", "file-a"), ("b", "file-b"), ("firstpromoter_api_key", "credential")]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let credentials = ("CREDENTIALS_DIRECTORY", &*folder.path().display().to_string());
    let inline = with_firstpromoter("api_key = \"inline\"");
    let in_file = with_firstpromoter(&format!("api_key_file = \"{}\"", path("a")));
    let (key, key_file) = ("MAKEGOOD_FIRSTPROMOTER__API_KEY", "MAKEGOOD_FIRSTPROMOTER__API_KEY_FILE");
    assert_eq!(api_key(&inline, &[credentials]), "inline");
    assert_eq!(api_key(&inline, &[credentials, (key, "env")]), "env");
    assert_eq!(api_key(&inline, &[credentials, (key_file, &path("b"))]), "file-b");
    assert_eq!(api_key(&in_file, &[credentials, (key, "env")]), "env");
    assert_eq!(api_key(&in_file, &[credentials, (key_file, &path("b"))]), "file-b");
}

#[test]
fn a_secret_given_twice_in_one_layer_is_refused() {
    let message = refused(&with_target(&format!("secret = \"{SIGNING}\"\nsecret_file = \"x\"")), &[]);
    assert_names(&message, &["FILE line 8: targets.app.secret: targets.app.secret_file is given as well"]);
    assert!(!message.contains(SIGNING));
    let (key, key_file) = ("MAKEGOOD_FIRSTPROMOTER__API_KEY", "MAKEGOOD_FIRSTPROMOTER__API_KEY_FILE");
    assert_names(&refused(LEAST, &[(key, "sk"), (key_file, "x")]), &[key, "is given as well"]);
}

#[test]
fn a_secret_of_the_wrong_type_is_refused_unseen() {
    for value in ["[\"sk_live\"]", "{ sk_live = 1 }", "424242", "true"] {
        let message = refused(&with_firstpromoter(&format!("api_key = {value}")), &[]);
        assert_names(&message, &["FILE line 4: firstpromoter.api_key: this must be text in quotes"]);
        assert!(!message.contains("sk_live") && !message.contains("424242"), "{message}");
    }
}

#[test]
fn a_secret_that_cannot_be_one_is_refused_unseen() {
    let with_key = |key: &str| with_firstpromoter(&format!("api_key = \"{key}\""));
    for (text, key) in [
        (with_key(""), "firstpromoter.api_key: the secret is empty"),
        (with_key("sk_live\\u0007"), "firstpromoter.api_key: the secret holds"),
        (with_key("sk_live sk_live"), "firstpromoter.api_key: the secret holds"),
        (with_key("sk_liveü"), "firstpromoter.api_key: the secret holds"),
        (with_key("Bearer sk_live"), "firstpromoter.api_key: the word Bearer"),
        (with_target("bearer = \"sk_live\\n\""), "targets.app.bearer: the secret holds"),
        (with_target("secret = \"sk_live!\""), "targets.app.secret: this is no signing secret"),
        (with_target("secret = \"whsec_sk_live\""), "targets.app.secret: this is no signing secret"),
        (with_target("secret = \"whsec_\""), "targets.app.secret: this is no signing secret"),
        (
            with_target("secret = \"whsec_AA==\""),
            "targets.app.secret: this is no signing secret: it has 1 bytes, and needs 24 to 64",
        ),
        (with_target("secret = \"bWFrZWdvb2Qtc2lnbmluZy1zZWNyZXQ=\""), "it has 23 bytes"),
        (
            with_target(
                "secret = \"bWFrZWdvb2Qtc2lnbmluZy1zZWNyZXQtb2Ytc29tZS1sZW5ndGgtYW5kLW1vcmUtdGhhbi10aGF0LS4uLi4uLi4=\"",
            ),
            "it has 65 bytes",
        ),
    ] {
        let message = secrets(&text, &[]).unwrap_err();
        assert_names(&message, &["makegood.toml line ", key]);
        assert!(!message.contains("sk_live"), "{message}");
    }
}

#[test]
fn a_signing_secret_is_base64_with_or_without_its_prefix() {
    for good in [
        SIGNING,
        SIGNING.trim_start_matches("whsec_"),
        "bWFrZWdvb2Qtc2lnbmluZy1zZWNyZXQt",
        "bWFrZWdvb2Qtc2lnbmluZy1zZWNyZXQtb2Ytc29tZS1sZW5ndGgtYW5kLW1vcmUtdGhhbi10aGF0LS4uLi4uLg==",
    ] {
        let text =
            with_target(&format!("secret = \"{good}\"")).replace("[targets.app]", "api_key = \"k\"\n[targets.app]");
        assert_eq!(secrets(&text, &[]).unwrap().targets["app"].secret.as_ref().unwrap().expose_secret(), good);
    }
}

#[test]
fn all_the_problems_with_secrets_are_reported_at_once() {
    let text = with_target("secret = \"!\"\nbearer = \"\"");
    assert_eq!(secrets(&text, &[]).unwrap_err().lines().count(), 3);
}

#[test]
fn a_secret_file_that_is_missing_unreadable_or_empty_is_named_with_its_key() {
    let folder = folder_with(&[("empty", " \n"), ("binary", "")]);
    std::fs::write(folder.path().join("binary"), [0xff, 0xfe]).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for file in [path("none"), path("empty"), path("binary"), folder.path().display().to_string()] {
        let message = secrets(&with_firstpromoter(&format!("api_key_file = \"{file}\"")), &[]).unwrap_err();
        assert_names(&message, &["makegood.toml line 4: firstpromoter.api_key_file: ", &file]);
    }
}

#[test]
fn a_secret_written_where_its_path_belongs_is_not_shown() {
    let message = secrets(&with_firstpromoter("api_key_file = \"sk_live_oops\""), &[]).unwrap_err();
    assert_names(&message, &["firstpromoter.api_key_file", "no such file"]);
    assert!(!message.contains("sk_live"), "{message}");
}

#[test]
fn nothing_that_can_be_printed_holds_a_secret() {
    let text = with_target("bearer = \"sk_live\"").replace("[targets.app]", "api_key = \"sk_live\"\n[targets.app]");
    let config = loaded(&text, &[("MAKEGOOD_TARGETS__APP__SECRET", SIGNING)]);
    let secrets = load_secrets(&config.secret_sources).unwrap();
    let shown = format!("{config:?} {secrets:?} {config:#?} {secrets:#?}");
    assert_names(&shown, &["firstpromoter.api_key", "targets.app.bearer"]);
    assert!(!shown.contains("sk_live") && !shown.contains(SIGNING), "{shown}");
}

const PING: &str = "https://hc-ping.com/sk_live-ping-token";

fn with_heartbeat(line: &str) -> String {
    format!("{LEAST}[heartbeat]\n{line}\n").replace("[targets.app]", "api_key = \"k\"\n[targets.app]")
}

#[test]
fn the_addresses_of_heartbeat_and_alert_are_secrets_like_the_others() {
    let folder = folder_with(&[("ping", "http://127.0.0.1:8/ping\n"), ("heartbeat_url", PING), ("alert_url", PING)]);
    let path = folder.path().display().to_string();
    let ping = |text: &str, variables: &[(&str, &str)]| {
        let url = secrets(text, variables).unwrap().notice.heartbeat_url;
        url.map(|url| url.expose_secret().to_owned()).unwrap_or_default()
    };
    assert_eq!(ping(&with_heartbeat(""), &[]), "");
    assert_eq!(ping(&with_heartbeat(&format!("url = \"{PING}\"")), &[]), PING);
    assert_eq!(ping(&with_heartbeat(&format!("url_file = \"{path}/ping\"")), &[]), "http://127.0.0.1:8/ping");
    assert_eq!(ping(&with_heartbeat(""), &[("MAKEGOOD_HEARTBEAT__URL", PING)]), PING);
    assert_eq!(ping(&with_heartbeat(""), &[("CREDENTIALS_DIRECTORY", &path)]), PING);
    let all = secrets(&with_heartbeat(""), &[("CREDENTIALS_DIRECTORY", &path)]).unwrap();
    assert_eq!(all.notice.alert_url.as_ref().unwrap().expose_secret(), PING);
    assert!(!format!("{all:?}").contains("sk_live"));
}

#[test]
fn an_address_that_may_not_be_called_is_refused_unseen() {
    for (url, says) in [
        ("http://hc-ping.com/sk_live", "use https"),
        ("sk_live", "this is no URL"),
        ("https://sk_live@hc-ping.com/", "user name"),
        ("ftp://127.0.0.1/sk_live", "only https"),
        ("", "the secret is empty"),
    ] {
        let message = secrets(&with_heartbeat(&format!("url = \"{url}\"")), &[]).unwrap_err();
        assert_names(&message, &["makegood.toml line ", "heartbeat.url: ", says]);
        assert!(!message.contains("sk_live"), "{message}");
    }
}
